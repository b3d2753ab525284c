/**
 * News of the shop in words.
 *
 * @module
 */

import { money } from '../money.js';
import { shopRoute } from '../route.js';

/** @import { ShopNotice } from '../../fireside/types.js' */

/**
 * What a notice says; nothing for a topic that this page does not know.
 * @param {Pick<ShopNotice, 'topic' | 'data'>} notice
 * @returns {string | undefined}
 */
export function newsText({ topic, data }) {
  const games = () => titles(data.games);
  switch (topic) {
    case 'purchase':
      return `You bought ${games()}`;
    case 'refund':
      return `You gave back ${games()}`;
    case 'gift_received':
      return `${data.from.name} gives you ${games()}${data.message ? `: ${data.message}` : ''}`;
    case 'gift_accepted':
      return `${data.by.name} accepted ${games()}`;
    case 'gift_declined':
      return `${data.by.name} declined ${games()}; you are paid back`;
    case 'gift_taken_back':
      return `${data.by.name} took ${games()} back`;
    case 'gift_expired':
      return `Nobody answered your gift of ${games()}; you are paid back`;
    case 'price_dropped':
      return `${data.game.title} costs ${money(data.now)} now, not ${money(data.before)}`;
    case 'friend_bought':
      return `${data.friend.name} bought ${games()}, which you wish for`;
    case 'guest_book_entry':
      return `${data.from.name} wrote in your guest book`;
    case 'webhook_disabled':
      return `Your webhook at ${data.host} is disabled: it ${data.reason === 'gone' ? 'says that it is no more' : 'took nothing for days'}`;
    case 'coupon_received':
      return `A coupon for you: ${data.name}`;
    case 'queue_admitted':
      return `It is your turn: ${data.name}`;
    case 'payment':
      return paymentNews(data);
    default:
      return undefined;
  }
}

/**
 * What became of a payment. That something was bought is news of its own.
 * @param {ShopNotice['data']} payment
 */
function paymentNews({ purpose, state, amount, cancelled }) {
  if (state === 'paid') return purpose === 'order' ? `You paid ${money(amount)}` : `${money(amount)} came into your wallet`;
  if (state === 'partly_cancelled' || state === 'cancelled') return `${money(cancelled)} of a payment went back to you`;
  if (state === 'failed' || state === 'expired') return `A payment of ${money(amount)} came to nothing`;
  return undefined;
}

/**
 * Games by their titles, as one says them.
 * @param {{ title: string }[]} games
 */
export function titles(games) {
  const names = games.map((game) => game.title);
  const last = names.pop() ?? '';
  return names.length > 0 ? `${names.join(', ')} and ${last}` : last;
}

/**
 * Where one goes from a notice.
 * @param {Pick<ShopNotice, 'topic' | 'data'>} notice
 */
export function newsLink({ topic, data }) {
  switch (topic) {
    case 'purchase':
      return shopRoute('library');
    case 'refund':
      return shopRoute('orders');
    case 'payment':
      return shopRoute('wallet');
    case 'guest_book_entry':
      return shopRoute('person');
    case 'price_dropped':
      return shopRoute('game', data.game.id);
    case 'friend_bought':
      return data.games.length === 1 ? shopRoute('game', data.games[0].id) : shopRoute('wishlist');
    case 'coupon_received':
    case 'queue_admitted':
      return shopRoute('coupons');
    default:
      return topic.startsWith('gift_') ? shopRoute('gifts') : undefined;
  }
}
