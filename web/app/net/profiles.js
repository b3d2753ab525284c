/**
 * What the page asks of people's profiles over REST: what they show to whom, and what is written there.
 *
 * @module
 */

/** @import { Api, Profile } from './api.js' */
/** @import { Marked, Page } from './shop.js' */

/** @typedef {'public' | 'friends' | 'nobody'} Audience */
/** @typedef {'profile' | 'friends' | 'library' | 'wishlist' | 'play_time' | 'guest_book' | 'guest_book_entries'} Section */
/** @typedef {Record<Section, Audience>} Privacy */
/** @typedef {{ id: string, author: Profile, text: string, at: number, hidden?: boolean }} GuestBookEntry */
/** @typedef {{ id: string, slug: string, title: string, cover?: string, played_seconds?: number, played_at?: number }} ShownGame */

/** How much of a long list is asked for at once. */
const PAGE = 24;

const part = encodeURIComponent;

export class ProfilesApi {
  /** @param {Api} api */
  constructor(api) {
    this.api = api;
  }

  /** @returns {Promise<Privacy>} */
  privacy() {
    return this.api.call('GET', '/v1/me/privacy');
  }

  /**
   * @param {Partial<Privacy>} change
   * @returns {Promise<Privacy>}
   */
  changePrivacy(change) {
    return this.api.call('PATCH', '/v1/me/privacy', { body: change });
  }

  /**
   * @param {string} owner
   * @param {string} [cursor]
   * @returns {Promise<Page<GuestBookEntry>>}
   */
  guestBook(owner, cursor) {
    return this.api.call('GET', `/v1/users/${part(owner)}/guest-book`, { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} key
   * @param {string} owner
   * @param {string} text
   * @returns {Promise<GuestBookEntry>}
   */
  writeInGuestBook(key, owner, text) {
    return this.api.call('POST', `/v1/users/${part(owner)}/guest-book`, { key, body: { text } });
  }

  /**
   * @param {string} owner
   * @param {string} entry
   */
  deleteEntry(owner, entry) {
    return this.api.call('DELETE', `/v1/users/${part(owner)}/guest-book/${part(entry)}`);
  }

  /**
   * Hides an entry of one's own book from visitors, or shows it again.
   * @param {string} owner
   * @param {string} entry
   * @param {boolean} hidden
   */
  hideEntry(owner, entry, hidden) {
    return this.api.call(hidden ? 'PUT' : 'DELETE', `/v1/users/${part(owner)}/guest-book/${part(entry)}/hidden`);
  }

  /**
   * @param {string} owner
   * @param {string} [cursor]
   * @returns {Promise<Page<ShownGame>>}
   */
  libraryOf(owner, cursor) {
    return this.api.call('GET', `/v1/users/${part(owner)}/library`, { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} owner
   * @param {string} [cursor]
   * @returns {Promise<Page<Marked>>}
   */
  wishlistOf(owner, cursor) {
    return this.api.call('GET', `/v1/users/${part(owner)}/wishlist`, { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} owner
   * @param {string} [cursor]
   * @returns {Promise<Page<Profile>>}
   */
  friendsOf(owner, cursor) {
    return this.api.call('GET', `/v1/users/${part(owner)}/friends`, { query: { cursor, limit: PAGE } });
  }
}
