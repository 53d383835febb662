/**
 * The cells of a page, by name. A frame writes only what changed, text into the node that is there;
 * ages are counted here, from the server's clock, so that they go on when the stream does not.
 */

import { DASH, formatAge, formatClock } from "./words.js";
import { fillList, fillTable, makeSvg } from "./table.js";

const kinds = ["t", "s", "a", "g", "b", "r", "l"]; // kept in the attributes data-t, data-s, ...
const places = Object.fromEntries(kinds.map((kind) => [kind, new Map()]));
const BEAT_W = 4; // as the server draws them
const serverClock = { offset: 0 };

/** Find the cells of the page; again after some were added. */
export function indexCells() {
  for (const kind of kinds) {
    places[kind].clear();
    for (const element of document.querySelectorAll(`[data-${kind}]`)) {
      const name = element.dataset[kind];
      if (!places[kind].has(name)) places[kind].set(name, []);
      places[kind].get(name).push(element);
    }
  }
}

/** What the server's clock shows now, in epoch ms. */
export function serverNow() {
  return Date.now() + serverClock.offset;
}

export function setServerClock(ms) {
  serverClock.offset = ms - Date.now();
}

/** Put text into an element without making a new node. */
export function writeText(element, text) {
  const node = element.firstChild;
  if (!node) element.append(text);
  else if (node.nodeValue !== text) node.nodeValue = text;
}

/** Paint a sheet as the server sends it. */
export function applySheet(sheet) {
  for (const [name, text] of Object.entries(sheet.t || {})) {
    for (const element of places.t.get(name) || []) writeText(element, text);
  }
  for (const [name, exact] of Object.entries(sheet.x || {})) {
    for (const element of places.t.get(name) || []) element.title = exact;
  }
  for (const [name, state] of Object.entries(sheet.s || {})) {
    for (const element of places.s.get(name) || []) {
      if (element.dataset.state !== state) element.dataset.state = state;
    }
  }
  for (const [name, path] of Object.entries(sheet.g || {})) {
    for (const element of places.g.get(name) || []) {
      if (element.getAttribute("d") !== path) element.setAttribute("d", path);
    }
  }
  for (const [name, runs] of Object.entries(sheet.b || {})) {
    for (const element of places.b.get(name) || []) paintBeats(element, runs);
  }
  for (const [name, ts] of Object.entries(sheet.a || {})) {
    for (const element of places.a.get(name) || []) element.dataset.ts = ts ?? "";
  }
  for (const [name, rows] of Object.entries(sheet.r || {})) {
    for (const element of places.r.get(name) || []) fillTable(element, rows);
    for (const element of places.l.get(name) || []) fillList(element, rows);
    for (const element of document.querySelectorAll(`[data-empty="${name}"]`)) {
      element.hidden = rows.length > 0;
    }
    for (const element of document.querySelectorAll(`[data-full="${name}"]`)) {
      element.hidden = rows.length === 0;
    }
  }
}

/** Draw a bar of beats from its runs: 3o1x is three of one state and one of another. */
function paintBeats(bar, runs) {
  if (bar.dataset.runs === runs) return;
  bar.dataset.runs = runs;
  const paths = {};
  let at = 0;
  for (const [, count, mark] of runs.matchAll(/(\d+)(\D)/g)) {
    const end = at + Number(count);
    paths[mark] = `${paths[mark] || ""}M${at * BEAT_W} 5H${end * BEAT_W}`;
    at = end;
  }
  const drawn = Object.entries(paths).map(([mark, d]) => makeSvg("path", { class: `b${mark}`, d }));
  bar.replaceChildren(bar.firstElementChild, ...drawn);
}

/** Write every age as of now. */
export function tickAges() {
  const now = serverNow();
  for (const elements of places.a.values()) {
    for (const element of elements) {
      const ts = element.dataset.ts;
      writeText(element, ts ? formatAge(Math.max(now - Number(ts), 0) / 1000) : DASH);
    }
  }
}

/** Write every moment anew: the reader chose another time zone. */
export function rewriteClocks() {
  for (const element of document.querySelectorAll("[data-clock]")) {
    writeText(element, formatClock(Number(element.dataset.clock), element.dataset.parts || "hms"));
  }
}
