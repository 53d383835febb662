/** Rows of tables and lists from plain values: text goes in as text, never as markup. */

import { DASH, formatClock } from "./words.js";

/** Make `count` children of a parent, keeping those that are there. */
export function keepChildren(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make());
}

/** An element with a class and text. */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.append(text);
  return element;
}

/** An element of a drawing. */
export function makeSvg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Show a value: a number is a moment. */
export function putValue(holder, value) {
  const isMoment = typeof value === "number";
  const text = value === null ? DASH : isMoment ? formatClock(value, holder.dataset.parts || "hms") : value;
  if (isMoment) holder.dataset.clock = value;
  if (holder.firstChild) {
    if (holder.firstChild.nodeValue !== text) holder.firstChild.nodeValue = text;
  } else holder.append(text);
}

function holderOf(cell, value) {
  let holder = cell.querySelector("time, span");
  if (!holder) {
    cell.replaceChildren(...cell.querySelectorAll(".mark"));
    holder = make(typeof value === "number" ? "time" : "span");
    if (cell.classList.contains("full")) holder.dataset.parts = "full";
    cell.append(holder);
  }
  return holder;
}

/** Fill a table body; classes of the columns are in `data-classes`, with a bar between columns. */
export function fillTable(body, rows) {
  const classes = (body.dataset.classes || "").split("|");
  keepChildren(body, rows.length, () => {
    const line = make("tr");
    classes.forEach((name, i) => {
      const cell = make("td", name);
      if (i === 0) cell.append(make("i", "mark"));
      if (isAct(name)) cell.append(make("button", "danger"));
      line.append(cell);
    });
    return line;
  });
  rows.forEach((row, i) => {
    const line = body.children[i];
    line.dataset.state = row.state || "ok";
    if (line.dataset.key !== row.key) line.dataset.key = row.key;
    row.cells.slice(0, classes.length).forEach((value, j) => {
      const cell = line.children[j];
      if (j === 0) cell.firstElementChild.dataset.state = row.state || "ok";
      putValue(isAct(classes[j]) ? cell.firstElementChild : holderOf(cell, value), value);
    });
  });
}

/** Whether a column holds a button, which acts on the row's key. */
function isAct(name) {
  return name.split(" ").includes("act");
}

/** Fill a list whose items are a mark and some spans. */
export function fillList(list, rows) {
  keepChildren(list, rows.length, () => {
    const item = make("li");
    item.append(make("i", "mark"), make("span"), make("span"));
    return item;
  });
  rows.forEach((row, i) => {
    const item = list.children[i];
    item.dataset.state = row.state || "ok";
    row.cells.forEach((value, j) => {
      const holder = item.children[j + 1];
      const inner = holder.querySelector("time") || holder;
      putValue(inner, value);
    });
  });
}
