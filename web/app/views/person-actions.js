/**
 * What can be done with a person, as menu items.
 *
 * @module
 */

import { shopRoute } from '../route.js';
import { confirmAction } from './dialog.js';
import { attempt } from './toast.js';

/** @import { Session } from '../model/session.js' */
/** @import { MenuItem } from './menu.js' */

/**
 * @param {Session} session
 * @param {string} id
 * @param {(user: string) => void} openChat
 * @returns {(MenuItem | '-' | null | false)[]}
 */
export function personActions(session, id, openChat) {
  const { api, people } = session;
  const name = people.name(id);
  const relation = people.relation(id);
  const blocked = people.blocked.has(id);
  return [
    relation === 'friend' && { label: 'Message', icon: 'chat', run: () => openChat(id) },
    { label: 'Profile', icon: 'user', run: () => (location.hash = shopRoute('person', id)) },
    relation === 'none' && !blocked && {
      label: 'Add friend',
      icon: 'userplus',
      run: () => void attempt(() => befriend(session, id)),
    },
    relation === 'friend' && {
      label: 'Remove friend',
      icon: 'x',
      danger: true,
      run: () =>
        confirmAction('Remove friend', `${name} will no longer see when you are online, nor write to you.`, 'Remove', async () => {
          await api.unfriend(id);
          people.setRelation(id, 'none');
        }),
    },
    blocked
      ? {
          label: 'Unblock',
          icon: 'block',
          run: () =>
            void attempt(async () => {
              await api.block(id, false);
              people.blocked.delete(id);
              session.emit('people', undefined);
            }),
        }
      : {
          label: 'Block',
          icon: 'block',
          danger: true,
          run: () =>
            confirmAction('Block', `${name} will not be able to write to you or see how you are. They are not told.`, 'Block', async () => {
              await api.block(id, true);
              people.blocked.add(id);
              people.setRelation(id, 'none');
            }),
        },
  ];
}

/**
 * @param {Session} session
 * @param {string} id
 */
export async function befriend(session, id) {
  const { state } = await session.api.befriend(id);
  session.people.setRelation(id, state);
}
