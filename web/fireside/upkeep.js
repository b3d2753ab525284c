/**
 * What keeps a good connection good: pings against silence, acknowledgements that trim the
 * server's ring, and a fresh token before the old one runs out.
 *
 * @module
 */

import { Timer } from './backoff.js';
import { expiryOf } from './token.js';

/** @import { Clock } from './types.js' */

/** How long an answer to `ping` or to `session.renew` may take. */
const ANSWER_MS = 10_000;
/** Events are acknowledged when this many came in … */
const ACK_EVERY = 64;
/** … or this long after the first of them. */
const ACK_AFTER_MS = 5_000;
/** How long before its end a token is renewed, when it lives long enough for that. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_AGAIN_MS = 10_000;
/** A clock that is ahead makes every token look old; it must not make for an endless renewal. */
const RENEW_APART_MS = 30_000;

/**
 * @typedef {object} UpkeepHooks
 * @property {(op: string, d: object, timeoutMs: number) => Promise<any>} ask
 * @property {(op: string, d: object) => void} tell
 * @property {() => Promise<string>} freshToken
 * @property {() => void} onDead the socket answers no more
 * @property {(error: unknown) => boolean} onNoToken whether that was the end of it
 */

export class Upkeep {
  /**
   * @param {UpkeepHooks} hooks
   * @param {Clock} clock
   */
  constructor(hooks, clock) {
    this.hooks = hooks;
    this.clock = clock;
    this.every = 25_000;
    this.heardAt = 0;
    this.ackedS = 0;
    this.lastS = 0;
    /** Answers to an older run are not listened to. */
    this.run = 0;
    this.probing = false;
    /** @type {number | undefined} */
    this.expires = undefined;
    this.heartbeatTimer = new Timer(clock, () => this.heartbeat());
    this.ackTimer = new Timer(clock, () => this.ack());
    this.renewTimer = new Timer(clock, () => void this.renew());
  }

  /**
   * The connection is good.
   * @param {{ heartbeatMs: number, token: string }} how
   */
  start({ heartbeatMs, token }) {
    this.every = heartbeatMs;
    this.heartbeatTimer.set(heartbeatMs);
    this.scheduleRenewal(token);
  }

  stop() {
    this.run += 1;
    this.probing = false;
    for (const timer of [this.heartbeatTimer, this.ackTimer, this.renewTimer]) timer.clear();
  }

  /** Something came in. */
  heard() {
    this.heardAt = this.clock.now();
  }

  /** A new stream of events begins. */
  newStream() {
    this.lastS = 0;
    this.ackedS = 0;
  }

  /**
   * An event of the replayable stream came in.
   * @param {number} s
   * @returns {boolean} false when it is known already
   */
  event(s) {
    if (s <= this.lastS) return false;
    this.lastS = s;
    if (s - this.ackedS >= ACK_EVERY) this.ack();
    else if (!this.ackTimer.pending) this.ackTimer.set(ACK_AFTER_MS);
    return true;
  }

  ack() {
    this.ackTimer.clear();
    if (this.lastS === this.ackedS) return;
    this.ackedS = this.lastS;
    this.hooks.tell('session.ack', { s: this.lastS });
  }

  /** Browsers do not show the server's pings, so silence is broken with a `ping` of our own. */
  heartbeat() {
    const quiet = this.clock.now() - this.heardAt;
    if (quiet < this.every) this.heartbeatTimer.set(this.every - quiet);
    else {
      this.heartbeatTimer.set(this.every);
      this.probe();
    }
  }

  probe() {
    if (this.probing) return;
    this.probing = true;
    const { run } = this;
    this.hooks.ask('ping', {}, ANSWER_MS).then(
      () => {
        if (run === this.run) this.probing = false;
      },
      () => {
        if (run === this.run) this.hooks.onDead();
      },
    );
  }

  /** @param {string} token */
  scheduleRenewal(token) {
    this.expires = expiryOf(token);
    if (this.expires === undefined) return;
    const left = this.expires - this.clock.now();
    this.renewTimer.set(Math.max(left - RENEW_BEFORE_MS, left * 0.8 - 1_000, RENEW_APART_MS));
  }

  async renew() {
    const { run } = this;
    try {
      const token = await this.hooks.freshToken();
      if (run !== this.run) return;
      await this.hooks.ask('session.renew', { token }, ANSWER_MS);
      if (run === this.run) this.scheduleRenewal(token);
    } catch (error) {
      // The old token still holds for a while; when it runs out the server says so (4100).
      if (run === this.run && !this.hooks.onNoToken(error)) this.renewTimer.set(RENEW_AGAIN_MS);
    }
  }
}
