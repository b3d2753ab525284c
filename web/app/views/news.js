/**
 * News of the shop in words.
 *
 * @module
 */

/** @import { ShopNotice } from '../../fireside/types.js' */

/**
 * What a notice says; nothing for a topic that this page does not know.
 * @param {ShopNotice} notice
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
    default:
      return undefined;
  }
}

/** @param {{ title: string }[]} games */
function titles(games) {
  const names = games.map((game) => game.title);
  const last = names.pop() ?? '';
  return names.length > 0 ? `${names.join(', ')} and ${last}` : last;
}

/** @param {{ minor: number, currency: string, exponent: number }} amount */
function money({ minor, currency, exponent }) {
  return new Intl.NumberFormat('en', { style: 'currency', currency }).format(minor / 10 ** exponent);
}
