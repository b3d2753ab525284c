/**
 * Games that are searched for or looked through; what was chosen stands in the address.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { icon } from '../../icons.js';
import { shopRoute } from '../../route.js';
import { drawMarks, gameCard, named } from './card.js';
import { pagedList } from './paged.js';
import { searchBox } from './search-box.js';

/** @import { ShopContext, ShopPage } from './place.js' */

/** @type {[string, string][]} */
const ORDERS = [
  ['', 'Best match'],
  ['popular', 'Most bought'],
  ['newest', 'Newest'],
  ['rating', 'Top rated'],
  ['price', 'Cheapest first'],
  ['-price', 'Dearest first'],
  ['title', 'By title'],
];

/** What an address may say. */
const FILTERS = ['q', 'category', 'tag', 'publisher', 'max_price', 'on_sale', 'sort'];

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function browsePage(context) {
  const { shop, api, keep, left } = context;
  /** @type {Record<string, string | undefined>} */
  let query = known(context.place.query);

  /** @param {Record<string, string | undefined>} change */
  const change = (change) => {
    query = { ...query, ...change };
    if (!query.q && query.sort === 'relevance') query.sort = undefined;
    history.replaceState(null, '', shopRoute('games', undefined, query));
    settle();
    list.reload();
  };
  const category = h('select', { 'aria-label': 'Category', onchange: () => change({ category: category.value }) }, h('option', { value: '' }, 'All categories'));
  const order = h('select', { 'aria-label': 'Order', onchange: () => change({ sort: order.value }) });
  const sale = h('input', { type: 'checkbox', onchange: () => change({ on_sale: sale.checked ? 'true' : '' }) });
  const most = h('input', {
    type: 'number',
    min: '0',
    step: 'any',
    inputmode: 'decimal',
    'aria-label': 'Costs at most',
    placeholder: 'Costs at most',
    onchange: () => change({ max_price: most.value === '' ? '' : String(Math.max(0, Math.round(Number(most.value) * scale()))) }),
  });
  const chosen = h('ul', { class: 'plain-list chips', 'aria-label': 'Chosen' });
  /** Minor units in a major one, where the person buys. */
  const scale = () => 10 ** (shop.wallet?.balance.exponent ?? 0);

  const settle = () => {
    category.value = query.category ?? '';
    const orders = ORDERS.map(([value, name]) => h('option', { value }, value === '' && !query.q ? 'In usual order' : name));
    fill(order, orders);
    order.value = query.sort === 'relevance' ? '' : (query.sort ?? '');
    sale.checked = query.on_sale === 'true';
    most.value = query.max_price ? String(Number(query.max_price) / scale()) : '';
    fill(
      chosen,
      query.tag ? chip(named(query.tag), () => change({ tag: '' })) : null,
      query.publisher ? chip('One publisher', () => change({ publisher: '' })) : null,
    );
  };
  const list = pagedList({
    label: 'Games found',
    class: 'game-grid',
    empty: 'No game fits. Try fewer words or filters.',
    load: (cursor) => api.games({ ...query, cursor }),
    row: (game) => gameCard(shop, game),
  });
  keep(
    shop.on('shelf', () => drawMarks(shop, list.list)),
    shop.on('wallet', settle),
  );
  api.categories().then(
    (items) => {
      if (left()) return;
      category.append(...items.map((item) => h('option', { value: item.category }, `${named(item.category)} (${item.games})`)));
      settle();
    },
    () => undefined,
  );
  const holder = h('div', null, searchBox(context, query.q ?? '', (q) => change({ q })));
  settle();
  return {
    title: 'Games',
    view: h(
      'div',
      { class: 'shop-page' },
      holder,
      h('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' }, category, order, most, h('label', { class: 'check' }, sale, 'On sale')),
      chosen,
      list.view,
    ),
    follow: (place) => {
      query = known(place.query);
      fill(holder, searchBox(context, query.q ?? '', (q) => change({ q })));
      settle();
      list.reload();
      return true;
    },
  };
}

/** @param {Record<string, string>} query */
function known(query) {
  return Object.fromEntries(Object.entries(query).filter(([name]) => FILTERS.includes(name)));
}

/**
 * @param {string} text
 * @param {() => void} remove
 */
function chip(text, remove) {
  return h('li', null, h('button', { class: 'chip-link', type: 'button', 'aria-label': `Without: ${text}`, onclick: remove }, text, icon('x')));
}
