/** The price chart on a canvas: candles, gamma levels and the strike profile on one price axis. */

import { BarSeries, firstAtLeast, layOut, niceStep, niceTimeStep, spread, unpacked } from "./chart_view.js";
import { paintSoon } from "./paint.js";
import { formatClock, formatPrice, formatWhole, zone } from "./words.js";

const AXIS_W = 74;
const AXIS_H = 22;
const TOP = 10;
const TAG_H = 17;
const REACH = 0.6; // levels this far beyond the bars, in heights of them, are still brought in
const FONT = '11px Inter, "Segoe UI", system-ui, sans-serif';

const HOURS_KEPT = 20_000;
const days = { zone: "", byHour: new Map() };

export class Chart {
  constructor(canvas, onNeedBars) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onNeedBars = onNeedBars;
    this.seconds = new BarSeries(1);
    this.minutes = new BarSeries(60);
    this.every = 60;
    this.gaps = [];
    this.gex = null;
    this.price = null;
    this.barW = 7;
    this.offset = 0; // slots between the newest bar and the right edge
    this.cursor = null;
    this.colours = readColours();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.listen();
    this.resize();
  }

  boot(boot) {
    this.every = boot.every || 60;
    if (boot.bars) (boot.every === 1 ? this.seconds : this.minutes).load(unpacked(boot.bars));
    this.gaps = boot.gaps || [];
    this.gex = boot.gex;
    const last = this.seconds.bars.at(-1) || this.minutes.bars.at(-1);
    this.price = last ? last[4] : null;
    this.repaint();
  }

  takeFrame(frame) {
    this.seconds.update(frame.s);
    this.minutes.update(frame.m);
    this.price = frame.p;
    this.repaint();
  }

  setEvery(seconds) {
    this.every = seconds;
    this.offset = 0;
    this.repaint();
    this.onNeedBars(seconds === 1 ? 1 : 60);
  }

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.width = box.width;
    this.height = box.height;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.repaint();
  }

  repaint() {
    paintSoon(this);
  }

  // -- what is looked at

  window() {
    const series = this.every === 1 ? this.seconds : this.minutes;
    const bars = series.widened(this.every);
    const { slots, breaks, count } = this.laidOut(bars);
    const plotW = this.width - AXIS_W;
    const visible = plotW / this.barW;
    const right = count - this.offset + 2;
    const left = right - visible;
    const from = Math.max(firstAtLeast(slots, left - 1), 0);
    const to = Math.min(firstAtLeast(slots, right + 1), bars.length);
    return { bars, slots, breaks, count, left, right, from, to, plotW };
  }

  /** The slots of the bars; as long as no bar came or went they are the same. */
  laidOut(bars) {
    const made = bars.length ? `${this.every} ${bars.length} ${bars[0][0]} ${bars.at(-1)[0]}` : "";
    if (!this.layout || this.layout.made !== made) {
      this.layout = { made, ...layOut(bars, this.every) };
    }
    return this.layout;
  }

  priceRange(view) {
    let low = Infinity;
    let high = -Infinity;
    for (let i = view.from; i < view.to; i += 1) {
      high = Math.max(high, view.bars[i][2]);
      low = Math.min(low, view.bars[i][3]);
    }
    if (low > high) [low, high] = this.price ? [this.price - 1, this.price + 1] : [0, 1];
    if (this.offset === 0 && this.price) [low, high] = [Math.min(low, this.price), Math.max(high, this.price)];
    if (high - low < Math.abs(high) * 2e-5) [low, high] = [low - high * 5e-4, high + high * 5e-4]; // it stood still
    const tall = Math.max(high - low, Math.abs(high) * 2e-4);
    const levels = Object.values((this.gex && this.gex.levels) || {}).filter((p) => p !== null);
    for (const level of levels) {
      if (level > high && level < high + tall * REACH) high = level;
      if (level < low && level > low - tall * REACH) low = level;
    }
    const pad = Math.max(high - low, tall) * 0.08;
    return { low: low - pad, high: high + pad };
  }

  // -- painting

  paint() {
    const { context: g, width, height, colours } = this;
    if (width < 40 || height < 40) return;
    g.clearRect(0, 0, width, height);
    g.font = FONT;
    g.textBaseline = "middle";
    const view = this.window();
    const range = this.priceRange(view);
    const bottom = height - AXIS_H;
    const y = (price) => TOP + ((range.high - price) / (range.high - range.low)) * (bottom - TOP);
    const x = (slot) => (slot - view.left + 0.5) * this.barW;
    this.scale = { view, range, bottom, y, x };
    this.paintTime(g, view, bottom);
    g.save();
    g.beginPath();
    g.rect(0, 0, view.plotW, bottom);
    g.clip();
    this.paintHoles(g, view);
    this.paintProfile(g, view);
    this.paintVolume(g, view, bottom);
    this.paintBars(g, view);
    g.restore();
    if (!view.bars.length && this.price === null) {
      g.fillStyle = colours.fg2;
      g.textAlign = "center";
      g.fillText("No bars yet", width / 2, height / 2);
      return;
    }
    const tags = this.paintLevels(g, view, bottom);
    this.paintPrices(g, view, bottom, tags);
    this.paintTags(g, view, tags);
    if (this.cursor) this.paintCursor(g, view, bottom);
    else this.paintLegend(g, view.bars[view.bars.length - 1]);
  }

  paintTime(g, view, bottom) {
    const step = niceTimeStep((90 / this.barW) * this.every);
    g.fillStyle = this.colours.fg2;
    g.strokeStyle = this.colours.grid;
    g.textAlign = "center";
    g.beginPath();
    let free = 30;
    for (let i = view.from; i < view.to; i += 1) {
      const t = view.bars[i][0];
      const at = this.scale.x(view.slots[i]);
      const isNewDay = i > 0 && dayOf(t) !== dayOf(view.bars[i - 1][0]);
      if ((t % step !== 0 && !isNewDay) || at < free || at > view.plotW - 26) continue;
      const parts = step >= 86_400 || isNewDay ? "day" : step < 60 ? "hms" : "hm";
      g.moveTo(Math.round(at) + 0.5, 0);
      g.lineTo(Math.round(at) + 0.5, bottom);
      g.fillText(formatClock(t * 1000, parts), at, bottom + AXIS_H / 2 + 1);
      free = at + 64;
    }
    g.stroke();
  }

  /** Recorded gaps are hatched, long silences are marked as breaks. */
  paintHoles(g, view) {
    const times = this.gaps.length ? view.bars.map((bar) => bar[0]) : [];
    for (const [from, to] of this.gaps) {
      const first = firstAtLeast(times, from - this.every + 1);
      const last = to === null ? view.bars.length : firstAtLeast(times, to);
      if (!view.bars.length) continue;
      const begin = first > 0 ? view.slots[first - 1] + 1 : view.slots[0];
      const end = last < view.slots.length ? view.slots[last] : view.count + 2;
      hatch(g, this.scale.x(begin - 0.5), this.scale.x(Math.max(end, begin + 1) - 0.5), this.scale.bottom, this.colours.warn);
    }
    g.fillStyle = this.colours.bg0;
    for (const [begin, end] of view.breaks) {
      const left = this.scale.x(begin - 0.5);
      g.fillRect(left, 0, this.scale.x(end - 0.5) - left, this.scale.bottom);
    }
  }

  paintProfile(g, view) {
    const strikes = (this.gex && this.gex.strikes) || [];
    if (strikes.length < 2) return;
    const most = Math.max(...strikes.map((s) => Math.abs(s[1])), 1);
    const step = Math.abs(this.scale.y(strikes[0][0]) - this.scale.y(strikes[1][0]));
    const tall = Math.max(Math.min(step * 0.6, 14), 2);
    const wide = Math.min(view.plotW * 0.16, 130);
    g.globalAlpha = 0.3;
    for (const [strike, volume] of strikes) {
      const at = this.scale.y(strike);
      if (at < -tall || at > this.scale.bottom + tall) continue;
      const length = (Math.abs(volume) / most) * wide;
      g.fillStyle = volume >= 0 ? this.colours.pos : this.colours.neg;
      g.fillRect(view.plotW - length, at - tall / 2, length, tall);
    }
    g.globalAlpha = 1;
  }

  paintVolume(g, view, bottom) {
    let most = 1;
    for (let i = view.from; i < view.to; i += 1) most = Math.max(most, view.bars[i][5]);
    const wide = Math.max(this.barW * 0.7, 1);
    g.fillStyle = this.colours.volume;
    for (let i = view.from; i < view.to; i += 1) {
      const tall = (view.bars[i][5] / most) * bottom * 0.13;
      g.fillRect(this.scale.x(view.slots[i]) - wide / 2, bottom - tall, wide, tall);
    }
  }

  /** Hollow where it rose, solid where it fell: colour is not all that tells. */
  paintBars(g, view) {
    const wide = Math.max(Math.round(this.barW * 0.66), 1);
    g.lineWidth = 1;
    for (const isUp of [true, false]) {
      g.strokeStyle = g.fillStyle = isUp ? this.colours.up : this.colours.down;
      g.beginPath();
      for (let i = view.from; i < view.to; i += 1) {
        const [, open, high, low, close] = view.bars[i];
        if (close >= open !== isUp) continue;
        const middle = Math.round(this.scale.x(view.slots[i])) + 0.5;
        const top = Math.round(this.scale.y(Math.max(open, close))) + 0.5;
        const base = Math.round(this.scale.y(Math.min(open, close))) + 0.5;
        g.moveTo(middle, this.scale.y(high));
        g.lineTo(middle, top);
        g.moveTo(middle, base);
        g.lineTo(middle, this.scale.y(low));
        if (wide < 3) {
          g.moveTo(middle, top);
          g.lineTo(middle, base + 0.5);
          continue;
        }
        const left = middle - Math.floor(wide / 2);
        if (isUp) g.rect(left, top, wide - 1, Math.max(base - top, 0));
        else g.fillRect(left - 0.5, top - 0.5, wide, Math.max(base - top, 1));
      }
      g.stroke();
    }
  }

  /** Lines for levels that can be seen, arrows at the edge for those that cannot. */
  paintLevels(g, view, bottom) {
    const kinds = [
      ["zero", "0\u03B3", this.colours.zero, []],
      ["pos", "+\u03B3", this.colours.pos, [6, 4]],
      ["neg", "\u2212\u03B3", this.colours.neg, [2, 3]],
    ];
    const tags = [];
    const edges = { up: [], down: [] };
    for (const [name, sign, colour, dash] of kinds) {
      const level = this.gex && this.gex.levels[name];
      if (level === null || level === undefined) continue;
      const at = this.scale.y(level);
      if (at < TOP - 4) edges.up.push([sign, level, colour]);
      else if (at > bottom) edges.down.push([sign, level, colour]);
      else {
        g.strokeStyle = colour;
        g.setLineDash(dash);
        strokeLine(g, 0, at, view.plotW, at);
        tags.push({ y: at, text: `${sign} ${formatPrice(level)}`, colour, isOutline: true });
      }
    }
    g.setLineDash([]);
    this.paintEdges(g, view, edges, bottom);
    if (this.price !== null && this.price !== undefined) {
      const at = this.scale.y(this.price);
      const last = view.bars[view.bars.length - 1];
      const colour = last && last[4] < last[1] ? this.colours.down : this.colours.up;
      if (at > 0 && at < bottom) {
        g.strokeStyle = colour;
        g.setLineDash([1, 3]);
        strokeLine(g, 0, at, view.plotW, at);
        g.setLineDash([]);
        tags.push({ y: at, text: formatPrice(this.price), colour });
      }
    }
    return spread(tags, TAG_H + 1, 0, bottom);
  }

  paintEdges(g, view, edges, bottom) {
    g.textAlign = "right";
    for (const [side, found] of Object.entries(edges)) {
      found.forEach(([sign, level, colour], i) => {
        const at = side === "up" ? 28 + i * 15 : bottom - 10 - i * 15;
        const text = `${side === "up" ? "\u25B2" : "\u25BC"} ${sign} ${formatPrice(level)}`;
        const wide = g.measureText(text).width + 10;
        g.fillStyle = this.colours.bg1;
        g.fillRect(view.plotW - wide - 3, at - 8, wide, 16);
        g.fillStyle = colour;
        g.fillText(text, view.plotW - 8, at);
      });
    }
  }

  paintPrices(g, view, bottom, tags) {
    const { range } = this.scale;
    const step = niceStep(range.high - range.low, (bottom - TOP) / 48);
    const decimals = step < 0.01 ? 4 : step < 1 || step % 1 ? 2 : this.price && this.price > 5_000 ? 0 : 2;
    g.textAlign = "left";
    g.strokeStyle = this.colours.grid;
    g.fillStyle = this.colours.fg2;
    g.beginPath();
    for (let price = Math.ceil(range.low / step) * step; price < range.high; price += step) {
      const at = this.scale.y(price);
      if (at < 8 || at > bottom - 8) continue;
      g.moveTo(0, Math.round(at) + 0.5);
      g.lineTo(view.plotW, Math.round(at) + 0.5);
      if (tags.every((tag) => Math.abs(tag.at - at) > TAG_H)) {
        g.fillText(formatPrice(price, decimals), view.plotW + 8, at);
      }
    }
    g.globalCompositeOperation = "destination-over";
    g.stroke();
    g.globalCompositeOperation = "source-over";
  }

  paintTags(g, view, tags) {
    for (const tag of tags) this.tag(g, view.plotW + 2, tag.at, tag.text, tag.colour, tag.isOutline);
  }

  tag(g, left, at, text, colour, isOutline) {
    const wide = AXIS_W - 4;
    g.fillStyle = isOutline ? this.colours.bg2 : colour;
    g.strokeStyle = colour;
    g.lineWidth = 1;
    g.beginPath();
    g.roundRect(left, at - TAG_H / 2, wide, TAG_H, 3);
    g.fill();
    if (isOutline) g.stroke();
    g.fillStyle = isOutline ? colour : this.colours.bg0;
    g.textAlign = "left";
    g.fillText(text, left + 5, at + 0.5, wide - 8);
  }

  paintCursor(g, view, bottom) {
    const { x: px, y: py } = this.cursor;
    if (px > view.plotW || py > bottom) return;
    const slot = Math.round(px / this.barW + view.left - 0.5);
    const place = firstAtLeast(view.slots, slot);
    const bar = view.slots[place] === slot ? view.bars[place] : null;
    g.strokeStyle = this.colours.line2;
    g.setLineDash([3, 3]);
    strokeLine(g, 0, py, view.plotW, py);
    strokeLine(g, this.scale.x(slot), 0, this.scale.x(slot), bottom);
    g.setLineDash([]);
    const { range } = this.scale;
    const price = range.high - ((py - TOP) / (bottom - TOP)) * (range.high - range.low);
    this.tag(g, view.plotW + 2, py, formatPrice(price), this.colours.fg0, true);
    if (bar) {
      g.fillStyle = this.colours.bg3;
      const at = Math.min(Math.max(this.scale.x(slot), 34), view.plotW - 34);
      g.fillRect(at - 34, bottom + 2, 68, AXIS_H - 4);
      g.fillStyle = this.colours.fg0;
      g.textAlign = "center";
      g.fillText(formatClock(bar[0] * 1000, this.every < 60 ? "hms" : "hm"), at, bottom + AXIS_H / 2 + 1);
    }
    this.paintLegend(g, bar);
  }

  paintLegend(g, bar) {
    if (!bar) return;
    const words = ["O", "H", "L", "C"].map((name, i) => `${name} ${formatPrice(bar[i + 1])}`);
    words.push(`V ${formatWhole(bar[5])}`);
    const roomFor = () => g.measureText(words.join("   ")).width <= this.width - AXIS_W - 16;
    while (words.length > 1 && !roomFor()) words.length === 5 ? words.pop() : words.shift();
    const text = words.join("   ");
    g.textAlign = "left";
    g.fillStyle = this.colours.bg1;
    g.globalAlpha = 0.8;
    g.fillRect(2, 2, g.measureText(text).width + 12, 18);
    g.globalAlpha = 1;
    g.fillStyle = bar[4] >= bar[1] ? this.colours.up : this.colours.down;
    g.fillText(text, 8, 11);
  }

  // -- moving about

  listen() {
    const canvas = this.canvas;
    let drag = null;
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      this.cursor = { x: event.clientX - box.left, y: event.clientY - box.top };
      if (drag) this.pan((event.clientX - drag.x) / this.barW + drag.offset - this.offset);
      this.repaint();
    });
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, offset: this.offset };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => { drag = null; });
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.repaint();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        this.pan(-(event.deltaX || event.deltaY) / this.barW);
      } else this.zoom(event.deltaY < 0 ? 1.12 : 1 / 1.12);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: () => this.pan(5), ArrowRight: () => this.pan(-5),
        ArrowUp: () => this.zoom(1.2), ArrowDown: () => this.zoom(1 / 1.2),
        "+": () => this.zoom(1.2), "=": () => this.zoom(1.2), "-": () => this.zoom(1 / 1.2),
        End: () => this.pan(-1e9) };
      if (!moves[event.key]) return;
      event.preventDefault();
      moves[event.key]();
    });
  }

  pan(slots) {
    const { count } = this.window();
    this.offset = Math.min(Math.max(this.offset + slots, 0), Math.max(count - 5, 0));
    this.askForMore();
    this.repaint();
  }

  zoom(factor) {
    this.barW = Math.min(Math.max(this.barW * factor, 1.2), 40);
    this.askForMore();
    this.repaint();
  }

  /** Ask for older bars when the window reaches beyond those at hand. */
  askForMore() {
    if (this.window().left < 0) this.onNeedBars(this.every === 1 ? 1 : 60);
  }
}

