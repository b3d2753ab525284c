/**
 * The signed-in person's profile, and the people they block.
 *
 * @module
 */

import { h, reconcile, safeUrl } from '../dom.js';
import { byName } from '../model/people.js';
import { avatar } from './avatar.js';
import { field, openDialog, openForm } from './dialog.js';
import { attempt } from './toast.js';

/** @import { Session } from '../model/session.js' */

/** @param {Session} session */
export function openProfile(session) {
  const { me } = session;
  openForm(
    'Edit profile',
    [
      h('div', { class: 'profile-face' }, avatar(me, { size: 'large' })),
      field('Name', { name: 'name', required: true, maxlength: 32, value: me.name }),
      field('Picture address', { name: 'avatar', type: 'url', maxlength: 512, value: me.avatar_url ?? '', placeholder: 'https://…' }, 'A picture on the web; leave empty for initials.'),
      field('Status text', { name: 'status', maxlength: 140, value: me.status_text ?? '', placeholder: 'Somewhere warm' }),
    ],
    {
      submit: 'Save profile',
      run: async (data) => {
        const text = (/** @type {string} */ name) => String(data.get(name) ?? '').trim();
        if (text('avatar') !== '' && !safeUrl(text('avatar'))) throw new Error('The picture has to be an http or https address.');
        /** @type {{ name?: string, avatar_url: string | null, status_text: string | null }} */
        const change = { avatar_url: text('avatar') || null, status_text: text('status') || null };
        if (text('name') !== me.name) change.name = text('name');
        const saved = await session.api.changeMe(change);
        session.me = { ...session.me, name: text('name'), ...change, ...saved };
        session.people.learn(session.me);
        session.emit('me', undefined);
        session.emit('people', undefined);
      },
    },
  );
}

/** @param {Session} session */
export function openBlocked(session) {
  const empty = h('p', { class: 'quiet' }, 'You block nobody.');
  const list = h('ul', { class: 'plain-list' });
  const draw = () => {
    const people = [...session.people.blocked].map((id) => session.people.profile(id) ?? { id, name: '…' }).sort(byName);
    empty.hidden = people.length > 0;
    reconcile(list, people, {
      key: (person) => person.id,
      create: (person) =>
        h(
          'li',
          { class: 'row' },
          avatar(person),
          h('span', { class: 'grow' }, person.name),
          h(
            'button',
            {
              class: 'button small',
              type: 'button',
              'aria-label': `Unblock ${person.name}`,
              onclick: () =>
                void attempt(async () => {
                  await session.api.block(person.id, false);
                  session.people.blocked.delete(person.id);
                  session.emit('people', undefined);
                }),
            },
            'Unblock',
          ),
        ),
    });
  };
  const off = session.on('people', draw);
  draw();
  openDialog('Blocked people', [empty, list], { onclose: off });
}
