/**
 * Names of requests that move money. The server does a request once for its name, so a request
 * whose answer got lost is asked again under the same one: also after a reload of the page.
 *
 * @module
 */

import { nonce } from '../../fireside.js';
import { ApiError } from '../net/http.js';

const KEY = 'fireside.requests';

/** @typedef {{ getItem(name: string): string | null, setItem(name: string, value: string): void }} Memory */

export class RequestKeys {
  /**
   * @param {Memory} [memory]
   * @param {() => string} [fresh]
   */
  constructor(memory = sessionStorage, fresh = nonce) {
    this.memory = memory;
    this.fresh = fresh;
    this.keys = this.remembered();
  }

  /**
   * Sends a request under its name. The name is kept until the request was answered, whatever the
   * answer is: what comes after that is another request.
   * @template T
   * @param {string} route
   * @param {object} body
   * @param {(key: string) => Promise<T>} send
   * @returns {Promise<T>}
   */
  async run(route, body, send) {
    const request = `${route} ${JSON.stringify(body)}`;
    const key = this.keys[request] ?? this.fresh();
    this.keep({ ...this.keys, [request]: key });
    try {
      const answer = await send(key);
      this.forget(request);
      return answer;
    } catch (error) {
      if (!isUnknown(error)) this.forget(request);
      throw error;
    }
  }

  /** @param {string} request */
  forget(request) {
    const { [request]: _, ...rest } = this.keys;
    this.keep(rest);
  }

  /** @returns {Record<string, string>} */
  remembered() {
    try {
      const value = JSON.parse(this.memory.getItem(KEY) ?? '{}');
      return value !== null && typeof value === 'object' ? value : {};
    } catch {
      return {};
    }
  }

  /** @param {Record<string, string>} keys */
  keep(keys) {
    this.keys = keys;
    try {
      this.memory.setItem(KEY, JSON.stringify(keys));
    } catch {
      // Without room for it the names last as long as the page does.
    }
  }
}

/**
 * Whether nobody can say if the server did what it was asked.
 * @param {unknown} error
 */
export function isUnknown(error) {
  return !(error instanceof ApiError) || error.status === 0 || error.status >= 500;
}
