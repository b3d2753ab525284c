/**
 * The friends panel: search for people, requests, and friends grouped by how they are.
 *
 * @module
 */

import { batched, differs, fill, h, reconcile, unseen } from '../dom.js';
import { activityDetail, presenceLine } from '../format.js';
import { icon } from '../icons.js';
import { GROUPS } from '../model/people.js';
import { avatar } from './avatar.js';
import { openMenu } from './menu.js';
import { peopleSearch } from './people-search.js';
import { personActions } from './person-actions.js';
import { requestList } from './requests.js';
import { roving } from './roving.js';

/** @import { Session } from '../model/session.js' */
/** @import { Profile } from '../net/api.js' */

/** Durations in the list are drawn anew this often. */
const TICK_MS = 30_000;

/**
 * @param {Session} session
 * @param {(user: string) => void} openChat
 */
export function friendsPanel(session, openChat) {
  const search = peopleSearch(session, openChat);
  const requests = requestList(session, search.focus);
  const skeleton = h('div', { class: 'skeletons', 'aria-hidden': 'true' }, [1, 2, 3, 4].map(() => h('div', { class: 'skeleton skeleton-row' })));
  const empty = h(
    'div',
    { class: 'empty' },
    icon('users'),
    h('p', { class: 'empty-title' }, 'No friends here yet'),
    h('p', null, 'Find somebody by name in the field above and send a request.'),
  );
  const groups = h('div', { class: 'groups' });
  const settle = roving(groups, '.person-main');

  const draw = batched(() => {
    const { people } = session;
    const loaded = people.loaded && session.ready;
    skeleton.hidden = loaded;
    const grouped = people.grouped();
    const shown = GROUPS.map(([id, title]) => ({ id, title, friends: grouped.get(id) ?? [] })).filter((g) => g.friends.length > 0);
    empty.hidden = !loaded || shown.length > 0;
    reconcile(groups, loaded ? shown : [], {
      key: (group) => group.id,
      create: (group) => h('section', { class: 'group', 'aria-label': group.title }, h('h3', null), h('ul', { class: 'plain-list' })),
      update: (section, group) => {
        const [heading, list] = section.children;
        if (heading) fill(heading, group.title, h('span', { class: 'count' }, group.friends.length));
        if (list) drawFriends(session, list, group.friends, openChat);
      },
    });
    settle();
  });
  session.on('people', draw);
  session.on('connection', draw);
  setInterval(draw, TICK_MS);
  draw();
  return { view: h('div', { class: 'panel-body' }, search.view, requests, skeleton, empty, groups), focus: search.focus };
}

/**
 * @param {Session} session
 * @param {Element} list
 * @param {Profile[]} friends
 * @param {(user: string) => void} openChat
 */
function drawFriends(session, list, friends, openChat) {
  reconcile(list, friends, {
    key: (friend) => friend.id,
    create: (friend) => {
      const main = h('button', { class: 'person-main', type: 'button', onclick: () => openChat(friend.id) });
      const more = h('button', { class: 'icon-button person-more', type: 'button', 'aria-haspopup': 'menu' }, icon('more'));
      const menu = () => openMenu(more, session.people.name(friend.id), personActions(session, friend.id, openChat));
      more.addEventListener('click', menu);
      const row = h('li', { class: 'person' }, main, more);
      row.addEventListener('contextmenu', (event) => {
        event.preventDefault();
        menu();
      });
      return row;
    },
    update: (row, friend) => drawFriend(session, row, friend),
  });
}

/**
 * @param {Session} session
 * @param {HTMLElement} row
 * @param {Profile} friend
 */
function drawFriend(session, row, friend) {
  const presence = session.people.presences.get(friend.id) ?? { status: /** @type {const} */ ('unknown') };
  const line = presenceLine(presence);
  const detail = presence.activity ? activityDetail({ ...presence.activity, state: undefined }) : (friend.status_text ?? '');
  const joinable = presence.activity?.joinable === true;
  const signature = JSON.stringify([friend, presence, line, detail]);
  if (!differs(row, signature)) return;
  const [main, more] = row.children;
  if (!main || !more) return;
  more.setAttribute('aria-label', `More for ${friend.name}`);
  fill(
    main,
    avatar(friend, { presence }),
    h(
      'span',
      { class: 'person-words' },
      h('span', { class: 'person-name' }, friend.name, unseen(','), joinable ? h('span', { class: 'chip' }, 'Joinable') : null),
      h('span', { class: presence.activity ? 'person-line playing' : 'person-line' }, line),
      detail ? h('span', { class: 'person-detail' }, detail) : null,
    ),
  );
}
