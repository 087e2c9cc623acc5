// What belongs to the whole page: the theme, the set that is shown, and drawing again what a choice changes.
function changed() {
  drawQuantities();
  drawLegend();
  drawing(byId("rd"), drawRates);
  noteRates();
  drawSavings();
  drawPictures();
  drawMade();
}

function drawAll() {
  changed();
  drawLook();
  drawTraining();
  drawDoctor();
  drawCosts();
  drawRuns();
  for (const link of document.querySelectorAll("nav a")) link.hidden = document.querySelector(link.getAttribute("href")).hidden;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  drawAll();
}

function summarise() {
  const set = here(), trained = set.curves.filter((curve) => curve.kind === "trained");
  const points = trained.reduce((sum, curve) => sum + curve.points.filter((point) => !point.told).length, 0);
  const missing = trained.reduce((sum, curve) => sum + curve.missing.length, 0);
  const parts = [`${set.name}: ${plural(set.pictures.length, "picture")}`, `${plural(trained.length, "trained codec")} at ${plural(points, "rate")}`];
  if (missing) parts.push(`${plural(missing, "point")} missing or unfinished`);
  const classical = set.curves.filter((curve) => curve.kind === "classical").length;
  if (classical) parts.push(`${plural(classical, "classical codec")} measured beside`);
  const foreign = set.curves.filter((curve) => curve.kind === "foreign").length;
  if (foreign) parts.push(`${plural(foreign, "codec")} of files in CompressAI's layout`);
  const published = set.curves.filter((curve) => curve.kind === "published").length;
  if (published) parts.push(`${plural(published, "published curve")} to switch on`);
  byId("summary").textContent = `${parts.join(" · ")}.`;
  byId("foot").textContent = `Made ${data.made.date} by codec ${data.made.version}: ${data.made.command}`;
}

byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
byId("across").addEventListener("change", drawRates);
byId("log").addEventListener("change", (event) => { state.log = event.target.checked; drawRates(); });
byId("all").addEventListener("change", (event) => { state.all = event.target.checked; drawRates(); });
byId("anchor").addEventListener("change", (event) => { state.anchor = here().curves[event.target.value].full; drawSavings(); });
byId("over").addEventListener("change", (event) => { state.over = event.target.value; drawSavings(); });
byId("pair-a").addEventListener("change", (event) => { pair.a = event.target.value; pair.point = null; drawPictures(); });
byId("pair-b").addEventListener("change", (event) => { pair.b = event.target.value; drawPictures(); });
byId("pair-point").addEventListener("change", (event) => { pair.point = Number(event.target.value); drawPictures(); });
byId("term").addEventListener("change", (event) => { log.term = event.target.value; drawLog(); });
byId("term-log").addEventListener("change", (event) => { log.scale = event.target.checked; drawLog(); });
byId("set").addEventListener("change", (event) => { state.set = Number(event.target.value); pair.point = null; summarise(); drawAll(); });
options(byId("set"), data.sets.map((set, place) => [place, set.name]), 0);
byId("set").parentElement.hidden = data.sets.length < 2;
summarise();
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
