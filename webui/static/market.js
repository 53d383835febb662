/** One symbol in depth: the newest ticks, depth over time, and gamma as it was. */

import { Heat } from "./heat.js";
import { keepChildren, make } from "./table.js";
import { writeText } from "./cells.js";
import { copyText } from "./shell.js";
import { showGamma } from "./overview.js";
import { DASH, formatClock, formatMillis, formatPrice } from "./words.js";

const TICKS_MS = 500;
const HEAT_MS = 2_000;
const SIDES = { 1: ["buy", "up"], "-1": ["sell", "down"], 0: [DASH, ""] };

export function startMarket(boot, page) {
  if (boot.page !== "market" || !boot.symbol) return;
  const isFrozen = () => document.getElementById("freeze").getAttribute("aria-pressed") === "true";
  const heat = new Heat(document.getElementById("heat"));
  every(TICKS_MS, isFrozen, () => showTicks(boot.symbol));
  every(HEAT_MS, isFrozen, () => showHeat(boot.symbol, heat));
  startScrub(boot.symbol, page.chart);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copytext]");
    if (button) copyText(snippet(button.dataset.copytext, boot.symbol), button);
  });
}

function every(ms, isFrozen, act) {
  let isBusy = false;
  const round = async () => {
    if (isBusy || document.hidden || isFrozen()) return;
    isBusy = true;
    try {
      await act();
    } catch (fault) {
      if (!(fault instanceof TypeError)) throw fault; // the server is away; the stream says so
    } finally {
      isBusy = false;
    }
  };
  round();
  setInterval(round, ms);
}

async function getJson(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new TypeError(`HTTP ${answer.status}`);
  return answer.json();
}

async function showTicks(symbol) {
  const found = await getJson(`/ui/sample?symbol=${symbol}&n=500`);
  const body = document.getElementById("ticks");
  keepChildren(body, found.rows.length, () => {
    const line = make("tr");
    for (const name of ["", "n v", "n", "", "n", "n", "", "n"]) line.append(make("td", name));
    return line;
  });
  found.rows.forEach((row, i) => {
    const [ts, price, size, side, bid, ask, contract, seq] = row;
    const [word, look] = SIDES[side];
    const cells = [formatMillis(ts), formatPrice(price), size.toLocaleString("en-US"), word,
      formatPrice(bid), formatPrice(ask), contract, seq.toLocaleString("en-US")];
    const line = body.children[i];
    cells.forEach((text, j) => writeText(line.children[j], text));
    if (line.children[3].dataset.state !== look) line.children[3].dataset.state = look;
  });
  writeText(document.getElementById("ticks-note"), `the last ${found.rows.length}, twice a second`);
}

async function showHeat(symbol, heat) {
  const found = await getJson(`/ui/heat?symbol=${symbol}`);
  heat.load(found);
  const words = found.columns.length ? `${found.columns.length} samples, one each ${found.every_s} s` : `No depth of ${symbol} in the last ten minutes`;
  writeText(document.getElementById("heat-note"), words);
}

/** Move back through the stored snapshots; the right end is now. */
async function startScrub(symbol, chart) {
  const slider = document.getElementById("scrub");
  const at = document.getElementById("scrub-at");
  let moments = [];
  try {
    moments = (await getJson(`/ui/gex/moments?symbol=${symbol}`)).moments;
  } catch {
    return;
  }
  if (!moments.length) return;
  slider.max = moments.length;
  slider.value = moments.length;
  slider.disabled = false;
  slider.addEventListener("input", async () => {
    const place = Number(slider.value);
    chart.isScrubbed = place < moments.length;
    writeText(at, chart.isScrubbed ? formatClock(moments[place], "full") : "now");
    if (!chart.isScrubbed) return;
    const found = await getJson(`/ui/gex?symbol=${symbol}&at=${moments[place]}`);
    if (Number(slider.value) !== place) return;
    chart.gex = found.gex;
    showGamma(found.gex, symbol);
    chart.repaint();
  });
}

function snippet(kind, symbol) {
  if (kind === "ticket") return `tail:${symbol}?n=500`;
  return [
    "from pyarrow import flight",
    `client = flight.connect("${document.body.dataset.flight}")`,
    'key = [(b"authorization", b"Bearer " + KEY)]',
    "ask = flight.FlightCallOptions(headers=key)",
    `client.do_get(flight.Ticket("tail:${symbol}?n=500"), ask).read_pandas()`,
  ].join("\n");
}
