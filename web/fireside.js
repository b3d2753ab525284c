/**
 * A client of the Fireside protocol, version 1. It has no dependency and knows no DOM: it runs in
 * browsers, and in Node with a `WebSocket` passed in where there is no global one.
 *
 *     import { Fireside } from './fireside.js';
 *
 *     const client = new Fireside({ url: 'wss://example.org/v1/ws', getToken });
 *     client.on('started', ({ me, friends, rooms }) => …);   // a snapshot, without a hole after it
 *     client.on('entry', ({ room, entry }) => …);            // every entry: in order, exactly once
 *     client.on('reset', ({ room }) => …);                   // that room's log: load it afresh
 *     client.connect();
 *     await client.send({ room, text: 'gg' }).done;          // durable, and in the log exactly once
 *
 * `getToken({ refresh })` returns an access token, a fresh one when asked; it throws an error whose
 * `fatal` is true when the person has to sign in again.
 *
 * What it does on its own: takes the session up again after a dropped socket, starts a new one when
 * that is gone, fills holes by asking for what is missing, sends messages again under their nonce
 * until they are answered, renews the token before it runs out, and waits before it comes back as
 * long as the server asked, with jitter.
 *
 * @module
 */

import { systemClock } from './fireside/backoff.js';
import { Connection } from './fireside/connection.js';
import { Emitter } from './fireside/emitter.js';
import { RequestError, isUnanswered, localError } from './fireside/errors.js';
import { Outbox } from './fireside/outbox.js';
import { RoomSync } from './fireside/roomsync.js';

/** @import { Appended, ClientEvents, Clock, ConnectionState, Ops, Outgoing, PresenceSet, SocketClass } from './fireside/types.js' */

export { RequestError, isUnanswered };

/** How long a command may take unless it says otherwise. */
const TIMEOUT_MS = 10_000;

/** Events of a room's log; they go through the room's position before anybody hears of them. */
const ENTRY_EVENTS = new Set([
  'message.new',
  'message.edited',
  'message.deleted',
  'reaction.changed',
  'room.member',
  'room.updated',
]);

/** @type {Record<string, keyof ClientEvents>} */
const EVENT_OF_KIND = {
  message: 'message.new',
  edit: 'message.edited',
  delete: 'message.deleted',
  reaction: 'reaction.changed',
  member: 'room.member',
  room: 'room.updated',
};

/** Events that are handed on as they are. */
const PLAIN_EVENTS = new Set(['read', 'typing', 'presence', 'friend.changed', 'block.changed', 'profile.changed', 'notice', 'bye']);

/**
 * @typedef {object} FiresideOptions
 * @property {string} url of the socket, `ws:` or `wss:`
 * @property {(how: { refresh: boolean }) => Promise<string>} getToken
 * @property {'json' | 'msgpack'} [encoding] default `msgpack`
 * @property {string} [device] the same on every start of a device: its older session gives way
 * @property {string} [client] name and version, for the servers' logs
 * @property {PresenceSet} [presence] from the start of every session
 * @property {SocketClass} [WebSocket]
 * @property {Clock} [clock]
 */

/** @extends {Emitter<ClientEvents>} */
export class Fireside extends Emitter {
  /** @param {FiresideOptions} options */
  constructor(options) {
    super();
    const socketClass = options.WebSocket ?? /** @type {SocketClass | undefined} */ (globalThis.WebSocket);
    if (!socketClass) throw new TypeError('there is no global WebSocket here: pass one');
    const clock = options.clock ?? systemClock;
    this.clock = clock;

    this.connection = new Connection(
      {
        url: options.url,
        getToken: options.getToken,
        encoding: options.encoding ?? 'msgpack',
        WebSocket: socketClass,
        clock,
        device: options.device,
        client: options.client ?? 'fireside.js',
      },
      {
        onState: (state) => this.stateChanged(state),
        onStarted: (started) => {
          this.emit('started', started);
          this.rooms.snapshot(started.rooms);
        },
        onResumed: (resumed) => this.emit('resumed', resumed),
        onEvent: (name, d) => this.event(name, d),
      },
    );
    this.connection.presence = options.presence;

    this.rooms = new RoomSync(
      {
        ask: (op, d) => this.connection.ask(op, d, TIMEOUT_MS),
        onEntry: (room, entry) => {
          this.emit('entry', { room, entry });
          const name = EVENT_OF_KIND[entry.kind];
          if (name) this.emit(name, /** @type {any} */ ({ room, ...entry }));
        },
        onReset: (room, view) => this.emit('reset', { room, view }),
        onAdded: (room) => this.emit('room.added', { room }),
        onRemoved: (room) => this.emit('room.removed', { room }),
      },
      clock,
    );

    this.outbox = new Outbox(
      {
        ask: (d) => this.connection.ask('message.send', d, TIMEOUT_MS),
        online: () => this.connection.state.name === 'online',
        onStatus: (message) => this.emit('outgoing', message),
      },
      clock,
    );
  }

