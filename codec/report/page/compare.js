// The original and two codecs at nearly one rate: a slider, side by side, what differs, and where the bits went.
const look = { scene: 0, rate: 0, left: null, right: null, mode: "slider", split: 0.5, zoom: 1, x: 0, y: 0 };
const MODES = [["slider", "slider"], ["beside", "side by side"], ["difference", "difference ×8"], ["bits", "bits"], ["latents", "latents"]];
const PROTOTYPES = ["p1", "p2"];  // streams of SegPIC
const INFERNO = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

function heat(share) {
  const at = Math.max(0, Math.min(1, share)) * (INFERNO.length - 1), k = Math.min(INFERNO.length - 2, Math.floor(at));
  return INFERNO[k].map((value, c) => value + (at - k) * (INFERNO[k + 1][c] - value));
}
const scenes = () => data.comparison.scenes.filter((scene) => scene.dataset === here().name);
const picturesOfScenes = () => [...new Set(scenes().map((scene) => scene.picture))];

function drawLook() {
  const section = byId("compare"), all = scenes();
  byId("look-note").textContent = noteLook();
  if (!all.length) { section.hidden = !data.comparison.left_out.length; return fill(byId("look")); }
  section.hidden = false;
  const names = picturesOfScenes();
  look.scene = Math.min(look.scene, names.length - 1);
  const rates = all.filter((scene) => scene.picture === names[look.scene]);
  look.rate = Math.min(look.rate, rates.length - 1);
  const scene = rates[look.rate], codecs = scene.shown.map((one) => one.codec);
  if (!codecs.includes(look.left)) look.left = codecs[1] ?? codecs[0];
  const classical = here().curves.filter((curve) => curve.kind === "classical").map((curve) => curve.name);
  if (!codecs.includes(look.right)) look.right = codecs.find((name) => classical.includes(name)) ?? codecs.find((name, k) => k && name !== look.left) ?? codecs[0];
  const choose = (key) => {
    const select = el("select", { id: `look-${key}`, onchange: (event) => { look[key] = event.target.value; drawLook(); } });
    options(select, scene.shown.map((one) => [one.codec, one.codec]), look[key]);
    return select;
  };
  const modes = MODES.filter(([mode]) => !["bits", "latents"].includes(mode) || scene[mode].length);
  if (!modes.some(([mode]) => mode === look.mode)) look.mode = "slider";
  const tabs = (entries, current, pick, id) => el("div", { class: "tabs", role: "tablist", id }, entries.map(([value, text]) =>
    el("button", { type: "button", role: "tab", "aria-selected": String(value === current), "data-value": value, onclick: () => pick(value) }, text)));
  fill(byId("look"),
    el("div", { class: "row controls" },
      tabs(names.map((name, k) => [k, name]), look.scene, (k) => { look.scene = k; home(); drawLook(); }, "look-picture"),
      tabs(rates.map((one, k) => [k, `≈ ${number(one.rate, 2)} bpp`]), look.rate, (k) => { look.rate = k; drawLook(); }, "look-rate")),
    el("div", { class: "row controls" },
      el("label", {}, "left ", choose("left")), el("label", {}, "right ", choose("right")),
      tabs(modes, look.mode, (mode) => { look.mode = mode; drawLook(); }, "look-mode"),
      el("span", { class: "row" },
        el("button", { type: "button", id: "zoom-out", "aria-label": "zoom out", onclick: () => zoomBy(1 / 1.6) }, "−"),
        el("button", { type: "button", id: "zoom-in", "aria-label": "zoom in", onclick: () => zoomBy(1.6) }, "+"),
        el("button", { type: "button", id: "zoom-home", onclick: () => { home(); place(); } }, "whole"))),
    stages(scene));
  place();
}

function home() { look.zoom = 1; look.x = 0; look.y = 0; }
const ofCodec = (scene, name) => scene.shown.find((one) => one.codec === name);
const figures = (one) => one.bpp === null ? "" : ` ${shown("bpp", one.bpp)} bpp · ${shown("psnr", one.psnr)} dB`;
const caption = (one) => el("figcaption", {}, el("b", {}, one.codec), figures(one), one.label ? ` · ${one.label}` : "");
const picture = (one) => el("img", { src: one.data, alt: one.codec, draggable: "false" });

