/**
 * Other providers to sign in by: the way out to them, and what follows on the way back.
 *
 * @module
 */

import { h } from '../dom.js';
import { recall } from '../net/begun.js';
import { field } from './dialog.js';
import { toast, toastError } from './toast.js';

/** @import { Api } from '../net/api.js' */
/** @import { Auth, Newcomer } from '../net/auth.js' */

/** @typedef {{ name: string, label: string }} Provider */

/**
 * A button for each of some providers, to sign in there; nothing while they are not known, or where there are none.
 * @param {Auth} auth
 * @param {Promise<Provider[]>} which
 * @param {(provider: Provider) => string} words
 * @param {(problem: string) => void} refused
 */
export function providerButtons(auth, which, words, refused) {
  const buttons = h('div', { class: 'form providers' });
  const button = (/** @type {Provider} */ provider) => {
    const leave = async () => {
      try {
        location.assign(await auth.beginAt(provider.name));
      } catch (error) {
        refused(error instanceof Error ? error.message : String(error));
      }
    };
    return h('button', { class: 'button wide', type: 'button', onclick: () => void leave() }, words(provider));
  };
  // Without an answer people go on without them.
  which.then(
    (providers) => buttons.replaceChildren(...providers.map(button)),
    () => undefined,
  );
  return buttons;
}

/**
 * A name for somebody who came by a provider and has no account yet.
 * @param {Auth} auth
 * @param {Newcomer} newcomer
 * @param {() => void} done
 */
export function newcomerForm(auth, newcomer, done) {
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const submit = h('button', { class: 'button primary wide', type: 'submit' }, 'Create account');
  const form = h(
    'form',
    { class: 'form', 'aria-label': 'Create account' },
    field('Name', { name: 'name', autocomplete: 'nickname', required: true, maxlength: 32, value: newcomer.name ?? '' }, 'How your friends will find you.'),
    problem,
    submit,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    submit.disabled = true;
    try {
      await auth.registerNewcomer(newcomer, String(new FormData(form).get('name') ?? '').trim());
      done();
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
      submit.disabled = false;
    }
  });
  return form;
}

/**
 * Does what somebody who is signed in went to a provider for: links it, or signs in once more; says how it went.
 * @param {Auth} auth
 * @param {Api} api
 * @param {string} ticket
 */
export async function cameBack(auth, api, ticket) {
  const begun = recall();
  // Nothing was begun in this tab, and the ticket is good for nothing.
  if (!begun) return;
  try {
    if (begun.link === undefined) {
      await auth.again(ticket, begun.secret);
      toast('You have signed in again.');
    } else {
      await api.link(ticket, begun.secret);
      toast(`You can sign in with ${begun.link} now.`);
    }
  } catch (error) {
    toastError(error);
  }
}
