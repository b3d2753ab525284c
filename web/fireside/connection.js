/**
 * One session over as many sockets as it takes: opens them, shakes hands, notices when they die,
 * and comes back as the close code asks.
 *
 * @module
 */

import { Timer, backoff } from './backoff.js';
import { CODECS } from './codec.js';
import { CLOSE_WORDS, afterClose, localError } from './errors.js';
import { Requests } from './requests.js';
import { Upkeep } from './upkeep.js';

/** @import { Bye, Clock, ConnectionState, Hello, PresenceSet, Resumed, Socket, SocketClass, Started } from './types.js' */

/** From opening a socket to the answer of the handshake. */
const HANDSHAKE_MS = 15_000;
/** A connection that lasted this long starts the next backoff from the beginning. */
const STABLE_MS = 5_000;

/**
 * @typedef {object} ConnectionOptions
 * @property {string} url
 * @property {(how: { refresh: boolean }) => Promise<string>} getToken
 * @property {import('./codec.js').Encoding} encoding
 * @property {SocketClass} WebSocket
 * @property {Clock} clock
 * @property {string} [device]
 * @property {string} [client]
 */
/**
 * @typedef {object} ConnectionHooks
 * @property {(state: ConnectionState) => void} onState
 * @property {(started: Started) => void} onStarted
 * @property {(resumed: Resumed) => void} onResumed
 * @property {(name: string, d: any) => void} onEvent
 */

export class Connection {
  /**
   * @param {ConnectionOptions} options
   * @param {ConnectionHooks} hooks
   */
  constructor(options, hooks) {
    this.options = options;
    this.hooks = hooks;
    this.clock = options.clock;
    this.codec = CODECS[options.encoding];
    this.requests = new Requests(options.clock);
    /** @type {ConnectionState} */
    this.state = { name: 'idle' };
    /** @type {PresenceSet | undefined} told anew with every new session */
    this.presence = undefined;
    /** @type {Hello | undefined} */
    this.hello = undefined;

    /** @type {string | undefined} */
    this.sid = undefined;
    this.token = '';
    this.attempt = 0;
    this.onlineSince = 0;
    /** Failed sockets in a row that never said hello: the token may be what is wrong. */
    this.mute = 0;
    this.refresh = false;
    /** Sockets and tokens of an older generation are not listened to. */
    this.generation = 0;
    /** @type {Socket | undefined} */
    this.socket = undefined;
    /** @type {Bye | undefined} */
    this.bye = undefined;
    /** @type {{ id: number, resume: boolean } | undefined} */
    this.handshake = undefined;

    this.retryTimer = new Timer(this.clock, () => void this.open());
    this.handshakeTimer = new Timer(this.clock, () => this.drop());
    this.upkeep = new Upkeep(
      {
        ask: (op, d, timeoutMs) => this.ask(op, d, timeoutMs),
        tell: (op, d) => this.tell(op, d),
        freshToken: () => options.getToken({ refresh: true }),
        onDead: () => this.drop(),
        onNoToken: (error) => {
          if (isFatal(error)) this.stop('unauthenticated');
          return isFatal(error);
        },
      },
      this.clock,
    );
  }

  /** Connects unless it is connected or about to be. */
  connect() {
    if (this.state.name === 'idle' || this.state.name === 'stopped') {
      this.attempt = 0;
      void this.open();
    } else this.wake();
  }

  /** The network or the person is back: try now what would be tried later, or probe the socket. */
  wake() {
    if (this.state.name === 'offline') {
      this.retryTimer.clear();
      void this.open();
    } else if (this.state.name === 'online') this.upkeep.probe();
  }

  /**
   * Closes the socket and stays away. The session lives on at the server for a while.
   * @param {string} reason
   */
  stop(reason) {
    this.forget();
    this.setState({ name: 'stopped', reason });
  }

  /** Forgets the session, so that the next connection starts a new one. */
  forgetSession() {
    this.sid = undefined;
    this.upkeep.newStream();
  }

  /**
   * @param {string} op
   * @param {object} d
   * @param {number} timeoutMs
   * @returns {Promise<any>}
   */
  ask(op, d, timeoutMs) {
    if (this.state.name !== 'online') return Promise.reject(localError('connection_lost', 'not connected'));
    return this.requests.ask(op, d, timeoutMs, (command) => this.transmit(command));
  }

  /**
   * Sends a command that wants no answer; when there is no connection it is nobody's loss.
   * @param {string} op
   * @param {object} d
   */
  tell(op, d) {
    if (this.state.name === 'online') this.transmit({ op, d });
  }

  /** Opens a socket. */
  async open() {
    this.forget();
    const mine = this.generation;
    this.setState({ name: this.sid ? 'resuming' : 'connecting', attempt: this.attempt });
    let token;
    try {
      token = await this.options.getToken({ refresh: this.refresh });
    } catch (error) {
      if (mine !== this.generation) return;
      if (isFatal(error)) this.stop('unauthenticated');
      else this.retryIn(backoff(this.attempt, this.clock.random));
      return;
    }
    if (mine !== this.generation) return;
    this.refresh = false;
    this.token = token;
    const socket = new this.options.WebSocket(this.options.url, [this.codec.subprotocol, `bearer.${token}`]);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.handshakeTimer.set(HANDSHAKE_MS);
    socket.onmessage = ({ data }) => {
      if (mine === this.generation) this.receive(data);
    };
    socket.onclose = ({ code }) => {
      if (mine === this.generation) this.closed(code);
    };
  }

