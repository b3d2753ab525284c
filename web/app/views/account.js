/**
 * The account itself: its e-mail address, a password, other ways to sign in, what is held of it, and leaving for good.
 *
 * @module
 */

import { h } from '../dom.js';
import { confirmation, confirmed } from './confirmation.js';
import { openDialog, openForm } from './dialog.js';
import { openEmail } from './email.js';
import { saveExport } from './export.js';
import { openPassword } from './password.js';
import { attempt } from './toast.js';
import { openWays } from './ways.js';

/** @import { Session } from '../model/session.js' */

/** @param {Session} session */
export async function openAccount(session) {
  // What the forms ask for follows from it, and the page may be too young to know.
  if (session.me.has_password === undefined && !(await attempt(async () => (session.me = await session.api.me())))) return;
  const choose = (/** @type {(session: Session) => unknown} */ open) => () => {
    close();
    open(session);
  };
  const { close } = openDialog('Account', [
    h('p', null, 'You are signed in as ', h('strong', null, session.me.name), '.'),
    h(
      'div',
      { class: 'form-actions' },
      h('button', { class: 'button', type: 'button', onclick: choose(openEmail) }, 'E-mail address…'),
      h('button', { class: 'button', type: 'button', onclick: choose(openPassword) }, session.me.has_password === false ? 'Choose a password…' : 'Change password…'),
      h('button', { class: 'button', type: 'button', onclick: choose(openWays) }, 'Ways to sign in…'),
      h('button', { class: 'button', type: 'button', onclick: choose(saveExport) }, 'Download my data'),
      h('button', { class: 'button danger', type: 'button', onclick: choose(openLeaving) }, 'Delete account…'),
    ),
  ]);
}

/** @param {Session} session */
function openLeaving(session) {
  const { auth, me } = session;
  openForm(
    'Delete account',
    [
      h('p', null, `This ends the account of ${me.name} for good: your friendships end, and your name is free for others. What you said stays where you said it.`),
      confirmation(session),
    ],
    {
      submit: 'Delete account',
      danger: true,
      run: (data) => auth.withdraw(confirmed(data)),
    },
  );
}
