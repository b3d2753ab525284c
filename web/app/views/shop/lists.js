/**
 * The wishlist and the cart.
 *
 * @module
 */

import { fill, h, reconcile } from '../../dom.js';
import { plural } from '../../format.js';
import { icon } from '../../icons.js';
import { money, total } from '../../money.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { toast } from '../toast.js';
import { cover, priceTag, ratingLine } from './card.js';
import { openCheckout } from './checkout.js';

/** @import { Marked } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function wishlistPage(context) {
  const { shop } = context;
  return {
    title: 'Wishlist',
    view: markedList(context, {
      list: 'wishlist',
      label: 'Wished for',
      empty: 'Nothing wished for yet. On a game’s page choose “Wish for it”, and hear of it when the price falls.',
      action: (marked) =>
        h(
          'button',
          { class: 'button small', type: 'button', 'aria-label': `Add to cart: ${marked.game.title}`, onclick: () => void say(() => shop.mark('cart', marked.game, true)) },
          icon('cart'),
          'Add to cart',
        ),
    }),
  };
}

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function cartPage(context) {
  const { shop, keep } = context;
  const foot = h('div', { class: 'cart-foot' });
  const draw = () => {
    const games = [...shop.cart.values()].map((marked) => marked.game);
    const first = games[0]?.price;
    foot.hidden = first === undefined;
    if (!first) return;
    fill(
      foot,
      h('p', null, `${plural(games.length, 'game')}, together `, h('strong', null, money(total(games.map((game) => game.price), first)))),
      h('button', { class: 'button primary', type: 'button', onclick: () => openCheckout(context, games) }, 'Check out'),
    );
  };
  keep(shop.on('shelf', draw));
  draw();
  return {
    title: 'Cart',
    view: h('div', null, markedList(context, { list: 'cart', label: 'In the cart', empty: 'Your cart is empty.', action: () => null }), foot),
  };
}

/**
 * @param {ShopContext} context
 * @param {{ list: 'cart' | 'wishlist', label: string, empty: string, action: (marked: Marked) => HTMLElement | null }} how
 */
function markedList({ shop, keep }, { list: name, label, empty, action }) {
  const list = h('ul', { class: 'plain-list game-rows', 'aria-label': label });
  const note = h('p', { class: 'shop-note', role: 'status' });
  const draw = () => {
    const held = list.contains(document.activeElement);
    const items = [...shop[name].values()].sort((a, b) => b.since - a.since);
    note.textContent = shop.stocked ? (items.length === 0 ? empty : '') : 'Loading…';
    reconcile(list, items, {
      key: ({ game }) => `${game.id} ${game.price.minor} ${game.full_price?.minor}`,
      create: (marked) => row(marked),
    });
    if (held && !list.contains(document.activeElement)) {
      const next = list.querySelector('a') ?? note;
      if (next === note) note.tabIndex = -1;
      next.focus();
    }
  };
  const row = (/** @type {Marked} */ marked) =>
    h(
      'li',
      { class: 'game-row' },
      cover(marked.game, 'cover-small'),
      h('div', { class: 'grow' }, h('a', { class: 'game-title', href: shopRoute('game', marked.game.slug) }, marked.game.title), h('p', { class: 'game-foot' }, ratingLine(marked.game.rating), priceTag(marked.game))),
      h(
        'div',
        { class: 'row-actions' },
        action(marked),
        h(
          'button',
          { class: 'icon-button', type: 'button', 'aria-label': `Remove ${marked.game.title}`, title: 'Remove', onclick: () => void say(() => shop.mark(name, marked.game, false)) },
          icon('x'),
        ),
      ),
    );
  keep(shop.on('shelf', draw));
  draw();
  return h('div', { class: 'shop-page' }, list, note);
}

/** @param {() => Promise<unknown>} run */
async function say(run) {
  try {
    await run();
  } catch (error) {
    toast(refusalText(error), 'error');
  }
}
