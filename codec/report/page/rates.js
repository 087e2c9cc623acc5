// The rate-distortion plot and the list by which codecs are switched.
const state = { set: 0, quantity: null, shown: new Map(), marked: null, open: innerWidth > 760, log: false, all: false };
const here = () => data.sets[state.set];
const isShown = (curve) => state.shown.get(curve.full) ?? curve.shown;
// Quantities that not all pictures have go over the others alone, and the rate with them: a mean of the same pictures is one number.
const rateOf = (point, quantity) => point.rates[quantity] ?? point.values.bpp;
const paired = (point, one, other) => one in point.values && other in point.values && point.rates[one] === point.rates[other];
const has = (curve, quantity) => curve.points.some((point) => quantity in point.values);
const KIND_NAMES = { trained: "Trained", classical: "Classical, measured here", foreign: "Files in CompressAI's layout", published: "Published" };
const LESS = ["lpips", "fid", "kid"];

function tellPoint(curve, point, quantity) {
  const rows = [[el("dt", {}, "rate"), el("dd", {}, `${shown("bpp", rateOf(point, quantity))} bpp`)]];
  for (const [name, label] of Object.entries(data.quantities)) {
    if (name === quantity || (curve.kind === "trained" && paired(point, name, quantity))) {
      rows.push([el("dt", {}, label.replace(/ in dB.*/, "")), el("dd", {}, shown(name, point.values[name]) + (label.includes("dB") ? " dB" : ""))]);
    }
  }
  if (point.pictures && !curve.over[quantity]) rows.push([el("dt", {}, "pictures"), el("dd", {}, String(point.pictures))]);
  const run = point.run === null ? null : data.runs[point.run];
  return [
    el("b", {}, curve.name + (point.label ? ` · ${point.label}` : "")), el("dl", {}, rows.flat()),
    point.target ? el("p", { class: point.target.includes("missed") ? "warn" : null }, point.target) : null,
    point.told ? el("p", { class: "warn" }, point.told) : null,
    run ? el("p", {}, run.folder) : ["published", "foreign"].includes(curve.kind) ? el("p", {}, curve.source) : null,
  ];
}

// What lies to the right: the rate, or, of what looks at pictures as people do, the distortion (Blau and Michaeli 2018).
function abscissa() {
  const able = LESS.includes(state.quantity) && here().curves.some((curve) => curve.points.some((point) => paired(point, "psnr", state.quantity)));
  byId("across").parentElement.hidden = !able;
  return able ? byId("across").value : "bpp";
}

function drawRates() {
  const quantity = state.quantity, across = abscissa();
  const curves = here().curves.filter((curve) => isShown(curve) && has(curve, quantity));
  const series = curves.map((curve) => ({
    name: curve.name, style: curve.style, kind: curve.kind,
    points: curve.points.filter((point) => across === "bpp" ? quantity in point.values : paired(point, quantity, across)).map((point) => ({ x: across === "bpp" ? rateOf(point, quantity) : point.values[across], y: point.values[quantity], hollow: Boolean(point.told), note: across === "psnr" ? point.target : "", point })),
    tell: ({ point }) => tellPoint(curve, point, quantity),
  }));
  const trained = series.filter((one) => one.kind === "trained");
  const leading = (state.all || !trained.length ? series : trained).flatMap((one) => one.points);
  const rates = leading.map((point) => point.x);
  if (!rates.length) return fill(byId("rd"), el("p", { class: "note" }, "No codec that is switched on has this quantity here."));
  const low = Math.min(...rates), high = Math.max(...rates);
  const x = across === "psnr" ? { label: data.quantities.psnr, low: low - 0.5, high: high + 0.5 } : { label: "bits per pixel", log: state.log, low: state.log ? low / 1.25 : 0, high: state.log ? high * 1.25 : high * 1.15 };
  const within = series.flatMap((one) => one.points).filter((point) => point.x >= x.low && point.x <= x.high);
  const least = Math.min(...within.map((point) => point.y));  // an estimate of KID without bias may lie below 0
  const [bottom, top] = range(within.map((point) => point.y), 0.05, quantity === "fid");
  drawChart(byId("rd"), series, { x, y: { label: data.quantities[quantity], low: Math.max(bottom, LESS.includes(quantity) && least >= 0 ? 0 : -Infinity), high: top } });
  markSeries();
}

