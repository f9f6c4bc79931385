// One plot: a figure with a caption, buttons that the keyboard reaches, and a tick for each line.

const FONT = { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12, color: "#1d2329" };
const PREDICTED = { dash: "dash", width: 1.5 };
const BASELINE = { dash: "dot", width: 1.2 };
const ZOOM = 0.6;
// A legend of more lines than this would hide the plot; the ticks below it name them all.
const MOST_IN_LEGEND = 9;
// Epochs that span more than this factor are looked at on a logarithmic axis.
const WIDE = 30;

// Plotly reads a few tags, and formulas between dollars, in text; names are to be seen as they are.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");
}

function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  return String(Number(value.toPrecision(4)));
}

class Plot {
  // options: title, words, log (of the ordinate), xlog, xlabel, traces (xlog) -> list, layout, fixed (no logarithms)
  constructor(options) {
    this.options = options;
    this.xlog = Boolean(options.xlog);
    this.ylog = Boolean(options.log);
    this.hidden = new Set();
    this.area = element("div", { class: "plot" });
    this.lines = element("div", { class: "lines" });
    const caption = element("figcaption", {}, options.title, options.words ? element("small", {}, options.words) : null);
    const buttons = element("div", { class: "buttons" });
    for (const [sign, label, act] of [
      ["+", "zoom in", () => this.zoom(ZOOM)],
      ["−", "zoom out", () => this.zoom(1 / ZOOM)],
      ["←", "move left", () => this.move(-0.25)],
      ["→", "move right", () => this.move(0.25)],
      ["all", "show all", () => this.whole()],
      ["PNG", "save as a picture", () => this.save()],
    ]) {
      buttons.append(element("button", { type: "button", "aria-label": `${label}: ${options.title}`, title: label, onclick: act }, sign));
    }
    if (!options.fixed) {
      buttons.append(this.tick("log x", this.xlog, (on) => ((this.xlog = on), this.draw())));
      buttons.append(this.tick("log y", this.ylog, (on) => ((this.ylog = on), this.draw())));
    }
    this.figure = element("figure", { role: "group", "aria-label": options.title }, caption, this.area, buttons);
    this.more = element("details", {}, element("summary", {}, "lines"), this.lines);
    this.more.addEventListener("toggle", () => this.listLines());
    if (!options.fixed) this.figure.append(this.more);
  }

  tick(label, on, act) {
    const box = element("input", { type: "checkbox", onchange: () => act(box.checked) });
    box.checked = on;
    return element("label", {}, box, ` ${label}`);
  }

  async draw() {
    const traces = this.options.traces(this.xlog);
    const named = new Set(traces.map((trace) => trace.legendgroup || trace.name));
    for (const trace of traces) {
      if (this.hidden.has(trace.legendgroup || trace.name)) trace.visible = "legendonly";
    }
    this.names = [...named].filter(Boolean);
    // Margins at the other two sides would change back and forth with the ticks, until Plotly gives up.
    const automargin = "left+bottom";
    const axis = { gridcolor: "#e3e3e3", zerolinecolor: "#c3c9d0", linecolor: "#8b949e", automargin, exponentformat: "power" };
    const layout = {
      font: FONT,
      margin: { l: 55, r: 12, t: 12, b: 50 },
      paper_bgcolor: "#fff",
      plot_bgcolor: "#fff",
      hovermode: "closest",
      hoverlabel: { font: FONT, namelength: -1 },
      showlegend: this.names.length > 1 && this.names.length <= MOST_IN_LEGEND,
      legend: { orientation: "h", y: 1.01, yanchor: "bottom", x: 0, font: { size: 11 } },
      uirevision: `${this.xlog}${this.ylog}`,
      ...this.options.layout,
    };
    const logarithmic = (on) => (on ? { type: "log" } : {});
    layout.xaxis = { ...axis, title: { text: plain(this.options.xlabel || ""), standoff: 6 }, ...logarithmic(this.xlog), ...(this.options.layout?.xaxis || {}) };
    layout.yaxis = { ...axis, ...logarithmic(this.ylog), ...(this.options.layout?.yaxis || {}) };
    const config = { responsive: true, displayModeBar: false, showTips: false }; // its buttons lie on the lines
    await Plotly.react(this.area, traces, layout, config);
    this.listLines();
  }

  // A tick for every line, made when somebody asks for them.
  listLines() {
    if (!this.more.open) return;
    this.lines.replaceChildren(
      ...this.names.map((name) =>
        this.tick(name, !this.hidden.has(name), (on) => {
          if (on) this.hidden.delete(name);
          else this.hidden.add(name);
          this.draw();
        }),
      ),
    );
  }

  ranges() {
    const { xaxis, yaxis } = this.area._fullLayout;
    return { xaxis: xaxis.range.map(Number), yaxis: yaxis.range.map(Number) };
  }

  zoom(factor) {
    const change = {};
    for (const [name, [low, high]] of Object.entries(this.ranges())) {
      const [middle, half] = [(low + high) / 2, ((high - low) / 2) * factor];
      change[`${name}.range`] = [middle - half, middle + half];
    }
    return Plotly.relayout(this.area, change);
  }

  move(share) {
    const [low, high] = this.ranges().xaxis;
    const by = (high - low) * share;
    return Plotly.relayout(this.area, { "xaxis.range": [low + by, high + by] });
  }

  whole() {
    return Plotly.relayout(this.area, { "xaxis.autorange": true, "yaxis.autorange": this.options.layout?.yaxis?.autorange || true });
  }

  save() {
    const { width, height } = this.area.getBoundingClientRect();
    const filename = this.options.title.replaceAll(/[^\w.-]+/g, "-");
    return Plotly.downloadImage(this.area, { format: "png", width, height, scale: 2, filename });
  }

  remove() {
    Plotly.purge(this.area);
    this.figure.remove();
  }
}
