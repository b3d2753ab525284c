/**
 * The e-mail address of the account: proved by a code, changed the same way.
 *
 * @module
 */

import { h } from '../dom.js';
import { confirmation, confirmed } from './confirmation.js';
import { field, openForm } from './dialog.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */

/** @param {Session} session */
export function openEmail(session) {
  const { email, email_verified } = session.me;
  const state = email ? h('p', null, h('strong', null, email), email_verified ? ' is yours.' : ' is not verified yet.') : h('p', null, 'Your account has no e-mail address.');
  const { close } = openForm(
    'E-mail address',
    [
      state,
      email && !email_verified
        ? h('button', { class: 'button', type: 'button', onclick: () => (close(), verify(session)) }, `Send a code to ${email}`)
        : null,
      field('New e-mail address', { name: 'email', type: 'email', autocomplete: 'email', required: true }, 'It takes the place of the old one once you have typed in the code that is sent there.'),
      confirmation(session),
    ],
    {
      submit: 'Send a code',
      run: async (data) => {
        const sent = await session.api.changeEmail(String(data.get('email')).trim(), confirmed(data));
        openCode(session, sent.email);
      },
    },
  );
}

/** @param {Session} session */
async function verify(session) {
  try {
    openCode(session, (await session.api.sendEmailCode()).email);
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {Session} session
 * @param {string} email where the code is on its way to
 */
function openCode(session, email) {
  openForm(
    'E-mail address',
    [
      h('p', null, 'A code is on its way to ', h('strong', null, email), '.'),
      field('Code', { name: 'code', autocomplete: 'one-time-code', autocapitalize: 'characters', required: true, maxlength: 16 }),
    ],
    {
      submit: 'Verify',
      run: async (data) => {
        const own = await session.api.verifyEmail(String(data.get('code')));
        Object.assign(session.me, { email: own.email, email_verified: own.email_verified });
        toast(`${own.email} is your e-mail address.`);
      },
    },
  );
}
