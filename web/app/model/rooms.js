/**
 * The rooms the signed-in person belongs to: what each is called, what was said last, how much is
 * unread.
 *
 * @module
 */

/** @import { Entry, Message, RoomView } from '../../fireside/types.js' */
/** @import { People } from './people.js' */

export class Rooms {
  /** @param {People} people */
  constructor(people) {
    this.people = people;
    /** @type {Map<string, RoomView>} */
    this.views = new Map();
    this.me = '';
  }

  /** @param {RoomView[]} views */
  replace(views) {
    this.views = new Map(views.map((view) => [view.id, { ...view }]));
    for (const view of views) if (view.peer) this.people.learn(view.peer);
  }

  /** @param {RoomView} view */
  put(view) {
    if (view.peer) this.people.learn(view.peer);
    this.views.set(view.id, { ...view });
  }

  /** @param {RoomView} view */
  title(view) {
    if (view.kind === 'dm' && view.peer) return this.people.name(view.peer.id);
    return view.name ?? 'Unnamed';
  }

  /** Newest first; direct rooms in which nothing was said yet are left out. */
  sorted() {
    return [...this.views.values()]
      .filter((view) => view.last || view.kind !== 'dm')
      .sort((a, b) => (b.last?.ts ?? Infinity) - (a.last?.ts ?? Infinity) || (a.id < b.id ? -1 : 1));
  }

  /** @param {string} user */
  directWith(user) {
    return [...this.views.values()].find((view) => view.kind === 'dm' && view.peer?.id === user);
  }

  get unread() {
    let [messages, mentions] = [0, 0];
    for (const view of this.views.values()) {
      messages += view.unread;
      mentions += view.mentions;
    }
    return { messages, mentions };
  }

  /**
   * A new entry of a room.
   * @param {string} room
   * @param {Entry} entry
   * @returns {boolean} whether the counts have to be asked for anew
   */
  apply(room, entry) {
    const view = this.views.get(room);
    // What the snapshot's head covers is in its counts already.
    if (!view || entry.seq <= view.head) return false;
    view.head = entry.seq;
    switch (entry.kind) {
      case 'message': {
        const { kind: _kind, ...message } = entry;
        view.last = message;
        if (entry.user === this.me) {
          // Whoever answers has read what was there.
          if (view.unread === 0) view.read = Math.max(view.read, entry.seq);
        } else if (view.kind !== 'channel') {
          view.unread += 1;
          if (entry.mentions?.includes(this.me)) view.mentions += 1;
        }
        return false;
      }
      case 'edit':
        if (view.last?.seq === entry.target) view.last = { ...view.last, text: entry.text, edited_ts: entry.ts };
        return view.unread > 0;
      case 'delete':
        if (view.last?.seq === entry.target) view.last = tombstone(view.last);
        return view.unread > 0 && entry.target > view.read;
      case 'room':
        if (entry.name !== undefined) view.name = entry.name;
        if (entry.topic !== undefined) view.topic = entry.topic;
        if (entry.slow_mode_ms !== undefined) view.slow_mode_ms = entry.slow_mode_ms;
        return false;
      case 'member':
        // The caller's own role, mute, or the number of members may have changed.
        return true;
      default:
        return false;
    }
  }

  /**
   * The signed-in person has read up to an entry, here or on another device.
   * @param {string} room
   * @param {number} seq
   * @returns {boolean} whether the counts have to be asked for anew
   */
  markRead(room, seq) {
    const view = this.views.get(room);
    if (!view || seq <= view.read) return false;
    view.read = seq;
    if (seq >= view.head || (view.last && seq >= view.last.seq)) {
      view.unread = 0;
      view.mentions = 0;
      return false;
    }
    return view.unread > 0;
  }
}

/**
 * @param {Message} message
 * @returns {Message}
 */
function tombstone(message) {
  return { ...message, text: '', deleted: true, mentions: [], reactions: [] };
}
