/**
 * The part of a room's log that is on the screen, as a pure state: pages of history and live
 * entries go in, messages as they now read come out. Applying an entry twice changes nothing, so
 * a page and the entries that raced it may come in either order.
 *
 * @module
 */

/** @import { Entry, MemberEntry, Message, MessageEntry, RoomChangeEntry } from '../../fireside/types.js' */
/** @import { HistoryPage } from '../net/api.js' */

/** @typedef {MemberEntry | RoomChangeEntry} Notice */

/** Entries that came while nothing was loaded yet; beyond that the first page has them anyway. */
const MAX_EARLY = 500;

export class RoomLog {
  constructor() {
    this.loaded = false;
    this.hasBefore = false;
    this.hasAfter = false;
    this.clear();
  }

  /** Forgets everything; nothing is loaded. */
  clear() {
    /** @type {Message[]} ascending, without a hole between the first and the last */
    this.messages = [];
    /** @type {Notice[]} changes of the room that happened before our eyes */
    this.notices = [];
    this.loaded = false;
    this.hasBefore = false;
    this.hasAfter = false;
    /** What was said before the first message there is has expired. */
    this.expired = false;
    /** @type {string | undefined} */
    this.epoch = undefined;
    /** @type {Entry[]} */
    this.early = [];
  }

  get first() {
    return this.messages[0]?.seq;
  }

  get last() {
    return this.messages.at(-1)?.seq;
  }

  /** @param {number} seq */
  find(seq) {
    let low = 0;
    let high = this.messages.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const message = this.messages[middle];
      if (!message || message.seq === seq) return message;
      if (message.seq < seq) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  /**
   * Shows a page of its own: the newest, or one around a message.
   * @param {HistoryPage} page
   */
  show(page) {
    const early = this.early;
    this.clear();
    this.loaded = true;
    this.epoch = page.epoch;
    this.messages = page.items.map(copy);
    this.hasBefore = page.has_before;
    this.hasAfter = page.has_after;
    this.expired = page.first !== undefined;
    for (const entry of early) this.apply(entry);
  }

  /**
   * A page that ends where the window begins.
   * @param {HistoryPage} page
   */
  prepend(page) {
    const first = this.first ?? Infinity;
    this.messages = [...page.items.filter((m) => m.seq < first).map(copy), ...this.messages];
    this.hasBefore = page.has_before;
    this.expired = page.first !== undefined;
  }

  /**
   * A page that begins where the window ends.
   * @param {HistoryPage} page
   */
  append(page) {
    const last = this.last ?? 0;
    this.messages = [...this.messages, ...page.items.filter((m) => m.seq > last).map(copy)];
    this.hasAfter = page.has_after;
    if (!this.hasAfter) {
      // Live entries that the window did not reach while it hung in the past.
      const early = this.early;
      this.early = [];
      for (const entry of early) this.apply(entry);
    }
  }

  /**
   * Drops the end that nobody looks at, so that a long walk through history stays light.
   * @param {'before' | 'after'} end
   * @param {number} keep
   */
  trim(end, keep) {
    if (this.messages.length <= keep) return;
    if (end === 'before') {
      this.messages = this.messages.slice(-keep);
      this.hasBefore = true;
    } else {
      this.messages = this.messages.slice(0, keep);
      this.hasAfter = true;
    }
    const [first, last] = [this.first ?? 0, this.last ?? 0];
    this.notices = this.notices.filter((n) => n.seq > first && n.seq < last);
  }

  /**
   * @param {Entry} entry
   * @returns {boolean} whether anything on the screen changed
   */
  apply(entry) {
    if (!this.loaded || (this.hasAfter && entry.kind === 'message')) {
      this.early.push(entry);
      if (this.early.length > MAX_EARLY) this.early.shift();
      if (!this.loaded) return false;
    }
    switch (entry.kind) {
      case 'message':
        return this.addMessage(entry);
      case 'member':
      case 'room':
        if (this.hasAfter || this.notices.some((n) => n.seq === entry.seq)) return false;
        this.notices.push(entry);
        return true;
      default:
        return this.change(entry);
    }
  }

  /** @param {MessageEntry} entry */
  addMessage(entry) {
    if (this.hasAfter || entry.seq <= (this.last ?? 0)) return false;
    const { kind: _kind, ...message } = entry;
    this.messages.push({ ...message, reactions: [] });
    return true;
  }

  /** @param {Exclude<Entry, MessageEntry | Notice>} entry */
  change(entry) {
    const message = this.find(entry.target);
    if (!message || message.deleted) return false;
    if (entry.kind === 'delete') {
      message.deleted = true;
      message.text = '';
      message.mentions = [];
      message.reactions = [];
      delete message.data;
    } else if (entry.kind === 'edit') {
      message.text = entry.text;
      message.mentions = entry.mentions ?? [];
      delete message.unreadable;
      message.edited_ts = entry.ts;
    } else react(message, entry.user, entry.emoji, entry.on);
    return true;
  }
}

/** @param {Message} message */
function copy(message) {
  return { ...message, reactions: (message.reactions ?? []).map((r) => ({ ...r, users: [...r.users] })) };
}

/**
 * @param {Message} message
 * @param {string} user
 * @param {string} emoji
 * @param {boolean} on
 */
function react(message, user, emoji, on) {
  const reactions = (message.reactions ??= []);
  let reaction = reactions.find((r) => r.emoji === emoji);
  if (on) {
    if (!reaction) reactions.push((reaction = { emoji, count: 0, users: [] }));
    if (reaction.users.includes(user)) return;
    reaction.users.push(user);
    reaction.count += 1;
  } else if (reaction?.users.includes(user)) {
    reaction.users = reaction.users.filter((u) => u !== user);
    reaction.count -= 1;
    if (reaction.count <= 0) message.reactions = reactions.filter((r) => r !== reaction);
  }
}
