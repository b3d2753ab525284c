/**
 * Commands that wait for their answers.
 *
 * @module
 */

import { RequestError, localError } from './errors.js';

/** @import { Clock } from './types.js' */

/**
 * @typedef {object} Waiting
 * @property {(ok: any) => void} resolve
 * @property {(error: RequestError) => void} reject
 * @property {unknown} timer
 */

export class Requests {
  /** @param {Clock} clock */
  constructor(clock) {
    this.clock = clock;
    this.lastId = 0;
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
  }

  /**
   * Names a command and waits for its answer.
   * @param {string} op
   * @param {object} d
   * @param {number} timeoutMs
   * @param {(command: object) => void} send
   * @returns {Promise<any>}
   */
  ask(op, d, timeoutMs, send) {
    this.lastId += 1;
    const id = this.lastId;
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimeout(() => {
        this.waiting.delete(id);
        reject(localError('timeout', `${op}: no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiting.set(id, { resolve, reject, timer });
      send({ id, op, d });
    });
  }

  /**
   * Takes a reply in; one that nobody waits for any more is ignored.
   * @param {{ id?: number, ok?: any, err?: any }} reply
   */
  answer(reply) {
    if (typeof reply.id !== 'number') return;
    const waiting = this.waiting.get(reply.id);
    if (!waiting) return;
    this.waiting.delete(reply.id);
    this.clock.clearTimeout(waiting.timer);
    if (reply.err) waiting.reject(new RequestError(reply.err));
    else waiting.resolve(reply.ok ?? {});
  }

  /** The socket is gone: none of these will be answered. */
  abandon() {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    for (const waiting of all) {
      this.clock.clearTimeout(waiting.timer);
      waiting.reject(localError('connection_lost', 'the connection was lost before the answer came'));
    }
  }
}
