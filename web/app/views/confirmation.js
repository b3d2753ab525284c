/**
 * Showing once more that the account is one's own: by the password, or, where there is none, by a late sign-in.
 *
 * @module
 */

import { h } from '../dom.js';
import { field } from './dialog.js';
import { providerButtons } from './providers.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */

/**
 * What a form asks for; the password is the field `password`.
 * @param {Session} session
 * @param {string} [label]
 */
export function confirmation(session, label = 'Password') {
  if (session.me.has_password !== false) {
    return field(label, { name: 'password', type: 'password', required: true, autocomplete: 'current-password' });
  }
  const again = providerButtons(session.auth, linked(session), (provider) => `Sign in again with ${provider.label}`, (problem) => toast(problem, 'error'));
  return h(
    'div',
    { class: 'field' },
    h('p', { class: 'hint' }, 'Your account has no password. That you signed in within the last ten minutes stands for it; if it is longer ago, sign in again first.'),
    again,
  );
}

/**
 * The password that was given, if there is one.
 * @param {FormData} data
 */
export function confirmed(data) {
  return String(data.get('password') ?? '') || undefined;
}

/** @param {Session} session */
async function linked({ auth, api }) {
  const [providers, identities] = await Promise.all([auth.providers(), api.identities()]);
  return providers.filter(({ name }) => identities.some(({ provider }) => provider === name));
}