function markSeries() {
  for (const group of byId("rd").querySelectorAll("g.series")) {
    group.classList.toggle("faded", state.marked !== null && group.dataset.name !== state.marked);
  }
}

function drawLegend() {
  const legend = byId("legend"), top = legend.scrollTop;
  const kinds = Object.keys(KIND_NAMES).map((kind) => [kind, here().curves.filter((curve) => curve.kind === kind)]);
  fill(legend, kinds.filter(([, curves]) => curves.length).map(([kind, curves]) => {
    const any = curves.some(isShown);
    const all = el("button", { type: "button", onclick: (event) => { event.preventDefault(); curves.forEach((curve) => state.shown.set(curve.full, !any)); changed(); } }, any ? "none" : "all");
    const title = el("h4", {}, kind === "published" ? `${KIND_NAMES[kind]} · ${curves.filter(isShown).length} of ${curves.length}` : KIND_NAMES[kind], all);
    const items = curves.map((curve) => [
      el("button", {
        type: "button", class: "item", role: "switch", "aria-checked": String(isShown(curve)), "data-name": curve.name, title: curve.full,
        onclick: () => { state.shown.set(curve.full, !isShown(curve)); changed(); },
        onpointerenter: () => { state.marked = isShown(curve) ? curve.name : null; markSeries(); },
        onpointerleave: () => { state.marked = null; markSeries(); },
      }, swatch(curve.style), el("span", {}, curve.name.replace(/, published$/, ""))),
      curve.networks[state.quantity] ? el("div", { class: "missing" }, `${data.quantities[state.quantity]} by ${curve.networks[state.quantity]}, not the network of published curves`) : [],
      curve.missing.map((why) => el("div", { class: "missing" }, why)),
    ]).flat(2);
    if (kind !== "published") return [title, ...items];
    const fold = el("details", { open: state.open }, el("summary", {}, title), items);
    fold.addEventListener("toggle", () => { state.open = fold.open; });
    return [fold];
  }).flat());
  legend.scrollTop = top;
}

function drawQuantities() {
  const names = Object.keys(data.quantities).filter((name) => here().curves.some((curve) => has(curve, name)));
  if (!names.includes(state.quantity)) state.quantity = names[0];
  fill(byId("quantity"), names.map((name) => el("button", {
    type: "button", role: "tab", "aria-selected": String(name === state.quantity), "data-quantity": name,
    onclick: () => { state.quantity = name; if ([...byId("over").options].some((o) => o.value === name)) state.over = name; changed(); },
  }, data.quantities[name].replace(/ in (dB|%).*/, ""))));
}

function noteRates() {
  const hollow = here().curves.some((curve) => curve.points.some((point) => point.told));
  const parts = ["Rates of measured codecs are of files that were written and decoded; each point is the mean over the pictures."];
  if (state.quantity === "ms_ssim_db") parts.push("MS-SSIM in dB is −10 log₁₀(1 − mean MS-SSIM), for measured and published curves alike.");
  const over = new Set(here().curves.map((curve) => curve.over[state.quantity]).filter(Boolean));
  const published = here().curves.some((curve) => curve.kind === "published" && isShown(curve) && has(curve, state.quantity));
  for (const text of over) parts.push(`Of measured codecs ${data.quantities[state.quantity].replace(/ in dB.*/, "")} and its rate are ${text}.${published ? " Published curves are over all." : ""}`);
  if (hollow) parts.push("Hollow points are of runs that are not finished: their rate is estimated, by the last validation.");
  const lacking = here().curves.flatMap((curve) => Object.entries(curve.not_computed).map(([name, why]) => el("div", {}, `${name} of ${curve.name}: ${why}`)));
  fill(byId("rd-note"), el("span", {}, parts.join(" ")), lacking.length ? el("details", {}, el("summary", {}, "What was not computed"), lacking) : null);
}