function stage(scene, ...layers) {
  const made = el("div", { class: "stage", style: `aspect-ratio: ${scene.width} / ${scene.height}; max-width: calc(78vh * ${scene.width / scene.height})` }, ...layers);
  let held = null;
  const pointers = new Map();
  made.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = made.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY / 400), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }, { passive: false });
  made.addEventListener("pointerdown", (event) => {
    if (event.target.classList.contains("handle")) return;
    made.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    held = [event.clientX, event.clientY];
  });
  made.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const box = made.getBoundingClientRect();
    const before = spread(pointers);
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const points = [...pointers.values()];
      const mx = (points[0].clientX + points[1].clientX) / 2, my = (points[0].clientY + points[1].clientY) / 2;
      zoomBy(spread(pointers) / before, (mx - box.left) / box.width, (my - box.top) / box.height);
    } else {
      look.x += (event.clientX - held[0]) / box.width;
      look.y += (event.clientY - held[1]) / box.height;
      place();
    }
    held = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) made.addEventListener(end, (event) => { pointers.delete(event.pointerId); });
  return made;
}
function spread(pointers) {
  const [one, two] = [...pointers.values()];
  return two ? Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY) || 1 : 1;
}

function zoomBy(factor, cx = 0.5, cy = 0.5) {
  const zoom = Math.max(1, Math.min(16, look.zoom * factor));
  look.x = cx - (cx - look.x) * (zoom / look.zoom);
  look.y = cy - (cy - look.y) * (zoom / look.zoom);
  look.zoom = zoom;
  place();
}

// All stages show the same part; in shares of a stage.
function place() {
  look.x = Math.min(0, Math.max(1 - look.zoom, look.x));
  look.y = Math.min(0, Math.max(1 - look.zoom, look.y));
  for (const made of byId("look").querySelectorAll(".stage")) {
    made.classList.toggle("near", look.zoom > 2.5);
    for (const moved of made.querySelectorAll("img, canvas.map, .sheet")) moved.style.transform = `translate(${100 * look.x}%, ${100 * look.y}%) scale(${look.zoom})`;
  }
}

function stages(scene) {
  const left = ofCodec(scene, look.left), right = ofCodec(scene, look.right), original = scene.shown[0];
  if (look.mode === "slider") return slider(scene, left, right);
  if (look.mode === "bits") return bitMap(scene, original);
  if (look.mode === "latents") return latents(scene);
  const cells = look.mode === "beside"
    ? [left, original, right].filter((one, k, all) => all.indexOf(one) === k).map((one) => [one, picture(one)])
    : [left, right].map((one) => [one, differenceMap(scene, one, original)]);
  return el("div", { class: "stages" }, cells.map(([one, shown]) => el("figure", {}, stage(scene, shown), caption(one))));
}

function slider(scene, left, right) {
  const over = el("div", { class: "layer" }, picture(left));
  const handle = el("button", { class: "handle", type: "button", role: "slider", "aria-label": "where left ends and right begins", "aria-valuemin": 0, "aria-valuemax": 100 });
  const made = stage(scene, picture(right), over, el("span", { class: "badge left" }, left.codec), el("span", { class: "badge right" }, right.codec), handle);
  const move = (split) => {
    look.split = Math.max(0, Math.min(1, split));
    over.style.clipPath = `inset(0 ${100 * (1 - look.split)}% 0 0)`;
    handle.style.left = `${100 * look.split}%`;
    handle.setAttribute("aria-valuenow", Math.round(100 * look.split));
  };
  handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.preventDefault(); handle.focus(); });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = made.getBoundingClientRect();
    move((event.clientX - box.left) / box.width);
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step) { event.preventDefault(); move(look.split + step); }
  });
  move(look.split);
  return el("div", {}, made, el("div", { class: "captions" }, caption(left), caption(right)));
}

