// Elements, numbers and the tip that follows the pointer. Text goes in as text, never as HTML.
const SVG = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
const el = (tag, attributes, ...children) => element(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => element(document.createElementNS(SVG, tag), attributes, children);
const fill = (place, ...children) => place.replaceChildren(...children.flat().filter(Boolean));

const MINUS = "−";
const number = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", MINUS);
const signed = (value, digits) => value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + number(value, digits);
const DIGITS = { bpp: 3, psnr: 2, ms_ssim_db: 2, lpips: 4, fid: 2, kid: 5, niqe: 2, encode_seconds: 2, decode_seconds: 2 };
const shown = (name, value) => number(value, DIGITS[name] ?? 3);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

const tip = byId("tip");
function showTip(x, y, ...children) {
  fill(tip, ...children);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth - 6 ? x - 16 - box.width : x + 16;
  tip.style.left = `${Math.max(6, Math.min(left, innerWidth - box.width - 6))}px`;
  tip.style.top = `${Math.max(6, Math.min(y + 14, innerHeight - box.height - 6))}px`;
}
const hideTip = () => { tip.hidden = true; };

const isDark = () => document.documentElement.dataset.theme === "dark";
const colourOf = (style) => !style ? "var(--soft)" : isDark() ? style.dark : style.colour;
const colourOn = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const DASHES = { solid: null, dashed: "6 4", dashdot: "9 3 2 3" };
const SHAPES = {
  circle: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", square: "M-3.6 -3.6H3.6V3.6H-3.6Z", diamond: "M0 -5L5 0L0 5L-5 0Z",
  triangle: "M0 -4.8L4.6 3.4H-4.6Z", down: "M0 4.8L4.6 -3.4H-4.6Z", left: "M-4.8 0L3.4 -4.6V4.6Z", right: "M4.8 0L-3.4 -4.6V4.6Z",
  star: "M0 -5.6L1.5 -1.8L5.4 -1.7L2.3 .8L3.3 4.6L0 2.4L-3.3 4.6L-2.3 .8L-5.4 -1.7L-1.5 -1.8Z",
  hexagon: "M-4.4 0L-2.2 -3.9H2.2L4.4 0L2.2 3.9H-2.2Z", plus: "M-4.6 0H4.6M0 -4.6V4.6", cross: "M-3.6 -3.6L3.6 3.6M-3.6 3.6L3.6 -3.6",
};
const isOpen = (style) => style.marker === "plus" || style.marker === "cross";
function marker(style, attributes, hollow) {
  const colour = colourOf(style);
  const paint = isOpen(style)
    ? { fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": hollow ? "1.5 1.5" : null }
    : { fill: hollow ? "var(--paper)" : colour, stroke: hollow ? colour : "var(--paper)", "stroke-width": hollow ? 1.8 : 1 };
  return svg("path", { d: SHAPES[style.marker], ...paint, ...attributes });
}
function swatch(style) {
  const line = { x1: 0, x2: 30, y1: 8, y2: 8, stroke: colourOf(style), "stroke-width": 2, "stroke-dasharray": DASHES[style.line] };
  return svg("svg", { width: 30, height: 16, "aria-hidden": "true" }, svg("line", line), marker(style, { transform: "translate(15 8)" }));
}
const named = (curve) => el("span", { class: "swatch" }, swatch(curve.style), curve.name);

function options(select, entries, chosen) {
  fill(select, entries.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)));
}
