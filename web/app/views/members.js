/**
 * The members of a group, and what the signed-in person may do to them.
 *
 * @module
 */

import { batched, differs, fill, h, reconcile, unseen } from '../dom.js';
import { plural, presenceLine, shortWhen } from '../format.js';
import { icon } from '../icons.js';
import { byName } from '../model/people.js';
import { avatar } from './avatar.js';
import { confirmAction } from './dialog.js';
import { openInvite } from './group.js';
import { openMenu } from './menu.js';
import { personActions } from './person-actions.js';
import { roving } from './roving.js';
import { attempt } from './toast.js';

/** @import { Member, Role, RoomView } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

/** @type {Record<Role, number>} */
const RANK = { owner: 2, moderator: 1, member: 0 };
/** @type {Record<Role, string>} */
const ROLE_WORDS = { owner: 'Owner', moderator: 'Moderator', member: 'Member' };
const HOUR_MS = 3_600_000;

/**
 * @param {Session} session
 * @param {string} room
 * @param {(user: string) => void} openChat
 * @returns {{ view: HTMLElement, stop: () => void }}
 */
export function membersPanel(session, room, openChat) {
  const conversation = session.conversation(room);
  void conversation.loadMembers();
  const list = h('ul', { class: 'plain-list', 'aria-label': 'Members' });
  const heading = h('p', { class: 'quiet' });
  const invite = h('button', { class: 'button wide', type: 'button' }, icon('userplus'), 'Invite friends');
  invite.addEventListener('click', () => {
    const view = session.rooms.views.get(room);
    if (view) openInvite(session, view);
  });
  const settle = roving(list, '.person-main');
  const draw = batched(() => {
    const members = [...conversation.members.values()].sort(
      (a, b) => RANK[b.role] - RANK[a.role] || byName(named(session, a), named(session, b)),
    );
    heading.textContent = plural(members.length, 'member');
    reconcile(list, members, {
      key: (member) => member.id,
      create: (member) => {
        const main = h('button', { class: 'person-main', type: 'button', 'aria-haspopup': 'menu' });
        main.addEventListener('click', () => {
          const view = session.rooms.views.get(room);
          const current = conversation.members.get(member.id);
          if (view && current) openMenu(main, session.people.name(member.id), actions(session, view, current, openChat));
        });
        return h('li', { class: 'person' }, main);
      },
      update: (row, member) => drawMember(session, row, member),
    });
    settle();
  });
  const offs = [session.on('people', draw), session.on('rooms', draw), session.on('members', draw), session.on('conversation', draw)];
  draw();
  return {
    view: h('div', { class: 'panel-body' }, heading, invite, list),
    stop: () => offs.forEach((off) => off()),
  };
}

/**
 * @param {Session} session
 * @param {Member} member
 */
function named(session, member) {
  return session.people.profiles.get(member.id) ?? { id: member.id, name: member.name ?? '…' };
}

/**
 * @param {Session} session
 * @param {HTMLElement} row
 * @param {Member} member
 */
function drawMember(session, row, member) {
  const person = named(session, member);
  const mine = member.id === session.me.id;
  const presence = mine ? session.shownPresence : session.people.presences.get(member.id);
  const muted = member.muted_until !== undefined && member.muted_until > Date.now();
  const line = [mine ? 'You' : presence ? presenceLine(presence) : '', muted ? 'muted' : ''].filter(Boolean).join(' · ');
  const signature = JSON.stringify([person, presence, member.role, line]);
  if (!differs(row, signature)) return;
  const main = row.firstElementChild;
  if (!main) return;
  fill(
    main,
    avatar(person, { presence }),
    h('span', { class: 'person-words' }, h('span', { class: 'person-name' }, person.name, unseen(`, ${ROLE_WORDS[member.role]}`)), h('span', { class: 'person-line' }, line)),
    member.role === 'member' ? null : h('span', { class: `role role-${member.role}`, 'aria-hidden': 'true' }, icon(member.role === 'owner' ? 'crown' : 'shield'), ROLE_WORDS[member.role]),
  );
}

/**
 * @param {Session} session
 * @param {RoomView} view
 * @param {Member} member
 * @param {(user: string) => void} openChat
 * @returns {import('./menu.js').MenuItem[] | any[]}
 */
function actions(session, view, member, openChat) {
  const { client } = session;
  const name = session.people.name(member.id);
  const target = { room: view.id, user: member.id };
  const mine = member.id === session.me.id;
  const above = !mine && RANK[view.role] > RANK[member.role];
  const owner = view.role === 'owner' && !mine;
  const muted = member.muted_until !== undefined && member.muted_until > Date.now();
  const run = (/** @type {() => Promise<unknown>} */ what) => () =>
    void attempt(async () => {
      await what();
      await session.conversation(view.id).loadMembers();
    });
  const role = (/** @type {Role} */ to) => run(() => client.request('room.role', { ...target, role: to }));
  if (mine) return [{ label: `You are ${ROLE_WORDS[view.role].toLowerCase()} here`, icon: 'user', run: () => {} }];
  return [
    ...personActions(session, member.id, openChat),
    above || owner ? '-' : null,
    owner && member.role === 'member' && { label: 'Make moderator', icon: 'shield', run: role('moderator') },
    owner && member.role === 'moderator' && { label: 'Make member', icon: 'user', run: role('member') },
    owner && {
      label: 'Make owner',
      icon: 'crown',
      run: () => confirmAction('Hand the group over', `${name} becomes the owner, and you a moderator.`, 'Hand over', () => client.request('room.role', { ...target, role: 'owner' })),
    },
    above && !muted && { label: 'Mute for an hour', icon: 'mute', hint: shortWhen(Date.now() + HOUR_MS), run: run(() => client.request('room.mute', { ...target, until: Date.now() + HOUR_MS })) },
    above && muted && { label: 'Unmute', icon: 'mute', run: run(() => client.request('room.unmute', target)) },
    above && {
      label: 'Kick',
      icon: 'leave',
      danger: true,
      run: () => confirmAction('Kick', `${name} leaves the group, and may be invited again.`, 'Kick', () => client.request('room.kick', target)),
    },
    above && {
      label: 'Ban',
      icon: 'block',
      danger: true,
      run: () => confirmAction('Ban', `${name} leaves the group, and cannot come back.`, 'Ban', () => client.request('room.ban', target)),
    },
  ];
}
