/** The map of the year: the day under the pointer, and a grid of days for the arrow keys. */

import { makeSvg } from "./table.js";

const DAY_CELL = 14; // a cell and the room after it, as the server draws them
const DAY_MS = 86_400_000;
const COVERED = {
  none: "nothing sealed", low: "less than half sealed", part: "less than 90 % sealed",
  most: "nearly whole", full: "whole", gap: "has a gap", hot: "today, in memory",
};
const MOVES = { ArrowRight: 7, ArrowLeft: -7, ArrowDown: 1, ArrowUp: -1, PageDown: 28, PageUp: -28 };

export function startYear() {
  const map = document.getElementById("year");
  if (!map || !map.dataset.first) return;
  const first = Date.parse(`${map.dataset.first}T00:00:00Z`);
  const lead = (new Date(first).getUTCDay() + 6) % 7;
  const count = Number(map.dataset.days);
  const cells = makeCells(map, count, lead);
  let at = count - 1;

  const dayOf = (n) => new Date(first + n * DAY_MS).toISOString().slice(0, 10);
  const open = (n) => location.assign(`/data?day=${dayOf(n)}`);
  const tell = (n) => {
    const weekday = new Date(first + n * DAY_MS).toLocaleDateString("en-US", { weekday: "long", timeZone: "UTC" });
    return `${weekday} ${dayOf(n)}: ${COVERED[levelOf(map, cells[n])] || "nothing to be had"}`;
  };
  const go = (n) => {
    if (n < 0 || n >= count) return;
    cells[at].setAttribute("tabindex", "-1");
    cells[n].setAttribute("tabindex", "0");
    at = n;
    cells[n].setAttribute("aria-label", tell(n));
    cells[n].focus();
  };

  cells[at].setAttribute("tabindex", "0");
  map.parentElement.removeAttribute("tabindex"); // from now on one of the days is stopped at
  map.parentElement.scrollLeft = map.parentElement.scrollWidth; // where a window is narrow: today
  map.addEventListener("focusin", (event) => go(cells.indexOf(event.target)));
  map.addEventListener("keydown", (event) => {
    const week = at % 7; // days of one weekday are a row
    if (event.key in MOVES) go(at + MOVES[event.key]);
    else if (event.key === "Home") go(event.ctrlKey ? 0 : week);
    else if (event.key === "End") go(count - 1 - (event.ctrlKey ? 0 : (count - 1 - week) % 7));
    else if (event.key === "Enter") open(at);
    else return;
    event.preventDefault();
  });
  map.addEventListener("click", (event) => {
    const n = cells.indexOf(event.target);
    if (n >= 0) open(n);
  });
  map.addEventListener("pointermove", (event) => {
    const n = cells.indexOf(event.target);
    map.querySelector("title").textContent = n >= 0 ? tell(n) : "";
  });
}

/** A cell over each day, a row for each weekday. */
function makeCells(map, count, lead) {
  const rows = [...Array(7)].map(() => makeSvg("g", { role: "row" }));
  const cells = [...Array(count)].map((_, n) => makeSvg("rect", {
    role: "gridcell", tabindex: "-1", fill: "transparent", width: DAY_CELL - 3, height: DAY_CELL - 3,
    x: Math.floor((lead + n) / 7) * DAY_CELL, y: ((lead + n) % 7) * DAY_CELL,
  }));
  cells.forEach((cell, n) => rows[(lead + n) % 7].append(cell));
  map.setAttribute("role", "grid");
  map.setAttribute("aria-label", "Sealed hours of every day of the year");
  map.append(...rows);
  return cells;
}

/** The level whose path has a stroke over the cell's place. */
function levelOf(map, cell) {
  const x = Number(cell.getAttribute("x")) + (DAY_CELL - 3) / 2;
  const y = Number(cell.getAttribute("y"));
  const covers = ([, left, top, long]) => Number(left) === x && top <= y && y < Number(top) + Number(long);
  const path = [...map.querySelectorAll("path")].find((one) => (
    [...one.getAttribute("d").matchAll(/M([\d.]+) (\d+)v(\d+)/g)].some(covers)
  ));
  return path && path.dataset.g.slice("cov.".length);
}
