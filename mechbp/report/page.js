"use strict";
const page = () => {
  // Layouts are planned for wide figures and for phones; between both the wide one is drawn at its least width and shrunk.
  const NARROW_PX = 700, WIDE_PX = 1000;
  const CONFIG = { displaylogo: false, showSendToCloud: false, displayModeBar: "hover", responsive: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"] };
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const papers = read("paper-templates");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  let printing = false;
  let drawing = 0;
  root.classList.add("js");

  // Specifications are packed as JSON merge patches: see packing.py.
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  function merged(base, change) {
    if (!isObject(change)) return change;
    const result = isObject(base) ? { ...base } : {};
    for (const [key, value] of Object.entries(change)) {
      if (value === null) delete result[key];
      else result[key] = merged(result[key], value);
    }
    return result;
  }
  function unpacked(spec) {
    const wide = { ...spec.wide };
    for (const key of Object.keys(wide)) {
      const numbered = /^([a-z]+axis)\d+$/.exec(key);
      if (numbered && numbered[1] in wide) wide[key] = merged(wide[numbered[1]], wide[key]);
    }
    const frames = spec.frames.map((traces) => traces.map((trace) => merged(spec.first, trace)));
    return { frames, layouts: { wide, narrow: merged(wide, spec.narrow) } };
  }

  const plots = new Map();
  for (const div of document.querySelectorAll(".plot")) {
    const id = div.parentElement.id;
    const spec = unpacked(read("spec-" + id));
    for (const layout of Object.values(spec.layouts)) for (const image of layout.images || []) {
      const panel = /^panel\/(\d+)$/.exec(image.source);
      if (panel) image.source = "data:image/png;base64," + read("data-" + id).panels[panel[1]].png;
    }
    plots.set(id, { div, ...spec, names: read("names-" + id), frame: spec.frames.length - 1, slider: document.getElementById("frame-" + id) });
  }

  const room = (plot) => plot.div.parentElement.clientWidth;
  function shrink(div, layout, shown) {
    const scale = shown / layout.width;
    div.style.width = layout.width + "px";
    div.style.transform = scale < 1 ? "scale(" + scale + ")" : "";
    div.style.marginBottom = scale < 1 ? (scale - 1) * layout.height + "px" : "";
  }

  // <html data-drawn="yes"> says that no drawing is under way.
  function draw(plot) {
    const width = room(plot);
    const paper = dark.matches && !printing ? "dark" : "light";
    const sameLayout = plot.width === width && plot.paper === paper;
    Object.assign(plot, { width, paper });
    plot.div.dataset.width = width;
    const narrow = width < NARROW_PX;
    const layout = structuredClone(plot.layouts[narrow ? "narrow" : "wide"]);
    layout.template = papers[paper];
    layout.width = narrow ? width : Math.max(width, WIDE_PX);
    shrink(plot.div, layout, width);
    const traces = plot.frames[plot.frame].map((trace) => {
      const copy = structuredClone(trace);
      if (narrow && copy.texttemplate && width < 34 * copy.z[0].length) copy.texttemplate = "";  // figures would not fit their cells
      return copy;
    });
    root.dataset.drawn = "no";
    drawing += 1;
    // A new layout is drawn afresh: Plotly.react would leave axis titles where the old margins had them.
    if (!sameLayout) Plotly.purge(plot.div);
    const done = sameLayout ? Plotly.react(plot.div, traces, layout, CONFIG) : Plotly.newPlot(plot.div, traces, layout, CONFIG);
    return done.then(() => {
      // The group around a plot says what is drawn; its labels one by one would say it worse.
      for (const svg of plot.div.querySelectorAll("svg.main-svg")) svg.setAttribute("aria-hidden", "true");
      drawing -= 1;
      if (!drawing) root.dataset.drawn = "yes";
    });
  }

  function show(plot, frame) {
    plot.frame = Math.min(Math.max(frame, 0), plot.frames.length - 1);
    plot.slider.value = plot.frame;
    plot.slider.setAttribute("aria-valuetext", plot.names[plot.frame]);
    plot.slider.nextElementSibling.value = plot.names[plot.frame];
  }

  // Figures whose frames carry the same names tell of the same thing: their sliders move together.
  function showAlike(plot, frame) {
    const names = JSON.stringify(plot.names);
    for (const other of plots.values()) if (other.slider && JSON.stringify(other.names) === names) { show(other, frame); draw(other); }
  }

  function followLink() {
    const claim = document.getElementById(location.hash.slice(1));
    if (claim && claim.matches(".claim > .whole")) {
      claim.parentElement.open = true;
      claim.parentElement.scrollIntoView();
    }
    const link = /^#(fig-[a-z0-9-]+)\/(\d{1,4})$/.exec(location.hash);
    const plot = link && plots.get(link[1]);
    if (!plot) return;
    if (plot.slider) showAlike(plot, Number(link[2]));
    plot.div.parentElement.scrollIntoView();
  }

  function save(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // A text cell that starts like a formula gets an apostrophe, so that no spreadsheet runs it.
  const cell = (node) => {
    const isText = node.tagName === "TH" || node.cellIndex < Number(node.closest("table").dataset.labels);
    const content = node.textContent.trimEnd();
    const text = isText && /^[=+\-@\t]/.test(content) ? "'" + content : content;
    return '"' + (isText ? text : text.replace("–", "")).replaceAll('"', '""') + '"';
  };
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map(cell).join(",")).join("\r\n") + "\r\n";

  for (const button of document.querySelectorAll("button[data-save]")) {
    const id = button.dataset.figure;
    button.addEventListener("click", () => button.dataset.save === "json"
      ? save(id + ".json", "application/json", JSON.stringify(read("data-" + id), null, 1) + "\n")
      : save(id + ".csv", "text/csv", csv(document.getElementById("table-" + id))));
  }
  for (const [id, plot] of plots) {
    draw(plot);
    if (!plot.slider) continue;
    plot.slider.addEventListener("input", () => showAlike(plot, Number(plot.slider.value)));
    plot.slider.addEventListener("change", () => history.replaceState(null, "", "#" + id + "/" + plot.frame));
  }
  const redraw = () => plots.forEach(draw);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => plots.forEach((plot) => { if (room(plot) !== plot.width) draw(plot); }), 120);
  });
  dark.addEventListener("change", redraw);
  let folded = [];
  addEventListener("beforeprint", () => {
    printing = true;
    folded = [...document.querySelectorAll("details.claim:not([open])")];
    folded.forEach((claim) => { claim.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    folded.forEach((claim) => { claim.open = false; });
    redraw();
  });
  addEventListener("hashchange", followLink);
  followLink();
};
// A bundled page fetches plotly.js, and is told when it is there.
if ("Plotly" in window) page();
else addEventListener("plotly", page, { once: true });
