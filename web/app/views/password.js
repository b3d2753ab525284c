/**
 * A new password, or the first one of somebody who came by a provider.
 *
 * @module
 */

import { h } from '../dom.js';
import { confirmation, confirmed } from './confirmation.js';
import { field, openDialog, openForm } from './dialog.js';
import { recoveryForm } from './recovery.js';
import { MIN_PASSWORD } from './signin.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */

/** @param {Session} session */
export function openPassword(session) {
  const { auth, me } = session;
  const first = me.has_password === false;
  const title = first ? 'Choose a password' : 'Change password';
  const { email } = me;
  const { close } = openForm(
    title,
    [
      h('p', { class: 'hint' }, 'Everywhere else you are signed out.'),
      confirmation(session, 'Current password'),
      first && email
        ? h('button', { class: 'link', type: 'button', onclick: () => (close(), openCode(session, email)) }, `Have a code sent to ${email} instead`)
        : null,
      field(
        'New password',
        { name: 'fresh', type: 'password', required: true, minlength: MIN_PASSWORD, autocomplete: 'new-password' },
        `At least ${MIN_PASSWORD} characters; longer is better.`,
      ),
      field('New password again', { name: 'again', type: 'password', required: true, autocomplete: 'new-password' }),
    ],
    {
      submit: title,
      run: async (data) => {
        const text = (/** @type {string} */ name) => String(data.get(name) ?? '');
        if (text('fresh') !== text('again')) throw new Error('The two new passwords differ.');
        await auth.changePassword(confirmed(data), text('fresh'));
        toast(first ? 'You have a password now.' : 'Your password is changed.');
      },
    },
  );
}

/**
 * @param {Session} session
 * @param {string} email
 */
function openCode({ auth }, email) {
  const { close } = openDialog('Choose a password', [
    recoveryForm(auth, email, () => {
      close();
      toast('You have a password now.');
    }),
  ]);
}
