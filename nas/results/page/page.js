// The page's own script. Charts come ready made as JSON and are drawn when they come into view; a click on
// a point shows the network behind it.
"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const charts = read("charts");
const networks = read("networks");
const config = { responsive: true, displaylogo: false, displayModeBar: false };

function draw(place) {
  const chart = charts[place.dataset.chart];
  if (place.dataset.drawn === place.dataset.chart || !chart) return;
  const first = !place.dataset.drawn;
  place.dataset.drawn = place.dataset.chart;
  Plotly.react(place, structuredClone(chart.data), layout(chart.layout, place), config);
  if (!first) return;
  place.on("plotly_click", (event) => choose(event.points[0].customdata, true));
  mark(chosen());
}

// On a narrow page there is no room for a legend above the chart: it goes below. A finger that drags scrolls.
function layout(wanted, place) {
  const own = structuredClone(wanted);
  if (matchMedia("(pointer: coarse)").matches) own.dragmode = false;
  if (place.clientWidth < 520 && own.legend) {
    const named = place.dataset.chart.startsWith("front"); // the name of the chosen point needs room above
    own.margin = { ...own.margin, l: 44, r: 8, t: named ? 40 : 8 };
    const below = { xref: "container", x: 0, yref: "container", y: 0, yanchor: "bottom" };
    Object.assign(own.legend, below, { entrywidth: 112, font: { size: 10 } });
    for (const axis of [own.xaxis, own.yaxis]) if (axis?.title) axis.title.font = { size: 11 };
  }
  return own;
}

// Show what is known of a trial; `near` brings it into view.
function choose(number, near) {
  const panel = document.getElementById("network");
  if (!(number >= 0) || !panel) return;
  const own = document.getElementById(`trial-${number}`);
  for (const network of panel.querySelectorAll(".network")) network.hidden = network !== own;
  if (!own) panel.append(describe(number));
  mark(number);
  if (near) (own ?? panel.lastElementChild).scrollIntoView({ block: "nearest" });
}

// The panel of a network that is not on the front, and so has no section of its own.
function describe(number) {
  document.getElementById("other")?.remove();
  const { title, facts } = networks[number] ?? { title: `Trial ${number}`, facts: [] };
  const panel = element("section", { id: "other", className: "network" });
  panel.dataset.trial = number;
  const list = element("dl", { className: "facts" });
  for (const [name, value] of facts) {
    list.append(element("dt", { textContent: name }), element("dd", { textContent: value }));
  }
  const note = "Its weights were not kept, as it is not on the front; the dashboard draws its wiring.";
  panel.append(
    element("h3", { textContent: title }),
    list,
    element("p", { className: "explain", textContent: note }),
  );
  return panel;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

// Point at the chosen network on the front.
function mark(number) {
  const place = document.querySelector('[data-chart^="front"]');
  if (!place?.dataset.drawn) return;
  const annotations = [];
  for (const trace of place.data) {
    const index = (trace.customdata ?? []).indexOf(number);
    if (index < 0 || annotations.length) continue;
    const logarithmic = place.layout.xaxis.type === "log";
    const x = logarithmic ? Math.log10(trace.x[index]) : trace.x[index];
    annotations.push({ x, y: trace.y[index], text: `<b>trial ${number}</b>`, ay: -32, ax: 0, bgcolor: "white" });
  }
  Plotly.relayout(place, { annotations });
}

const chosen = () =>
  Number(document.querySelector("#network .network:not([hidden])")?.dataset.trial ?? NaN);

for (const select of document.querySelectorAll("select[data-for]")) {
  select.addEventListener("change", () => {
    const place = document.getElementById(select.dataset.for);
    place.dataset.chart = select.value;
    draw(place);
    mark(chosen());
  });
}

for (const link of document.querySelectorAll("a[data-trial]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    choose(Number(link.dataset.trial), true);
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
for (const place of document.querySelectorAll(".chart")) seen.observe(place);
window.addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(draw));

for (const network of document.querySelectorAll("#network .network")) network.hidden = true;
choose(Number(document.getElementById("network")?.dataset.first ?? NaN), false);
