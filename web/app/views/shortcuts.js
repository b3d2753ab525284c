/**
 * The page's keys, in one place: what they do is told from the same table.
 *
 * @module
 */

import { h } from '../dom.js';
import { openDialog } from './dialog.js';

/** @type {[string, string][]} */
const KEYS = [
  ['Ctrl K', 'Search messages'],
  ['Alt ↑ / Alt ↓', 'Previous or next chat'],
  ['Alt Shift ↓', 'Next unread chat'],
  ['Enter', 'Send'],
  ['Shift Enter', 'New line'],
  ['↑ in an empty message', 'Edit your last message'],
  ['@', 'Mention somebody'],
  ['↑ ↓ among messages', 'Move from message to message'],
  ['R, E, +, Delete on a message', 'Reply, edit, react, delete'],
  ['Escape', 'Close, cancel, back to the message field'],
  ['?', 'This list'],
];

export function openShortcuts() {
  openDialog('Keyboard shortcuts', [
    h('dl', { class: 'keys' }, KEYS.map(([keys, what]) => h('div', null, h('dt', null, h('kbd', null, keys)), h('dd', null, what)))),
  ]);
}
