/**
 * What the page asks of the servers over REST.
 *
 * @module
 */

import { remember } from './begun.js';
import { ApiError, call } from './http.js';

/** @import { FriendState, Message } from '../../fireside/types.js' */
/** @import { Auth } from './auth.js' */

/** @typedef {{ id: string, name: string, avatar_url?: string | null, status_text?: string | null }} Profile */
/** @typedef {Profile & { email?: string, email_verified?: boolean, has_password?: boolean }} Own */
/** @typedef {{ provider: string, linked_at: number }} Identity */
/** @typedef {{ items: Message[], has_before: boolean, has_after: boolean, first?: number, epoch: string }} HistoryPage */
/** @typedef {{ user: Profile, state: FriendState, since: number }} FriendItem */

export class Api {
  /** @param {Auth} auth */
  constructor(auth) {
    this.auth = auth;
  }

  /**
   * @param {Parameters<typeof call>[0]} method
   * @param {string} path
   * @param {{ body?: object, query?: Record<string, string | number | undefined>, key?: string, pass?: string }} [options]
   */
  async call(method, path, options = {}) {
    const token = await this.auth.token({ refresh: false });
    try {
      return await call(method, path, { ...options, token });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      const fresh = await this.auth.token({ refresh: true });
      return call(method, path, { ...options, token: fresh });
    }
  }

  /**
   * All pages of a list.
   * @param {string} path
   * @returns {Promise<any[]>}
   */
  async all(path) {
    const items = [];
    /** @type {string | undefined} */
    let cursor;
    do {
      const page = await this.call('GET', path, { query: { cursor, limit: 500 } });
      items.push(...page.items);
      cursor = page.next ?? undefined;
    } while (cursor);
    return items;
  }

  /** @returns {Promise<Own>} */
  me() {
    return this.call('GET', '/v1/me');
  }

  /**
   * Everything the store holds about the person.
   * @returns {Promise<object>}
   */
  export() {
    return this.call('GET', '/v1/me/export');
  }

  /**
   * Has a code sent to what is to be the account's address.
   * @param {string} email
   * @param {string | undefined} password
   * @returns {Promise<{ email: string }>}
   */
  changeEmail(email, password) {
    return this.call('PUT', '/v1/me/email', { body: { email, password } });
  }

  /** @returns {Promise<{ email: string }>} where another code is on its way to */
  sendEmailCode() {
    return this.call('POST', '/v1/me/email/code');
  }

  /**
   * @param {string} code
   * @returns {Promise<Own>}
   */
  verifyEmail(code) {
    return this.call('POST', '/v1/me/email/verify', { body: { code } });
  }

  /**
   * Who one is at other providers.
   * @returns {Promise<Identity[]>}
   */
  async identities() {
    return (await this.call('GET', '/v1/me/identities')).items;
  }

  /**
   * Begins to link a provider, and gives the address of its page.
   * @param {{ name: string, label: string }} provider
   * @param {string | undefined} password
   * @returns {Promise<string>}
   */
  async beginLink({ name, label }, password) {
    const { url, secret } = await this.call('POST', `/v1/me/identities/${encodeURIComponent(name)}`, { body: { password } });
    remember({ secret, link: label });
    return url;
  }

  /**
   * Links who the provider says one is, with the ticket of somebody who is back from there.
   * @param {string} ticket
   * @param {string} secret
   */
  async link(ticket, secret) {
    await this.call('POST', '/v1/me/identities', { body: { ticket, secret } });
  }

  /** @param {string} provider */
  unlink(provider) {
    return this.call('DELETE', `/v1/me/identities/${encodeURIComponent(provider)}`);
  }

  /** @param {{ name?: string, avatar_url?: string | null, status_text?: string | null }} change */
  changeMe(change) {
    return this.call('PATCH', '/v1/me', { body: change });
  }

  /** @returns {Promise<FriendItem[]>} */
  friends() {
    return this.all('/v1/friends');
  }

  /** @returns {Promise<{ user: Profile }[]>} */
  blocks() {
    return this.all('/v1/blocks');
  }

  /**
   * @param {string} q
   * @returns {Promise<Profile[]>}
   */
  async findPeople(q) {
    return (await this.call('GET', '/v1/users', { query: { q, limit: 20 } })).items;
  }

  /**
   * @param {string} id
   * @returns {Promise<Profile>}
   */
  person(id) {
    return this.call('GET', `/v1/users/${encodeURIComponent(id)}`);
  }

  /**
   * Asks to be friends, or accepts.
   * @param {string} id
   * @returns {Promise<{ state: FriendState }>}
   */
  befriend(id) {
    return this.call('PUT', `/v1/friends/${encodeURIComponent(id)}`);
  }

  /**
   * Declines, cancels or ends.
   * @param {string} id
   */
  unfriend(id) {
    return this.call('DELETE', `/v1/friends/${encodeURIComponent(id)}`);
  }

  /**
   * @param {string} id
   * @param {boolean} on
   */
  block(id, on) {
    return this.call(on ? 'PUT' : 'DELETE', `/v1/blocks/${encodeURIComponent(id)}`);
  }

  /**
   * @param {string} room
   * @param {{ before?: number, after?: number, around?: number, limit?: number }} [where]
   * @returns {Promise<HistoryPage>}
   */
  history(room, where = {}) {
    return this.call('GET', `/v1/rooms/${encodeURIComponent(room)}/messages`, { query: where });
  }

  /**
   * @param {{ q: string, room?: string, author?: string, after?: string }} what
   * @returns {Promise<{ items: { room: string, message: Message }[], next?: string | null }>}
   */
  search(what) {
    return this.call('GET', '/v1/search', { query: what });
  }
}
