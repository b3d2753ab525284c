/**
 * The front of the shop: what is new, what is on sale, what people like, and ways in.
 *
 * @module
 */

import { fill, h, unseen } from '../../dom.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { chipLink, drawMarks, gameCard, named } from './card.js';
import { searchBox } from './search-box.js';

/** @import { ShopContext, ShopPage } from './place.js' */

/** How many games a shelf shows. */
const SHELF = 6;

/** @type {{ title: string, query: Record<string, string>, rated?: boolean }[]} */
const SHELVES = [
  { title: 'On sale', query: { on_sale: 'true', sort: 'popular' } },
  { title: 'New', query: { sort: 'newest' } },
  // Behind what people rated comes what nobody did.
  { title: 'Top rated', query: { sort: 'rating' }, rated: true },
  { title: 'Most bought', query: { sort: 'popular' } },
];

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function frontPage(context) {
  const shelves = SHELVES.map((shelf) => shelfView(context, shelf));
  return {
    title: 'Store',
    view: h('div', { class: 'shop-page' }, searchBox(context, '', search), categories(context), shelves, wanted(context)),
  };
}

/** @param {string} q */
function search(q) {
  location.hash = shopRoute('games', undefined, { q });
}

/**
 * @param {ShopContext} context
 * @param {(typeof SHELVES)[number]} shelf
 */
function shelfView({ shop, api, keep, left }, { title, query, rated }) {
  const list = h('ul', { class: 'plain-list game-grid', 'aria-label': title });
  const note = h('p', { class: 'shop-note' }, 'Loading…');
  const section = h(
    'section',
    { class: 'shelf', 'aria-label': title },
    h('header', { class: 'shelf-head' }, h('h2', null, title), h('a', { class: 'link', href: shopRoute('games', undefined, query) }, 'See all', unseen(`: ${title}`))),
    list,
    note,
  );
  api.games({ ...query, limit: SHELF }).then(
    ({ items }) => {
      if (left()) return;
      const games = rated ? items.filter((game) => game.rating.count > 0) : items;
      section.hidden = games.length === 0;
      note.remove();
      fill(list, games.map((game) => gameCard(shop, game)));
    },
    (error) => (note.textContent = refusalText(error)),
  );
  keep(shop.on('shelf', () => drawMarks(shop, list)));
  return section;
}

/** @param {ShopContext} context */
function categories({ api, left }) {
  const list = h('ul', { class: 'plain-list chips', 'aria-label': 'Categories' });
  api.categories().then(
    (items) => {
      if (left()) return;
      const there = items.filter((item) => item.games > 0);
      fill(list, there.map((item) => h('li', null, chipLink(named(item.category), shopRoute('games', undefined, { category: item.category }), item.games))));
    },
    () => undefined,
  );
  return list;
}

/**
 * What many searched for.
 * @param {ShopContext} context
 */
function wanted({ api, left }) {
  const list = h('ul', { class: 'plain-list chips', 'aria-label': 'Searched for this week' });
  const section = h('section', { class: 'shelf', 'aria-label': 'Searched for this week', hidden: true }, h('h2', null, 'Searched for this week'), list);
  api.topSearches().then(
    (items) => {
      if (left()) return;
      section.hidden = items.length === 0;
      fill(list, items.map(({ words }) => h('li', null, chipLink(words, shopRoute('games', undefined, { q: words })))));
    },
    () => undefined,
  );
  return section;
}
