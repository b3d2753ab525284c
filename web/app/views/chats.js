/**
 * The list of chats.
 *
 * @module
 */

import { batched, differs, fill, h, reconcile, unseen } from '../dom.js';
import { UNREADABLE, shortWhen } from '../format.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { openNewGroup } from './group.js';
import { roving } from './roving.js';

/** @import { RoomView } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

/**
 * @param {Session} session
 * @param {{ current: () => string | undefined, open: (room: string) => void, search: () => void }} go
 */
export function chatList(session, go) {
  const list = h('ul', { class: 'plain-list chats', 'aria-label': 'Chats' });
  const settle = roving(list, '.chat-row');
  const skeleton = h('div', { class: 'skeletons', 'aria-hidden': 'true' }, [1, 2, 3].map(() => h('div', { class: 'skeleton skeleton-row' })));
  const empty = h(
    'div',
    { class: 'empty' },
    icon('chat'),
    h('p', { class: 'empty-title' }, 'No chats yet'),
    h('p', null, 'Pick a friend to write to, or start a group.'),
  );
  const draw = batched(() => {
    const rooms = session.rooms.sorted();
    const open = session.rooms.views.get(go.current() ?? '');
    if (open && !rooms.includes(open)) rooms.unshift(open);
    skeleton.hidden = session.ready;
    empty.hidden = !session.ready || rooms.length > 0;
    reconcile(list, rooms, {
      key: (view) => view.id,
      create: (view) => h('li', null, h('button', { class: 'chat-row', type: 'button', onclick: () => go.open(view.id) })),
      update: (row, view) => drawChat(session, row, view, view.id === go.current()),
    });
    settle();
  });
  for (const topic of /** @type {const} */ (['rooms', 'people', 'typing', 'connection'])) session.on(topic, draw);
  draw();
  const view = h(
    'div',
    { class: 'side-body' },
    h(
      'div',
      { class: 'side-tools' },
      h('button', { class: 'button grow', type: 'button', onclick: go.search }, icon('search'), 'Search messages'),
      h('button', { class: 'icon-button framed', type: 'button', 'aria-label': 'New group', title: 'New group', onclick: () => openNewGroup(session, go.open) }, icon('plus')),
    ),
    skeleton,
    empty,
    list,
  );
  return { view, draw };
}

/**
 * @param {Session} session
 * @param {HTMLElement} row
 * @param {RoomView} view
 * @param {boolean} current
 */
function drawChat(session, row, view, current) {
  const { people, rooms } = session;
  const title = rooms.title(view);
  const typing = [...(session.conversations.get(view.id)?.typing.keys() ?? [])];
  const preview = typing.length > 0 ? 'typing…' : previewOf(session, view);
  const peer = view.peer?.id;
  const presence = peer ? people.presences.get(peer) : undefined;
  const face = peer ? (people.profile(peer) ?? { id: peer, name: title }) : { id: view.id, name: title };
  const signature = JSON.stringify([title, preview, typing.length, presence, face, view.unread, view.mentions, current, view.last?.ts]);
  if (!differs(row, signature)) return;
  const button = row.firstElementChild;
  if (!button) return;
  const counts = [
    view.unread > 0 ? `${view.unread} unread` : '',
    view.mentions > 0 ? `${view.mentions} ${view.mentions === 1 ? 'mention' : 'mentions'}` : '',
  ].filter(Boolean);
  if (current) button.setAttribute('aria-current', 'page');
  else button.removeAttribute('aria-current');
  fill(
    button,
    avatar(face, { presence, group: !peer }),
    h(
      'span',
      { class: 'chat-words' },
      h(
        'span',
        { class: 'chat-top' },
        h('span', { class: view.unread > 0 ? 'chat-title strong' : 'chat-title' }, title, unseen(`${counts.map((count) => `, ${count}`).join('')}.`)),
        view.last ? h('span', { class: 'chat-when' }, shortWhen(view.last.ts)) : null,
      ),
      h(
        'span',
        { class: 'chat-top' },
        h('span', { class: typing.length > 0 ? 'chat-preview typing' : 'chat-preview' }, preview),
        view.mentions > 0 ? h('span', { class: 'badge mention-badge', title: 'Mentions of you', 'aria-hidden': 'true' }, `@${view.mentions}`) : null,
        view.unread > 0 ? h('span', { class: 'badge', title: 'Unread', 'aria-hidden': 'true' }, view.unread > 99 ? '99+' : view.unread) : null,
      ),
    ),
  );
}

/**
 * @param {Session} session
 * @param {RoomView} view
 */
function previewOf(session, view) {
  if (!view.last) return view.kind === 'dm' ? 'Say hello' : 'Nothing said yet';
  const { last } = view;
  const text = last.deleted ? 'Message deleted' : last.unreadable ? UNREADABLE : last.text.replaceAll(/\s+/gu, ' ');
  if (last.user === session.me.id) return `You: ${text}`;
  return view.kind === 'dm' ? text : `${session.people.name(last.user)}: ${text}`;
}
