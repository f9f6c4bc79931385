// From what a run holds to the lines of its plots.

// After the palette come Okabe and Ito's black and a grey, for runs beside each other.
const MOST_TICKS = 8; // along a matrix
const DARK = "#3f4650"; // of predictions that belong to no line
const MORE_COLOURS = ["#000000", "#999999"];

function colourOf(place) {
  const known = [...content.palette, ...MORE_COLOURS];
  return place < 0 ? "#1d2329" : known[place % known.length];
}

function isWide(xs) {
  const later = xs.filter((x) => x > 0);
  return later.length > 2 && Math.max(...later) / Math.min(...later) > WIDE;
}

// A line through values over xs; on a logarithmic axis the start, at 0, has no place.
function trace(xs, ys, xlog, more) {
  const kept = xlog ? xs.map((x, n) => n).filter((n) => xs[n] > 0) : null;
  const pick = (values) => (kept ? kept.map((n) => values[n]) : values);
  const few = xs.length < 60;
  return { type: "scatter", mode: few ? "lines+markers" : "lines", marker: { size: 4 }, x: pick(xs), y: pick(ys), connectgaps: false, hovertemplate: "%{x}: %{y:.4g}", ...more };
}

function className(run, k) {
  const [name, count] = [run.classes.names[k], run.classes.counts[k]];
  return name === String(k) ? `class ${k} (${count})` : `${k}: ${name} (${count})`;
}

// Hairlines where the learning rate falls, and dashed ones where L-BFGS takes over, in the runs' own plots and in those
// beside each other.
function changeShapes(runs) {
  const at = (key) => [...new Set(runs.flatMap((run) => run.curves[key]))];
  const shape = (x, dash) => ({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, layer: "below", line: { color: "#8b949e", width: 0.8, dash } });
  return [...at("drops").map((x) => shape(x, "solid")), ...at("finishes").map((x) => shape(x, "dash"))];
}

function panelPlot(run, panel) {
  const { columns, x, xlabel } = run.curves;
  const traces = (xlog) => {
    const drawn = [];
    for (const line of panel.lines) {
      const colour = panel.classes ? run.class_colours[line.member] : colourOf(line.colour);
      const name = plain(panel.classes ? className(run, line.member) : line.label);
      let ys = line.member === undefined ? columns[line.column] : columns[line.column][line.member];
      if (line.error) ys = ys.map((y) => (y === null ? null : 1 - y));
      if (line.over) ys = ys.map((y) => (y === null ? null : y / line.over));
      const look = line.bound ? { color: DARK, ...PREDICTED } : { color: colour, width: 1.6, ...(line.baseline ? BASELINE : {}) };
      drawn.push(trace(columns[x], ys, xlog, { name, legendgroup: name, line: look }));
    }
    for (const level of panel.levels) {
      const isOfClass = level.member !== undefined;
      const name = plain(isOfClass ? className(run, level.member) : level.label);
      const colour = isOfClass ? run.class_colours[level.member] : level.rival ? colourOf(1) : DARK;
      const style = level.rival ? BASELINE : PREDICTED;
      const label = isOfClass ? `predicted, ${name}` : name;
      if (level.y.every((y) => y === null)) continue;
      drawn.push({ ...levelTrace(columns[x], level, xlog), name: label, legendgroup: name, showlegend: !isOfClass, line: { color: colour, ...style } });
    }
    return drawn;
  };
  return new Plot({ title: panel.title, log: panel.log, xlog: isWide(columns[x]), xlabel, traces, layout: { shapes: changeShapes([run]) } });
}

// A prediction reaches from the first to the last x that the axis shows.
function levelTrace(xs, level, xlog) {
  let at = level.x;
  if (at.length === 2 && at[0] === xs[0]) at = [xlog ? Math.min(...xs.filter((x) => x > 0)) : at[0], at[1]];
  return { type: "scatter", mode: "lines", x: at, y: level.y, hovertemplate: "%{y:.5g}" };
}

