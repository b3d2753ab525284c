/**
 * Who runs the shop of a server: makes gift cards and changes prices, over REST.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { PASSWORD } from './people.mjs';

const run = promisify(execFile);
const EMAIL = 'keeper@example.org';

export class Shopkeeper {
  /** @param {import('./server.mjs').Server} server */
  static async hire(server) {
    const keeper = new Shopkeeper();
    keeper.url = server.url;
    const grant = await keeper.ask('POST', '/v1/auth/register', { name: 'Keeper', email: EMAIL, password: PASSWORD });
    keeper.token = grant.access_token;
    await run(server.binary, ['role', EMAIL, 'operator', '--data-dir', server.data]);
    return keeper;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async ask(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'content-type': 'application/json', 'idempotency-key': randomUUID(), ...(this.token ? { authorization: `Bearer ${this.token}` } : {}) },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  /**
   * The code of a gift card over so many cents.
   * @param {number} amount
   */
  async card(amount) {
    const { codes } = await this.ask('POST', '/v1/gift-cards', { amount, currency: 'USD', cards: 1 });
    return codes[0];
  }

  /**
   * Games that cost a few dollars and are not on sale, so that nothing but this changes their price;
   * the same ones every time.
   * @param {number} count
   */
  async games(count) {
    const { items } = await this.ask('GET', '/v1/games?sort=title&max_price=1000&limit=200');
    return items.filter((game) => game.price.minor > 0 && !game.full_price).slice(0, count);
  }

  /**
   * @param {any} game
   * @param {number} cents
   */
  async setPrice({ slug, title, summary, publisher, released_at, categories, tags }, cents) {
    const game = { title, summary, description: summary, state: 'published', released_at, categories, tags, prices: { US: cents } };
    await this.ask('PUT', `/v1/publishers/${publisher.id}/games/${slug}`, game);
  }
}

/** Cents as the page spells them. */
export const dollars = (cents) => `$${(cents / 100).toFixed(2)}`;
