/** Numbers and times, written as the server writes them. */

export const DASH = "\u2013";
export const zone = { name: "America/New_York", label: "ET" };

const clocks = new Map();
const numbers = new Map();

/** One unit, about three digits: 84 ms, 7.2 s, 74 s, 2 h 11 m. */
export function formatAge(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} m`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** HH:MM:SS in the zone the reader chose; `parts` as Intl names them. */
export function formatClock(ms, parts = "hms") {
  const name = `${zone.name} ${parts}`;
  if (!clocks.has(name)) {
    const two = "2-digit";
    const shapes = {
      hms: { hour: two, minute: two, second: two },
      hm: { hour: two, minute: two },
      day: { month: "short", day: "numeric" },
      full: { year: "numeric", month: two, day: two, hour: two, minute: two, second: two },
    };
    const shape = { ...shapes[parts], hourCycle: "h23", timeZone: zone.name };
    clocks.set(name, new Intl.DateTimeFormat("en-CA", shape));
  }
  return clocks.get(name).format(ms).replace(",", "");
}

/** Milliseconds too, for tables of ticks. */
export function formatMillis(ms) {
  return `${formatClock(ms)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;
}

/** 24,916.25: as many decimals as the tick needs. */
export function formatPrice(value, decimals = 2) {
  if (value === null || value === undefined) return DASH;
  return grouped(decimals).format(value);
}

/** 12,345 */
export function formatWhole(value) {
  return grouped(0).format(value);
}

/** A writer of numbers, kept: making one costs more than a hundred uses. */
function grouped(decimals) {
  if (!numbers.has(decimals)) {
    const places = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    numbers.set(decimals, new Intl.NumberFormat("en-US", places));
  }
  return numbers.get(decimals);
}

export function formatCount(value) {
  if (value === null || value === undefined) return DASH;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return formatWhole(value);
}
