/** One symbol in depth: the newest ticks, depth over time, and gamma as it was. */

import { Heat } from "./heat.js";
import { TAPE_MS, Tape } from "./tape.js";
import { writeText } from "./cells.js";
import { copyText } from "./shell.js";
import { showGamma } from "./overview.js";
import { formatClock } from "./words.js";

const HEAT_MS = 2_000;

export function startMarket(boot, page) {
  if (boot.page !== "market" || !boot.symbol) return;
  const isFrozen = () => document.getElementById("freeze").getAttribute("aria-pressed") === "true";
  const heat = new Heat(document.getElementById("heat"));
  const tape = new Tape(boot.symbol);
  every(TAPE_MS, isFrozen, () => tape.fetch());
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
