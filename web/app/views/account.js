/**
 * The account itself: its e-mail address, a new password, and leaving for good.
 *
 * @module
 */

import { h } from '../dom.js';
import { field, openDialog, openForm } from './dialog.js';
import { openEmail } from './email.js';
import { MIN_PASSWORD } from './signin.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */

/** @param {Session} session */
export function openAccount(session) {
  const choose = (/** @type {(session: Session) => void} */ open) => () => {
    close();
    open(session);
  };
  const { close } = openDialog('Account', [
    h('p', null, 'You are signed in as ', h('strong', null, session.me.name), '.'),
    h(
      'div',
      { class: 'form-actions' },
      h('button', { class: 'button', type: 'button', onclick: choose(openEmail) }, 'E-mail address…'),
      h('button', { class: 'button', type: 'button', onclick: choose(openPassword) }, 'Change password…'),
      h('button', { class: 'button danger', type: 'button', onclick: choose(openLeaving) }, 'Delete account…'),
    ),
  ]);
}

/** @param {Session} session */
function openPassword({ auth }) {
  openForm(
    'Change password',
    [
      h('p', { class: 'hint' }, 'Everywhere else you are signed out.'),
      field('Current password', { name: 'current', type: 'password', required: true, autocomplete: 'current-password' }),
      field(
        'New password',
        { name: 'fresh', type: 'password', required: true, minlength: MIN_PASSWORD, autocomplete: 'new-password' },
        `At least ${MIN_PASSWORD} characters; longer is better.`,
      ),
      field('New password again', { name: 'again', type: 'password', required: true, autocomplete: 'new-password' }),
    ],
    {
      submit: 'Change password',
      run: async (data) => {
        const text = (/** @type {string} */ name) => String(data.get(name) ?? '');
        if (text('fresh') !== text('again')) throw new Error('The two new passwords differ.');
        await auth.changePassword(text('current'), text('fresh'));
        toast('Your password is changed.');
      },
    },
  );
}

/** @param {Session} session */
function openLeaving({ auth, me }) {
  openForm(
    'Delete account',
    [
      h('p', null, `This ends the account of ${me.name} for good: your friendships end, and your name is free for others. What you said stays where you said it.`),
      field('Password', { name: 'password', type: 'password', required: true, autocomplete: 'current-password' }),
    ],
    {
      submit: 'Delete account',
      danger: true,
      run: (data) => auth.withdraw(String(data.get('password') ?? '')),
    },
  );
}
