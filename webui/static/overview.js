/** The overview's own: chart, ladder, gamma words, and what a service's tile opens. */

import { Chart } from "./chart.js";
import { Ladder } from "./ladder.js";
import { serverNow, writeText } from "./cells.js";
import { formatAge, formatClock, formatCount, formatPrice } from "./words.js";
import { make } from "./table.js";
import { openDetail } from "./shell.js";

const REGIMES = { calm: ["ok", "calm: above zero gamma"], volatile: ["warn", "volatile: below zero gamma"] };
const BARS_ASKED = 3_000;

/** The chart and ladder of a page's symbol; gives handlers of its topics. */
export function startChart(boot) {
  const canvas = document.getElementById("chart");
  if (!canvas) return {};
  const asked = new Set();
  const chart = new Chart(canvas, async (every) => {
    if (asked.has(every)) return;
    asked.add(every);
    const answer = await fetch(`/ui/bars?symbol=${boot.symbol}&every=${every}&n=${BARS_ASKED}`);
    if (!answer.ok) return;
    (every === 1 ? chart.seconds : chart.minutes).load(await answer.json());
    chart.repaint();
  });
  chart.boot(boot);
  document.querySelector(".seg [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const ladder = new Ladder();
  ladder.paint(boot.ladder);
  showGamma(boot.gex, boot.symbol);
  document.getElementById("every").addEventListener("click", (event) => {
    const button = event.target.closest("[data-every]");
    if (!button) return;
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
    chart.setEvery(Number(button.dataset.every));
  });
  window.addEventListener("zone", () => chart.repaint());
  return {
    chart,
    ladder,
    topics: {
      [`bar:${boot.symbol}`]: (frame) => frame && chart.takeFrame(frame),
      [`ladder:${boot.symbol}`]: (book) => ladder.paint(book),
      [`gex:${boot.symbol}`]: (gex) => {
        if (chart.isScrubbed) return;
        chart.gex = gex;
        showGamma(gex, boot.symbol);
        chart.repaint();
      },
    },
  };
}

const shownGamma = { gex: null, symbol: "" };

/** Regime, distance, levels and age of a snapshot in words. */
export function showGamma(gex, symbol) {
  Object.assign(shownGamma, { gex, symbol });
  const chip = document.getElementById("regime");
  if (!chip) return;
  const [state, words] = (gex && REGIMES[gex.regime]) || ["unknown", "regime unknown"];
  chip.dataset.state = state;
  const away = gex && gex.distance !== null ? `, ${gex.distance >= 0 ? "+" : "\u2212"}${formatPrice(Math.abs(gex.distance))} pts` : "";
  writeText(chip.lastElementChild, `${words}${away}`);
  for (const name of ["zero", "pos", "neg"]) {
    writeText(document.getElementById(`lv-${name}`), formatPrice(gex ? gex.levels[name] : null));
  }
  tickGamma();
}

/** How old the snapshot is by now. */
export function tickGamma() {
  const { gex, symbol } = shownGamma;
  const note = document.getElementById("gex-note");
  if (!note) return;
  if (!gex) {
    writeText(note, "no gamma snapshot");
    return;
  }
  const age = formatAge(Math.max(serverNow() - gex.ts, 0) / 1000);
  const mapped = gex.ticker === symbol ? gex.ticker : `${gex.ticker} \u2192 ${symbol}`;
  writeText(note, `${mapped}, snapshot ${age} old`);
}

/** A service's tile opens its limits, states and events. */
export function startServices() {
  document.addEventListener("click", async (event) => {
    const tile = event.target.closest("[data-detail]");
    if (!tile || !tile.dataset.detail || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const answer = await fetch(`/ui/service?key=${encodeURIComponent(tile.dataset.detail)}`);
    if (!answer.ok) {
      location.assign(tile.href);
      return;
    }
    showService(await answer.json());
  });
}

function showService(service) {
  const facts = make("dl", "list");
  for (const [name, value] of service.facts) {
    const line = make("div");
    line.append(make("dt", "", name), make("dd", "", typeof value === "number" ? formatClock(value, "full") : value));
    facts.append(line);
  }
  const events = make("ol", "events");
  for (const row of service.events) {
    const item = make("li");
    item.dataset.state = row.state;
    item.append(make("i", "mark"), make("time", "", formatClock(row.cells[0])), make("span", "", row.cells[1]));
    events.append(item);
  }
  const parts = [facts];
  if (service.events.length) parts.push(make("h3", "label", `Last ${formatCount(service.events.length)} events`), events);
  openDetail(service.title, ...parts);
}
