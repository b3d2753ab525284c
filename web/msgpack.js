/**
 * MessagePack, as far as the Fireside protocol goes: nil, booleans, integers, doubles, strings,
 * arrays, maps with string keys; binary data is read and written as Uint8Array. No extension types.
 *
 * Decoding trusts nothing: every length is checked against the bytes that are really there before
 * anything is allocated, and nesting is bounded.
 *
 * @module
 */

/** How deep a value may nest; the servers have the same bound. */
export const MAX_DEPTH = 64;

/** Bytes that are no MessagePack value of ours. */
export class MsgPackError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = 'MsgPackError';
  }
}

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A byte buffer that grows. */
class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.length = 0;
  }

  /**
   * Makes room and returns where to write.
   * @param {number} size
   */
  reserve(size) {
    const at = this.length;
    this.length += size;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, this.bytes.length * 2));
      grown.set(this.bytes.subarray(0, at));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  /** @param {number} byte */
  byte(byte) {
    const at = this.reserve(1);
    this.bytes[at] = byte;
  }

  /**
   * A tag, then a big-endian number of 1, 2 or 4 bytes.
   * @param {number} tag
   * @param {1 | 2 | 4} width
   * @param {number} value
   */
  tagged(tag, width, value) {
    const at = this.reserve(1 + width);
    this.bytes[at] = tag;
    if (width === 1) this.view.setUint8(at + 1, value);
    else if (width === 2) this.view.setUint16(at + 1, value);
    else this.view.setUint32(at + 1, value);
  }

  /** @param {Uint8Array} data */
  raw(data) {
    const at = this.reserve(data.length);
    this.bytes.set(data, at);
  }
}

/**
 * Encodes one value. As in JSON, a member that is `undefined` is left out.
 * @param {unknown} value
 * @returns {Uint8Array}
 */
export function encode(value) {
  const out = new Writer();
  write(out, value, 0);
  return out.bytes.slice(0, out.length);
}

/**
 * @param {Writer} out
 * @param {unknown} value
 * @param {number} depth
 */
function write(out, value, depth) {
  if (depth > MAX_DEPTH) throw new MsgPackError('nested too deep');
  if (value === null || value === undefined) out.byte(0xc0);
  else if (value === true) out.byte(0xc3);
  else if (value === false) out.byte(0xc2);
  else if (typeof value === 'number') writeNumber(out, value);
  else if (typeof value === 'bigint') writeBig(out, value);
  else if (typeof value === 'string') writeString(out, value);
  else if (value instanceof Uint8Array) {
    const n = value.length;
    if (n < 0x100) out.tagged(0xc4, 1, n);
    else if (n < 0x10000) out.tagged(0xc5, 2, n);
    else out.tagged(0xc6, 4, n);
    out.raw(value);
  } else if (Array.isArray(value)) {
    const n = value.length;
    if (n < 16) out.byte(0x90 | n);
    else if (n < 0x10000) out.tagged(0xdc, 2, n);
    else out.tagged(0xdd, 4, n);
    for (const item of value) write(out, item, depth + 1);
  } else if (typeof value === 'object') {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    const n = members.length;
    if (n < 16) out.byte(0x80 | n);
    else if (n < 0x10000) out.tagged(0xde, 2, n);
    else out.tagged(0xdf, 4, n);
    for (const [key, member] of members) {
      writeString(out, key);
      write(out, member, depth + 1);
    }
  } else throw new MsgPackError(`cannot encode a ${typeof value}`);
}

/**
 * @param {Writer} out
 * @param {number} n
 */
function writeNumber(out, n) {
  if (!Number.isSafeInteger(n) || Object.is(n, -0)) {
    const at = out.reserve(9);
    out.bytes[at] = 0xcb;
    out.view.setFloat64(at + 1, n);
  } else if (n >= 0) {
    if (n < 0x80) out.byte(n);
    else if (n < 0x100) out.tagged(0xcc, 1, n);
    else if (n < 0x10000) out.tagged(0xcd, 2, n);
    else if (n < 0x1_0000_0000) out.tagged(0xce, 4, n);
    else writeBig(out, BigInt(n));
  } else if (n >= -32) out.byte(n & 0xff);
  else if (n >= -0x80) out.tagged(0xd0, 1, n & 0xff);
  else if (n >= -0x8000) out.tagged(0xd1, 2, n & 0xffff);
  else if (n >= -0x8000_0000) out.tagged(0xd2, 4, n >>> 0);
  else writeBig(out, BigInt(n));
}

/**
 * @param {Writer} out
 * @param {bigint} n
 */
