// What is shown of one run, and runs beside each other.

let plots = []; // of the run that is shown
let comparison = null;

function facts(title, rows) {
  const lines = rows.map(([key, value]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)));
  return element("div", {}, element("h3", {}, title), element("table", {}, element("tbody", {}, ...lines)));
}

function section(title, kind, words, made) {
  const box = element("div", { class: `plots ${kind}` }, ...made.map((plot) => plot.figure));
  return element("div", {}, element("h3", {}, title), ...words.map((each) => element("p", { class: "soft" }, each)), box);
}

function classTable(run) {
  const { names, counts, measures, lost } = run.classes;
  const heads = measures.flatMap((measure) => [measure.title, ...(measure.predicted ? ["predicted"] : [])]);
  const head = element("tr", {}, ...["class", "samples", ...heads, "lost at the optimum"].map((word) => element("th", { scope: "col" }, word)));
  const lines = names.map((name, k) => {
    const cells = measures.flatMap((measure) => [measure.measured?.[k], ...(measure.predicted ? [measure.predicted[k]] : [])]);
    const word = lost[k] === null ? "" : lost[k] ? "yes" : "no";
    return element("tr", {}, element("th", { scope: "row" }, name), ...[counts[k], ...cells].map((value) => element("td", { class: "number" }, number(value))), element("td", {}, word));
  });
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  return element("details", {}, element("summary", {}, "the numbers"), element("div", { class: "scroll", tabindex: 0 }, table));
}

// A plot of whatever column is chosen.
function columnPlot(run) {
  const names = Object.keys(run.curves.columns).filter((name) => name !== run.curves.x);
  const select = element("select", { "aria-label": "column of metrics.jsonl" }, ...names.map((name) => element("option", { value: name }, name)));
  const box = element("div", { class: "plots" });
  let plot = null;
  const show = async () => {
    if (plot) plots.splice(plots.indexOf(plot), 1);
    plot?.remove();
    const [name, { columns, x, xlabel }] = [select.value, run.curves];
    plot = new Plot({ title: name, words: content.words[name] || "", log: isPositive(columns[name]), xlog: isWide(columns[x]), xlabel, layout: { shapes: changeShapes([run]) }, traces: (xlog) => columnTraces(run, name, xlog, { label: name, colour: colourOf(0) }) });
    plots.push(plot);
    box.replaceChildren(plot.figure);
    await plot.draw();
  };
  select.addEventListener("change", show);
  select.value = names.includes("nc1") ? "nc1" : names[0];
  const tools = element("p", { class: "tools" }, element("label", {}, "Column ", select));
  return { box: element("div", {}, element("h3", {}, "Any column of metrics.jsonl"), tools, box), show };
}

async function drawRun(run) {
  for (const plot of plots) plot.remove();
  plots = [];
  const panels = run.curves.panels.map((panel) => panelPlot(run, panel));
  const without = run.curves.undefined.length ? [`Not defined in this setting: ${run.curves.undefined.join(", ")}.`] : [];
  const measures = run.classes.measures.filter((measure) => measure.measured || measure.predicted).map((measure) => measurePlot(run, measure));
  const heats = run.matrices.shown.flatMap((matrix) => {
    const extent = largest(matrix.predicted, matrix.measured);
    const known = ["predicted", "measured"].filter((which) => matrix[which]).map((which) => heatPlot(run, matrix, which, extent));
    return matrix.difference ? [...known, heatPlot(run, matrix, "difference", largest(matrix.difference))] : known;
  });
  plots = [...panels, ...measures, ...heats];
  const isMeasured = run.curves.rows[0] > 0;
  const column = isMeasured ? columnPlot(run) : null;
  document.getElementById("run-title").textContent = run.name;
  document.getElementById("detail").replaceChildren(
    element("p", {}, element("span", { class: `state ${run.state}` }, run.state), run.said ? ` ${run.said}` : ""),
    ...run.words.map((each) => element("p", { class: "soft" }, each)),
    ...run.warnings.map((each) => element("p", { class: "notice" }, each)),
    isMeasured ? section("Curves, with the prediction dashed", "", without, panels) : element("p", {}, "No epoch is measured yet."),
    section("Class by class at the last epoch", "", [], measures),
    classTable(run),
    section("Matrices of all classes", "heat", [run.matrices.words].filter(Boolean), heats),
    element("div", { class: "facts" }, facts("What theory says", run.theory), facts("Configuration", run.config), facts("Environment", [["folder", run.path], ...run.environment])),
    ...(column ? [column.box] : []),
  );
  for (const plot of [...plots]) await plot.draw();
  if (column) await column.show();
}

async function drawComparison() {
  const numbers = [...state.ticked].sort((a, b) => a - b);
  const chosen = await Promise.all(numbers.map(runOf));
  const measured = chosen.filter((run) => run.curves.rows[0] > 0);
  const select = document.getElementById("metric");
  const known = [...new Set(measured.flatMap((run) => Object.keys(run.curves.columns)))].filter((name) => !name.startsWith("class.") && name !== "epoch");
  const before = select.value;
  select.replaceChildren(...known.map((name) => element("option", { value: name }, content.words[name] ? `${name}: ${content.words[name]}` : name)));
  select.value = known.includes(before) ? before : known.includes("nc1") ? "nc1" : known[0] || "";
  comparison?.remove();
  comparison = null;
  const box = document.getElementById("compare");
  if (!known.length) {
    box.replaceChildren(element("p", { class: "soft" }, "No run is ticked, or none has a measured epoch."));
    return;
  }
  const name = select.value;
  const values = measured.flatMap((run) => run.curves.columns[name] || []);
  const xs = measured.flatMap((run) => run.curves.columns[run.curves.x]);
  const label = shortNames(measured.map((run) => run.name));
  const labels = [...new Set(measured.map((run) => run.curves.xlabel))];
  comparison = new Plot({
    title: name,
    words: content.words[name] || "",
    log: isPositive(values),
    xlog: isWide(xs),
    xlabel: labels.join(" or "),
    layout: { shapes: changeShapes(measured) },
    traces: (xlog) => measured.flatMap((run, n) => columnTraces(run, name, xlog, { label: label[n], colour: colourOf(n) })),
  });
  box.replaceChildren(comparison.figure);
  await comparison.draw();
}
