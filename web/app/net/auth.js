/**
 * Who is signed in, and the tokens that show it.
 *
 * The refresh token has to survive a reload and is kept in localStorage: a script that runs in this
 * origin could read it. Against that stand a strict content security policy (no inline and no
 * foreign script), no markup made from text, and the server's refresh families: a token used twice
 * ends the whole family. A cookie would be out of reach of scripts, but would bring cross-site
 * request forgery and a second way to be signed in.
 *
 * The access token stands beside it. In memory alone it would be no safer, since whoever reads the
 * one reads the other, which is worth more; and every reload would be an exchange, which a second
 * reload could cut off between the server's answer and our writing it down. What is lost there
 * cannot be asked for again, and the person would have to sign in.
 *
 * Because a refresh token is good for one use, two tabs must not use the same one: the exchange
 * happens under a lock that all tabs of the origin share, and whoever finds, once it holds the
 * lock, that another tab has just been there, takes the token that tab got.
 *
 * @module
 */

import { recall, remember } from './begun.js';
import { ApiError, call } from './http.js';

const KEY = 'fireside.session';
/** A token with less than this left is exchanged before it is used. */
const MARGIN_MS = 30_000;

/** @typedef {{ id: string, name: string }} Account */
/** @typedef {{ refresh_token: string, access_token?: string, good_until?: number, user: Account }} Stored */
/** @typedef {{ ticket: string, secret: string, name?: string }} Newcomer */
/** @typedef {{ user: Account, access_token: string, refresh_token: string, expires_in: number }} Grant */

/** Signed out for good: nothing but signing in again helps. */
export class SignedOut extends Error {
  constructor() {
    super('Your session has ended. Please sign in again.');
    this.fatal = true;
  }
}

export class Auth {
  constructor() {
    /** @type {string | undefined} the token this tab used last */
    this.accessToken = undefined;
    /** @type {Promise<string> | undefined} */
    this.refreshing = undefined;
    /** Called when another tab signed out or in as somebody else. */
    this.onForeignChange = () => {};
    /** Called when the account's own change ended every session and this tab has a new one, or none any more. */
    this.onOwnChange = () => {};
    /** The account is being changed: that its sessions end is no news. */
    this.changing = false;
    addEventListener('storage', (event) => {
      if (this.changing || (event.key !== KEY && event.key !== null)) return;
      if (this.stored()?.user.id !== this.userId) this.onForeignChange();
    });
    this.userId = this.stored()?.user.id;
  }

  /** The account this browser is signed in with. */
  get account() {
    return this.stored()?.user;
  }

