/**
 * The shop: its sections, and the page of it that is open.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { icon } from '../../icons.js';
import { money } from '../../money.js';
import { shopRoute } from '../../route.js';
import { browsePage } from './browse.js';
import { couponsPage } from './coupons.js';
import { frontPage } from './front.js';
import { gamePage } from './game.js';
import { giftsPage } from './gifts.js';
import { libraryPage } from './library.js';
import { cartPage, wishlistPage } from './lists.js';
import { ordersPage } from './orders.js';
import { personPage } from './person.js';
import { walletPage } from './wallet.js';

/** @import { ShopPlace } from '../../route.js' */
/** @import { Session } from '../../model/session.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/** @type {Record<string, (context: ShopContext) => ShopPage>} */
const PAGES = {
  '': frontPage,
  games: browsePage,
  game: gamePage,
  wishlist: wishlistPage,
  cart: cartPage,
  library: libraryPage,
  gifts: giftsPage,
  orders: ordersPage,
  coupons: couponsPage,
  wallet: walletPage,
  person: personPage,
};

/** @type {[string, string, string][]} */
const SECTIONS = [
  ['', 'Store', 'bag'],
  ['library', 'Library', 'game'],
  ['wishlist', 'Wishlist', 'heart'],
  ['cart', 'Cart', 'cart'],
  ['gifts', 'Gifts', 'gift'],
  ['orders', 'Orders', 'clock'],
  ['coupons', 'Coupons', 'ticket'],
  ['wallet', 'Wallet', 'wallet'],
];

/**
 * @param {Session} session
 * @param {ShopPlace} first
 */
export function shopView(session, first) {
  const { shop } = session;
  /** @type {(() => void)[]} */
  let offs = [];
  /** @type {ShopPage | undefined} */
  let page;
  let place = first;
  let stopped = false;

  const title = h('h1', { class: 'shop-title', tabindex: '-1' });
  const body = h('div', { class: 'shop-body' });
  const links = SECTIONS.map(([name, words, glyph]) => ({ name, words, count: h('span', { class: 'count' }), link: h('a', { class: 'shop-section', href: shopRoute(name) }, icon(glyph), h('span', null, words)) }));
  for (const { link, count } of links) link.append(count);
  const nav = h('nav', { class: 'shop-nav', 'aria-label': 'Shop' }, links.map(({ link }) => link));

  const drawNav = () => {
    const waiting = shop.gifts.received.items.filter((gift) => gift.state === 'waiting').length;
    for (const { name, link, count } of links) {
      const here = place.page === name || (name === '' && (place.page === 'games' || place.page === 'game'));
      if (!here) link.removeAttribute('aria-current');
      else if (!link.hasAttribute('aria-current')) {
        link.setAttribute('aria-current', 'page');
        link.scrollIntoView({ block: 'nearest', inline: 'center' });
      }
      if (name === 'cart') count.textContent = shop.cart.size > 0 ? ` ${shop.cart.size}` : '';
      if (name === 'gifts') count.textContent = waiting > 0 ? ` ${waiting}` : '';
      if (name === 'wallet') count.textContent = shop.wallet ? ` ${money(shop.wallet.balance)}` : '';
    }
  };
  const leave = () => {
    offs.forEach((off) => off());
    offs = [];
  };
  /**
   * @param {ShopPlace} next
   * @param {boolean} arrived whether the person came here from elsewhere on the page
   */
  const show = (next, arrived) => {
    const same = page?.follow && next.page === place.page && next.id === place.id;
    place = next;
    drawNav();
    if (same && page?.follow?.(next)) return;
    leave();
    let gone = false;
    offs.push(() => (gone = true));
    const make = PAGES[next.page] ?? frontPage;
    page = make({ session, shop, api: shop.api, place: next, keep: (...more) => offs.push(...more), left: () => gone || stopped });
    title.textContent = page.title;
    title.classList.toggle('sr-only', next.page === 'game');
    fill(body, title, page.view);
    body.scrollTop = 0;
    if (arrived) title.focus({ preventScroll: true });
  };
  const outer = [shop.on('shelf', drawNav), shop.on('gifts', drawNav), shop.on('wallet', drawNav)];
  shop.open();
  show(first, true);
  return {
    view: h('section', { class: 'shop', 'aria-label': 'Shop' }, nav, body),
    show: (/** @type {ShopPlace} */ next) => show(next, true),
    /** Once it stands in the page. */
    settle: () => {
      nav.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
      title.focus({ preventScroll: true });
    },
    stop() {
      stopped = true;
      leave();
      outer.forEach((off) => off());
    },
  };
}
