/**
 * The door: sign in, or make an account.
 *
 * @module
 */

import { h } from '../dom.js';
import { flame } from '../icons.js';
import { field } from './dialog.js';

/** @import { Auth } from '../net/auth.js' */

/** The server's rule, said before it has to say it. */
export const MIN_PASSWORD = 10;

/**
 * @param {Auth} auth
 * @param {string | undefined} notice why the person is here again
 * @param {() => void} done
 */
export function signInView(auth, notice, done) {
  const page = h('div', { class: 'door' });
  let joining = false;
  let email = '';

  const draw = (/** @type {string} */ problemText) => {
    const problem = h('p', { class: 'form-error', role: 'alert' }, problemText);
    const submit = h('button', { class: 'button primary wide', type: 'submit' }, joining ? 'Create account' : 'Sign in');
    const form = h(
      'form',
      { class: 'form', 'aria-label': joining ? 'Create account' : 'Sign in' },
      field('E-mail', { name: 'email', type: 'email', autocomplete: 'email', required: true, value: email }),
      joining
        ? field('Name', { name: 'name', autocomplete: 'nickname', required: true, maxlength: 32 }, 'How your friends will find you.')
        : null,
      field(
        'Password',
        {
          name: 'password',
          type: 'password',
          autocomplete: joining ? 'new-password' : 'current-password',
          required: true,
          minlength: joining ? MIN_PASSWORD : undefined,
        },
        joining ? `At least ${MIN_PASSWORD} characters; longer is better.` : undefined,
      ),
      problem,
      submit,
    );
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const data = new FormData(form);
      const text = (/** @type {string} */ name) => String(data.get(name) ?? '');
      problem.textContent = '';
      submit.disabled = true;
      try {
        if (joining) await auth.register({ email: text('email').trim(), name: text('name').trim(), password: text('password') });
        else await auth.login({ email: text('email').trim(), password: text('password') });
        done();
      } catch (error) {
        problem.textContent = error instanceof Error ? error.message : String(error);
        submit.disabled = false;
      }
    });
    const other = h(
      'button',
      {
        class: 'link',
        type: 'button',
        onclick: () => {
          joining = !joining;
          email = String(new FormData(form).get('email') ?? '');
          draw('');
        },
      },
      joining ? 'I have an account' : 'Create an account',
    );
    page.replaceChildren(
      h(
        'main',
        { class: 'door-card' },
        h('div', { class: 'door-brand' }, flame(), h('h1', null, 'Fireside')),
        h('p', { class: 'door-line' }, joining ? 'Pull up a chair.' : 'Your friends, your games, one warm place.'),
        notice ? h('p', { class: 'form-notice', role: 'status' }, notice) : null,
        form,
        h('p', { class: 'door-switch' }, joining ? 'Already here? ' : 'New here? ', other),
      ),
    );
    form.querySelector('input')?.focus();
  };
  draw('');
  // The page is not in the document yet, and only what is there can have the focus.
  queueMicrotask(() => page.querySelector('input')?.focus());
  return page;
}
