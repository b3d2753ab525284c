/**
 * A new password for somebody who lost theirs: where to send a code, then the code.
 *
 * @module
 */

import { h } from '../dom.js';
import { field } from './dialog.js';
import { MIN_PASSWORD } from './signin.js';

/** @import { Auth } from '../net/auth.js' */

/**
 * @param {Auth} auth
 * @param {string} email what is known of the address already
 * @param {() => void} done
 */
export function recoveryForm(auth, email, done) {
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const submit = h('button', { class: 'button primary wide', type: 'submit' }, 'Send me a code');
  const address = field('E-mail', { name: 'email', type: 'email', autocomplete: 'email', required: true, value: email });
  const form = h('form', { class: 'form', 'aria-label': 'Forgot your password' }, address, problem, submit);
  let sent = false;
  const ask = () => {
    sent = true;
    const input = address.querySelector('input');
    if (input) input.readOnly = true;
    address.after(
      h('p', { class: 'form-notice', role: 'status' }, 'If that is the address of an account, a code is on its way there.'),
      field('Code', { name: 'code', autocomplete: 'one-time-code', autocapitalize: 'characters', required: true, maxlength: 16 }),
      field(
        'New password',
        { name: 'fresh', type: 'password', autocomplete: 'new-password', required: true, minlength: MIN_PASSWORD },
        `At least ${MIN_PASSWORD} characters; longer is better. Everywhere else you are signed out.`,
      ),
    );
    submit.textContent = 'Change password';
    /** @type {HTMLInputElement | null} */ (form.querySelector('input[name=code]'))?.focus();
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = (/** @type {string} */ name) => String(new FormData(form).get(name) ?? '');
    problem.textContent = '';
    submit.disabled = true;
    try {
      if (sent) {
        await auth.reset({ email: text('email').trim(), code: text('code'), new_password: text('fresh') });
        done();
      } else {
        await auth.forgot(text('email').trim());
        ask();
      }
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      submit.disabled = false;
    }
  });
  return form;
}
