/**
 * A game in a list: its cover, its title, what it costs, what people think.
 *
 * @module
 */

import { h, safeUrl, unseen } from '../../dom.js';
import { icon } from '../../icons.js';
import { percentOff, price } from '../../money.js';
import { shopRoute } from '../../route.js';

/** @import { Money } from '../../money.js' */
/** @import { GameCard, Rating } from '../../net/shop.js' */
/** @import { Shop } from '../../model/shop.js' */

const HUES = 8;

/**
 * The first picture of a game; without one, or until it is there, its title on a colour of its own.
 * @param {{ id: string, title: string, cover?: string }} game
 * @param {string} [style]
 */
export function cover(game, style = '') {
  let sum = 0;
  for (const letter of game.title) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  const face = h('span', { class: `cover hue-${sum % HUES} ${style}`, 'aria-hidden': 'true' }, h('span', { class: 'cover-words' }, game.title));
  const url = game.cover ? safeUrl(game.cover) : undefined;
  if (url) {
    const picture = h('img', { src: url, alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
    picture.addEventListener('error', () => picture.remove());
    face.append(picture);
  }
  return face;
}

/**
 * @param {{ price: Money, full_price?: Money | null }} game
 */
export function priceTag(game) {
  const off = percentOff(game.price, game.full_price);
  return h(
    'span',
    { class: 'price' },
    off > 0 ? h('span', { class: 'price-off' }, `−${off}%`, unseen(', ')) : null,
    game.full_price && off > 0 ? h('s', null, unseen('before '), price(game.full_price), unseen(', now ')) : null,
    h('span', { class: 'price-now' }, price(game.price)),
  );
}

/** @param {Rating} rating */
export function ratingLine({ sum, count }) {
  if (count === 0) return h('span', { class: 'rating quiet' }, 'No reviews yet');
  const average = (sum / count).toFixed(1);
  return h('span', { class: 'rating' }, icon('star'), unseen('Rated '), average, unseen(' of 5 by '), h('span', { class: 'quiet' }, `(${count})`));
}

/**
 * @param {Shop} shop
 * @param {GameCard} game
 */
export function gameCard(shop, game) {
  return h(
    'li',
    { class: 'game-card' },
    h(
      'a',
      { class: 'game-link', href: shopRoute('game', game.slug) },
      cover(game),
      h(
        'span',
        { class: 'game-words' },
        h('span', { class: 'game-title' }, game.title, unseen('.')),
        h('span', { class: 'game-about' }, game.categories.map(named).join(', '), unseen('.')),
        h('span', { class: 'game-foot' }, ratingLine(game.rating), priceTag(game)),
        h('span', { class: 'game-mark', 'data-game': game.id }, markOf(shop, game.id)),
      ),
    ),
  );
}

/**
 * Where the person has a game already.
 * @param {Shop} shop
 * @param {string} game
 */
function markOf(shop, game) {
  if (shop.library.has(game)) return 'In your library';
  if (shop.cart.has(game)) return 'In your cart';
  return shop.wishlist.has(game) ? 'On your wishlist' : '';
}

/**
 * Says it anew on the cards within an element.
 * @param {Shop} shop
 * @param {Element} root
 */
export function drawMarks(shop, root) {
  for (const mark of root.querySelectorAll('.game-mark')) {
    if (mark instanceof HTMLElement) mark.textContent = markOf(shop, mark.dataset.game ?? '');
  }
}

/**
 * A category or a tag, as a person reads it.
 * @param {string} word
 */
export function named(word) {
  const text = word.replaceAll('-', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * A link to what is like it.
 * @param {string} word
 * @param {string} href
 * @param {string | number} [count]
 */
export function chipLink(word, href, count) {
  return h('a', { class: 'chip-link', href }, word, count === undefined ? null : h('span', { class: 'count' }, ` ${count}`));
}
