/**
 * The door: sign in, make an account, or find back to one.
 *
 * @module
 */

import { h } from '../dom.js';
import { flame } from '../icons.js';
import { field } from './dialog.js';
import { newcomerForm, providerButtons } from './providers.js';
import { recoveryForm } from './recovery.js';

/** @import { Auth } from '../net/auth.js' */

/** The server's rule, said before it has to say it. */
export const MIN_PASSWORD = 10;

/** What the server reads as an e-mail address, near enough; a name is never one. */
const ADDRESS = /^[^@\s]+@[^@\s]+\.[^@\s]+$/u;

/**
 * @param {Auth} auth
 * @param {string | undefined} notice why the person is here again
 * @param {string | undefined} ticket of somebody who is back from a provider
 * @param {() => void} done
 */
export function signInView(auth, notice, ticket, done) {
  const page = h('div', { class: 'door' });
  let joining = false;
  let email = '';

  const draw = (/** @type {string} */ problemText) => {
    const problem = h('p', { class: 'form-error', role: 'alert' }, problemText);
    const submit = h('button', { class: 'button primary wide', type: 'submit' }, joining ? 'Create account' : 'Sign in');
    const form = h(
      'form',
      { class: 'form', 'aria-label': joining ? 'Create account' : 'Sign in' },
      joining
        ? field('E-mail (optional)', { name: 'email', type: 'email', autocomplete: 'email', value: email }, 'Without one, a lost password is lost.')
        : field('E-mail or name', { name: 'email', autocomplete: 'username', autocapitalize: 'none', required: true, value: email }),
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
      joining ? null : h('button', { class: 'link', type: 'button', onclick: () => recover(text('email').trim()) }, 'Forgot your password?'),
    );
    const text = (/** @type {string} */ name) => String(new FormData(form).get(name) ?? '');
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      problem.textContent = '';
      submit.disabled = true;
      try {
        const [who, password] = [text('email').trim(), text('password')];
        if (joining) await auth.register({ email: who || undefined, name: text('name').trim(), password });
        else await auth.login(ADDRESS.test(who) ? { email: who, password } : { name: who, password });
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
          email = text('email');
          draw('');
        },
      },
      joining ? 'I have an account' : 'Create an account',
    );
    show(
      h('p', { class: 'door-line' }, joining ? 'Pull up a chair.' : 'Your friends, your games, one warm place.'),
      notice ? h('p', { class: 'form-notice', role: 'status' }, notice) : null,
      form,
      providerButtons(auth, auth.providers(), ({ label }) => `Continue with ${label}`, (refusal) => {
        problem.textContent = refusal;
      }),
      h('p', { class: 'door-switch' }, joining ? 'Already here? ' : 'New here? ', other),
    );
    form.querySelector('input')?.focus();
  };
  const show = (/** @type {(Node | null)[]} */ ...inside) =>
    page.replaceChildren(h('main', { class: 'door-card' }, h('div', { class: 'door-brand' }, flame(), h('h1', null, 'Fireside')), inside));
  const recover = (/** @type {string} */ who) => {
    const back = h('button', { class: 'link', type: 'button', onclick: () => draw('') }, 'Back to signing in');
    const form = recoveryForm(auth, ADDRESS.test(who) ? who : '', done);
    show(h('p', { class: 'door-line' }, 'Back to the fire.'), form, h('p', { class: 'door-switch' }, back));
    form.querySelector('input')?.focus();
  };
  const comeBack = async (/** @type {string} */ ticket) => {
    show(h('p', { class: 'door-line', role: 'status' }, 'Signing you in…'));
    try {
      const newcomer = await auth.finish(ticket);
      if (!newcomer) return done();
      const back = h('button', { class: 'link', type: 'button', onclick: () => draw('') }, 'Back to signing in');
      const form = newcomerForm(auth, newcomer, done);
      show(h('p', { class: 'door-line' }, 'Pull up a chair.'), form, h('p', { class: 'door-switch' }, back));
      form.querySelector('input')?.focus();
    } catch (error) {
      draw(error instanceof Error ? error.message : String(error));
    }
  };
  if (ticket === undefined) draw('');
  else void comeBack(ticket);
  // The page is not in the document yet, and only what is there can have the focus.
  queueMicrotask(() => page.querySelector('input')?.focus());
  return page;
}
