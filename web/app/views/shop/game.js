/**
 * One game: pictures, price, what there is to say, and what people think of it.
 *
 * @module
 */

import { fill, h, safeUrl } from '../../dom.js';
import { plural } from '../../format.js';
import { ApiError } from '../../net/http.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { gameActions } from './actions.js';
import { chipLink, cover, named, priceTag, ratingLine } from './card.js';
import { reviewsView } from './reviews.js';

/** @import { Game } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'long' });

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function gamePage(context) {
  const { api, place, left } = context;
  const view = h('div', { class: 'shop-page game-page' }, h('p', { class: 'shop-note', role: 'status' }, 'Loading…'));
  const title = h('h2', { class: 'game-name', tabindex: '-1' });
  api.game(place.id ?? '').then(
    (game) => {
      if (left()) return;
      title.textContent = game.title;
      fill(view, head(context, game, title), about(game), gallery(game), reviewsView(context, game, () => void rate(api, game, view)));
      // Whoever has gone on meanwhile is left where they are.
      if (document.activeElement?.matches('body, .shop-title')) title.focus({ preventScroll: true });
    },
    (error) => {
      const gone = error instanceof ApiError && error.status === 404;
      fill(view, h('p', { class: 'shop-note', role: 'status' }, gone ? 'There is no such game, or it is not sold where you buy.' : refusalText(error)));
    },
  );
  return { title: 'Game', view };
}

/**
 * Says anew what people think of it together.
 * @param {ShopContext['api']} api
 * @param {Game} game
 * @param {HTMLElement} view
 */
async function rate(api, game, view) {
  const line = view.querySelector('.game-rating');
  const { rating } = await api.game(game.id).catch(() => game);
  if (line) fill(line, ratingLine(rating));
}

/**
 * @param {ShopContext} context
 * @param {Game} game
 * @param {HTMLElement} title
 */
function head(context, game, title) {
  const out = game.released_at <= Date.now();
  return h(
    'header',
    { class: 'game-head' },
    cover(game, 'cover-large'),
    h(
      'div',
      { class: 'game-facts' },
      title,
      h('p', { class: 'game-by' }, 'by ', h('a', { class: 'link', href: shopRoute('games', undefined, { publisher: game.publisher.id }) }, game.publisher.name)),
      h('p', { class: 'game-line' }, h('span', { class: 'game-rating' }, ratingLine(game.rating)), h('span', { class: 'quiet' }, `${out ? 'Out since' : 'Comes on'} ${day.format(game.released_at)}`), game.sold > 0 ? h('span', { class: 'quiet' }, `Bought ${plural(game.sold, 'time')}`) : null),
      h('p', null, game.summary),
      game.state === 'withdrawn' ? h('p', { class: 'form-notice' }, 'It is not sold any more.') : priceTag(game),
      game.state === 'withdrawn' ? null : gameActions(context, game),
    ),
  );
}

/** @param {Game} game */
function about(game) {
  return h(
    'section',
    { 'aria-label': 'About this game' },
    h('h3', null, 'About this game'),
    game.description.split(/\n{2,}/u).filter(Boolean).map((text) => h('p', { class: 'game-text' }, text)),
    h(
      'ul',
      { class: 'plain-list chips', 'aria-label': 'What it is like' },
      game.categories.map((category) => h('li', null, chipLink(named(category), shopRoute('games', undefined, { category })))),
      game.tags.map((tag) => h('li', null, chipLink(named(tag), shopRoute('games', undefined, { tag })))),
    ),
  );
}

/** @param {Game} game */
function gallery(game) {
  if (game.media.length === 0) return null;
  return h(
    'section',
    { 'aria-label': 'Pictures and films' },
    h('h3', null, 'Pictures and films'),
    h(
      'ul',
      { class: 'plain-list gallery' },
      game.media.map((medium, index) => {
        if (safeUrl(medium.url) === undefined) return null;
        // A film is played where it lies: the page loads nothing but pictures from elsewhere.
        const name = medium.kind === 'video' ? `Watch film ${index + 1}` : `Picture ${index + 1} of ${game.title}`;
        const inside = medium.kind === 'video' ? h('span', { class: 'film' }, '▶ Watch the film') : h('img', { src: medium.url, alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
        return h('li', null, h('a', { href: medium.url, target: '_blank', rel: 'noopener noreferrer', 'aria-label': name }, inside));
      }),
    ),
  );
}
