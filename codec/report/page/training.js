// Logs of all runs over steps, the runs themselves, and in what they differ.
const log = { term: null, scale: null };  // scale: null until it is chosen, and logarithmic where values need it
const TERMS = {
  "train/loss": "loss", "val/loss": "validation: loss", "train/bpp": "rate, bpp", "val/bpp": "validation: rate, bpp", "train/psnr": "PSNR, dB",
  "val/psnr": "validation: PSNR, dB", "train/quantized_bpp": "rate and its target, bpp", "train/bpp_z": "side information, bpp", "train/aux": "auxiliary loss",
  "train/lr": "learning rate", "train/grad_norm": "norm of the gradient", "train/rate_weight": "weight of the rate",
  "train/images_per_second": "pictures a second", "train/skipped_steps": "steps skipped", "train/real_accuracy": "discriminator: accuracy on real",
  "train/fake_accuracy": "discriminator: accuracy on fake",
};
const HIDDEN_TERMS = ["step", "train/target_bpp"];

function column(run, name) {
  const steps = run.log.step ?? [], values = run.log[name] ?? [];
  return steps.map((x, k) => ({ x, y: values[k] })).filter((point) => point.x != null && point.y != null);
}

function drawTraining() {
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.log)))].filter((name) => !HIDDEN_TERMS.includes(name));
  const order = Object.keys(TERMS);
  names.sort((one, two) => (order.indexOf(one) + 1 || 99) - (order.indexOf(two) + 1 || 99) || one.localeCompare(two));
  byId("training").hidden = !names.length && !data.runs.some((run) => run.findings.length);
  if (!names.length) return;
  if (!names.includes(log.term)) log.term = names[0];
  options(byId("term"), names.map((name) => [name, TERMS[name] ?? name]), log.term);
  drawing(byId("log-plot"), drawLog);
}

function drawLog() {
  const series = data.runs.map((run) => {
    const points = column(run, log.term);
    return { name: run.name, style: run.style ?? { colour: "#777", dark: "#aaa", marker: "circle", line: "solid" }, kind: "log", dash: null, markers: points.length < 9, points, run, end: run.setting,
      tell: (point) => [el("b", {}, `${run.name} · ${run.setting}`), el("dl", {}, [el("dt", {}, "step"), el("dd", {}, String(point.x)), el("dt", {}, TERMS[log.term] ?? log.term), el("dd", {}, String(Number(point.y.toPrecision(4))))]), run.status === "finished" ? null : el("p", { class: "warn" }, `${run.status}, step ${run.step}`)] };
  }).filter((one) => one.points.length);
  const targets = log.term !== "train/quantized_bpp" ? [] : series.map((one) => ({ ...one, name: `${one.name}, target`, end: "", dash: "5 4", steps: true, markers: false, points: column(one.run, "train/target_bpp") })).filter((one) => one.points.length);
  const all = [...series, ...targets].flatMap((one) => one.points);
  const positive = all.map((point) => point.y).filter((value) => value > 0);
  const needed = positive.length === all.length && Math.max(...positive) > 20 * Math.min(...positive);
  const useLog = (log.scale ?? needed) && positive.length > 0;
  byId("term-log").checked = useLog;
  const kept = useLog ? [...series, ...targets].map((one) => ({ ...one, points: one.points.filter((point) => point.y > 0) })) : [...series, ...targets];
  const [low, high] = useLog ? [Math.min(...positive) / 1.1, Math.max(...positive) * 1.1] : range(all.map((point) => point.y), 0.05);
  const steps = all.map((point) => point.x);
  drawChart(byId("log-plot"), kept, { x: { label: "step", low: 0, high: Math.max(...steps) }, y: { label: TERMS[log.term] ?? log.term, low, high, log: useLog } });
  const waits = data.runs.filter((run) => run.status !== "finished").map((run) => `${run.name} ${run.setting}: ${run.status} at step ${run.step}${run.why ? ` (${run.why})` : ""}`);
  byId("training-note").textContent = waits.join("; ");
}

function ofRun(run) {
  const pairs = [...Object.entries(run.versions), ...Object.entries(run.host)].map(([name, value]) => `${name} ${value}`);
  return [run.folder, run.bundle && `bundle ${run.bundle}`, run.commit && `commit ${run.commit}`, ...pairs].filter(Boolean).join(" · ");
}

// Runs by their codecs, each with its settings.
function together(runs) {
  const settings = new Map();
  for (const run of runs) settings.set(run.name, [...(settings.get(run.name) ?? []), run.setting]);
  return [...settings].map(([name, all]) => `${name} ${all.join("; ")}`.trim()).join(", ");
}