// Any column of metrics.jsonl with what is predicted for it; one of classes has a line for each.
function columnTraces(run, column, xlog, named) {
  const { columns, x, predicted } = run.curves;
  const values = columns[column];
  if (values === undefined) return [];
  const ends = [columns[x][0], columns[x].at(-1)];
  const isList = Array.isArray(values[0]);
  return (isList ? values : [values]).flatMap((ys, k) => {
    const label = isList ? className(run, k) : named.label;
    const name = plain(label);
    const colour = isList ? run.class_colours[k] : named.colour;
    const level = isList ? predicted[column]?.[k] : predicted[column];
    const drawn = [trace(columns[x], ys, xlog, { name, legendgroup: name, line: { color: colour, width: 1.6 } })];
    if (typeof level === "number") {
      drawn.push({ ...levelTrace(columns[x], { x: ends, y: [level, level] }, xlog), name: `predicted, ${name}`, legendgroup: name, showlegend: false, line: { color: colour, ...PREDICTED } });
    }
    return drawn;
  });
}

function isPositive(values) {
  const numbers = values.flat().filter((value) => typeof value === "number");
  return numbers.length > 0 && numbers.every((value) => value > 0) && Math.max(...numbers) > 10 * Math.min(...numbers);
}

// Class by class at the last epoch.
function measurePlot(run, measure) {
  const { names, counts } = run.classes;
  const places = names.map((_, k) => k);
  const about = names.map((_, k) => plain(className(run, k)));
  const point = (ys, name, marker) => ({ type: "scatter", mode: "markers", x: places, y: ys, name, text: about, marker, hovertemplate: "%{text}: %{y:.5g}" });
  const traces = () => {
    const drawn = [];
    if (measure.predicted) drawn.push(point(measure.predicted, "predicted", { symbol: "line-ew-open", size: 15, line: { width: 2.5 }, color: DARK }));
    if (measure.measured) drawn.push(point(measure.measured, "measured", { symbol: "circle", size: 7, color: colourOf(0) }));
    return drawn;
  };
  const few = names.length <= 20;
  const ticks = few ? { tickvals: places, ticktext: names.map((name) => plain(name.length > 14 ? `${name.slice(0, 13)}…` : name)) } : {};
  const words = measure.measured ? "" : "not measured yet";
  const [most, least] = [Math.max(...counts), Math.min(...counts)];
  const xlabel = most === least ? `class (of ${most} samples each)` : `class (of ${least} to ${most} samples)`;
  return new Plot({ title: measure.title, words, xlabel, fixed: true, traces, layout: { xaxis: { ...ticks, zeroline: false }, yaxis: { rangemode: "tozero" } } });
}

// A K x K matrix, its colours symmetric about zero.
function heatPlot(run, matrix, which, extent) {
  const names = run.classes.names.map(plain);
  const scale = content.diverging.map((colour, n, all) => [n / (all.length - 1), colour]);
  const values = matrix[which];
  const text = names.map((row) => names.map((column) => `row ${row}, column ${column}`));
  const traces = () => [{ type: "heatmap", z: values, text, zmin: -extent, zmax: extent, colorscale: scale, hovertemplate: "%{text}: %{z:.5g}<extra></extra>", colorbar: { thickness: 10, len: 0.9, exponentformat: "power" } }];
  const axis = { constrain: "domain", showgrid: false, zeroline: false, tick0: 0, dtick: Math.ceil(names.length / MOST_TICKS) };
  const layout = { xaxis: axis, yaxis: { ...axis, autorange: "reversed", scaleanchor: "x" } };
  const largest = which === "difference" ? `largest: ${number(extent)}` : matrix.words;
  return new Plot({ title: `${matrix.title}, ${which === "difference" ? "measured − predicted" : which}`, words: largest, fixed: true, traces, layout });
}

function largest(...matrices) {
  let found = 0;
  for (const matrix of matrices) for (const row of matrix || []) for (const value of row) found = Math.max(found, Math.abs(value));
  return found || 1;
}
