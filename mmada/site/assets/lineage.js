// Select an output: mark what it comes from and leads to, and show its facts. The address bar holds the selection.
"use strict";

const graph = document.querySelector("svg.graph");
const nodes = [...graph.querySelectorAll(".node")];
const edges = [...graph.querySelectorAll(".edges path")];
const chosen = document.getElementById("chosen");
let described = null; // parsed at the first click: a large project has megabytes of facts

function reach(start, from, to) {
  const next = new Map();
  for (const { dataset } of edges) {
    if (!next.has(dataset[from])) next.set(dataset[from], []);
    next.get(dataset[from]).push(dataset[to]);
  }
  const seen = new Set([start]);
  for (const one of seen) (next.get(one) ?? []).forEach((other) => seen.add(other));
  return seen;
}

function select(id, scroll) {
  const number = nodes.findIndex((node) => node.id === id);
  if (number < 0) return;
  const above = reach(String(number), "to", "from");
  const below = reach(String(number), "from", "to");
  nodes.forEach((node, index) => {
    node.classList.toggle("on", above.has(String(index)) || below.has(String(index)));
    node.classList.toggle("picked", index === number);
  });
  for (const edge of edges) {
    const { from, to } = edge.dataset;
    edge.classList.toggle("on", (above.has(from) && above.has(to)) || (below.has(from) && below.has(to)));
  }
  graph.classList.add("selected");
  described ??= JSON.parse(document.querySelector(".described").textContent);
  chosen.innerHTML = described[id]; // escaped where it was made
  if (scroll) nodes[number].scrollIntoView({ block: "center", inline: "center" });
}

const idOf = (hash) => decodeURIComponent(hash.slice(1));

document.addEventListener("click", (event) => {
  const target = event.target.closest("a[href^='#']");
  const hash = target?.getAttribute("href") ?? "";
  if (!nodes.some((node) => node.id === idOf(hash))) return;
  event.preventDefault();
  history.pushState(null, "", hash);
  select(idOf(hash), !target.classList.contains("node"));
});
addEventListener("popstate", () => select(idOf(location.hash), true));

document.querySelector("input[type=search]").addEventListener("input", ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  nodes.forEach((node) =>
    node.classList.toggle("hit", wanted !== "" && (node.textContent + node.id).toLowerCase().includes(wanted)));
  nodes.find((node) => node.classList.contains("hit"))?.scrollIntoView({ block: "nearest", inline: "center" });
});

if (location.hash) select(idOf(location.hash), true);
else {
  const scores = nodes.filter((node) => node.classList.contains("score"));
  const canvas = graph.parentElement;
  canvas.scrollLeft = canvas.scrollWidth;
  if (scores.length) select(scores.at(-1).id, false);
}
