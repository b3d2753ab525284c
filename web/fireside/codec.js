/**
 * Frames to objects and back, in both encodings of the one schema.
 *
 * @module
 */

import { decodeAll, encode } from '../msgpack.js';

/** @typedef {'json' | 'msgpack'} Encoding */
/**
 * @typedef {object} Codec
 * @property {string} subprotocol
 * @property {(command: object) => string | Uint8Array} encode
 * @property {(frame: unknown) => Record<string, any>[]} decode a frame may carry several objects
 */

/** @type {Record<Encoding, Codec>} */
export const CODECS = {
  json: {
    subprotocol: 'fireside.v1.json',
    encode: (command) => JSON.stringify(command),
    decode(frame) {
      if (typeof frame !== 'string') throw new TypeError('a JSON frame is text');
      return frame
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line) => object(JSON.parse(line)));
    },
  },
  msgpack: {
    subprotocol: 'fireside.v1.msgpack',
    encode: (command) => encode(command),
    decode(frame) {
      if (frame instanceof ArrayBuffer) return decodeAll(new Uint8Array(frame)).map(object);
      if (frame instanceof Uint8Array) return decodeAll(frame).map(object);
      throw new TypeError('a MessagePack frame is binary');
    },
  },
};

/**
 * @param {unknown} value
 * @returns {Record<string, any>}
 */
function object(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError('a frame carries objects');
  }
  return value;
}
