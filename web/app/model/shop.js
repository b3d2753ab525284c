/**
 * What the page knows of the shop: the person's shelf (cart, wishlist, library), wallet, gifts and
 * notices. What changes elsewhere comes as a notice, and is then read again.
 *
 * @module
 */

import { Emitter } from '../../fireside/emitter.js';
import { RequestKeys } from './request-keys.js';

/** @import { ShopNotice } from '../../fireside/types.js' */
/** @import { Gift, Marked, Notice, Order, Owned, PaidOrder, ShopApi, Wallet } from '../net/shop.js' */

/** @typedef {{ shelf: undefined, wallet: undefined, gifts: undefined, notices: undefined, queue: string }} ShopEvents `queue`: something changed for the person in the queue before this drop */
/** @typedef {{ items: Gift[], next?: string | null }} GiftList */

/** @extends {Emitter<ShopEvents>} */
export class Shop extends Emitter {
  /**
   * @param {ShopApi} api
   * @param {RequestKeys} [keys]
   */
  constructor(api, keys = new RequestKeys()) {
    super();
    this.api = api;
    this.keys = keys;
    /** @type {Map<string, Marked>} */
    this.cart = new Map();
    /** @type {Map<string, Marked>} */
    this.wishlist = new Map();
    /** @type {Map<string, Owned>} */
    this.library = new Map();
    /** Whether the shelf was read. */
    this.stocked = false;
    /** @type {Wallet | undefined} */
    this.wallet = undefined;
    /** @type {{ received: GiftList, sent: GiftList }} */
    this.gifts = { received: { items: [] }, sent: { items: [] } };
    /** @type {Notice[]} the newest first */
    this.notices = [];
    /** @type {string | undefined} where the notices go on */
    this.moreNotices = undefined;
    this.unread = 0;
    this.opened = false;
    /** @type {Map<keyof ShopEvents, number>} how often something was asked */
    this.turns = new Map();
    /** @type {Map<keyof ShopEvents, number>} what is being asked, and for which time */
    this.reading = new Map();
  }

  /** Reads what is shown outside of the shop too. What cannot be read now is read with the next session. */
  async refresh() {
    const reads = [this.readNotices(), this.readGifts()];
    if (this.opened) reads.push(this.readShelf(), this.readWallet());
    await Promise.allSettled(reads);
  }

  /** The person looks at the shop. */
  open() {
    if (this.opened) return;
    this.opened = true;
    void Promise.allSettled([this.readShelf(), this.readWallet()]);
  }

  async readShelf() {
    const ask = () => Promise.all([this.api.list('cart'), this.api.list('wishlist'), this.api.library()]);
    await this.read('shelf', ask, ([cart, wishlist, library]) => {
      this.cart = byGame(cart);
      this.wishlist = byGame(wishlist);
      this.library = new Map(library.map((owned) => [owned.id, owned]));
      this.stocked = true;
    });
  }

  async readWallet() {
    await this.read('wallet', () => this.api.wallet(), (wallet) => {
      this.wallet = wallet;
    });
  }

  async readGifts() {
    const ask = () => Promise.all([this.api.gifts('received'), this.api.gifts('sent')]);
    await this.read('gifts', ask, ([received, sent]) => {
      this.gifts = { received, sent };
    });
  }

  /** @param {'received' | 'sent'} side */
  async readMoreGifts(side) {
    const list = this.gifts[side];
    if (!list.next) return;
    const page = await this.api.gifts(side, list.next);
    if (this.gifts[side] !== list) return;
    this.gifts[side] = { items: [...list.items, ...page.items], next: page.next };
    this.emit('gifts', undefined);
  }

  async readNotices() {
    await this.read('notices', () => this.api.notices(), (page) => {
      this.notices = page.items;
      this.moreNotices = page.next ?? undefined;
      this.unread = page.unread;
    });
  }

  /**
   * Of several answers to one question the one to the latest counts: an earlier one may come later.
   * @template T
   * @param {keyof ShopEvents} what
   * @param {() => Promise<T>} ask
   * @param {(answer: T) => void} take
   */
  async read(what, ask, take) {
    const turn = (this.turns.get(what) ?? 0) + 1;
    this.turns.set(what, turn);
    this.reading.set(what, turn);
    try {
      const answer = await ask();
      if (this.turns.get(what) !== turn) return;
      take(answer);
      this.emit(what, undefined);
    } finally {
      if (this.reading.get(what) === turn) this.reading.delete(what);
    }
  }

  /**
   * Something changed: an answer that is on its way may not know of it.
   * @param {'shelf' | 'notices'} what
   */
  changed(what) {
    this.emit(what, undefined);
    if (!this.reading.has(what)) return;
    void (what === 'shelf' ? this.readShelf() : this.readNotices()).catch(() => undefined);
  }

