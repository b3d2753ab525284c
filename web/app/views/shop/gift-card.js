/**
 * A gift between two people, with what can be done about it.
 *
 * @module
 */

import { fill, h, reconcile } from '../../dom.js';
import { icon } from '../../icons.js';
import { price } from '../../money.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { toast } from '../toast.js';
import { titles } from '../news.js';

/** @import { Gift } from '../../net/shop.js' */
/** @import { Session } from '../../model/session.js' */

/** @type {Record<Gift['state'], string>} */
const STATES = { waiting: 'Waits for an answer', accepted: 'Accepted', declined: 'Declined', taken_back: 'Taken back', expired: 'Nobody answered' };

const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long' });

/**
 * @param {Session} session
 * @param {Gift} gift
 */
export function giftCard(session, gift) {
  const given = gift.giver === session.me.id;
  const name = session.people.name(given ? gift.recipient : gift.giver);
  const what = titles(gift.games);
  return h(
    'article',
    { class: 'gift-card', 'aria-label': given ? `Your gift to ${name}: ${what}` : `A gift from ${name}: ${what}` },
    h('span', { class: 'gift-mark' }, icon('gift')),
    h(
      'div',
      { class: 'grow' },
      h('p', { class: 'gift-title' }, given ? `You give ${name} ` : `${name} gives you `, gift.games.map((game, index) => [index > 0 ? ', ' : '', h('a', { class: 'game-title', href: shopRoute('game', game.id) }, game.title)])),
      gift.message ? h('p', { class: 'gift-message' }, `“${gift.message}”`) : null,
      h('p', { class: 'quiet' }, [STATES[gift.state], gift.state === 'waiting' ? `until ${day.format(gift.expires_at)}` : '', gift.total ? price(gift.total) : ''].filter(Boolean).join(' · ')),
    ),
    gift.state === 'waiting' ? giftButtons(session, gift, what) : null,
  );
}

/**
 * @param {Session} session
 * @param {Gift} gift
 * @param {string} what
 */
export function giftButtons({ shop, me }, gift, what) {
  const box = h('div', { class: 'row-actions' });
  const button = (/** @type {'accept' | 'decline' | 'take_back'} */ how, /** @type {string} */ words, /** @type {string} */ label, /** @type {string} */ style) =>
    h('button', { class: `button small ${style}`, type: 'button', 'aria-label': label, onclick: () => void answer(how) }, words);
  const answer = async (/** @type {'accept' | 'decline' | 'take_back'} */ how) => {
    for (const each of box.querySelectorAll('button')) each.disabled = true;
    try {
      await shop.answerGift(gift.id, how);
      toast({ accept: `${what} is in your library.`, decline: 'The gift goes back to whoever gave it.', take_back: 'The gift is taken back, and your wallet has the money.' }[how]);
    } catch (error) {
      toast(refusalText(error), 'error');
    } finally {
      for (const each of box.querySelectorAll('button')) each.disabled = false;
    }
  };
  fill(
    box,
    gift.giver === me.id
      ? button('take_back', 'Take back', `Take back ${what}`, '')
      : [button('accept', 'Accept', `Accept ${what}`, 'primary'), button('decline', 'Decline', `Decline ${what}`, '')],
  );
  return box;
}

/**
 * Gifts that wait between the person and the one they talk with.
 * @param {Session} session
 * @param {() => string | undefined} peer
 */
export function giftStrip(session, peer) {
  const list = h('ul', { class: 'plain-list gift-strip', 'aria-label': 'Gifts that wait' });
  const draw = () => {
    const user = peer();
    const gifts = user ? session.shop.waitingWith(user) : [];
    list.hidden = gifts.length === 0;
    reconcile(list, gifts, { key: (gift) => `${gift.id} ${session.people.name(gift.giver)} ${session.people.name(gift.recipient)}`, create: (gift) => h('li', null, giftCard(session, gift)) });
  };
  const stop = session.shop.on('gifts', draw);
  draw();
  return { view: list, draw, stop };
}
