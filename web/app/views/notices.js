/**
 * What the person was told of the shop, the newest first.
 *
 * @module
 */

import { batched, h, reconcile } from '../dom.js';
import { fullTimeOf, shortWhen } from '../format.js';
import { icon } from '../icons.js';
import { newsLink, newsText, titles } from './news.js';
import { giftButtons } from './shop/gift-card.js';
import { attempt } from './toast.js';

/** @import { Notice } from '../net/shop.js' */
/** @import { Session } from '../model/session.js' */

/** @type {Record<string, string>} */
const ICONS = { purchase: 'bag', refund: 'refresh', price_dropped: 'down', friend_bought: 'users', guest_book_entry: 'edit', payment: 'wallet' };

/** @param {Session} session */
export function noticesPanel(session) {
  const { shop } = session;
  /** What was unread when the panel was opened, or came since, stays marked while it is open. */
  const fresh = new Set();
  const list = h('ul', { class: 'plain-list notices', 'aria-label': 'Notices' });
  const empty = h('p', { class: 'quiet' }, 'Nothing yet. News of gifts, purchases and prices come here.');
  const more = h('button', { class: 'button wide', type: 'button', onclick: () => void attempt(() => shop.readOlderNotices()) }, 'Older');
  const draw = batched(() => {
    const known = shop.notices.filter((notice) => newsText(notice) !== undefined);
    for (const notice of known) if (!notice.read) fresh.add(notice.id);
    empty.hidden = known.length > 0;
    more.hidden = shop.moreNotices === undefined;
    reconcile(list, known, {
      key: (notice) => `${notice.id} ${fresh.has(notice.id)} ${waiting(notice) !== undefined}`,
      create: (notice) => row(notice),
    });
    // Somebody looks at them: they are read.
    if (shop.unread > 0 && list.isConnected && !document.hidden) shop.markNoticesRead().catch(() => undefined);
  });
  /** @param {Notice} notice */
  const waiting = (notice) => {
    const gift = notice.topic === 'gift_received' ? shop.gift(notice.data.gift) : undefined;
    return gift?.state === 'waiting' ? gift : undefined;
  };
  /** @param {Notice} notice */
  const row = (notice) => {
    const unread = fresh.has(notice.id);
    const gift = waiting(notice);
    const text = newsText(notice) ?? '';
    const link = newsLink(notice);
    return h(
      'li',
      { class: unread ? 'notice-row unread' : 'notice-row' },
      icon(ICONS[notice.topic] ?? 'gift'),
      h(
        'div',
        { class: 'grow' },
        unread ? h('span', { class: 'chip' }, 'New') : null,
        link ? h('a', { class: 'notice-text', href: link }, text) : h('span', { class: 'notice-text' }, text),
        h('time', { class: 'quiet', title: fullTimeOf(notice.ts) }, shortWhen(notice.ts)),
        gift ? giftButtons(session, gift, titles(gift.games)) : null,
      ),
    );
  };
  const visible = () => draw();
  document.addEventListener('visibilitychange', visible);
  const offs = [shop.on('notices', draw), shop.on('gifts', draw)];
  draw();
  return {
    view: h('div', { class: 'panel-body' }, empty, list, more),
    focus: () => list.querySelector('a')?.focus(),
    stop() {
      document.removeEventListener('visibilitychange', visible);
      offs.forEach((off) => off());
    },
  };
}
