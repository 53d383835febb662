/** The first screen. */

import { start } from "./app.js";
import { startData } from "./data.js";

const FIRST_PAINT_MS_MAX = 500;

/** When the page is on the screen as the server wrote it; until then a script would be in the way. */
function firstPaint() {
  return new Promise((done) => {
    if (document.hidden) done();
    setTimeout(done, FIRST_PAINT_MS_MAX);
    new PerformanceObserver((entries) => {
      if (entries.getEntriesByName("first-contentful-paint").length) done();
    }).observe({ type: "paint", buffered: true });
  });
}

firstPaint().then(() => start([startData]));
