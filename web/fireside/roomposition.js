/**
 * Where a client stands in the log of one room, as a pure state: what comes in is sorted by seq,
 * what goes out is in order and without a hole or a double.
 *
 * @module
 */

/** @import { Entry } from './types.js' */

export class RoomPosition {
  /**
   * @param {string} epoch the identity of the log
   * @param {number} at the last entry that is known without a hole before it
   */
  constructor(epoch, at) {
    this.epoch = epoch;
    this.at = at;
    /** The newest entry known to exist. */
    this.head = at;
    /** @type {Map<number, Entry>} entries beyond a hole */
    this.beyond = new Map();
  }

  /** Whether entries are known to be missing. */
  get behind() {
    return this.at < this.head;
  }

  /**
   * Takes entries in, in any order, and returns those that now follow without a hole.
   * @param {Iterable<Entry>} entries
   * @returns {Entry[]}
   */
  take(entries) {
    for (const entry of entries) {
      if (entry.seq > this.at) this.beyond.set(entry.seq, entry);
      if (entry.seq > this.head) this.head = entry.seq;
    }
    const ready = [];
    for (;;) {
      const next = this.beyond.get(this.at + 1);
      if (!next) return ready;
      this.beyond.delete(next.seq);
      this.at = next.seq;
      ready.push(next);
    }
  }

  /**
   * Learns of a newer head without its entries.
   * @param {number} head
   */
  heard(head) {
    if (head > this.head) this.head = head;
  }

  /**
   * The log is another one now, or too far ahead to catch up with.
   * @param {string} epoch
   * @param {number} head
   */
  reset(epoch, head) {
    this.epoch = epoch;
    this.at = head;
    this.head = head;
    this.beyond.clear();
  }
}
