/**
 * An open room: its header, its log, who types, and where one writes.
 *
 * @module
 */

import { batched, differs, fill, h } from '../dom.js';
import { plural, presenceLine } from '../format.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { composer } from './composer.js';
import { confirmLeave, openGroupSettings, openInvite } from './group.js';
import { messageLog } from './log.js';
import { openMenu } from './menu.js';
import { personActions } from './person-actions.js';
import { giftStrip } from './shop/gift-card.js';

/** @import { RoomView } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

/** What tells how long ago something was is drawn anew this often. */
const TICK_MS = 30_000;

/**
 * @param {Session} session
 * @param {string} room
 * @param {{ back: () => void, openChat: (user: string) => void, togglePanel: (what: 'members' | 'search') => void }} go
 */
export function chatView(session, room, go) {
  const conversation = session.conversation(room);
  const view = () => session.rooms.views.get(room);
  const log = messageLog({
    session,
    conversation,
    view,
    reply: (message) => writing.reply(message),
    edit: (message) => writing.edit(message),
    jump: (seq) => void log.jump(seq),
    beginning: () => beginning(session, view()),
  });
  const writing = composer(session, conversation, { sent: log.follow, focusLog: log.focusLast });
  const gifts = giftStrip(session, () => view()?.peer?.id);
  const typing = h('p', { class: 'typing-line' });
  const title = h('h1', null);
  const subtitle = h('p', { class: 'chat-subtitle' });
  const face = h('span', null);
  const members = headerButton('Members', 'users', () => go.togglePanel('members'));
  const more = headerButton('More', 'more', () => openMore());
  more.setAttribute('aria-haspopup', 'menu');

  const openMore = () => {
    const current = view();
    if (!current) return;
    if (current.peer) openMenu(more, 'Chat', personActions(session, current.peer.id, go.openChat).filter((item) => !item || item === '-' || item.label !== 'Message'));
    else {
      const chief = current.role !== 'member';
      openMenu(more, 'Group', [
        { label: 'Invite friends…', icon: 'userplus', run: () => openInvite(session, current) },
        chief && { label: 'Group settings…', icon: 'gear', run: () => openGroupSettings(session, current) },
        '-',
        { label: 'Leave group', icon: 'leave', danger: true, run: () => confirmLeave(session, current) },
      ]);
    }
  };

  const draw = batched(() => {
    const current = view();
    if (!current) return;
    const peer = current.peer?.id;
    const presence = peer ? session.people.presences.get(peer) : undefined;
    title.textContent = session.rooms.title(current);
    subtitle.textContent = peer
      ? session.people.relation(peer) === 'friend' ? presenceLine(presence) : 'Not among your friends'
      : [plural(current.members, 'member'), current.topic].filter(Boolean).join(' · ');
    subtitle.classList.toggle('playing', presence?.activity !== undefined);
    const who = peer ? (session.people.profile(peer) ?? { id: peer, name: '…' }) : { id: room, name: title.textContent };
    const signature = JSON.stringify([who, presence]);
    if (differs(face, signature)) fill(face, avatar(who, { presence, group: !peer }));
    members.hidden = peer !== undefined;
  });
  const drawTyping = () => {
    const names = [...conversation.typing.keys()].map((id) => session.people.name(id));
    typing.textContent =
      names.length === 0 ? '' : names.length === 1 ? `${names[0]} is typing…` : names.length === 2 ? `${names[0]} and ${names[1]} are typing…` : 'Several people are typing…';
    typing.classList.toggle('on', names.length > 0);
  };
  const offs = [
    session.on('people', draw),
    session.on('rooms', draw),
    session.on('people', gifts.draw),
    gifts.stop,
    session.on('typing', (where) => where === room && drawTyping()),
  ];
  // “Last seen 2 min ago” ages without an event.
  const ageing = setInterval(draw, TICK_MS);
  draw();
  drawTyping();
  session.client.tell('room.watch', { room, on: true });
  const offOnline = session.on('connection', (state) => {
    if (state.name !== 'online') return;
    session.client.tell('room.watch', { room, on: true });
    // What could not be loaded without a connection can be now.
    if (!conversation.log.loaded) void conversation.open();
  });
  void conversation.open();

  const element = h(
    'section',
    { class: 'chat' },
    h(
      'header',
      { class: 'chat-head' },
      headerButton('Back to chats', 'back', go.back, 'only-narrow'),
      face,
      h('div', { class: 'chat-names' }, title, subtitle),
      headerButton('Search in this chat', 'search', () => go.togglePanel('search')),
      members,
      more,
    ),
    log.view,
    gifts.view,
    typing,
    writing.view,
  );
  return {
    view: element,
    room,
    focus: writing.focus,
    focusLog: log.focusLast,
    jump: log.jump,
    stop() {
      clearInterval(ageing);
      offs.forEach((off) => off());
      offOnline();
      session.client.tell('room.watch', { room, on: false });
      log.stop();
      writing.stop();
    },
  };
}

/**
 * @param {string} label
 * @param {string} glyph
 * @param {() => void} run
 * @param {string} [style]
 */
function headerButton(label, glyph, run, style = '') {
  return h('button', { class: `icon-button ${style}`, type: 'button', 'aria-label': label, title: label, onclick: run }, icon(glyph));
}

/**
 * @param {Session} session
 * @param {RoomView | undefined} view
 */
function beginning(session, view) {
  if (!view) return '';
  const title = session.rooms.title(view);
  return view.kind === 'dm' ? `This is where your conversation with ${title} begins.` : `This is where ${title} begins.`;
}
