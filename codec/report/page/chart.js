// A plot of lines over an axis, as SVG that fills its place: grid, ticks, markers, and what lies nearest to the pointer.
const MARGIN = { left: 54, right: 14, top: 10, bottom: 44 };

function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * step; value += step) found.push(value);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}
function logTicks(low, high) {
  const found = [];
  const dense = Math.log10(high / low) < 1.3;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of dense ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return { found, digits: null };
}
const tickText = (value, digits) => digits === null ? String(Number(value.toPrecision(3))) : number(Math.abs(value) < 1e-12 ? 0 : value, digits);

// series: [{name, style, kind, points: [{x, y, hollow, note}], markers, line, end}]; asked: {x, y: {label, low, high, log, up}}.
// note: words above a point. end: words where a line ends at the right, left out where they would lie on others.
function drawChart(place, series, asked) {
  const width = place.clientWidth, height = place.clientHeight;
  if (!width || !height) return;
  const longest = Math.max(0, ...series.map((one) => one.end?.length ?? 0));
  const right = width - MARGIN.right - Math.min(6.4 * longest, width / 4), bottom = height - MARGIN.bottom;
  const along = asked.y.log ? logTicks(asked.y.low, asked.y.high) : ticks(asked.y.low, asked.y.high, height / 55);
  const left = Math.max(MARGIN.left, 32 + 7 * Math.max(...along.found.map((value) => tickText(value, along.digits).length)));
  const scale = (axis, from, to) => {
    const f = axis.log ? Math.log : (value) => value;
    const low = f(axis.low), span = f(axis.high) - low || 1;
    return (value) => from + ((f(value) - low) / span) * (to - from);
  };
  const x = scale(asked.x, left, right);
  const y = asked.y.down ? scale(asked.y, MARGIN.top, bottom) : scale(asked.y, bottom, MARGIN.top);
  const clip = `clip-${place.id}`;
  const root = svg("svg", { role: "img", "aria-label": `${asked.y.label} over ${asked.x.label}` });
  root.append(svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", {
    x: left - 6, y: MARGIN.top - 6, width: Math.max(0, right - left + 12), height: Math.max(0, bottom - MARGIN.top + 12),
  }))));
  const across = asked.x.log ? logTicks(asked.x.low, asked.x.high) : ticks(asked.x.low, asked.x.high, width / 95);
  for (const value of across.found) {
    root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: MARGIN.top, y2: bottom }));
    root.append(svg("text", { x: x(value), y: bottom + 17, "text-anchor": "middle" }, tickText(value, across.digits)));
  }
  for (const value of along.found) {
    root.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    root.append(svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, tickText(value, along.digits)));
  }
  root.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  root.append(svg("text", { class: "axis-label", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, asked.x.label));
  root.append(svg("text", { class: "axis-label", transform: `translate(13 ${(MARGIN.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, asked.y.label));
  const body = svg("g", { "clip-path": `url(#${clip})` });
  const targets = [], ends = [];
  for (const one of series) {
    const group = svg("g", { class: `series ${one.kind || ""}`, "data-name": one.name });
    const at = one.points.map((point) => [x(point.x), y(point.y)]);
    if (one.line !== false && at.length > 1) {
      const path = at.map(([px, py], k) => `${k ? (one.steps ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `L${px.toFixed(1)} ${py.toFixed(1)}`) : `M${px.toFixed(1)} ${py.toFixed(1)}`}`).join("");
      group.append(svg("path", { class: "curve", d: path, stroke: colourOf(one.style), "stroke-dasharray": one.dash ?? DASHES[one.style?.line] ?? null }));
    }
    one.points.forEach((point, k) => {
      if (one.markers !== false) {
        const attributes = { transform: `translate(${at[k][0].toFixed(1)} ${at[k][1].toFixed(1)})${one.kind === "trained" ? " scale(1.25)" : ""}`, class: "point" };
        group.append(marker(one.style, attributes, point.hollow));
      }
      if (point.note) {
        const room = 3 * point.note.length, middle = Math.max(left + room, Math.min(right - room, at[k][0]));
        group.append(svg("text", { class: "at-point", x: middle, y: at[k][1] - 10, "text-anchor": "middle" }, point.note));
      }
      targets.push({ one, point, px: at[k][0], py: at[k][1], group });
    });
    body.append(group);
    const [px, py] = at.at(-1) ?? [];
    if (one.end && px > right - 40 && ends.every((other) => Math.abs(other - py) > 13)) {
      ends.push(py);
      root.append(svg("text", { class: "at-end", x: px + 8, y: py + 4 }, one.end));
    }
  }
  root.append(body);
  const ring = svg("circle", { r: 9, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5, visibility: "hidden" });
  root.append(ring);
  const inside = (target) => target.px >= left - 4 && target.px <= right + 4 && target.py >= MARGIN.top - 4 && target.py <= bottom + 4;
  const visible = targets.filter(inside);
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const mx = event.clientX - box.left, my = event.clientY - box.top;
    let best = null, least = 26 ** 2;
    for (const target of visible) {
      const distance = (target.px - mx) ** 2 + (target.py - my) ** 2;
      if (distance < least) [best, least] = [target, distance];
    }
    for (const group of body.children) group.classList.toggle("faded", Boolean(best) && group !== best.group);
    if (!best) { hideTip(); ring.setAttribute("visibility", "hidden"); return; }
    ring.setAttribute("cx", best.px); ring.setAttribute("cy", best.py); ring.setAttribute("visibility", "visible");
    showTip(event.clientX, event.clientY, ...best.one.tell(best.point));
  });
  root.addEventListener("pointerleave", () => {
    hideTip();
    ring.setAttribute("visibility", "hidden");
    for (const group of body.children) group.classList.remove("faded");
  });
  fill(place, root);
}

// Draws again when its place changes in size.
const drawn = new Map();
const watcher = new ResizeObserver((entries) => entries.forEach((entry) => drawn.get(entry.target)?.()));
function drawing(place, draw) {
  if (!drawn.has(place)) watcher.observe(place);
  drawn.set(place, draw);
  draw();
}

function range(values, share, zero) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * share || Math.abs(high) * 0.1 || 1;
  return [zero ? Math.min(0, low) : low - room, high + room];
}
