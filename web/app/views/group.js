/**
 * Making groups, inviting to them, changing and leaving them.
 *
 * @module
 */

import { h } from '../dom.js';
import { avatar } from './avatar.js';
import { confirmAction, field, openForm } from './dialog.js';

/** @import { RoomView } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */
/** @import { Profile } from '../net/api.js' */

/** @param {Profile[]} friends */
function friendChoice(friends) {
  return h(
    'fieldset',
    { class: 'choice' },
    h('legend', null, 'Friends'),
    friends.length === 0 ? h('p', { class: 'quiet' }, 'Nobody to invite.') : null,
    friends.map((friend) =>
      h('label', { class: 'check row' }, h('input', { type: 'checkbox', name: 'member', value: friend.id }), avatar(friend), h('span', { class: 'grow' }, friend.name)),
    ),
  );
}

/**
 * @param {Session} session
 * @param {(room: string) => void} open
 */
export function openNewGroup(session, open) {
  openForm(
    'New group',
    [field('Group name', { name: 'name', required: true, maxlength: 100, placeholder: 'Friday raid' }), friendChoice(session.people.inState('friend'))],
    {
      submit: 'Create group',
      run: async (data) => {
        const name = String(data.get('name') ?? '').trim();
        if (name === '') throw new Error('The group needs a name.');
        open(await session.createGroup(name, data.getAll('member').map(String)));
      },
    },
  );
}

/**
 * @param {Session} session
 * @param {RoomView} view
 */
export function openInvite(session, view) {
  const members = session.conversation(view.id).members;
  const friends = session.people.inState('friend').filter((friend) => !members.has(friend.id));
  openForm('Invite friends', [friendChoice(friends)], {
    submit: 'Invite',
    run: async (data) => {
      for (const user of data.getAll('member').map(String)) {
        await session.client.request('room.invite', { room: view.id, user });
      }
    },
  });
}

/**
 * @param {Session} session
 * @param {RoomView} view
 */
export function openGroupSettings(session, view) {
  const seconds = String((view.slow_mode_ms ?? 0) / 1_000);
  openForm(
    'Group settings',
    [
      field('Group name', { name: 'name', required: true, maxlength: 100, value: view.name ?? '' }),
      field('Topic', { name: 'topic', maxlength: 500, value: view.topic ?? '' }),
      field('Slow mode (seconds between messages)', { name: 'slow', type: 'number', min: 0, max: 21_600, value: seconds }),
    ],
    {
      submit: 'Save group',
      run: async (data) => {
        const { room } = await session.client.request('room.update', {
          room: view.id,
          name: String(data.get('name') ?? '').trim(),
          topic: String(data.get('topic') ?? '').trim(),
          slow_mode_ms: Math.round(Number(data.get('slow') ?? 0) * 1_000),
        });
        session.rooms.put(room);
        session.emit('rooms', undefined);
      },
    },
  );
}

/**
 * @param {Session} session
 * @param {RoomView} view
 */
export function confirmLeave(session, view) {
  confirmAction('Leave group', `You will no longer receive messages of ${session.rooms.title(view)}.`, 'Leave', async () => {
    await session.client.request('room.leave', { room: view.id });
  });
}
