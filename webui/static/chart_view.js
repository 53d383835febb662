/** What a chart shows: bars in slots, holes left open, and the window that is looked at. Pure. */

const BLANKS_MAX = 12; // a longer hole takes no more room than this and is marked as a break

/** Bars by start in seconds: [t, o, h, l, c, v]. */
export class BarSeries {
  constructor(width) {
    this.width = width;
    this.bars = [];
    this.version = 0;
  }

  /** Take whole columns: t, o, h, l, c, v. */
  load(columns) {
    const found = columns.t.map((t, i) => [
      t, columns.o[i], columns.h[i], columns.l[i], columns.c[i], columns.v[i],
    ]);
    const known = new Map(found.map((bar) => [bar[0], bar]));
    for (const bar of this.bars) if (!known.has(bar[0])) known.set(bar[0], bar);
    this.bars = [...known.values()].sort((a, b) => a[0] - b[0]);
    this.version += 1;
  }

  /** Take the newest bars; most often the last one changed or one more began. */
  update(fresh) {
    for (const bar of fresh) {
      const last = this.bars[this.bars.length - 1];
      if (!last || bar[0] > last[0]) this.bars.push(bar);
      else if (bar[0] === last[0]) this.bars[this.bars.length - 1] = bar;
      else {
        const at = this.bars.findIndex((known) => known[0] === bar[0]);
        if (at >= 0) this.bars[at] = bar;
      }
    }
    if (this.bars.length > 12_000) this.bars.splice(0, 2_000);
    this.version += 1;
  }

  /** The same in wider buckets. */
  widened(width) {
    if (width === this.width) return this.bars;
    const wide = [];
    for (const [t, o, h, l, c, v] of this.bars) {
      const start = t - (t % width);
      const last = wide[wide.length - 1];
      if (!last || last[0] !== start) wide.push([start, o, h, l, c, v]);
      else {
        last[2] = Math.max(last[2], h);
        last[3] = Math.min(last[3], l);
        last[4] = c;
        last[5] += v;
      }
    }
    return wide;
  }
}

/** Columns as a page carries them: whole numbers, each the distance from the one before. */
export function unpacked(columns) {
  if (!columns.scale) return columns;
  const found = { v: columns.v };
  for (const name of "tohlc") {
    const scale = name === "t" ? 1 : columns.scale[0];
    let sum = 0;
    found[name] = columns[name].map((step) => (sum += step) / scale);
  }
  return found;
}

/** A slot for each bar; missing buckets get empty slots, so that nothing is bridged. */
export function layOut(bars, width) {
  const slots = [];
  const breaks = [];
  let next = 0;
  bars.forEach((bar, i) => {
    if (i > 0) {
      const missing = Math.round((bar[0] - bars[i - 1][0]) / width) - 1;
      if (missing > BLANKS_MAX) breaks.push([next, next + BLANKS_MAX]);
      next += Math.min(Math.max(missing, 0), BLANKS_MAX);
    }
    slots.push(next);
    next += 1;
  });
  return { slots, breaks, count: next };
}

/** The first place in a sorted list whose value is at least `wanted`. */
export function firstAtLeast(values, wanted) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A round step so that `span` is cut into about `count` parts. */
export function niceStep(span, count) {
  const rough = Math.max(span, 1e-9) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const part = rough / power;
  return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 2.5 ? 2.5 : part <= 5 ? 5 : 10);
}

/** A step of time in seconds that clocks know. */
export function niceTimeStep(seconds) {
  const steps = [5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400];
  return steps.find((step) => step >= seconds) || 86_400 * Math.ceil(seconds / 86_400);
}

/** Move labels apart so that none covers another; each is {y, ...}, `height` is what one takes. */
export function spread(labels, height, top, bottom) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((label, i) => {
    label.at = Math.max(label.y, i ? sorted[i - 1].at + height : top + height / 2);
  });
  for (let i = sorted.length - 1; i >= 0; i -= 1) {
    const limit = i === sorted.length - 1 ? bottom - height / 2 : sorted[i + 1].at - height;
    sorted[i].at = Math.min(sorted[i].at, limit);
  }
  return sorted;
}
