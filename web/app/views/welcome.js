/**
 * What stands in the middle while no room is open.
 *
 * @module
 */

import { h } from '../dom.js';
import { flame } from '../icons.js';

/** @import { Session } from '../model/session.js' */

/**
 * @param {Session} session
 * @param {() => void} findFriends
 */
export function welcome(session, findFriends) {
  return h(
    'div',
    { class: 'welcome' },
    flame(),
    h('h1', null, `Welcome, ${session.me.name}`),
    h('p', null, 'Open a chat on the left, or see who is around.'),
    h('button', { class: 'button primary', type: 'button', onclick: findFriends }, 'Find friends'),
  );
}
