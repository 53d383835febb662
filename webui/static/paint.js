/** One animation frame for all that draws: who has something new asks, and all paint together. */

const waiting = new Set();
let isAsked = false;

/** Have `part.paint()` called once in the next animation frame, however often it is asked for. */
export function paintSoon(part) {
  waiting.add(part);
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(paintAll);
}

function paintAll() {
  try {
    // What is asked for meanwhile joins this frame: a set hands out what was added while it is read.
    for (const part of waiting) {
      waiting.delete(part);
      part.paint();
    }
  } finally {
    isAsked = false;
  }
}
