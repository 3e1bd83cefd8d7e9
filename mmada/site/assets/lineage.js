// Draw the lines of the graph; select an output: mark what it comes from and leads to, and show its facts.
// The address bar holds the selection, so a link from any page can name an output.
"use strict";

const map = document.querySelector(".map");
const nodes = [...map.querySelectorAll(".node")];
const numbers = new Map(nodes.map((node, number) => [node.id, number]));
const lines = JSON.parse(map.querySelector(".lines").textContent);
const chosen = document.getElementById("chosen");
let selected = null;

function curve([from, to]) {
  const [[left, top], [right, bottom], [width, height]] = [lines.places[from], lines.places[to], lines.box];
  const [x1, y1, y2] = [left + width, top + height / 2, bottom + height / 2];
  const bend = Math.max(20, (right - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${right - bend} ${y2} ${right} ${y2}`;
}

const draw = (path, edges) => map.querySelector(path).setAttribute("d", edges.map(curve).join(""));

function reach(start, from, to) {
  const next = new Map();
  for (const edge of lines.edges) {
    if (!next.has(edge[from])) next.set(edge[from], []);
    next.get(edge[from]).push(edge[to]);
  }
  const seen = new Set([start]);
  for (const one of seen) (next.get(one) ?? []).forEach((other) => seen.add(other));
  return seen;
}

function show() {
  if (selected !== null && window.described) chosen.innerHTML = window.described[selected]; // escaped where it was made
}

function select(id, scroll) {
  const number = numbers.get(id);
  if (number === undefined) return;
  selected = id;
  const above = reach(number, 1, 0);
  const below = reach(number, 0, 1);
  map.querySelectorAll(".on, .picked").forEach((one) => one.tagName !== "path" && one.classList.remove("on", "picked"));
  for (const one of [...above, ...below]) nodes[one].classList.add("on");
  nodes[number].classList.add("picked");
  map.classList.add("selected");
  draw("path.on", lines.edges.filter(([from, to]) => (above.has(from) && above.has(to)) || (below.has(from) && below.has(to))));
  if (scroll) nodes[number].scrollIntoView({ block: "center", inline: "center" });
  show();
}

const idOf = (hash) => decodeURIComponent(hash.slice(1));

document.addEventListener("click", (event) => {
  const target = event.target.closest("a[href^='#'], a[href^='lineage.html#']");
  const hash = target?.hash ?? "";
  if (!numbers.has(idOf(hash))) return;
  event.preventDefault();
  history.pushState(null, "", hash);
  select(idOf(hash), !target.classList.contains("node"));
});
addEventListener("popstate", () => select(idOf(location.hash), true));

document.querySelector("input[type=search]").addEventListener("input", ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  nodes.forEach((node) => node.classList.toggle("hit", wanted !== "" && `${node.title} ${node.id}`.toLowerCase().includes(wanted)));
  nodes.find((node) => node.classList.contains("hit"))?.scrollIntoView({ block: "nearest", inline: "center" });
});

draw("path.all", lines.edges);
if (location.hash) select(idOf(location.hash), true);
else {
  const scores = nodes.filter((node) => node.classList.contains("score"));
  if (scores.length) select(scores.at(-1).id, false);
  map.parentElement.scrollLeft = Number.MAX_SAFE_INTEGER; // scores stand at the right end
}
// After the page itself: a large project has megabytes of facts.
addEventListener("load", () =>
  document.body.append(Object.assign(document.createElement("script"), { src: "lineage_facts.js", onload: show })));
