/**
 * Gifts the person was given, and gave.
 *
 * @module
 */

import { fill, h, reconcile } from '../../dom.js';
import { refusalText } from '../../model/refusal.js';
import { toast } from '../toast.js';
import { giftCard } from './gift-card.js';

/** @import { ShopContext, ShopPage } from './place.js' */

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function giftsPage(context) {
  return {
    title: 'Gifts',
    view: h('div', { class: 'shop-page' }, side(context, 'received', 'For you', 'Nobody has given you a game yet.'), side(context, 'sent', 'From you', 'You have given nothing away yet. On a game’s page choose “Give to a friend”.')),
  };
}

/**
 * @param {ShopContext} context
 * @param {'received' | 'sent'} which
 * @param {string} title
 * @param {string} empty
 */
function side({ session, shop, keep }, which, title, empty) {
  const list = h('ul', { class: 'plain-list gifts', 'aria-label': title });
  const note = h('p', { class: 'shop-note' });
  const more = h('button', { class: 'button', type: 'button', onclick: () => void older() }, 'Show more');
  const older = async () => {
    try {
      await shop.readMoreGifts(which);
    } catch (error) {
      toast(refusalText(error), 'error');
    }
  };
  const draw = () => {
    const { items, next } = shop.gifts[which];
    note.textContent = items.length === 0 ? empty : '';
    more.hidden = !next;
    const name = (/** @type {string} */ id) => session.people.name(id);
    reconcile(list, items, {
      key: (gift) => `${gift.id} ${gift.state} ${name(gift.giver)} ${name(gift.recipient)}`,
      create: (gift) => h('li', null, giftCard(session, gift)),
    });
  };
  keep(shop.on('gifts', draw), session.on('people', draw));
  draw();
  const section = h('section', { class: 'shelf', 'aria-label': title });
  fill(section, h('h2', null, title), list, note, more);
  return section;
}
