/** Depth over time: one column a sample, colour by size, cut off at the 95th percentile. */

import { formatClock, formatPrice } from "./words.js";
import { niceStep } from "./chart_view.js";
import { readColours } from "./chart.js";

const HEAT_AXIS_W = 70;
const HEAT_AXIS_H = 22;
const HEAT_LABEL_W = 76;
const COLUMN = 3;
const RAMP = ["#131A26", "#1D2B4A", "#2A4680", "#3B6CC0", "#63A0E8", "#B9D8FF"];

export class Heat {
  constructor(canvas) {
    this.canvas = canvas;
    this.columns = new Float64Array(0); // of each sample its moment, best bid and best ask
    this.levels = new Float64Array(0); // price and size in turn
    this.starts = [0]; // of each sample in the levels
    this.colours = readColours();
    new ResizeObserver(() => this.paint()).observe(canvas.parentElement);
  }

  /**
   * Samples as the server sends them: [ts, [price, size, ...], best bid, best ask]. They are kept in
   * one block of numbers, which takes a fraction of what as many lists would.
   */
  load(found) {
    this.tick = found.tick;
    this.starts = [0];
    for (const [, levels] of found.columns) this.starts.push(this.starts.at(-1) + levels.length);
    this.levels = new Float64Array(this.starts.at(-1));
    found.columns.forEach(([, levels], i) => this.levels.set(levels, this.starts[i]));
    this.columns = new Float64Array(found.columns.flatMap(([ts, , bid, ask]) => [ts, bid, ask]));
    this.paint();
  }

  get length() {
    return this.columns.length / COLUMN;
  }

  paint() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    const g = this.canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.length) return;
    const { levels, starts } = this;
    const sizes = levels.filter((_, i) => i % 2 === 1).sort();
    const cap = sizes[Math.floor((sizes.length - 1) * 0.95)] || 1;
    const prices = levels.filter((_, i) => i % 2 === 0).sort();
    const low = prices[0] - this.tick;
    const high = prices.at(-1) + this.tick;
    const plotW = box.width - HEAT_AXIS_W;
    const bottom = box.height - HEAT_AXIS_H;
    const y = (price) => ((high - price) / (high - low)) * bottom;
    const wide = plotW / this.length;
    const tall = Math.max((this.tick / (high - low)) * bottom, 1);
    for (let i = 0; i < this.length; i += 1) {
      for (let at = starts[i]; at < starts[i + 1]; at += 2) {
        const shade = Math.min(Math.floor((levels[at + 1] / cap) * (RAMP.length - 1)), RAMP.length - 1);
        g.fillStyle = RAMP[shade];
        g.fillRect(i * wide, y(levels[at]) - tall / 2, wide + 0.6, tall + 0.6);
      }
    }
    this.paintBest(g, wide, y);
    this.paintAxes(g, { plotW, bottom, low, high, y, wide });
  }

  paintBest(g, wide, y) {
    for (const [place, colour] of [[1, this.colours.up], [2, this.colours.down]]) {
      g.strokeStyle = colour;
      g.lineWidth = 1;
      g.globalAlpha = 0.7;
      g.beginPath();
      for (let i = 0; i < this.length; i += 1) {
        const at = y(this.columns[i * COLUMN + place]);
        g.lineTo(i * wide, at);
        g.lineTo((i + 1) * wide, at);
      }
      g.stroke();
    }
    g.globalAlpha = 1;
  }

  paintAxes(g, { plotW, bottom, low, high, y, wide }) {
    g.font = '11px Inter, "Segoe UI", system-ui, sans-serif';
    g.fillStyle = this.colours.fg2;
    g.textBaseline = "middle";
    const step = niceStep(high - low, bottom / 44);
    for (let price = Math.ceil(low / step) * step; price < high; price += step) {
      if (y(price) > 8 && y(price) < bottom - 8) g.fillText(formatPrice(price), plotW + 8, y(price));
    }
    g.textAlign = "center";
    const labels = Math.max(Math.min(5, Math.floor(plotW / HEAT_LABEL_W)), 1);
    const every = Math.max(Math.ceil(this.length / labels), 1);
    for (let i = Math.floor(every / 2); i < this.length; i += every) {
      g.fillText(formatClock(this.columns[i * COLUMN]), (i + 0.5) * wide, bottom + 12);
    }
    g.textAlign = "left";
  }
}
