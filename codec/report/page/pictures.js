// Two codecs at equal rate, picture by picture: a table that sorts, and where one wins.
const pair = { a: null, b: null, point: null, sort: "delta", down: true };

// What keeps pictures from being compared, in the order in which it is asked; each follows a number of pictures.
const REASONS = {
  failed: (a) => `that ${a.name} failed on`,
  exact: () => "that came back exactly, without a PSNR",
  missing: (a, b) => `without figures of ${b.name}`,
  others: () => "of other pixels under the same name",
  beyond: (a, b) => `beyond the rates of ${b.name}`,
};

// The PSNR of a codec's own curve on a row's picture at its rate, over the logarithm of the rate; or why it has none there.
function beside(curve, row) {
  const measured = curve.points.filter((point) => !point.told && point.rows.bpp?.[row.place] != null);
  const same = measured.filter((point) => new Set([row.namesake, point.namesakes[row.name]].filter((one) => one !== undefined)).size < 2);
  const all = same.map((point) => [point.rows.bpp[row.place], point.rows.psnr?.[row.place]]).sort((one, two) => one[0] - two[0]);
  const known = all.filter(([, value]) => value != null);
  for (let k = 0; k + 1 < known.length; k++) {
    const [[low, before], [high, after]] = [known[k], known[k + 1]];
    if (low <= row.bpp && row.bpp <= high) return [before + (high === low ? 0 : Math.log(row.bpp / low) / Math.log(high / low)) * (after - before)];
  }
  if (!same.length) return [null, measured.length ? "others" : "missing"];
  return [null, all[0][0] <= row.bpp && row.bpp <= all.at(-1)[0] && known.length < all.length ? "exact" : "beyond"];
}

const measured = () => here().curves.filter((curve) => curve.points.some((point) => point.rows.bpp));

function drawPairControls() {
  const curves = measured();
  if (!curves.length) return false;
  const find = (name) => curves.find((curve) => curve.full === name);
  pair.a = (find(pair.a) ?? curves[0]).full;
  const others = curves.filter((curve) => curve.full !== pair.a);
  const wanted = others.find((curve) => curve.full === pair.b);
  pair.b = (wanted ?? others.find((curve) => curve.points.length > 1) ?? others[0])?.full ?? null;
  options(byId("pair-a"), curves.map((curve) => [curve.full, curve.name]), pair.a);
  options(byId("pair-b"), others.map((curve) => [curve.full, curve.name]), pair.b);
  const points = find(pair.a).points.map((point, k) => [k, point]).filter(([, point]) => point.rows.bpp);
  if (!points.some(([k]) => k === pair.point)) pair.point = points[Math.floor((points.length - 1) / 2)][0];
  options(byId("pair-point"), points.map(([k, point]) => [k, `${point.label || "its setting"} · ${shown("bpp", point.values.bpp)} bpp`]), pair.point);
  return true;
}

const COLUMNS = [
  ["name", "picture"], ["bpp", "bpp"], ["psnr", "PSNR dB"], ["beside", "beside, dB"], ["delta", "difference dB"],
  ["ms_ssim_db", "MS-SSIM dB"], ["lpips", "LPIPS"], ["niqe", "NIQE"], ["encode_seconds", "s to encode"], ["decode_seconds", "s to decode"],
];

function pairRows(a, b) {
  const point = a.points[pair.point];
  return here().pictures.map((name, place) => {
    const namesake = point.namesakes[name];
    const row = { name, place, namesake, size: here().sizes[place][namesake ?? 0], failed: point.failed[name], beside: null };
    for (const key of Object.keys(point.rows)) row[key] = point.rows[key][place];
    if (row.bpp == null) row.why = "failed";
    else if (b) [row.beside, row.why] = beside(b, row);
    if (row.bpp != null && row.psnr == null) row.why = "exact";
    row.delta = row.beside === null || row.psnr == null ? null : row.psnr - row.beside;
    return row;
  }).filter((row) => row.bpp != null || row.failed);
}

function drawPictures() {
  const section = byId("pictures");
  section.hidden = !drawPairControls();
  if (section.hidden) return;
  const find = (name) => measured().find((curve) => curve.full === name);
  const a = find(pair.a), b = find(pair.b), rows = pairRows(a, b);
  const known = rows.filter((row) => row.delta !== null);
  const wins = known.filter((row) => row.delta > 0).length;
  const mean = known.reduce((sum, row) => sum + row.delta, 0) / known.length;
  const apart = Object.keys(REASONS).map((why) => [rows.filter((row) => row.delta === null && row.why === why).length, why]).filter(([count]) => count);
  const reasons = b && apart.map(([count, why]) => `${plural(count, "picture")} ${REASONS[why](a, b)}`).join(", ");
  fill(byId("pair-verdict"), !b ? "No other codec here has pictures of its own." : !known.length
    ? `No picture can be compared: ${reasons}.`
    : [el("strong", {}, `${a.name} is better than ${b.name} on ${wins} of ${plural(known.length, "picture")}`), ` at equal rate, by ${signed(mean, 2)} dB in the mean.`,
       reasons ? ` Not compared: ${reasons}.` : ""]);
  byId("pair").hidden = !known.length;
  if (known.length) drawing(byId("pair"), () => drawLollipops(known, a, b));
  drawRows(rows, a, b);
}

