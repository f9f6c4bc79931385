// The table of runs: sorted by a column, filtered by words, ticked for the comparison.

const state = { sorted: null, descending: false, ticked: new Set(), chosen: null };
const MOST_TICKED = 8; // as many colours as can be told apart

// The last parts of paths, where they tell runs apart.
function shortNames(names) {
  const last = names.map((name) => name.split("/").at(-1));
  return new Set(last).size === names.length ? last : names;
}

function cellsOf(row) {
  return [row.name, row.state, ...row.values];
}

function columnsOf() {
  return [{ key: "run", words: "path of the run", text: true }, { key: "state", words: "running, interrupted, failed, or done", text: true }, ...content.columns];
}

// Every word has to be there: as part of a cell, or KEY=VALUE of a column.
function matches(row, words) {
  const cells = cellsOf(row).map((value) => (value === null ? "" : String(value).toLowerCase()));
  const keys = columnsOf().map((column) => column.key.toLowerCase());
  return words.every((word) => {
    const [key, value] = word.split("=");
    if (value !== undefined && keys.some((each, n) => each.endsWith(key) && cells[n] === value)) return true;
    return [...cells, row.said.toLowerCase()].some((cell) => cell.includes(word));
  });
}

function compared(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined || a === "") return 1;
  if (b === null || b === undefined || b === "") return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function shownRows() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = content.rows.map((row, n) => ({ row, n })).filter(({ row }) => matches(row, words));
  if (state.sorted !== null) {
    const way = state.descending ? -1 : 1;
    rows.sort((a, b) => {
      const [x, y] = [cellsOf(a.row)[state.sorted], cellsOf(b.row)[state.sorted]];
      const isEmpty = (value) => value === null || value === undefined || value === "";
      return isEmpty(x) || isEmpty(y) ? compared(x, y) : way * compared(x, y); // what has no number stays last
    });
  }
  return rows;
}

function tableHead() {
  const heads = columnsOf().map((column, n) => {
    const direction = state.sorted === n ? (state.descending ? "descending" : "ascending") : "none";
    const sign = { ascending: " ▲", descending: " ▼", none: "" }[direction];
    const sort = () => {
      state.descending = state.sorted === n && !state.descending;
      state.sorted = n;
      drawTable();
      document.querySelectorAll("#table thead button")[n].focus();
    };
    const button = element("button", { type: "button", title: column.words || column.key, onclick: sort }, column.key + sign);
    return element("th", { scope: "col", "aria-sort": direction, class: column.text ? "" : "number" }, button);
  });
  return element("thead", {}, element("tr", {}, element("th", { scope: "col" }, element("span", { title: "drawn beside each other below" }, "+")), ...heads, element("th", { scope: "col" }, "in words")));
}

function tableRow({ row, n }, label) {
  const box = element("input", { type: "checkbox", "aria-label": `draw ${row.name} beside others` });
  box.checked = state.ticked.has(n);
  box.addEventListener("change", () => tick(n, box));
  const link = element("a", { href: `#run-${n}`, title: row.name }, label);
  const cells = content.columns.map((column, place) => element("td", { class: column.text ? "" : "number" }, number(row.values[place])));
  const line = element("tr", { class: n === state.chosen ? "chosen" : "" }, element("td", {}, box), element("td", {}, link), element("td", {}, element("span", { class: `state ${row.state}` }, row.state)), ...cells, element("td", { class: "wide" }, row.said));
  line.dataset.run = n;
  return line;
}

function tick(n, box) {
  if (box.checked && state.ticked.size >= MOST_TICKED) {
    box.checked = false;
    document.getElementById("count").textContent = `at most ${MOST_TICKED} runs can be told apart`;
    return;
  }
  if (box.checked) state.ticked.add(n);
  else state.ticked.delete(n);
  drawComparison();
}

function drawTable() {
  const rows = shownRows();
  const labels = shortNames(content.rows.map((row) => row.name));
  document.getElementById("table").replaceChildren(tableHead(), element("tbody", {}, ...rows.map((each) => tableRow(each, labels[each.n]))));
  const all = content.rows.length;
  document.getElementById("count").textContent = rows.length === all ? `${all} run${all === 1 ? "" : "s"}` : `${rows.length} of ${all} runs`;
  document.getElementById("unread").replaceChildren(
    ...content.unread.map((run) => element("p", { class: "notice" }, element("span", { class: "state damaged" }, run.state), ` ${run.name}: ${run.said}`)),
  );
}
