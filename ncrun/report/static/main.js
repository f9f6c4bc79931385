// The page comes to life: the run that the address names, and in live mode what changes.

const FIRST_TICKED = 6;
let drawing = Promise.resolve();

// One thing is drawn after the other; what fails is said, and on the console.
function inTurn(act) {
  drawing = drawing.then(act).catch(tellFailure);
  return drawing;
}

function tellFailure(error) {
  console.error(error);
  document.getElementById("live").textContent = `Something could not be drawn: ${error.message}`;
}

function chosenRun() {
  const named = /^#run-(\d+)$/.exec(location.hash);
  const number = named ? Number(named[1]) : 0;
  return number < content.rows.length ? number : 0;
}

function choose(byHand) {
  if (!content.rows.length) return drawing;
  state.chosen = chosenRun();
  for (const line of document.querySelectorAll("#table tbody tr")) line.classList.toggle("chosen", Number(line.dataset.run) === state.chosen);
  if (byHand) document.getElementById("run").focus();
  const number = state.chosen;
  return inTurn(async () => drawRun(await runOf(number)));
}

// Asks for the table again; where it has changed, the table, the comparison and the run that is shown are drawn anew.
async function follow() {
  const told = document.getElementById("live");
  try {
    const answer = await fetch(`overview?seen=${encodeURIComponent(content.stamp || "")}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    if (answer.status === 200) {
      const before = content.stamps || [];
      Object.assign(content, await answer.json());
      if (content.rows.length > before.length && before.length === 0) tickFirst();
      drawTable();
      if (content.stamps[state.chosen] !== before[state.chosen] || state.chosen === null) await choose(false);
      if ([...state.ticked].some((n) => content.stamps[n] !== before[n])) await inTurn(drawComparison);
    }
    told.textContent = `Followed live; last looked at ${new Date().toLocaleTimeString()}.`;
  } catch (error) {
    told.textContent = `The server of this page does not answer (${error.message}); what is shown is the last that it told.`;
  }
  setTimeout(follow, 1000 * content.seconds);
}

function tickFirst() {
  content.rows.slice(0, FIRST_TICKED).forEach((_, n) => state.ticked.add(n));
}

async function start() {
  document.getElementById("made").textContent = content.made;
  tickFirst();
  drawTable();
  await loadLibrary();
  document.getElementById("filter").addEventListener("input", drawTable);
  document.getElementById("metric").addEventListener("change", () => inTurn(drawComparison));
  window.addEventListener("hashchange", () => choose(true));
  inTurn(drawComparison);
  await choose(false);
  if (content.live) follow();
  document.documentElement.dataset.drawn = "true";
}

start().catch(tellFailure);