  async readOlderNotices() {
    if (!this.moreNotices) return;
    const page = await this.api.notices(this.moreNotices);
    const known = new Set(this.notices.map((notice) => notice.id));
    this.notices = [...this.notices, ...page.items.filter((notice) => !known.has(notice.id))];
    this.moreNotices = page.next ?? undefined;
    this.emit('notices', undefined);
  }

  /** The person has seen the notices that are there. */
  async markNoticesRead() {
    const newest = this.notices.reduce((latest, notice) => (notice.id > latest ? notice.id : latest), '');
    if (newest === '' || this.unread === 0) return;
    await this.api.readNotices(newest);
    this.unread = 0;
    this.emit('notices', undefined);
  }

  /**
   * Something the socket told.
   * @param {ShopNotice} notice
   */
  heard(notice) {
    if (notice.topic === 'queue_rank' || notice.topic === 'queue_admitted') this.emit('queue', String(notice.data.drop));
    // What is not kept is not among the news.
    if (notice.topic === 'queue_rank') return;
    if (!this.notices.some((known) => known.id === notice.id)) {
      this.notices = [{ ...notice, read: false }, ...this.notices];
      this.unread += 1;
      this.changed('notices');
    }
    /** @type {Promise<void>[]} */
    const reads = [];
    if (notice.topic.startsWith('gift_')) reads.push(this.readGifts());
    if (this.opened) {
      reads.push(this.readShelf());
      if (notice.topic !== 'price_dropped') reads.push(this.readWallet());
    }
    void Promise.allSettled(reads);
  }

  /**
   * @param {'cart' | 'wishlist'} list
   * @param {Marked['game']} game
   * @param {boolean} on
   */
  async mark(list, game, on) {
    await this.api.mark(list, game.id, on);
    if (on) this[list].set(game.id, { game, since: Date.now() });
    else this[list].delete(game.id);
    this.changed('shelf');
  }

  /**
   * @param {string} game
   * @param {boolean} installed
   */
  async setInstalled(game, installed) {
    await this.api.setInstalled(game, installed);
    const owned = this.library.get(game);
    if (owned) this.library.set(game, { ...owned, installed });
    this.changed('shelf');
  }

  /**
   * Pays for games from the wallet.
   * @param {string[]} games
   * @param {number} expectedTotal what the person was told, in minor units
   * @param {string[]} coupons that make it cheaper
   */
  async buy(games, expectedTotal, coupons) {
    const order = { games, expected_total: expectedTotal, coupons };
    const bought = await this.keys.run('orders', order, (key) => this.api.buy(key, order));
    await Promise.allSettled([this.readShelf(), this.readWallet()]);
    return bought;
  }

  /**
   * @param {{ recipient: string, games: string[], message?: string, expected_total: number, coupons: string[] }} gift
   */
  async give(gift) {
    const given = await this.keys.run('gifts', gift, (key) => this.api.give(key, gift));
    await Promise.allSettled([this.readGifts(), this.readWallet()]);
    return given;
  }

  /**
   * @param {string} order
   * @param {string[]} games
   * @returns {Promise<Order>}
   */
  async refund(order, games) {
    const what = { games };
    const after = await this.keys.run(`refund ${order}`, what, (key) => this.api.refund(key, order, what));
    await Promise.allSettled([this.readShelf(), this.readWallet()]);
    return after;
  }

  /**
   * Begins to pay by a provider.
   * @param {string} provider
   * @param {{ amount: number } | { order: PaidOrder }} what
   */
  pay(provider, what) {
    const payment = { provider, ...what };
    return this.keys.run('payments', payment, (key) => this.api.pay(key, payment));
  }

  /** @param {string} code */
  async redeem(code) {
    const redeemed = await this.api.redeem(code);
    await Promise.allSettled([this.readWallet()]);
    return redeemed;
  }

  /**
   * @param {string} gift
   * @param {'accept' | 'decline' | 'take_back'} how
   */
  async answerGift(gift, how) {
    try {
      await this.api.answerGift(gift, how);
    } finally {
      // Refused is read again too: somebody else was faster.
      const reads = [this.readGifts()];
      if (this.opened) reads.push(this.readShelf(), this.readWallet());
      await Promise.allSettled(reads);
    }
  }

  /** @param {string} id */
  gift(id) {
    return [...this.gifts.received.items, ...this.gifts.sent.items].find((gift) => gift.id === id);
  }

  /**
   * Gifts that wait between the person and another, the oldest first.
   * @param {string} user
   */
  waitingWith(user) {
    const received = this.gifts.received.items.filter((gift) => gift.giver === user);
    const sent = this.gifts.sent.items.filter((gift) => gift.recipient === user);
    return [...received, ...sent].filter((gift) => gift.state === 'waiting').sort((a, b) => a.at - b.at);
  }
}

/** @param {Marked[]} marked */
function byGame(marked) {
  return new Map(marked.map((item) => [item.game.id, item]));
}
