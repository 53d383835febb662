/** Raw little-endian columns of `/ui/cols` as typed arrays; the format is told in webui/columns.py. */

const TYPES = { f64: [Float64Array, 8], i8: [Int8Array, 1], u16: [Uint16Array, 2] };

/** The header with, of each column, its name, `values` and, of text, `words`. */
export function readColumns(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const base = Math.ceil((4 + length) / 8) * 8;
  for (const column of header.columns) {
    const [Values] = TYPES[column.type];
    column.values = new Values(buffer, base + column.at, header.rows);
  }
  return header;
}

/** Some columns that grow at the end and keep at most the newest `rows`. */
export class Columns {
  constructor(rows) {
    this.rows = rows;
    this.count = 0;
    this.held = null;
  }

  /** Take in what `readColumns` gives; the number of rows that are new. */
  append(header) {
    if (!this.held) this.held = new Map(header.columns.map((c) => [c.name, this.makeColumn(c)]));
    const fresh = Math.min(header.rows, this.rows);
    if (this.count + fresh > 2 * this.rows) this.letGo();
    for (const column of header.columns) {
      const held = this.held.get(column.name);
      const values = column.values.subarray(header.rows - fresh);
      if (held.words) {
        values.forEach((code, i) => { held.values[this.count + i] = held.code(column.words[code]); });
      } else held.values.set(values, this.count);
    }
    this.count += fresh;
    return header.rows;
  }

  get length() {
    return Math.min(this.count, this.rows);
  }

  /** A value of the i-th newest row. */
  at(name, i) {
    const held = this.held.get(name);
    const value = held.values[this.count - 1 - i];
    return held.words ? held.words[value] : value;
  }

  makeColumn(column) {
    const [Values] = TYPES[column.type];
    const held = { values: new Values(2 * this.rows) };
    if (column.type !== "u16") return held;
    held.words = [];
    held.code = (word) => {
      const known = held.words.indexOf(word);
      return known < 0 ? held.words.push(word) - 1 : known;
    };
    return held;
  }

  letGo() {
    const kept = Math.min(this.count, this.rows);
    for (const { values } of this.held.values()) values.copyWithin(0, this.count - kept, this.count);
    this.count = kept;
  }
}