function writeBig(out, n) {
  const at = out.reserve(9);
  if (n >= 0n) {
    out.bytes[at] = 0xcf;
    out.view.setBigUint64(at + 1, n);
  } else {
    out.bytes[at] = 0xd3;
    out.view.setBigInt64(at + 1, n);
  }
}

/**
 * @param {Writer} out
 * @param {string} text
 */
function writeString(out, text) {
  const data = utf8.encode(text);
  const n = data.length;
  if (n < 32) out.byte(0xa0 | n);
  else if (n < 0x100) out.tagged(0xd9, 1, n);
  else if (n < 0x10000) out.tagged(0xda, 2, n);
  else out.tagged(0xdb, 4, n);
  out.raw(data);
}

/**
 * Decodes one value that fills `bytes`.
 * @param {Uint8Array} bytes
 * @returns {unknown}
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new MsgPackError('bytes left over');
  return value;
}

/**
 * Decodes values that stand one after the other, as in a frame.
 * @param {Uint8Array} bytes
 * @returns {unknown[]}
 */
export function decodeAll(bytes) {
  const reader = new Reader(bytes);
  const values = [];
  while (reader.at < bytes.length) values.push(reader.value(0));
  return values;
}

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /**
   * Steps over `size` bytes and returns where they begin.
   * @param {number} size
   */
  take(size) {
    const at = this.at;
    if (size > this.bytes.length - at) throw new MsgPackError('the value is cut off');
    this.at = at + size;
    return at;
  }

  /**
   * @param {number} depth
   * @returns {unknown}
   */
  value(depth) {
    if (depth > MAX_DEPTH) throw new MsgPackError('nested too deep');
    const tag = this.bytes[this.take(1)] ?? 0;
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.string(tag & 0x1f);
    const { view } = this;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(view.getUint8(this.take(1)));
      case 0xc5: return this.binary(view.getUint16(this.take(2)));
      case 0xc6: return this.binary(view.getUint32(this.take(4)));
      case 0xca: return view.getFloat32(this.take(4));
      case 0xcb: return view.getFloat64(this.take(8));
      case 0xcc: return view.getUint8(this.take(1));
      case 0xcd: return view.getUint16(this.take(2));
      case 0xce: return view.getUint32(this.take(4));
      case 0xcf: return narrow(view.getBigUint64(this.take(8)));
      case 0xd0: return view.getInt8(this.take(1));
      case 0xd1: return view.getInt16(this.take(2));
      case 0xd2: return view.getInt32(this.take(4));
      case 0xd3: return narrow(view.getBigInt64(this.take(8)));
      case 0xd9: return this.string(view.getUint8(this.take(1)));
      case 0xda: return this.string(view.getUint16(this.take(2)));
      case 0xdb: return this.string(view.getUint32(this.take(4)));
      case 0xdc: return this.array(view.getUint16(this.take(2)), depth);
      case 0xdd: return this.array(view.getUint32(this.take(4)), depth);
      case 0xde: return this.map(view.getUint16(this.take(2)), depth);
      case 0xdf: return this.map(view.getUint32(this.take(4)), depth);
      default: throw new MsgPackError(`no type has the tag 0x${tag.toString(16)}`);
    }
  }

  /** @param {number} size */
  binary(size) {
    const at = this.take(size);
    return this.bytes.slice(at, at + size);
  }

  /** @param {number} size */
  string(size) {
    const at = this.take(size);
    try {
      return strictUtf8.decode(this.bytes.subarray(at, at + size));
    } catch {
      throw new MsgPackError('a string is not UTF-8');
    }
  }

  /**
   * @param {number} count
   * @param {number} depth
   */
  array(count, depth) {
    if (count > this.bytes.length - this.at) throw new MsgPackError('the value is cut off');
    const items = [];
    for (let i = 0; i < count; i += 1) items.push(this.value(depth + 1));
    return items;
  }

  /**
   * @param {number} count
   * @param {number} depth
   */
  map(count, depth) {
    if (count * 2 > this.bytes.length - this.at) throw new MsgPackError('the value is cut off');
    /** @type {Record<string, unknown>} */
    const members = {};
    for (let i = 0; i < count; i += 1) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new MsgPackError('a key is not a string');
      const value = this.value(depth + 1);
      if (key === '__proto__') {
        // Assignment would set the prototype; JSON.parse makes it a plain member, and so do we.
        Object.defineProperty(members, key, { value, enumerable: true, configurable: true, writable: true });
      } else members[key] = value;
    }
    return members;
  }
}

/**
 * A number where a double holds it exactly, else a bigint.
 * @param {bigint} n
 */
function narrow(n) {
  const number = Number(n);
  return Number.isSafeInteger(number) ? number : n;
}
