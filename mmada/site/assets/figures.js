// Draw each figure when it comes near the view, in the colours of the page.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed(layout) {
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12.5, color: colour("--soft") },
    title: { ...layout.title, font: { size: 15, color: colour("--ink") } },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    xaxis: { ...layout.xaxis, ...axis },
    yaxis: { ...layout.yaxis, ...axis },
  };
}

function draw(panel) {
  const spec = JSON.parse(panel.querySelector(".spec").textContent);
  Plotly.react(panel.querySelector(".plot") ?? panel.appendChild(Object.assign(document.createElement("div"), { className: "plot" })),
    spec.data, themed(spec.layout), { displayModeBar: false, responsive: true });
}

const waiting = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    waiting.unobserve(entry.target);
    draw(entry.target);
  }),
  { rootMargin: "1200px" },
);
document.querySelectorAll(".figure").forEach((panel) => waiting.observe(panel));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.querySelectorAll(".figure:has(.plot)").forEach(draw));
