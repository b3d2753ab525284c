/**
 * Short notices that go away by themselves.
 *
 * @module
 */

import { h } from '../dom.js';
import { icon } from '../icons.js';

const SHOWN_MS = 6_000;

const region = h('div', { class: 'toasts', role: 'region', 'aria-label': 'Notices' });
const polite = h('div', { class: 'toast-list', role: 'status' });
const urgent = h('div', { class: 'toast-list', role: 'alert' });
region.append(urgent, polite);

/** The place where notices appear; it stands in the page once. */
export const toasts = region;

/**
 * @param {string} text
 * @param {'info' | 'error'} [kind]
 */
export function toast(text, kind = 'info') {
  const list = kind === 'error' ? urgent : polite;
  const note = h(
    'div',
    { class: `toast toast-${kind}` },
    icon(kind === 'error' ? 'alert' : 'check'),
    h('span', null, text),
    h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Dismiss', onclick: () => note.remove() }, icon('x')),
  );
  list.append(note);
  while (list.children.length > 4) list.firstElementChild?.remove();
  setTimeout(() => note.remove(), SHOWN_MS);
}

/** @param {unknown} error */
export function toastError(error) {
  toast(error instanceof Error ? error.message : String(error), 'error');
}

/**
 * Runs something a person asked for; when it fails they are told.
 * @param {() => Promise<unknown>} run
 */
export async function attempt(run) {
  try {
    await run();
    return true;
  } catch (error) {
    toastError(error);
    return false;
  }
}