function pixels(image, scene) {
  const canvas = el("canvas", { width: scene.width, height: scene.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, scene.width, scene.height);
}
function differenceMap(scene, one, original) {
  const canvas = el("canvas", { width: scene.width, height: scene.height, class: "map", "data-codec": one.codec });
  const images = [one, original].map((shown) => { const image = new Image(); image.src = shown.data; return image; });
  Promise.all(images.map((image) => image.decode())).then(() => {
    const [mine, theirs] = images.map((image) => pixels(image, scene));
    const out = canvas.getContext("2d").createImageData(scene.width, scene.height);
    for (let k = 0; k < out.data.length; k += 4) {
      const difference = (Math.abs(mine.data[k] - theirs.data[k]) + Math.abs(mine.data[k + 1] - theirs.data[k + 1]) + Math.abs(mine.data[k + 2] - theirs.data[k + 2])) / 3;
      const [r, g, b] = heat(8 * difference / 255);
      out.data[k] = r; out.data[k + 1] = g; out.data[k + 2] = b; out.data[k + 3] = 255;
    }
    canvas.getContext("2d").putImageData(out, 0, 0);
    canvas.dataset.ready = "yes";
  });
  return canvas;
}

function bitMap(scene, original) {
  const chosen = ofChosen(scene.bits);
  const most = Math.max(...chosen.map((one) => one.most));
  return el("div", {}, el("div", { class: "stages" }, chosen.map((one) => {
    const canvas = el("canvas", { width: one.columns, height: one.rows, class: "cells" });
    const out = canvas.getContext("2d").createImageData(one.columns, one.rows);
    const bytes = Uint8Array.from(atob(one.map), (sign) => sign.charCodeAt(0));
    bytes.forEach((value, k) => { const [r, g, b] = heat((value / 255) * (one.most / most)); out.data.set([r, g, b, 255], 4 * k); });
    canvas.getContext("2d").putImageData(out, 0, 0);
    Object.assign(canvas.style, { left: `${100 * one.left}%`, top: `${100 * one.top}%`, width: `${100 * one.width}%`, height: `${100 * one.height}%` });
    const lines = (one.grid ? [["across", "top", one.top, one.height], ["down", "left", one.left, one.width]] : []).flatMap(([name, side, from, length], k) =>
      Array.from({ length: one.grid[k] - 1 }, (_, line) => from + (length * (line + 1)) / one.grid[k]).filter((at) => 0 < at && at < 1)
        .map((at) => el("i", { class: name, style: `${side}: ${100 * at}%` })));
    const cells = el("div", { class: "layer" }, el("div", { class: "sheet" }, canvas, lines));
    const shares = Object.entries(one.shares).map(([name, share]) => `${PROTOTYPES.includes(name) ? "prototypes " : ""}${name} ${number(100 * share, 1)} %`).join(", ");
    return el("figure", {}, stage(scene, picture(original), cells), el("figcaption", {}, el("span", {}, el("b", {}, one.codec), ` ${shown("bpp", one.bpp)} bpp: ${shares}`)));
  })), el("p", { class: "note" }, el("span", { class: "scale" }, "0 ", el("i", {}), ` ${number(most, 1)} bits per latent position, all channels`)));
}

function ofChosen(entries) {
  const chosen = entries.filter((one) => one.codec === look.left || one.codec === look.right);
  return chosen.length ? chosen : entries.slice(0, 2);
}

function latents(scene) {
  return el("div", {}, ofChosen(scene.latents).map((one) => el("div", {},
    el("figcaption", {}, el("span", {}, el("b", {}, one.codec), `, channel ${one.channel}, the one that varies most`)),
    el("div", { class: "stages" }, Object.entries(one.maps).map(([name, map]) => {
      const canvas = el("canvas", { width: one.columns, height: one.rows, class: "latent" });
      const out = canvas.getContext("2d").createImageData(one.columns, one.rows);
      Uint8Array.from(atob(map), (sign) => sign.charCodeAt(0)).forEach((value, k) => out.data.set([value, value, value, 255], 4 * k));
      canvas.getContext("2d").putImageData(out, 0, 0);
      return el("figure", {}, canvas, el("figcaption", {}, el("b", {}, name), name === "σ" ? `0 to ${number(one.most[name], 2)}` : `±${number(one.most[name], 2)}`));
    })))), el("p", { class: "note" }, "The latent, what the hyperprior says of its spread, and what is left when both are divided: the better the prediction, the more like noise. Ballé 2018, figure 2."));
}

function noteLook() {
  const { fidelity, left_out: leftOut } = data.comparison;
  const parts = [];
  if (scenes().length) {
    parts.push(`Pictures lie in this page as AVIF, at least ${number(fidelity, 1)} dB from what was decoded; figures are of the files themselves.`);
    if (scenes().some((scene) => !scene.whole)) parts.push("Of large pictures the part with the most contrast is shown.");
    parts.push("Wheel or pinch to zoom, drag to move.");
  }
  if (leftOut.length) parts.push(`Left out: ${leftOut.join("; ")}.`);
  return parts.join(" ");
}