// What the doctor found, each thing once with all runs that have it: codec/report/doctor.py has its limits.
function drawDoctor() {
  const found = new Map();
  for (const run of data.runs) {
    for (const { name, found: figure, remedy } of run.findings) {
      const told = found.get(name) ?? new Map(), text = `${figure}; ${remedy}`;
      found.set(name, told.set(text, [...(told.get(text) ?? []), run]));
    }
  }
  const findings = [...found].flatMap(([name, told]) => [
    el("dt", { class: "warn" }, name), el("dd", {}, [...told].map(([text, runs]) => el("div", {}, el("b", {}, together(runs)), `: ${text}`))),
  ]);
  fill(byId("doctor"), found.size ? [el("h3", {}, "What is wrong, and what to do"), el("dl", { class: "facts" }, findings)] : []);
}

const seconds = (value) => value < 0.0005 ? "< 0.001" : number(value, 3);
const COSTS = [
  ["encode_seconds", "encode, s/MP", seconds], ["encode_transform_seconds", "transform", seconds], ["encode_entropy_seconds", "entropy", seconds],
  ["encode_file_seconds", "file", seconds], ["decode_seconds", "decode, s/MP", seconds], ["decode_transform_seconds", "transform", seconds],
  ["decode_entropy_seconds", "entropy", seconds], ["decode_file_seconds", "file", seconds],
  ["parameters", "parameters", (value) => value >= 1e6 ? `${number(value / 1e6, 2)} M` : `${number(value / 1e3, 0)} k`],
  ["kmac_per_pixel_encode", "kMAC/px, in", (value) => number(value, 1)], ["kmac_per_pixel_decode", "out", (value) => number(value, 1)],
  ["peak_memory_bytes", "peak memory", (value) => `${number(value / 2 ** 20, 0)} MiB`],
];
function drawCosts() {
  const curves = here().curves.filter((curve) => Object.keys(curve.costs).length);
  byId("costs").hidden = !curves.length;
  const columns = COSTS.filter(([key]) => curves.some((curve) => key in curve.costs));
  const row = (curve) => el("tr", {}, el("td", { class: "name" }, named(curve)), columns.map(([key, , text]) => el("td", {}, key in curve.costs ? text(curve.costs[key]) : "–")));
  fill(byId("cost-table"), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "codec"), columns.map(([, text]) => el("th", { scope: "col" }, text)))), el("tbody", {}, curves.map(row)));
}

function drawRuns() {
  byId("runs").querySelector("h2").textContent = data.runs.length ? "Runs" : "How each number was made";
  const [table, differing] = [byId("run-table"), byId("differences")];
  for (const node of [table, differing, ...byId("runs").querySelectorAll("h3")]) node.hidden = !data.runs.length;
  const head = (names) => el("thead", {}, el("tr", {}, names.map((name, k) => el("th", { scope: "col", class: k ? "text" : null }, name))));
  fill(table, head(["codec", "at", "state", "step", "device", "code", "command"]), el("tbody", {}, data.runs.map((run) => el("tr", {},
    el("td", { class: "name" }, run.style ? named(run) : run.name), el("td", { class: "text setting" }, run.setting),
    el("td", { class: `text ${run.status === "finished" ? "" : "warn"}` }, run.why ? `${run.status}: ${run.why}` : run.status), el("td", { class: "text" }, run.step),
    el("td", { class: "text" }, run.device ?? "–"), el("td", { class: "text", title: ofRun(run) }, run.commit ? run.commit.slice(0, 9) + (run.commit.endsWith("-dirty") ? "+" : "") : "–"),
    el("td", { class: "text" }, el("details", {}, el("summary", {}, "show"), el("code", {}, run.command), el("p", { class: "note" }, ofRun(run))))))));
  const keys = Object.keys(data.differences);
  fill(differing, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "key"), data.runs.map((run) => el("th", { scope: "col" }, `${run.name} ${run.setting}`)))),
    el("tbody", {}, keys.length ? keys.map((key) => el("tr", {}, el("td", {}, el("code", {}, key)), data.differences[key].map((value) => el("td", { title: value }, value.length > 28 ? `…${value.slice(-27)}` : value)))) : el("tr", {}, el("td", {}, "nothing"))));
  drawMade();
}

function drawMade() {
  const facts = (rows) => el("dl", { class: "facts" }, rows.map(([name, ...text]) => [el("dt", {}, name), el("dd", {}, text)]).flat());
  const sources = here().curves.filter((curve) => curve.source && (isShown(curve) || curve.kind !== "published")).map((curve) => [curve.name, curve.source]);
  fill(byId("made"), facts(sources));
}
