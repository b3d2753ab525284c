/**
 * The ways one signs in: the password, and other providers, which are linked and unlinked here.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { dateOf } from '../format.js';
import { refusalText } from '../model/refusal.js';
import { confirmation, confirmed } from './confirmation.js';
import { confirmAction, openDialog, openForm } from './dialog.js';
import { openPassword } from './password.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */
/** @import { Provider } from './providers.js' */

/** @param {Session} session */
export function openWays(session) {
  const list = h('ul', { class: 'plain-list', 'aria-label': 'Ways to sign in' });
  const body = h('div', null, h('p', { class: 'quiet', role: 'status' }, 'Loading…'));
  const { close } = openDialog('Ways to sign in', [body]);
  /** @param {() => void} open */
  const choose = (open) => () => {
    close();
    open();
  };
  const draw = async () => {
    const [providers, identities] = await Promise.all([session.auth.providers(), session.api.identities()]);
    const secret = session.me.has_password !== false;
    const linked = new Map(identities.map(({ provider, linked_at }) => [provider, linked_at]));
    // One that is set up no more may still be linked.
    const gone = identities.filter(({ provider }) => !providers.some(({ name }) => name === provider));
    const all = [...providers, ...gone.map(({ provider }) => ({ name: provider, label: provider }))];
    const last = !secret && identities.length === 1;
    fill(
      list,
      way('Password', secret ? 'With your name or e-mail address.' : 'You have none.', secret ? 'Change…' : 'Choose…', choose(() => openPassword(session))),
      all.map((provider) => {
        const since = linked.get(provider.name);
        if (since === undefined) return way(provider.label, 'Not linked.', 'Link…', choose(() => openLink(session, provider)));
        if (last) return way(provider.label, 'The only way you sign in: choose a password to unlink it.');
        return way(provider.label, `Linked on ${dateOf(since)}.`, 'Unlink…', choose(() => openUnlink(session, provider)));
      }),
    );
    fill(body, list);
  };
  draw().catch((error) => fill(body, h('p', { class: 'form-error', role: 'alert' }, refusalText(error))));
}

/**
 * @param {string} name
 * @param {string} hint
 * @param {string} [action]
 * @param {() => void} [run]
 */
function way(name, hint, action, run) {
  const words = h('span', { class: 'person-words' }, h('span', { class: 'person-name' }, name), h('span', { class: 'hint' }, hint));
  return h('li', { class: 'row' }, words, action ? h('button', { class: 'button', type: 'button', 'aria-label': `${name}: ${action}`, onclick: run }, action) : null);
}

/**
 * @param {Session} session
 * @param {Provider} provider
 */
function openLink(session, provider) {
  openForm(`Link ${provider.label}`, [h('p', null, `You sign in at ${provider.label} and come back here.`), confirmation(session)], {
    submit: `Go to ${provider.label}`,
    run: async (data) => location.assign(await session.api.beginLink(provider, confirmed(data))),
  });
}

/**
 * @param {Session} session
 * @param {Provider} provider
 */
function openUnlink(session, { name, label }) {
  confirmAction(`Unlink ${label}`, `You cannot sign in with ${label} any more.`, 'Unlink', async () => {
    await session.api.unlink(name);
    toast(`${label} is unlinked.`);
    openWays(session);
  });
}
