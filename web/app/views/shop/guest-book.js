/**
 * Somebody's guest book: what people wrote in it, and writing in it.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { fullTimeOf, shortWhen } from '../../format.js';
import { refusalText, ruleOf } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { avatar } from '../avatar.js';
import { confirmAction } from '../dialog.js';
import { toast } from '../toast.js';
import { shownList } from './shown.js';

/** @import { GuestBookEntry } from '../../net/profiles.js' */
/** @import { ShopContext } from './place.js' */

const LONGEST = 500;

/**
 * @param {ShopContext} context
 * @param {{ id: string, name: string }} owner
 */
export function guestBook(context, owner) {
  const { profiles, me } = context.session;
  const own = owner.id === me.id;
  const list = shownList({
    label: 'Guest book',
    class: 'reviews',
    empty: own ? 'Nobody has written in your guest book yet.' : `Nobody has written in ${owner.name}’s guest book yet.`,
    kept: `${owner.name} does not show you the guest book.`,
    load: (cursor) => profiles.guestBook(owner.id, cursor),
    row: (entry) => entryRow(context, owner.id, entry, () => list.reload()),
  });
  return h('section', { class: 'shelf', 'aria-label': 'Guest book' }, h('h3', null, 'Guest book'), writing(context, owner, () => list.reload()), list.view);
}

/**
 * @param {ShopContext} context
 * @param {{ id: string, name: string }} owner
 * @param {() => void} written
 */
function writing({ session, shop }, owner, written) {
  const { profiles } = session;
  const text = h('textarea', { id: 'guest-book-text', name: 'text', rows: '2', required: true, maxlength: String(LONGEST), placeholder: 'Good game last night!' });
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const button = h('button', { class: 'button primary', type: 'submit' }, 'Write');
  const form = h(
    'form',
    { class: 'form guest-book-form' },
    h('div', { class: 'field' }, h('label', { for: 'guest-book-text' }, owner.id === session.me.id ? 'Write in your guest book' : `Write in ${owner.name}’s guest book`), text),
    problem,
    h('div', { class: 'form-actions' }, button),
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    button.disabled = true;
    const words = text.value.trim();
    try {
      // Under a name, so that what was written before an answer got lost does not stand there twice.
      await shop.keys.run(`guest book ${owner.id}`, { text: words }, (key) => profiles.writeInGuestBook(key, owner.id, words));
      form.reset();
      written();
    } catch (error) {
      problem.textContent = ruleOf(error) === 'too_many' ? 'You have written here often enough for a day.' : refusalText(error);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

/**
 * @param {ShopContext} context
 * @param {string} owner
 * @param {GuestBookEntry} entry
 * @param {() => void} changed
 */
function entryRow({ session }, owner, entry, changed) {
  const { profiles, me } = session;
  const { id, author } = entry;
  const mine = author.id === me.id;
  let hidden = entry.hidden === true;
  const mark = h('span', { class: 'chip' }, 'Hidden');
  const toggle = h('button', { class: 'button small', type: 'button', onclick: () => void hide() });
  const draw = () => {
    mark.hidden = !hidden;
    fill(toggle, hidden ? 'Show' : 'Hide');
    toggle.setAttribute('aria-label', `${hidden ? 'Show' : 'Hide'} what ${author.name} wrote`);
  };
  const hide = async () => {
    try {
      await profiles.hideEntry(owner, id, !hidden);
      hidden = !hidden;
      draw();
    } catch (error) {
      toast(refusalText(error), 'error');
    }
  };
  const remove = () =>
    confirmAction('Delete entry', `What ${mine ? 'you' : author.name} wrote is gone then.`, 'Delete', async () => {
      await profiles.deleteEntry(owner, id);
      changed();
    });
  draw();
  const buttons = [
    owner === me.id && !mine ? toggle : null,
    owner === me.id || mine ? h('button', { class: 'button small', type: 'button', 'aria-label': `Delete what ${mine ? 'you' : author.name} wrote`, onclick: remove }, 'Delete') : null,
  ];
  return h(
    'li',
    { class: 'review' },
    h(
      'div',
      { class: 'review-top' },
      avatar(author, { size: 'small' }),
      h('a', { class: 'game-title', href: shopRoute('person', author.id) }, mine ? 'You' : author.name),
      mark,
      h('time', { class: 'chat-when', title: fullTimeOf(entry.at) }, shortWhen(entry.at)),
    ),
    h('p', { class: 'review-text' }, entry.text),
    buttons.some(Boolean) ? h('div', { class: 'review-foot' }, buttons) : null,
  );
}
