// BD-rate of every codec that is switched on against one of them.
function drawSavings() {
  const set = here();
  const over = Object.keys(set.savings).filter((name) => set.savings[name].length);
  byId("savings").hidden = !over.length;
  if (!over.length) return;
  if (!over.includes(state.over)) state.over = over.includes(state.quantity) ? state.quantity : over[0];
  options(byId("over"), over.map((name) => [name, data.quantities[name]]), state.over);
  const able = set.curves.map((curve, place) => [curve, place]).filter(([curve]) => has(curve, state.over));
  const current = able.find(([curve]) => curve.full === state.anchor) ?? able.find(([curve]) => curve.name === "JPEG")
    ?? able.find(([curve]) => curve.kind !== "trained" && isShown(curve)) ?? able[0];
  options(byId("anchor"), able.map(([curve, place]) => [place, curve.name]), current[1]);
  const found = new Map(set.savings[state.over].filter((one) => one.anchor === current[1]).map((one) => [one.codec, one]));
  const rows = able.filter(([curve, place]) => place !== current[1] && isShown(curve) && found.has(place));
  if (!rows.length) {
    fill(byId("bd"));
    return fill(byId("bd-note"), el("span", {}, "No other codec that is switched on has this quantity here."));
  }
  const rates = rows.map(([, place]) => found.get(place)).filter((one) => one.percent !== undefined);
  const widest = Math.max(10, ...rates.flatMap((one) => [one.percent, one.low ?? 0, one.high ?? 0].map(Math.abs)));
  const unit = state.over === "lpips" ? "LPIPS" : "dB", gain = { psnr: "BD-PSNR", ms_ssim_db: "BD-MS-SSIM", lpips: "BD-LPIPS" }[state.over];
  const head = ["codec", "BD-rate", "", "95 % of draws", gain, "both reach", "overlap"].map((text, k) => el("th", { class: ["text", null, "barcell"][k], scope: "col" }, text));
  fill(byId("bd"), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows.map(([curve, place]) => {
    const one = found.get(place);
    if (one.percent === undefined) return el("tr", {}, el("td", { class: "name" }, named(curve)), el("td", { class: "why", colspan: 6 }, el("span", {}, one.why)));
    const percent = `${signed(one.percent, 1)} %`;
    const flip = state.over === "lpips";
    const ends = flip ? [-one.to, -one.from] : [one.from, one.to];
    return el("tr", {}, [
      el("td", { class: "name" }, named(curve)),
      el("td", { class: one.percent < 0 ? "good" : "bad" }, percent),
      el("td", { class: "barcell" }, bar(one, widest)),
      el("td", {}, one.low === undefined ? el("span", { class: "quiet", title: one.told }, "–") : `${signed(one.low, 1)} to ${signed(one.high, 1)} %`),
      el("td", {}, one.gain === null ? "–" : `${signed(flip ? -one.gain : one.gain, flip ? 4 : 2)}${flip ? "" : ` ${unit}`}`),
      el("td", {}, `${number(ends[0], flip ? 3 : 1)} to ${number(ends[1], flip ? 3 : 1)}${flip ? "" : ` ${unit}`}`),
      el("td", {}, `${Math.round(100 * one.overlap)} %`),
    ]);
  })));
  noteSavings(rows.map(([curve, place]) => [curve, found.get(place)]), current[0]);
}

function bar(one, widest) {
  const x = (value) => 50 + 48 * Math.max(-1, Math.min(1, value / widest));
  const colour = one.percent < 0 ? "var(--good-bar)" : "var(--bad-bar)";
  const whisker = one.low === undefined ? [] : [
    svg("line", { x1: `${x(one.low)}%`, x2: `${x(one.high)}%`, y1: 10, y2: 10, stroke: "var(--ink)", "stroke-width": 1.4 }),
    ...[one.low, one.high].map((end) => svg("line", { x1: `${x(end)}%`, x2: `${x(end)}%`, y1: 6, y2: 14, stroke: "var(--ink)", "stroke-width": 1.4 })),
  ];
  const left = Math.min(50, x(one.percent)), wide = Math.abs(x(one.percent) - 50);
  return svg("svg", { "aria-hidden": "true" },
    svg("rect", { x: `${left}%`, y: 5, width: `${wide}%`, height: 10, fill: colour, opacity: 0.75 }),
    svg("line", { x1: "50%", x2: "50%", y1: 0, y2: 20, stroke: "var(--strong)" }), ...whisker);
}

function noteSavings(rows, anchor) {
  const parts = [`The mean change of rate against ${anchor.name} over the quality that both reach: less is better. PCHIP over the logarithm of the rate.`];
  const counts = new Set(rows.map(([, one]) => one.n).filter(Boolean));
  if (counts.size) parts.push(`The interval is a bootstrap over ${[...counts].join(" or ")} pictures, the same ones for both codecs: it covers pictures, not seeds of a training.`);
  const notes = rows.filter(([, one]) => one.methods).map(([curve, one]) => `${curve.name}: ${Object.entries(one.methods).map(([name, value]) => `${name} ${signed(value, 1)} %`).join(", ")}.`);
  const told = new Map();
  for (const [curve, one] of rows) if (one.told) told.set(one.told, [...(told.get(one.told) ?? []), curve.name]);
  fill(byId("bd-note"), el("span", {}, parts.join(" ")),
    notes.length ? el("details", {}, el("summary", {}, `Interpolations differ by more than half a point for ${plural(notes.length, "codec")}`), notes.map((text) => el("div", {}, text))) : null,
    told.size ? el("details", {}, el("summary", {}, "What to know of single rows"), [...told].map(([text, names]) => el("div", {}, `${names.join(", ")}: ${text}`))) : null);
}
