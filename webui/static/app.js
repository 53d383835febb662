/** Where a page begins: the boot block, the cells, the stream. */

import { applySheet, indexCells, setServerClock, tickAges } from "./cells.js";
import { paintSoon } from "./paint.js";
import { Stream } from "./stream.js";
import { makePalette } from "./palette.js";
import { showStream, showTitle, startShell } from "./shell.js";
import { startChart, startServices, tickGamma } from "./overview.js";
import { fitShape } from "./shape.js";

const AGES_MS = 250;

/** Start the page; `parts` are what this kind of page has beside the common. */
export function start(parts) {
  const boot = JSON.parse(document.getElementById("boot").textContent);
  setServerClock(boot.now);
  indexCells();
  const page = startChart(boot);
  const handlers = page.topics || {};
  const ages = {
    at: 0,
    paint() {
      this.at = performance.now();
      tickAges();
      if (page.ladder) page.ladder.tick();
      tickGamma();
    },
  };
  const stream = new Stream(boot.topics, boot.build, {
    frame(message) {
      setServerClock(message.t);
      for (const [topic, value] of Object.entries(message.d)) {
        if (handlers[topic]) handlers[topic](value);
        else if (value) applySheet(value);
      }
      const status = message.d.status;
      if (status) {
        showTitle(status);
        fitShape(boot, status.t.shape);
      }
      // With the cells that change as often, so that one layout does for both.
      if (message.d.symbols) paintSoon(ages);
    },
    state: showStream,
  });
  startShell(boot, stream, makePalette(boot));
  startServices();
  for (const part of parts) part(boot, page);
  paintSoon(ages);
  setInterval(() => {
    const isDue = performance.now() - ages.at > 1.5 * AGES_MS;
    if (isDue && !stream.isFrozen && !document.hidden) paintSoon(ages);
  }, AGES_MS);
}
