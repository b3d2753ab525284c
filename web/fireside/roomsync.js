/**
 * Keeps the position in every room's log and fills the holes: each entry is handed on once, in
 * order, or the room is declared reset; never silently skipped.
 *
 * @module
 */

import { RequestError } from './errors.js';
import { RoomPosition } from './roomposition.js';

/** @import { Clock, Entry, RoomEntry, RoomView, Synced } from './types.js' */

/** Entries asked for at a time. */
const PAGE = 200;
/** Further behind than this, loading afresh is cheaper than catching up. */
const MAX_BEHIND = 2_000;

/**
 * @typedef {object} RoomSyncHooks
 * @property {(op: 'room.sync' | 'room.get', d: object) => Promise<any>} ask
 * @property {(room: string, entry: Entry) => void} onEntry
 * @property {(room: string, view?: RoomView) => void} onReset
 * @property {(view: RoomView) => void} onAdded a room came up that no snapshot had
 * @property {(room: string) => void} onRemoved
 */

export class RoomSync {
  /**
   * @param {RoomSyncHooks} hooks
   * @param {Clock} clock
   */
  constructor(hooks, clock) {
    this.hooks = hooks;
    this.clock = clock;
    /** @type {Map<string, RoomPosition>} */
    this.positions = new Map();
    /** @type {Set<string>} rooms being caught up with */
    this.filling = new Set();
    /** @type {Set<string>} rooms asked for because an entry of theirs came unannounced */
    this.asking = new Set();
  }

  /**
   * A new session's snapshot. What happened since the last one is fetched entry by entry.
   * @param {RoomView[]} views
   */
  snapshot(views) {
    const known = new Set(views.map((view) => view.id));
    for (const room of [...this.positions.keys()]) if (!known.has(room)) this.positions.delete(room);
    for (const view of views) this.adopt(view);
  }

  /**
   * The caller belongs to a room, which stands at `view.head`.
   * @param {RoomView} view
   */
  adopt(view) {
    const position = this.positions.get(view.id);
    if (!position) this.positions.set(view.id, new RoomPosition(view.epoch, view.head));
    else if (position.epoch !== view.epoch || view.head < position.at) this.reset(view);
    else {
      position.heard(view.head);
      void this.fill(view.id);
    }
  }

  /** @param {RoomView} view */
  reset(view) {
    const position = this.positions.get(view.id);
    if (position) position.reset(view.epoch, view.head);
    else this.positions.set(view.id, new RoomPosition(view.epoch, view.head));
    this.hooks.onReset(view.id, view);
  }

  /** @param {string} room */
  remove(room) {
    this.positions.delete(room);
  }

  /** @param {RoomEntry} event */
  entry({ room, ...entry }) {
    const position = this.positions.get(room);
    if (!position) {
      void this.discover(room);
      return;
    }
    this.deliver(room, position, [entry]);
    void this.fill(room);
  }

  /** There is a connection again: what could not be fetched before can be now. */
  resume() {
    for (const room of this.positions.keys()) void this.fill(room);
  }

  /**
   * @param {string} room
   * @param {RoomPosition} position
   * @param {Entry[]} entries
   */
  deliver(room, position, entries) {
    for (const entry of position.take(entries)) this.hooks.onEntry(room, entry);
  }

  /** @param {string} room */
  async discover(room) {
    if (this.asking.has(room)) return;
    this.asking.add(room);
    try {
      const { room: view } = await this.hooks.ask('room.get', { room });
      if (!this.positions.has(room)) {
        this.adopt(view);
        this.hooks.onAdded(view);
      }
    } catch {
      // Not the caller's room after all, or the connection went: the next snapshot tells.
    } finally {
      this.asking.delete(room);
    }
  }

  /** @param {string} room */
  async fill(room) {
    const position = this.positions.get(room);
    if (!position?.behind || this.filling.has(room)) return;
    this.filling.add(room);
    try {
      while (position.behind && this.positions.get(room) === position) {
        if (position.head - position.at > MAX_BEHIND) {
          position.reset(position.epoch, position.head);
          this.hooks.onReset(room);
        } else if (!(await this.fillOnce(room, position))) return;
      }
    } finally {
      this.filling.delete(room);
    }
  }

  /**
   * @param {string} room
   * @param {RoomPosition} position
   * @returns {Promise<boolean>} whether to go on
   */
  async fillOnce(room, position) {
    /** @type {Synced} */
    let synced;
    try {
      synced = await this.hooks.ask('room.sync', {
        room,
        epoch: position.epoch,
        after: position.at,
        limit: PAGE,
      });
    } catch (error) {
      const code = error instanceof RequestError ? error.code : '';
      if (code === 'not_found' || code === 'forbidden') {
        this.positions.delete(room);
        this.hooks.onRemoved(room);
        return false;
      }
      if (code === 'connection_lost' || code === 'stopped') return false;
      const wait = (error instanceof RequestError && error.retryAfterMs) || 1_000 + this.clock.random() * 1_000;
      await new Promise((resolve) => this.clock.setTimeout(() => resolve(undefined), wait));
      return true;
    }
    if (this.positions.get(room) !== position) return false;
    const stuck = synced.entries.length === 0 && synced.head >= position.head && position.behind;
    if (synced.reset || synced.epoch !== position.epoch || stuck) {
      position.reset(synced.epoch, synced.head);
      this.hooks.onReset(room);
      return true;
    }
    position.heard(synced.head);
    this.deliver(room, position, synced.entries);
    return true;
  }
}
