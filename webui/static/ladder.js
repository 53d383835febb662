/** The price ladder: a table whose rows stay, and a bar behind each size. */

import { formatAge, formatPrice, formatWhole } from "./words.js";
import { make } from "./table.js";
import { serverNow, writeText } from "./cells.js";

const LEVELS = 10;
const STALE_MS = 5_000;

export class Ladder {
  constructor() {
    this.table = document.getElementById("ladder");
    this.empty = document.getElementById("no-ladder");
    this.age = document.getElementById("ladder-age");
    this.ts = null;
    if (!this.table) return;
    const body = this.table.tBodies[0];
    this.asks = makeLines(body, 2).reverse();
    const between = make("tr", "mid");
    this.middle = make("td");
    this.middle.colSpan = 3;
    between.append(this.middle);
    body.append(between);
    this.bids = makeLines(body, 0);
  }

  paint(book) {
    if (!this.table || !book) return;
    this.table.hidden = false;
    this.empty.hidden = true;
    this.ts = book.ts;
    this.side(this.asks, book.a, book.cap, 2);
    this.side(this.bids, book.b, book.cap, 0);
    const best = book.b.length && book.a.length ? book.a[0][0] - book.b[0][0] : null;
    const words = book.ok ? `spread ${formatPrice(best)}` : "waiting for a whole book";
    writeText(this.middle, words);
  }

  tick() {
    if (!this.table || this.ts === null) return;
    const age = serverNow() - this.ts;
    writeText(this.age, `${formatAge(Math.max(age, 0) / 1000)} old`);
    this.table.classList.toggle("stale", age > STALE_MS);
  }

  side(lines, levels, cap, column) {
    lines.forEach((line, i) => {
      const level = levels[i];
      const [bar, size] = line.cells[column].children;
      writeText(line.cells[1].firstElementChild, level ? formatPrice(level[0]) : "");
      writeText(size, level ? formatWhole(level[1]) : "");
      const width = level ? Math.min(level[1] / cap, 1).toFixed(3) : "0";
      if (bar.dataset.w !== width) {
        bar.dataset.w = width;
        bar.style.transform = `scaleX(${width})`;
      }
    });
  }
}

/** The lines of a side, with the bar and the size in one of the columns. */
function makeLines(body, column) {
  return [...Array(LEVELS)].map(() => {
    const line = make("tr");
    const cells = [make("td"), make("td", "p"), make("td")];
    cells[column].className = column ? "a" : "b";
    cells[column].append(make("i"), make("span"));
    cells[1].append(make("span"));
    line.append(...cells);
    body.append(line);
    return line;
  });
}