function strokeLine(g, x1, y1, x2, y2) {
  g.lineWidth = 1;
  g.beginPath();
  g.moveTo(x1, Math.round(y1) + 0.5);
  g.lineTo(x2, Math.round(y2) + 0.5);
  g.stroke();
}

function hatch(g, left, right, bottom, colour) {
  g.save();
  g.beginPath();
  g.rect(left, 0, right - left, bottom);
  g.clip();
  g.strokeStyle = colour;
  g.globalAlpha = 0.5;
  g.beginPath();
  for (let at = left - bottom; at < right; at += 8) {
    g.moveTo(at, bottom);
    g.lineTo(at + bottom, 0);
  }
  g.stroke();
  g.restore();
}

/** The day of a moment in the reader's zone; in both of them it begins with an hour. */
function dayOf(seconds) {
  if (days.zone !== zone.name) {
    days.zone = zone.name;
    days.byHour.clear();
  }
  const hour = Math.floor(seconds / 3_600);
  if (days.byHour.size > HOURS_KEPT) days.byHour.clear();
  if (!days.byHour.has(hour)) days.byHour.set(hour, formatClock(seconds * 1000, "day"));
  return days.byHour.get(hour);
}

/** The tokens of the style sheet, as canvas wants them. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    bg0: token("bg-0"), bg1: token("bg-1"), bg2: token("bg-2"), bg3: token("bg-3"),
    fg0: token("fg-0"), fg2: token("fg-2"), line2: token("line-2"), grid: "#1A2029",
    volume: "#232B38", up: token("up"), down: token("down"), warn: token("warn"),
    zero: token("zero"), pos: token("pos"), neg: token("neg"), accent: token("accent"),
  };
}
