/** What every page has: freeze, time zone, copying, keys, dialogs, and the title as a signal. */

import { rewriteClocks, writeText } from "./cells.js";
import { zone } from "./words.js";
import { make } from "./table.js";

const HELP = [
  ["Ctrl K", "search pages, symbols and services"],
  ["g then o m d q k e", "overview, market, data, queries, keys, events"],
  ["Space", "freeze and go on"],
  ["/", "filter or search"],
  ["[ and ]", "previous and next symbol"],
  ["arrows, + and \u2212", "move and zoom the chart that has the focus"],
  ["c", "copy the snippet"],
  ["?", "this list"],
  ["Esc", "close"],
];
const settings = {
  read: (name) => localStorage.getItem(`tickflight.${name}`),
  write: (name, value) => localStorage.setItem(`tickflight.${name}`, value),
};

export function startShell(boot, stream, openPalette) {
  const state = { boot, stream, openPalette, isGoing: false };
  document.getElementById("freeze").addEventListener("click", () => toggleFreeze(stream));
  document.getElementById("zone").addEventListener("click", toggleZone);
  document.getElementById("search").addEventListener("click", openPalette);
  document.getElementById("logout")?.addEventListener("click", async () => {
    await post("/ui/logout", {});
    location.assign("/login");
  });
  document.addEventListener("keydown", (event) => onKey(event, state));
  document.addEventListener("click", (event) => onClick(event));
  document.querySelectorAll("dialog").forEach((dialog) => {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  });
  if (settings.read("colours") === "green") document.documentElement.dataset.colours = "green";
  if (settings.read("zone") === "UTC") toggleZone();
}

/** Say how the stream is; the rest of the page dims when it is down. */
export function showStream(name, words) {
  const chip = document.getElementById("stream");
  const shown = { live: "live", down: "down", frozen: "frozen", outdated: "late" }[name] || "connecting";
  if (chip.dataset.state !== shown) chip.dataset.state = shown;
  writeText(document.getElementById("stream-word"), words);
  const body = name === "down" ? "down" : "live";
  if (document.body.dataset.stream !== body) document.body.dataset.stream = body;
  if (name === "outdated" && !document.getElementById("reload")) {
    const button = make("button", "primary", "Reload: a new version runs");
    button.id = "reload";
    button.addEventListener("click", () => location.reload());
    chip.after(button);
  }
}

/** The tab tells the overall state too. */
export function showTitle(sheet) {
  const words = sheet.t && sheet.t.overall;
  if (!words) return;
  const title = `${words} \u00B7 Tickflight`;
  if (document.title !== title) document.title = title;
  const chip = document.getElementById("overall");
  const first = sheet.t["overall.first"];
  if (chip.dataset.detail !== first) chip.dataset.detail = first;
  const colour = { ok: "9D8CFF", late: "F2C14E", degraded: "F2C14E", down: "FF5C66" }[sheet.s.overall];
  const icon = document.getElementById("icon");
  const href = icon.href.replace(/stroke='%23[0-9A-F]{6}'/, `stroke='%23${colour}'`);
  if (icon.href !== href) icon.href = href;
}

function toggleFreeze(stream) {
  const button = document.getElementById("freeze");
  const isFrozen = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isFrozen));
  writeText(button, isFrozen ? "Go on" : "Freeze");
  stream.freeze(isFrozen);
}

function toggleZone() {
  const isUtc = zone.label === "ET";
  zone.label = isUtc ? "UTC" : "ET";
  zone.name = isUtc ? "UTC" : "America/New_York";
  settings.write("zone", zone.label);
  writeText(document.getElementById("zone"), zone.label);
  rewriteClocks();
  window.dispatchEvent(new Event("zone"));
}

function onKey(event, state) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    state.openPalette();
    return;
  }
  const isTyping = event.target.closest("input, textarea, select, dialog, [contenteditable]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (settings.read("keys") === "off") return;
  if (state.isGoing) {
    state.isGoing = false;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) location.assign(link.href);
    return;
  }
  const actions = {
    g: () => { state.isGoing = true; },
    " ": () => event.target.closest("button, a, summary") === null && toggleFreeze(state.stream),
    "/": () => focusFilter(state.openPalette),
    "[": () => stepSymbol(state.boot, -1),
    "]": () => stepSymbol(state.boot, 1),
    c: () => document.querySelector("[data-copy]")?.click(),
    "?": showHelp,
  };
  if (!actions[event.key]) return;
  if (event.key !== " " || event.target.closest("button, a, summary") === null) event.preventDefault();
  actions[event.key]();
}

function focusFilter(openPalette) {
  const filter = document.querySelector("[data-filter]");
  if (filter) filter.focus();
  else openPalette();
}

function stepSymbol(boot, by) {
  const names = boot.symbols;
  if (!names.length) return;
  const at = names.indexOf(boot.symbol);
  const next = names[(at + by + names.length) % names.length];
  location.assign(boot.page === "overview" ? `/?symbol=${next}` : `/market/${next}`);
}

function onClick(event) {
  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(document.querySelector(copy.dataset.copy).textContent, copy);
  const close = event.target.closest("[data-close]");
  if (close) close.closest("dialog").close();
  const line = event.target.closest("tr[data-href]");
  if (line && !event.target.closest("a, button")) location.assign(line.dataset.href);
  for (const open of document.querySelectorAll("details.how[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
}

/** Copy, and say so on the button for a moment. */
export async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl C";
  }
  setTimeout(() => { button.textContent = before; }, 1_200);
}

function showHelp() {
  const list = make("dl", "list");
  for (const [keys, words] of HELP) {
    const line = make("div");
    line.append(make("dt", "", keys), make("dd", "", words));
    list.append(line);
  }
  const actions = make("p", "under");
  actions.append(
    preference("keys", "off", "Single keys are on", "Single keys are off"),
    preference("colours", "green", "Blue and orange", "Green and red"),
  );
  openDetail("Keys", list, actions);
}

function preference(name, value, off, on) {
  const isOn = settings.read(name) === value;
  const button = make("button", "", isOn ? on : off);
  button.addEventListener("click", () => {
    settings.write(name, isOn ? "" : value);
    location.reload();
  });
  return button;
}

/** Show the one dialog with a title and content. */
export function openDetail(title, ...content) {
  document.getElementById("detail-title").textContent = title;
  document.getElementById("detail-body").replaceChildren(...content);
  const dialog = document.getElementById("detail");
  if (!dialog.open) dialog.showModal();
}

/** Send a change; give the answer or throw what the server said. */
export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const found = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Error(found.message || `HTTP ${answer.status}`);
  return found;
}