  /** @returns {ConnectionState} */
  get state() {
    return this.connection.state;
  }

  /** Connects, and keeps connected until `close` or `end`, or until the server says to stop. */
  connect() {
    this.connection.connect();
  }

  /** The network or the person is back: do not wait for the next try. */
  wake() {
    this.connection.wake();
  }

  /** Goes away without ending the session: it can be taken up again for a while. */
  close() {
    this.connection.stop('closed');
  }

  /** Ends the session and goes away. What waits to be sent is given up. */
  async end() {
    if (this.state.name === 'online') {
      await this.connection.ask('session.end', {}, 2_000).catch(() => undefined);
    }
    this.connection.forgetSession();
    this.connection.stop('ended');
    this.outbox.clear('the session was ended');
  }

  /**
   * Asks the server something. Without a connection it waits for one, as long as the time allows;
   * once sent it is never sent again by itself, since only messages can be repeated without harm.
   * @template {keyof Ops} K
   * @param {K} op
   * @param {Ops[K][0]} d
   * @param {{ timeoutMs?: number }} [options]
   * @returns {Promise<Ops[K][1]>}
   */
  async request(op, d, { timeoutMs = TIMEOUT_MS } = {}) {
    const deadline = this.clock.now() + timeoutMs;
    if (this.state.name !== 'online') await this.onlineBefore(timeoutMs, op);
    return this.connection.ask(op, d, Math.max(deadline - this.clock.now(), 1_000));
  }

  /**
   * Tells the server something whose loss does not matter (`typing`, `read`).
   * @template {keyof Ops} K
   * @param {K} op
   * @param {Ops[K][0]} d
   */
  tell(op, d) {
    this.connection.tell(op, d);
  }

  /**
   * Sends a message. It may be called at any time; the message waits for a connection and is sent
   * again under its nonce until the server has answered.
   * @param {{ room: string, text: string, reply_to?: number, mentions?: string[], data?: unknown, nonce?: string }} message
   * @returns {{ message: Outgoing, done: Promise<Appended> }}
   */
  send(message) {
    /** @type {Outgoing} */
    const outgoing = { ...message, nonce: message.nonce ?? nonce(), ts: this.clock.now(), status: 'queued' };
    const done = this.outbox.send(outgoing);
    // Whoever only watches `outgoing` need not handle the promise as well.
    done.catch(() => undefined);
    return { message: outgoing, done };
  }

  /**
   * Sets this device's presence, now and for every later session of this client.
   * @param {PresenceSet} presence
   */
  async setPresence(presence) {
    this.connection.presence = presence;
    if (this.state.name === 'online') await this.connection.ask('presence.set', presence, TIMEOUT_MS);
  }

  /** @param {ConnectionState} state */
  stateChanged(state) {
    this.emit('state', state);
    if (state.name === 'online') {
      this.rooms.resume();
      this.outbox.resume();
    }
  }

  /**
   * @param {string} name
   * @param {any} d
   */
  event(name, d) {
    if (ENTRY_EVENTS.has(name)) this.rooms.entry(d);
    else if (name === 'room.added') {
      this.rooms.adopt(d.room);
      this.emit('room.added', d);
    } else if (name === 'room.removed') {
      this.rooms.remove(d.room);
      this.emit('room.removed', d);
    } else if (name === 'room.reset') this.rooms.reset(d.room);
    else if (PLAIN_EVENTS.has(name)) this.emit(/** @type {keyof ClientEvents} */ (name), d);
  }

  /**
   * @param {number} timeoutMs
   * @param {string} op
   * @returns {Promise<void>}
   */
  onlineBefore(timeoutMs, op) {
    if (this.state.name === 'stopped' || this.state.name === 'idle') {
      return Promise.reject(localError('stopped', 'the client is not connected'));
    }
    return new Promise((resolve, reject) => {
      const settle = (/** @type {() => void} */ how) => {
        off();
        this.clock.clearTimeout(timer);
        how();
      };
      const off = this.on('state', (state) => {
        if (state.name === 'online') settle(resolve);
        else if (state.name === 'stopped') settle(() => reject(localError('stopped', 'the client was stopped')));
      });
      const timer = this.clock.setTimeout(() => {
        settle(() => reject(localError('timeout', `${op}: no connection within ${timeoutMs} ms`)));
      }, timeoutMs);
    });
  }
}

/** A name for one send: 128 random bits. (`crypto.randomUUID` exists in secure contexts only.) */
export function nonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
