"use strict";
// What the page holds, as objects: its table, and runs that are unpacked when they are looked at.

const content = JSON.parse(document.getElementById("content").textContent);

// The text of base64 letters that hold a gzip file.
async function inflated(letters) {
  const bytes = Uint8Array.from(atob(letters), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// Plotly, run as a script of this page.
async function loadLibrary() {
  const script = document.createElement("script");
  script.textContent = await inflated(document.getElementById("library").textContent);
  document.head.append(script);
  if (!window.Plotly) throw new Error("the library that draws was not run");
}

const packedRuns = document.querySelectorAll("script.packed");
const unpacked = new Map();

// All that there is of a run: from the page, or in live mode from the server as it is now.
async function runOf(number) {
  if (content.live) {
    const answer = await fetch(`run/${number}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    return answer.json();
  }
  if (!unpacked.has(number)) unpacked.set(number, JSON.parse(await inflated(packedRuns[number].textContent)));
  return unpacked.get(number);
}

// An element with attributes, and children that are elements or plain text: nothing is ever read as HTML.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}
