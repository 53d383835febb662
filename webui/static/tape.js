/**
 * The tape: every trade of one symbol, newest first. However many rows are held, only those in sight
 * are in the document; two empty rows keep the room of the others, so that the scrollbar tells the
 * truth. Whoever scrolled down reads in peace: rows that come push nothing away under the eyes.
 */

import { readColumns, Columns } from "./columns.js";
import { make } from "./table.js";
import { writeText } from "./cells.js";
import { DASH, formatMillis, formatPrice } from "./words.js";

export const TAPE_MS = 500;
const ROW_H = 28; // as the style sheet says
const SPARE = 6; // rows beyond the edges
const CELLS = ["", "n v", "n", "", "n", "n", "", "n"];
const SIDES = { 1: ["buy", "up"], "-1": ["sell", "down"], 0: [DASH, ""] };

export class Tape {
  constructor(symbol) {
    this.symbol = symbol;
    this.box = document.getElementById("tape");
    this.table = this.box.querySelector("table");
    this.body = document.getElementById("ticks");
    this.newer = document.getElementById("ticks-newer");
    this.note = document.getElementById("ticks-note");
    this.above = make("tr", "room");
    this.below = make("tr", "room");
    for (const room of [this.above, this.below]) {
      room.setAttribute("aria-hidden", "true");
      const cell = make("td");
      cell.colSpan = CELLS.length;
      room.append(cell);
    }
    this.hold(500);
    this.box.addEventListener("scroll", () => this.paintSoon());
    this.newer.addEventListener("click", () => {
      this.box.scrollTop = 0;
      this.box.focus();
    });
    document.getElementById("ticks-held").addEventListener("click", (event) => {
      const button = event.target.closest("[data-held]");
      if (!button) return;
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
      this.hold(Number(button.dataset.held));
      this.fetch();
    });
    window.addEventListener("zone", () => this.paintSoon());
  }

  /** Keep this many rows from now on; what was held is fetched anew. */
  hold(rows) {
    this.rows = new Columns(rows);
    this.seq = 0;
    this.unread = 0;
    this.times = [];
  }

  /** Fetch what came since; the first time, as many as are held. */
  async fetch() {
    const rows = this.rows;
    const answer = await fetch(`/ui/cols?symbol=${this.symbol}&n=${rows.rows}&after=${this.seq}`);
    if (!answer.ok) throw new TypeError(`HTTP ${answer.status}`);
    const found = readColumns(await answer.arrayBuffer());
    if (rows !== this.rows) return; // another length was asked for meanwhile
    const isFirst = this.seq === 0;
    this.seq = found.seq;
    const fresh = found.rows ? rows.append(found) : 0;
    if (!isFirst && this.box.scrollTop > 0) this.stand(fresh);
    this.tell(isFirst ? 0 : fresh);
    this.paint();
  }

  /** Move along with rows that came above, so that those in sight stay where they are. */
  stand(fresh) {
    this.unread += fresh;
    this.box.scrollTop += fresh * ROW_H;
  }

  tell(fresh) {
    const now = performance.now();
    this.times = [...this.times.filter(([at]) => now - at < 5_000), [now, fresh]];
    const span = (now - this.times[0][0]) / 1000;
    const came = this.times.slice(1).reduce((sum, [, count]) => sum + count, 0);
    const rate = span > 1 ? `, ${Math.round(came / span).toLocaleString("en-US")}/s` : "";
    writeText(this.note, `the newest ${this.rows.length.toLocaleString("en-US")}${rate}`);
  }

  paintSoon() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.paint();
    });
  }

  paint() {
    const count = this.rows.length;
    if (!count) return;
    const first = Math.max(Math.floor(this.box.scrollTop / ROW_H) - SPARE, 0);
    const last = Math.min(first + Math.ceil(this.box.clientHeight / ROW_H) + 2 * SPARE, count);
    this.makeLines(last - first);
    setRoom(this.above, first);
    setRoom(this.below, count - last);
    for (let i = first; i < last; i += 1) this.write(this.body.children[i - first + 1], i);
    const rows = String(count + 1);
    if (this.table.getAttribute("aria-rowcount") !== rows) this.table.setAttribute("aria-rowcount", rows);
    const isTop = this.box.scrollTop === 0;
    if (isTop) this.unread = 0;
    this.newer.hidden = isTop;
    writeText(this.newer, this.unread ? `${this.unread.toLocaleString("en-US")} newer` : "Newest");
  }

  makeLines(count) {
    if (this.above.parentElement !== this.body) this.body.replaceChildren(this.above, this.below);
    while (this.body.children.length - 2 > count) this.below.previousElementSibling.remove();
    while (this.body.children.length - 2 < count) {
      const line = make("tr");
      for (const name of CELLS) line.append(make("td", name));
      this.below.before(line);
    }
  }

  write(line, i) {
    const get = (name) => this.rows.at(name, i);
    const [word, look] = SIDES[get("side")] || SIDES[0];
    const texts = [formatMillis(get("ts_event")), shownPrice(get("price")), get("size").toLocaleString("en-US"),
      word, shownPrice(get("bid")), shownPrice(get("ask")), get("contract"), get("seq").toLocaleString("en-US")];
    texts.forEach((text, j) => writeText(line.children[j], text));
    const side = line.children[3];
    if (side.dataset.state !== look) side.dataset.state = look;
    const place = String(i + 2);
    if (line.getAttribute("aria-rowindex") !== place) line.setAttribute("aria-rowindex", place);
  }
}

function setRoom(room, rows) {
  const height = `${rows * ROW_H}px`;
  if (room.firstChild.style.height !== height) room.firstChild.style.height = height;
  if (room.hidden !== (rows === 0)) room.hidden = rows === 0;
}

function shownPrice(value) {
  return Number.isNaN(value) ? DASH : formatPrice(value);
}
