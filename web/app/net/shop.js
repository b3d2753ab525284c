/**
 * What the page asks of the shop over REST.
 *
 * @module
 */

/** @import { Money } from '../money.js' */
/** @import { Api } from './api.js' */

/** @typedef {{ sum: number, count: number }} Rating */
/**
 * @typedef {{
 *   id: string, slug: string, title: string, summary: string, publisher: { id: string, name: string },
 *   released_at: number, price: Money, full_price?: Money, rating: Rating, sold: number, cover?: string,
 *   categories: string[], tags: string[],
 * }} GameCard
 */
/** @typedef {GameCard & { description: string, state: string, media: { kind: string, url: string }[], likes: number, mine: string[] }} Game */
/**
 * @typedef {{
 *   author: { id: string, name: string }, stars: number, text: string, helpful: number,
 *   played_seconds?: number, created_at: number, updated_at: number,
 * }} Review
 */
/** @typedef {'wishlist' | 'cart' | 'likes'} ListName */
/** @typedef {{ game: GameCard, since: number }} Marked */
/**
 * @typedef {{
 *   id: string, slug: string, title: string, cover?: string, order: string, acquired_at: number,
 *   installed: boolean, played_seconds: number, played_at?: number,
 * }} Owned
 */
/** @typedef {{ game: string, title: string, price: Money, discount?: Money, refunded_at?: number }} OrderLine */
/** @typedef {{ id: string, name: string, discount: Money }} UsedCoupon */
/**
 * @typedef {{
 *   kind: string, percent?: number, cap?: number, amount?: number, currency?: string, country?: string, minimum?: number,
 *   games?: string[], categories?: string[], publishers?: string[], at_least?: number, stackable?: boolean,
 * }} CouponTerms amounts are whole minor units of `currency`
 */
/** @typedef {CouponTerms & { id: string, campaign: string, name: string, ends_at: number, state: 'good' | 'held' | 'used' | 'over' }} Coupon */
/**
 * @typedef {CouponTerms & {
 *   id: string, name: string, opens_at: number, closes_at: number, quantity: number, left: number,
 *   state: 'soon' | 'open' | 'sold_out' | 'over', mine?: string, queue_rate?: number,
 * }} CouponDrop
 */
/**
 * @typedef {{
 *   number: number, state: 'waiting' | 'admitted', ahead?: number, wait?: number, timeout?: number,
 *   pass?: string, pass_expires_at?: number,
 * }} QueuePlace times in milliseconds
 */
/** @typedef {{ country: string, total: Money, lines: OrderLine[], coupons: UsedCoupon[] }} Preview */
/** @typedef {{ id: string, country: string, total: Money, lines: OrderLine[], coupons?: UsedCoupon[], at: number, gift_for?: string, payment?: string }} Order */
/**
 * @typedef {{
 *   id: string, giver: string, recipient: string, games: { id: string, title: string }[], message?: string,
 *   state: 'waiting' | 'accepted' | 'declined' | 'taken_back' | 'expired', at: number, expires_at: number, total?: Money,
 * }} Gift
 */
/** @typedef {{ id: string, topic: string, ts: number, data: Record<string, any>, read: boolean }} Notice */
/** @typedef {{ country: string, balance: Money, providers: string[] }} Wallet */
/** What a provider is to be paid for; a gift, where there is a recipient. */
/** @typedef {{ games: string[], expected_total: number, coupons?: string[], recipient?: string, message?: string }} PaidOrder */
/**
 * @typedef {{
 *   id: string, provider: string, purpose: 'top_up' | 'order', order?: string, amount: Money, cancelled: Money, cancelling: Money,
 *   state: 'created' | 'ready' | 'approving' | 'paid' | 'partly_cancelled' | 'cancelled' | 'failed' | 'expired',
 *   next?: { kind: string, url?: string, mobile_url?: string }, failure?: string, at: number, expires_at: number,
 * }} Payment
 */