  /** @returns {Stored | undefined} */
  stored() {
    try {
      const value = JSON.parse(localStorage.getItem(KEY) ?? 'null');
      return typeof value?.refresh_token === 'string' ? value : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {{ email?: string, name: string, password: string }} who */
  async register(who) {
    this.accept(await call('POST', '/v1/auth/register', { body: who }));
  }

  /** @param {{ email: string, password: string } | { name: string, password: string }} who */
  async login(who) {
    this.accept(await call('POST', '/v1/auth/login', { body: who }));
  }

  /**
   * The providers one may sign in by.
   * @returns {Promise<{ name: string, label: string }[]>}
   */
  async providers() {
    const { items } = await call('GET', '/v1/auth/providers');
    return items;
  }

  /**
   * Begins to sign in by a provider, and gives the address of its page.
   * @param {string} provider
   * @returns {Promise<string>}
   */
  async beginAt(provider) {
    const { url, secret } = await call('POST', `/v1/auth/providers/${encodeURIComponent(provider)}`);
    remember({ secret });
    return url;
  }

  /**
   * Signs in with the ticket of somebody who is back from a provider; answers what a registration needs, if they
   * have no account yet.
   * @param {string} ticket
   * @returns {Promise<Newcomer | undefined>}
   */
  async finish(ticket) {
    const secret = recall()?.secret ?? '';
    const answer = await call('POST', '/v1/auth/finish', { body: { ticket, secret } });
    if (answer.ticket) return { ticket: answer.ticket, secret, name: answer.name };
    this.accept(answer);
    return undefined;
  }

  /**
   * Signs in once more as who is signed in here already: what asks for a late sign-in is then to be had. The session
   * before is ended.
   * @param {string} ticket
   * @param {string} secret
   */
  async again(ticket, secret) {
    const grant = await call('POST', '/v1/auth/finish', { body: { ticket, secret } });
    const before = this.stored();
    const same = grant.user !== undefined && grant.user.id === before?.user.id;
    if (same) await alone(async () => this.accept(grant));
    const ended = same ? before : grant;
    await call('POST', '/v1/auth/logout', { token: ended.access_token, body: { refresh_token: ended.refresh_token } }).catch(() => undefined);
    if (!same) throw new Error('There you are somebody else than here.');
  }

  /**
   * Makes an account for somebody who came by a provider.
   * @param {Newcomer} newcomer
   * @param {string} name
   */
  async registerNewcomer({ ticket, secret }, name) {
    this.accept(await call('POST', '/v1/auth/finish/register', { body: { ticket, secret, name } }));
  }

  /**
   * Has a code for a new password mailed, if the address is somebody's.
   * @param {string} email
   */
  async forgot(email) {
    await call('POST', '/v1/auth/password/forgot', { body: { email } });
  }

  /**
   * Chooses a new password with such a code, and signs in; every other session ends, this tab's own too.
   * @param {{ email: string, code: string, new_password: string }} what
   */
  async reset(what) {
    const request = () => call('POST', '/v1/auth/password/reset', { body: what });
    if (this.account) await this.change(request, (grant) => this.accept(grant));
    else this.accept(await request());
  }

  /**
   * Changes the password. The server ends every session and gives this tab a new one.
   * @param {string | undefined} current the one in force, if there is one
   * @param {string} fresh
   */
  async changePassword(current, fresh) {
    const body = { current_password: current, new_password: fresh };
    await this.change((token) => call('PUT', '/v1/me/password', { body, token }), (grant) => this.accept(grant));
  }

  /**
   * Deletes the account for good.
   * @param {string | undefined} password
   */
  async withdraw(password) {
    await this.change((token) => call('DELETE', '/v1/me', { body: { password }, token }), () => this.clear());
  }

  /**
   * Does what ends every session of the account, this tab's too, and settles it before anybody looks.
   * @param {(token: string) => Promise<any>} request
   * @param {(answer: any) => void} settle
   */
  async change(request, settle) {
    const token = await this.token({ refresh: false });
    this.changing = true;
    try {
      await alone(async () => settle(await request(token)));
      this.onOwnChange();
    } finally {
      this.changing = false;
    }
  }

  /** Waits until no tab is about to store other tokens: a socket may end before who ended it has its answer. */
  async undisturbed() {
    await alone(async () => undefined);
  }

  /** Whether another tab has got a token since this one used its own. */
  get renewedElsewhere() {
    const kept = holding(this.stored());
    return kept !== undefined && kept !== this.accessToken;
  }

  /** Ends the session here and at the server. */
  async logout() {
    const token = this.accessToken ?? this.stored()?.access_token;
    const stored = this.stored();
    this.clear();
    await call('POST', '/v1/auth/logout', { token, body: { refresh_token: stored?.refresh_token } }).catch(() => undefined);
  }

  clear() {
    this.accessToken = undefined;
    this.userId = undefined;
    localStorage.removeItem(KEY);
  }

  /** @param {Grant} grant */
  accept(grant) {
    this.accessToken = grant.access_token;
    this.userId = grant.user.id;
    const { refresh_token, access_token, user } = grant;
    // Counted from now by this clock: the token's own `exp` is by the server's, which may differ.
    const good_until = Date.now() + grant.expires_in * 1_000;
    localStorage.setItem(KEY, JSON.stringify({ refresh_token, access_token, good_until, user }));
  }

  /**
   * An access token that holds for a while yet, or a fresh one.
   * @param {{ refresh: boolean }} how
   * @returns {Promise<string>}
   */
  async token({ refresh }) {
    const kept = refresh ? undefined : holding(this.stored());
    if (kept) return (this.accessToken = kept);
    this.refreshing ??= this.exchange().finally(() => {
      this.refreshing = undefined;
    });
    return this.refreshing;
  }

  /** @returns {Promise<string>} */
  exchange() {
    const run = async () => {
      const stored = this.stored();
      if (!stored || stored.user.id !== this.userId) throw new SignedOut();
      const other = holding(stored);
      if (other && other !== this.accessToken) return (this.accessToken = other);
      try {
        /** @type {Grant} */
        const grant = await call('POST', '/v1/auth/refresh', { body: { refresh_token: stored.refresh_token } });
        this.accept(grant);
        return grant.access_token;
      } catch (error) {
        if (error instanceof ApiError && (error.code === 'unauthenticated' || error.code === 'forbidden')) {
          this.clear();
          throw new SignedOut();
        }
        throw error;
      }
    };
    return alone(run);
  }
}

/**
 * Does what changes the stored tokens while no other tab does. Web Locks exist in secure contexts only; without
 * them there is at least one exchange a tab.
 * @template T
 * @param {() => Promise<T>} run
 * @returns {Promise<T>}
 */
async function alone(run) {
  return navigator.locks ? navigator.locks.request('fireside.refresh', run) : run();
}

/**
 * The stored access token, while it holds.
 * @param {Stored | undefined} stored
 */
function holding(stored) {
  return stored?.access_token && (stored.good_until ?? 0) > Date.now() + MARGIN_MS ? stored.access_token : undefined;
}