  /** @param {unknown} frame */
  receive(frame) {
    this.upkeep.heard();
    let objects;
    try {
      objects = this.codec.decode(frame);
    } catch {
      this.drop();
      return;
    }
    const mine = this.generation;
    for (const object of objects) {
      if (typeof object.ev === 'string') this.event(object.ev, object.d, object.s);
      else if (this.handshake && object.id === this.handshake.id) this.shaken(object);
      else this.requests.answer(object);
      // A listener may have stopped the client in the middle of the frame.
      if (mine !== this.generation) return;
    }
  }

  /**
   * @param {string} name
   * @param {any} d
   * @param {number | undefined} s
   */
  event(name, d, s) {
    if (name === 'hello') {
      this.hello = d;
      this.mute = 0;
      this.shake(this.sid !== undefined);
      return;
    }
    if (name === 'bye') this.bye = d;
    if (typeof s !== 'number' || this.upkeep.event(s)) this.hooks.onEvent(name, d);
  }

  /** @param {boolean} resume */
  shake(resume) {
    const id = ++this.requests.lastId;
    this.handshake = { id, resume };
    if (resume) this.transmit({ id, op: 'session.resume', d: { sid: this.sid, s: this.upkeep.lastS } });
    else {
      const { device, client } = this.options;
      this.transmit({ id, op: 'session.start', d: compact({ device, client, presence: this.presence }) });
    }
  }

  /**
   * The answer to the handshake. It is taken in at once and not through a promise: events may
   * follow it in the same frame, and must find the snapshot in place.
   * @param {Record<string, any>} reply
   */
  shaken(reply) {
    const resume = this.handshake?.resume === true;
    this.handshake = undefined;
    if (reply.err) {
      if (resume && !reply.err.retry) {
        this.forgetSession();
        this.shake(false);
      } else this.drop(reply.err.retry_after_ms);
      return;
    }
    this.handshakeTimer.clear();
    this.onlineSince = this.clock.now();
    this.upkeep.start({ heartbeatMs: this.hello?.heartbeat_ms ?? 25_000, token: this.token });
    if (!resume) {
      this.upkeep.newStream();
      this.sid = reply.ok.sid;
    }
    this.state = { name: 'online' };
    if (resume) this.hooks.onResumed(reply.ok);
    else this.hooks.onStarted(reply.ok);
    if (this.state.name === 'online') this.hooks.onState(this.state);
  }

  /** @param {number} code */
  closed(code) {
    const bye = this.bye;
    const greeted = this.hello !== undefined;
    const wasOnline = this.state.name === 'online';
    if (wasOnline && this.clock.now() - this.onlineSince >= STABLE_MS) this.attempt = 0;
    this.forget();
    const then = afterClose(code);
    if (then === 'stop') {
      this.forgetSession();
      this.setState({ name: 'stopped', reason: CLOSE_WORDS[code] ?? 'refused', code });
      return;
    }
    if (code === 4101 || bye?.resume === false) this.forgetSession();
    if (then === 'renew') this.refresh = true;
    if (!greeted) {
      // A refused upgrade (401) looks like any other failure to a browser, so every third socket
      // that never said hello is tried with a fresh token.
      this.mute += 1;
      if (this.mute % 3 === 1) this.refresh = true;
    }
    const jittered = backoff(this.attempt, this.clock.random, then === 'wait' ? { baseMs: 5_000 } : {});
    this.retryIn(jittered + (bye?.delay_ms ?? 0));
  }

  /** @param {number} ms */
  retryIn(ms) {
    this.setState({ name: 'offline', retryAt: this.clock.now() + ms, attempt: this.attempt });
    this.attempt += 1;
    this.retryTimer.set(ms);
  }

  /**
   * Gives the socket up as one that the network lost.
   * @param {number} [delayMs]
   */
  drop(delayMs) {
    const socket = this.socket;
    if (delayMs !== undefined) this.bye = { code: 4000, reason: '', resume: true, delay_ms: delayMs };
    this.closed(1006);
    socket?.close();
  }

  /** Lets go of the socket and of everything that hangs on it. */
  forget() {
    this.generation += 1;
    this.retryTimer.clear();
    this.handshakeTimer.clear();
    this.upkeep.stop();
    const socket = this.socket;
    this.socket = undefined;
    this.handshake = undefined;
    this.hello = undefined;
    this.bye = undefined;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      if (socket.readyState <= 1) socket.close(1000);
    }
    if (this.state.name === 'online') this.state = { name: 'offline', retryAt: this.clock.now(), attempt: this.attempt };
    this.requests.abandon();
  }

  /** @param {ConnectionState} state */
  setState(state) {
    this.state = state;
    this.hooks.onState(state);
  }

  /** @param {object} command */
  transmit(command) {
    if (this.socket?.readyState === 1) this.socket.send(this.codec.encode(command));
  }
}

/**
 * Whether `getToken` says that there will be no token until the person signs in again.
 * @param {unknown} error
 */
function isFatal(error) {
  return typeof error === 'object' && error !== null && 'fatal' in error && error.fatal === true;
}

/**
 * Leaves out what is undefined, so that both encodings send the same.
 * @param {Record<string, unknown>} members
 */
function compact(members) {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
