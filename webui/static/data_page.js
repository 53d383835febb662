/** What is done on the data page: asking for a gap's rows, opening and verifying a sealed file. */

import { make } from "./table.js";
import { formatClock } from "./words.js";
import { openDetail, post } from "./shell.js";
import { redraw } from "./shape.js";

const REDRAW_MS = 1_500;
const REDRAWS = 20; // a feed that was asked has answered by then or gave up

export function startDataPage() {
  document.addEventListener("click", (event) => {
    const gap = event.target.closest("[data-backfill]");
    if (gap) askBackfill(gap);
    const file = event.target.closest("[data-file]");
    if (file) openFile(file.dataset.table, file.dataset.file);
  });
}

async function askBackfill(button) {
  button.disabled = true;
  try {
    const { told } = await post("/ui/gaps/backfill", { gap: button.dataset.backfill });
    button.replaceWith(make("small", "", told));
    watchGaps(REDRAWS);
  } catch (error) {
    button.disabled = false;
    openDetail("Not asked", make("p", "", error.message));
  }
}

function watchGaps(left) {
  if (left === 0) return;
  setTimeout(async () => {
    await redraw(["gaps", "lanes"]);
    watchGaps(left - 1);
  }, REDRAW_MS);
}

async function openFile(table, file) {
  const answer = await fetch(`/ui/partition?${new URLSearchParams({ table, file })}`);
  const told = await answer.json();
  if (!answer.ok) openDetail("Not found", make("p", "", told.message));
  else showFile(told);
}

function showFile(told) {
  const facts = make("dl", "list");
  for (const [name, value] of told.facts) {
    const line = make("div");
    line.append(make("dt", "", name), make("dd", "", typeof value === "number" ? formatClock(value, "full") : value));
    facts.append(line);
  }
  const button = make("button", "primary", "Verify now");
  const fault = make("p", "error");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Reading every byte\u2026";
    try {
      showFile(await post("/ui/partition/verify", { table: told.table, file: told.file }));
      redraw(["partitions"]);
    } catch (error) {
      button.disabled = false;
      button.textContent = "Verify now";
      fault.textContent = error.message;
    }
  });
  const actions = make("p", "under");
  actions.append(button);
  openDetail(told.title, facts, actions, fault);
}
