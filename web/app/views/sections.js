/**
 * The ways to the sections of the page: buttons over the chats on a wide window, tabs at the bottom
 * of a narrow one.
 *
 * @module
 */

import { h } from '../dom.js';
import { plural } from '../format.js';
import { icon } from '../icons.js';

/** @import { Session } from '../model/session.js' */

/** @typedef {'chats' | 'shop' | 'friends' | 'notices'} Section */

/**
 * @param {Session} session
 * @param {Record<Section, () => void>} go
 */
export function sections(session, go) {
  const tab = (/** @type {string} */ label, /** @type {string} */ glyph, /** @type {() => void} */ run) =>
    h('button', { class: 'tab', type: 'button', 'aria-label': label, onclick: run }, icon(glyph), h('span', null, label));
  const tabs = {
    chats: tab('Chats', 'chat', go.chats),
    shop: tab('Shop', 'bag', go.shop),
    friends: tab('Friends', 'users', go.friends),
    notices: tab('Notices', 'bell', go.notices),
  };
  const button = (/** @type {string} */ label, /** @type {string} */ glyph, /** @type {string} */ style, /** @type {() => void} */ run) =>
    h('button', { class: `icon-button ${style}`, type: 'button', 'aria-label': label, title: label, onclick: run }, icon(glyph));
  const buttons = {
    shop: button('Shop', 'bag', 'not-narrow', go.shop),
    notices: button('Notices', 'bell', 'not-narrow', go.notices),
    friends: button('Friends', 'users', 'only-medium', go.friends),
  };
  /** @type {Section} */
  let current = 'chats';

  const count = (/** @type {'friends' | 'notices'} */ section, /** @type {number} */ number, /** @type {string} */ label) => {
    for (const each of [tabs[section], buttons[section]]) {
      each.dataset.count = number > 99 ? '99+' : String(number);
      each.setAttribute('aria-label', label);
    }
  };
  const draw = () => {
    for (const [name, each] of Object.entries(tabs)) each.setAttribute('aria-current', String(name === current));
    buttons.shop.setAttribute('aria-current', String(current === 'shop'));
    const requests = session.people.inState('incoming').length;
    count('friends', requests, requests > 0 ? `Friends, ${plural(requests, 'request')}` : 'Friends');
    const { unread } = session.shop;
    count('notices', unread, unread > 0 ? `Notices, ${unread} unread` : 'Notices');
  };
  const offs = [session.on('people', draw), session.shop.on('notices', draw)];
  return {
    tabs: h('nav', { class: 'tabs', 'aria-label': 'Sections' }, Object.values(tabs)),
    buttons: Object.values(buttons),
    show: (/** @type {Section} */ section) => {
      current = section;
      draw();
    },
    stop: () => offs.forEach((off) => off()),
  };
}