function drawLollipops(rows, a, b) {
  const place = byId("pair"), sorted = [...rows].sort((one, two) => two.delta - one.delta);
  const width = place.clientWidth, height = place.clientHeight;
  if (!width) return;
  const [low, high] = range([0, ...sorted.map((row) => row.delta)], 0.08);
  const x = (k) => MARGIN.left + ((k + 0.5) / sorted.length) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - 58 - ((value - low) / (high - low)) * (height - 58 - MARGIN.top);
  const root = svg("svg", { role: "img", "aria-label": `difference of ${a.name} and ${b.name} by picture` });
  const along = ticks(low, high, 5);
  for (const value of along.found) {
    root.append(svg("line", { class: value === 0 ? "axis" : "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
    root.append(svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, tickText(value, along.digits)));
  }
  root.append(svg("text", { class: "axis-label", transform: `translate(13 ${height / 2 - 24}) rotate(-90)`, "text-anchor": "middle" }, "difference in dB"));
  const sparse = Math.ceil(sorted.length / ((width - 70) / 17));
  sorted.forEach((row, k) => {
    const colour = row.delta > 0 ? "var(--good-bar)" : "var(--bad-bar)";
    const dot = row.delta > 0 ? { circle: true } : {};
    const group = svg("g", {
      class: "lollipop",
      onpointermove: (event) => showTip(event.clientX, event.clientY, el("b", {}, row.name), el("dl", {}, [
        el("dt", {}, "rate"), el("dd", {}, `${shown("bpp", row.bpp)} bpp`), el("dt", {}, a.name), el("dd", {}, `${shown("psnr", row.psnr)} dB`),
        el("dt", {}, b.name), el("dd", {}, `${shown("psnr", row.beside)} dB`), el("dt", {}, "difference"), el("dd", {}, `${signed(row.delta, 2)} dB`)])),
      onpointerleave: hideTip,
    });
    group.append(svg("rect", { x: x(k) - 8, y: MARGIN.top, width: 16, height: height - 58, fill: "transparent" }));
    group.append(svg("line", { x1: x(k), x2: x(k), y1: y(0), y2: y(row.delta), stroke: colour, "stroke-width": 3 }));
    group.append(dot.circle ? svg("circle", { cx: x(k), cy: y(row.delta), r: 5, fill: colour }) : svg("rect", { x: x(k) - 4.5, y: y(row.delta) - 4.5, width: 9, height: 9, fill: colour }));
    if (k % sparse === 0) {
      const text = row.name.length > 9 ? `${row.name.slice(0, 8)}…` : row.name;
      group.append(svg("text", { transform: `translate(${x(k) + 4} ${height - 50}) rotate(-60)`, "text-anchor": "end", "font-size": 11 }, text));
    }
    root.append(group);
  });
  fill(place, root);
}

function drawRows(rows, a, b) {
  const columns = COLUMNS.filter(([key]) => key === "name" || rows.some((row) => row[key] != null));
  const sign = pair.down ? -1 : 1;
  const worth = (row) => row[pair.sort];
  rows.sort((one, two) => {
    const [first, second] = [worth(one), worth(two)];
    if (first == null || second == null) return (first == null) - (second == null);
    return sign * (typeof first === "string" ? first.localeCompare(second, undefined, { numeric: true }) : first - second);
  });
  const head = columns.map(([key, text]) => el("th", {
    scope: "col", "data-key": key, "aria-sort": pair.sort === key ? (pair.down ? "descending" : "ascending") : "none",
  }, el("button", { type: "button", onclick: () => {
    pair.down = pair.sort === key ? !pair.down : key !== "name";
    pair.sort = key;
    drawRows(rows, a, b);
  } }, key === "beside" ? `${b?.name ?? "beside"} dB` : key === "delta" ? "difference dB" : text)));
  const cell = (key, row) => {
    if (key === "name") return el("td", {}, row.name, " ", el("span", { class: "quiet" }, row.size));
    if (key === "bpp" && row.failed) return el("td", { class: "why", colspan: columns.length - 1 }, row.failed);
    if (row.failed) return null;
    if (key === "delta") return el("td", { class: row.delta === null ? "quiet" : row.delta > 0 ? "good" : "bad" }, signed(row.delta, 2));
    return el("td", {}, key === "beside" ? number(row.beside, 2) : shown(key, row[key]));
  };
  const coded = rows.filter((row) => row.bpp != null), compared = rows.filter((row) => row.delta !== null);
  const last = columns.map(([key]) => {
    if (key === "name") return el("td", {}, `mean of ${coded.length}`);
    const of = ["psnr", "beside", "delta"].includes(key) && compared.length ? compared : coded;  // else the three are of different pictures
    const values = of.map((row) => row[key]).filter((value) => value != null);
    const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    const fewer = values.length && values.length < coded.length ? el("span", { class: "quiet" }, ` of ${values.length}`) : null;
    return el("td", {}, key === "delta" ? signed(mean, 2) : shown(key === "beside" ? "psnr" : key, mean), fewer);
  });
  fill(byId("rows"), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(([key]) => cell(key, row)))), el("tr", { class: "mean" }, last)));
}
