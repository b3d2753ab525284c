/**
 * Messages on their way out. Each carries a nonce of its own and is sent again under it until the
 * server has answered, over as many connections as that takes: an answered message is in the log
 * exactly once. Messages of one room go out in order, one at a time.
 *
 * @module
 */

import { backoff } from './backoff.js';
import { RequestError, isUnanswered, localError } from './errors.js';

/** @import { Appended, Clock, Outgoing } from './types.js' */

/** How many messages may wait, over all rooms; beyond that `send` refuses. */
export const MAX_WAITING = 500;

/**
 * @typedef {object} Waiting
 * @property {Outgoing} message
 * @property {(appended: Appended) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {number} attempt
 */

/**
 * @typedef {object} OutboxHooks
 * @property {(d: object) => Promise<Appended>} ask sends `message.send`
 * @property {() => boolean} online
 * @property {(message: Outgoing) => void} onStatus
 */

export class Outbox {
  /**
   * @param {OutboxHooks} hooks
   * @param {Clock} clock
   */
  constructor(hooks, clock) {
    this.hooks = hooks;
    this.clock = clock;
    /** @type {Map<string, Waiting[]>} by room */
    this.queues = new Map();
    /** @type {Set<string>} rooms whose first message is being sent */
    this.busy = new Set();
    this.waiting = 0;
  }

  /**
   * @param {Outgoing} message
   * @returns {Promise<Appended>}
   */
  send(message) {
    if (this.waiting >= MAX_WAITING) {
      return Promise.reject(localError('queue_full', 'too many messages wait to be sent'));
    }
    return new Promise((resolve, reject) => {
      const queue = this.queues.get(message.room) ?? [];
      this.queues.set(message.room, queue);
      queue.push({ message, resolve, reject, attempt: 0 });
      this.waiting += 1;
      this.setStatus(message, 'queued');
      void this.pump(message.room);
    });
  }

  /** There is a connection again. */
  resume() {
    for (const room of this.queues.keys()) void this.pump(room);
  }

  /**
   * Gives up everything that waits.
   * @param {string} why
   */
  clear(why) {
    for (const queue of this.queues.values()) {
      for (const waiting of queue.splice(0)) this.fail(waiting, localError('stopped', why));
    }
  }

  /** @param {string} room */
  async pump(room) {
    if (this.busy.has(room)) return;
    this.busy.add(room);
    try {
      const queue = this.queues.get(room) ?? [];
      while (queue[0] && this.hooks.online()) {
        const waiting = queue[0];
        const done = await this.trySend(waiting);
        if (done && queue[0] === waiting) queue.shift();
      }
      if (queue.length === 0) this.queues.delete(room);
    } finally {
      this.busy.delete(room);
    }
  }

  /**
   * @param {Waiting} waiting
   * @returns {Promise<boolean>} whether its fate is settled
   */
  async trySend(waiting) {
    const { message } = waiting;
    const { room, nonce, text, reply_to, mentions, data } = message;
    /** @type {Record<string, unknown>} */
    const d = { room, nonce, text };
    if (reply_to !== undefined) d.reply_to = reply_to;
    if (mentions?.length) d.mentions = mentions;
    if (data !== undefined) d.data = data;
    this.setStatus(message, 'sending');
    try {
      const appended = await this.hooks.ask(d);
      this.waiting -= 1;
      message.appended = appended;
      this.setStatus(message, 'sent');
      waiting.resolve(appended);
      return true;
    } catch (error) {
      if (message.status === 'failed') return true;
      if (isUnanswered(error)) {
        // It may be in the log already; the nonce makes the repetition harmless.
        this.setStatus(message, 'queued');
        if (error instanceof RequestError && error.code === 'timeout') waiting.attempt += 1;
        return false;
      }
      if (error instanceof RequestError && error.retry && error.code !== 'stopped') {
        this.setStatus(message, 'queued');
        const wait = error.retryAfterMs ?? backoff(waiting.attempt, this.clock.random, { baseMs: 1_000 });
        waiting.attempt += 1;
        await new Promise((resolve) => this.clock.setTimeout(() => resolve(undefined), wait));
        return false;
      }
      this.fail(waiting, error instanceof Error ? error : new Error(String(error)));
      return true;
    }
  }

  /**
   * @param {Waiting} waiting
   * @param {Error} error
   */
  fail(waiting, error) {
    this.waiting -= 1;
    waiting.message.error = error;
    this.setStatus(waiting.message, 'failed');
    waiting.reject(error);
  }

  /**
   * @param {Outgoing} message
   * @param {Outgoing['status']} status
   */
  setStatus(message, status) {
    message.status = status;
    if (status !== 'failed') delete message.error;
    this.hooks.onStatus(message);
  }
}