/** @typedef {{ id: string, cause: string, reference: string, amount: Money, balance: Money, at: number }} WalletEntry */
/**
 * @template T
 * @typedef {{ items: T[], next?: string | null }} Page
 */

/** How much of a long list is asked for at once. */
const PAGE = 24;

const part = encodeURIComponent;

export class ShopApi {
  /** @param {Api} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * @param {Record<string, string | number | undefined>} query
   * @returns {Promise<Page<GameCard>>}
   */
  games(query) {
    return this.api.call('GET', '/v1/games', { query: { limit: PAGE, ...query } });
  }

  /**
   * @param {string} idOrSlug
   * @returns {Promise<Game>}
   */
  game(idOrSlug) {
    return this.api.call('GET', `/v1/games/${part(idOrSlug)}`);
  }

  /**
   * @param {string} q
   * @returns {Promise<{ slug: string, title: string }[]>}
   */
  async suggestions(q) {
    return (await this.api.call('GET', '/v1/games/suggestions', { query: { q } })).items;
  }

  /** @returns {Promise<{ category: string, games: number }[]>} */
  async categories() {
    return (await this.api.call('GET', '/v1/games/categories')).items;
  }

  /** @returns {Promise<string[]>} */
  async recentSearches() {
    return (await this.api.call('GET', '/v1/searches')).items;
  }

  /** @returns {Promise<{ words: string, people: number }[]>} */
  async topSearches() {
    return (await this.api.call('GET', '/v1/searches/top')).items;
  }

  /** @param {string} q */
  searched(q) {
    return this.api.call('POST', '/v1/searches', { body: { q } });
  }

  /**
   * @param {string} game
   * @param {string} sort
   * @param {string} [cursor]
   * @returns {Promise<Page<Review>>}
   */
  reviews(game, sort, cursor) {
    return this.api.call('GET', `/v1/games/${part(game)}/reviews`, { query: { sort, cursor, limit: PAGE } });
  }

  /**
   * @param {string} game
   * @param {{ stars: number, text: string }} review
   */
  writeReview(game, review) {
    return this.api.call('PUT', `/v1/games/${part(game)}/review`, { body: review });
  }

  /** @param {string} game */
  deleteReview(game) {
    return this.api.call('DELETE', `/v1/games/${part(game)}/review`);
  }

  /**
   * @param {string} game
   * @param {string} author
   * @param {boolean} on
   */
  helpful(game, author, on) {
    return this.api.call(on ? 'PUT' : 'DELETE', `/v1/games/${part(game)}/reviews/${part(author)}/helpful`);
  }

  /**
   * @param {ListName} list
   * @returns {Promise<Marked[]>}
   */
  list(list) {
    return this.api.all(`/v1/lists/${list}`);
  }

  /**
   * @param {ListName} list
   * @param {string} game
   * @param {boolean} on
   */
  mark(list, game, on) {
    return this.api.call(on ? 'PUT' : 'DELETE', `/v1/lists/${list}/${part(game)}`);
  }

  /** @returns {Promise<Owned[]>} */
  library() {
    return this.api.all('/v1/library');
  }

  /**
   * @param {string} game
   * @param {boolean} installed
   */
  setInstalled(game, installed) {
    return this.api.call('PATCH', `/v1/library/${part(game)}`, { body: { installed } });
  }

  /**
   * What games cost together, with the coupons of the person that are best for them.
   * @param {string[]} games
   * @param {string} [recipient] the friend whom they are for
   * @returns {Promise<Preview>}
   */
  preview(games, recipient) {
    return this.api.call('POST', '/v1/orders/preview', { body: { games, recipient } });
  }

  /**
   * @param {string} key
   * @param {{ games: string[], expected_total: number, coupons: string[] }} order
   * @returns {Promise<Order>}
   */
  buy(key, order) {
    return this.api.call('POST', '/v1/orders', { key, body: order });
  }

