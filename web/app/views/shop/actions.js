/**
 * What one can do with a game: buy it, keep it in mind, give it away.
 *
 * @module
 */

import { differs, fill, h } from '../../dom.js';
import { icon } from '../../icons.js';
import { price } from '../../money.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { toast } from '../toast.js';
import { openCheckout } from './checkout.js';
import { openGive } from './give.js';

/** @import { GameCard } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

/**
 * @param {ShopContext} context
 * @param {GameCard} game
 */
export function gameActions(context, game) {
  const { shop, keep } = context;
  const box = h('div', { class: 'game-actions', role: 'group', 'aria-label': 'What to do' });
  const out = game.released_at <= Date.now();
  const draw = () => {
    const [owned, wished, carted] = [shop.library.has(game.id), shop.wishlist.has(game.id), shop.cart.has(game.id)];
    if (!differs(box, JSON.stringify([owned, wished, carted]))) return;
    const held = box.contains(document.activeElement) ? document.activeElement?.getAttribute('data-what') : null;
    fill(
      box,
      owned
        ? h('p', { class: 'owned' }, icon('check'), 'It is in your ', h('a', { class: 'link', href: shopRoute('library') }, 'library'))
        : out
          ? [
              button('buy', 'primary', game.price.minor === 0 ? 'Get it for free' : `Buy for ${price(game.price)}`, () => openCheckout(context, [game])),
              carted
                ? h('a', { class: 'button', href: shopRoute('cart'), 'data-what': 'cart' }, icon('cart'), 'In your cart')
                : button('cart', '', 'Add to cart', () => mark('cart', true), 'cart'),
            ]
          : h('p', { class: 'owned' }, icon('clock'), `Not out yet: it comes on ${new Intl.DateTimeFormat(undefined, { dateStyle: 'long' }).format(game.released_at)}`),
      owned ? null : button('wish', '', wished ? 'On your wishlist' : 'Wish for it', () => mark('wishlist', !wished), 'heart', wished),
      out ? button('give', '', 'Give to a friend', () => openGive(context, game), 'gift') : null,
    );
    const next = box.querySelector(`[data-what="${held}"]`);
    if (held && next instanceof HTMLElement) next.focus();
  };
  /**
   * @param {'cart' | 'wishlist'} list
   * @param {boolean} on
   */
  const mark = async (list, on) => {
    try {
      await shop.mark(list, game, on);
    } catch (error) {
      toast(refusalText(error), 'error');
    }
  };
  keep(shop.on('shelf', draw));
  draw();
  return box;
}

/**
 * @param {string} what
 * @param {string} style
 * @param {string} words
 * @param {() => void} run
 * @param {string} [glyph]
 * @param {boolean} [pressed]
 */
function button(what, style, words, run, glyph, pressed) {
  return h(
    'button',
    { class: `button ${style}`, type: 'button', 'data-what': what, 'aria-pressed': pressed === undefined ? undefined : String(pressed), onclick: run },
    glyph ? icon(glyph) : null,
    words,
  );
}
