/**
 * One room as it is open on the screen: its window of history, its members, who types, and the
 * messages of ours that are still on their way.
 *
 * @module
 */

import { RoomLog } from './roomlog.js';

/** @import { Entry, Member, Outgoing } from '../../fireside/types.js' */
/** @import { Session } from './session.js' */

/** Messages asked for at a time. */
const PAGE = 50;
/** Messages kept in the window. */
const MAX_WINDOW = 400;
/** A typing sign that is not repeated is forgotten after this. */
const TYPING_MS = 8_000;

export class Conversation {
  /**
   * @param {Session} session
   * @param {string} room
   */
  constructor(session, room) {
    this.session = session;
    this.room = room;
    this.log = new RoomLog();
    /** @type {Map<string, Outgoing>} by nonce, in the order they were written */
    this.pending = new Map();
    /** @type {Map<string, Member>} */
    this.members = new Map();
    /** @type {Map<string, ReturnType<typeof setTimeout>>} */
    this.typing = new Map();
    /** @type {'first' | 'before' | 'after' | undefined} what is being loaded */
    this.loading = undefined;
    /** @type {string | undefined} why the last load failed */
    this.error = undefined;
    /** Loads of an older generation are thrown away. */
    this.generation = 0;
  }

  changed() {
    this.session.emit('conversation', this.room);
  }

  /** Loads the newest page unless something is there already. */
  async open() {
    if (!this.log.loaded && this.loading !== 'first') await this.load({});
    if (this.members.size === 0) void this.loadMembers();
  }

  /** Shows the newest messages, wherever the window hung. */
  async toPresent() {
    if (this.log.hasAfter || !this.log.loaded) await this.load({});
  }

  /**
   * Makes sure that a message is in the window.
   * @param {number} seq
   */
  async around(seq) {
    if (!this.log.find(seq)) await this.load({ around: seq });
  }

  /** @param {{ around?: number }} where */
  async load(where) {
    const mine = ++this.generation;
    this.loading = 'first';
    this.error = undefined;
    this.changed();
    try {
      const page = await this.session.api.history(this.room, { ...where, limit: PAGE });
      if (mine !== this.generation) return;
      this.log.show(page);
      this.settle();
    } catch (error) {
      if (mine === this.generation) this.error = error instanceof Error ? error.message : String(error);
    } finally {
      if (mine === this.generation) {
        this.loading = undefined;
        this.changed();
      }
    }
  }

  /** @param {'before' | 'after'} side */
  async loadMore(side) {
    const edge = side === 'before' ? this.log.first : this.log.last;
    if (this.loading || edge === undefined || !(side === 'before' ? this.log.hasBefore : this.log.hasAfter)) return;
    const mine = this.generation;
    this.loading = side;
    this.error = undefined;
    this.changed();
    try {
      const page = await this.session.api.history(this.room, { [side]: edge, limit: PAGE });
      if (mine !== this.generation) return;
      if (page.epoch !== this.log.epoch) {
        this.loading = undefined;
        await this.reset();
        return;
      }
      if (side === 'before') {
        this.log.prepend(page);
        this.log.trim('after', MAX_WINDOW);
      } else {
        this.log.append(page);
        this.log.trim('before', MAX_WINDOW);
      }
      this.settle();
    } catch (error) {
      if (mine === this.generation) this.error = error instanceof Error ? error.message : String(error);
    } finally {
      if (mine === this.generation) {
        this.loading = undefined;
        this.changed();
      }
    }
  }

  /** The log is another one, or too far ahead: what is held is worth nothing. */
  async reset() {
    this.log.clear();
    this.members.clear();
    await this.load({});
    void this.loadMembers();
  }

  /** @param {Entry} entry */
  apply(entry) {
    if (entry.kind === 'message') {
      this.stopTyping(entry.user);
      if (entry.user === this.session.me.id) this.pending.delete(entry.nonce);
    }
    if (entry.kind === 'member') void this.loadMembers();
    this.log.apply(entry);
    this.changed();
  }

  /** @param {Outgoing} message */
  outgoing(message) {
    const shown = this.log.messages.some((m) => m.nonce === message.nonce && m.user === this.session.me.id);
    // A repeated one is in the log from before; its entry may never come again.
    if (shown || message.appended?.dup) this.pending.delete(message.nonce);
    else if (message.status !== 'sent' || this.pending.has(message.nonce)) this.pending.set(message.nonce, message);
    this.changed();
  }

  /** Messages of ours that a page of history has brought are no longer on their way. */
  settle() {
    if (this.pending.size === 0) return;
    for (const message of this.log.messages) {
      if (message.user === this.session.me.id) this.pending.delete(message.nonce);
    }
  }

  async loadMembers() {
    try {
      /** @type {Member[]} */
      const all = [];
      /** @type {string | undefined} */
      let after;
      do {
        const page = await this.session.client.request('room.members', { room: this.room, after, limit: 500 });
        all.push(...page.members);
        after = page.next;
      } while (after && all.length < 1_000);
      this.members = new Map(all.map((member) => [member.id, member]));
      for (const member of all) this.session.people.learn(member);
      this.changed();
      this.session.emit('members', this.room);
    } catch {
      // Tried again with the next change of membership, or when the room is opened again.
    }
  }

  /**
   * @param {string} user
   * @param {number} seq
   */
  markRead(user, seq) {
    const member = this.members.get(user);
    if (member) member.read = Math.max(member.read ?? 0, seq);
    this.changed();
  }

  /**
   * Those who have read up to a message, without its author and the signed-in person.
   * @param {number} seq
   * @param {string} author
   */
  readersOf(seq, author) {
    return [...this.members.values()].filter(
      (m) => m.id !== author && m.id !== this.session.me.id && (m.read ?? 0) >= seq,
    );
  }

  /**
   * @param {string} user
   * @param {boolean} on
   */
  setTyping(user, on) {
    this.stopTyping(user);
    if (on) {
      this.typing.set(
        user,
        setTimeout(() => {
          this.typing.delete(user);
          this.session.emit('typing', this.room);
        }, TYPING_MS),
      );
    }
    this.session.emit('typing', this.room);
  }

  /** @param {string} user */
  stopTyping(user) {
    clearTimeout(this.typing.get(user));
    if (this.typing.delete(user)) this.session.emit('typing', this.room);
  }
}