  /**
   * @param {string} [cursor]
   * @returns {Promise<Page<Order>>}
   */
  orders(cursor) {
    return this.api.call('GET', '/v1/orders', { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} key
   * @param {string} order
   * @param {{ games: string[] }} what
   * @returns {Promise<Order>}
   */
  refund(key, order, what) {
    return this.api.call('POST', `/v1/orders/${part(order)}/refund`, { key, body: what });
  }

  /**
   * @param {string} key
   * @param {{ recipient: string, games: string[], message?: string, expected_total: number, coupons: string[] }} gift
   * @returns {Promise<Gift>}
   */
  give(key, gift) {
    return this.api.call('POST', '/v1/gifts', { key, body: gift });
  }

  /**
   * @param {'received' | 'sent'} side
   * @param {string} [cursor]
   * @returns {Promise<Page<Gift>>}
   */
  gifts(side, cursor) {
    return this.api.call('GET', '/v1/gifts', { query: { side, cursor, limit: 100 } });
  }

  /**
   * @param {string} gift
   * @param {'accept' | 'decline' | 'take_back'} how
   * @returns {Promise<Gift>}
   */
  answerGift(gift, how) {
    if (how === 'take_back') return this.api.call('DELETE', `/v1/gifts/${part(gift)}`);
    return this.api.call('PUT', `/v1/gifts/${part(gift)}/${how}`);
  }

  /**
   * @param {string} [cursor]
   * @returns {Promise<Page<Notice> & { unread: number }>}
   */
  notices(cursor) {
    return this.api.call('GET', '/v1/notices', { query: { cursor, limit: PAGE } });
  }

  /** @param {string} upTo */
  readNotices(upTo) {
    return this.api.call('PUT', '/v1/notices/read', { body: { up_to: upTo } });
  }

  /**
   * @param {string} [cursor]
   * @returns {Promise<Page<Coupon>>}
   */
  coupons(cursor) {
    return this.api.call('GET', '/v1/coupons', { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} code
   * @returns {Promise<Coupon>}
   */
  redeemCoupon(code) {
    return this.api.call('POST', '/v1/coupons/redeem', { body: { code } });
  }

  /** @returns {Promise<CouponDrop[]>} */
  drops() {
    return this.api.all('/v1/drops');
  }

  /**
   * A coupon of a drop, if there is one left.
   * @param {string} drop
   * @param {string} [pass] what the queue before it gave
   * @returns {Promise<{ coupon: Coupon, held: boolean }>}
   */
  claim(drop, pass) {
    return this.api.call('POST', `/v1/drops/${part(drop)}/claim`, { pass });
  }

  /**
   * A place in the queue before a drop; the same again for who has one.
   * @param {string} drop
   * @returns {Promise<QueuePlace>}
   */
  joinQueue(drop) {
    return this.api.call('PUT', `/v1/drops/${part(drop)}/queue`);
  }

  /**
   * @param {string} drop
   * @returns {Promise<QueuePlace>}
   */
  queuePlace(drop) {
    return this.api.call('GET', `/v1/drops/${part(drop)}/queue`);
  }

  /** @param {string} drop */
  leaveQueue(drop) {
    return this.api.call('DELETE', `/v1/drops/${part(drop)}/queue`);
  }

  /** @returns {Promise<Wallet>} */
  wallet() {
    return this.api.call('GET', '/v1/wallet');
  }

  /**
   * @param {string} [cursor]
   * @returns {Promise<Page<WalletEntry>>}
   */
  walletHistory(cursor) {
    return this.api.call('GET', '/v1/wallet/history', { query: { cursor, limit: PAGE } });
  }

  /**
   * @param {string} key
   * @param {object} payment
   * @returns {Promise<Payment>}
   */
  pay(key, payment) {
    return this.api.call('POST', '/v1/payments', { key, body: payment });
  }

  /**
   * @param {string} id
   * @returns {Promise<Payment>}
   */
  payment(id) {
    return this.api.call('GET', `/v1/payments/${part(id)}`);
  }

  /**
   * @param {string} code
   * @returns {Promise<{ amount: Money, balance: Money }>}
   */
  redeem(code) {
    return this.api.call('POST', '/v1/gift-cards/redeem', { body: { code } });
  }
}
