/**
 * Searching what was said, with a jump to where it stands.
 *
 * @module
 */

import { append, fill, h } from '../dom.js';
import { fullTimeOf, shortWhen } from '../format.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { roving } from './roving.js';

/** @import { Message } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

const DELAY_MS = 250;

/**
 * @param {Session} session
 * @param {string | undefined} room the room that is open, if one is
 * @param {(room: string, seq: number) => void} jump
 */
export function searchPanel(session, room, jump) {
  const input = h('input', { type: 'search', 'aria-label': 'Search messages', placeholder: 'Search messages', autocomplete: 'off' });
  const where = h(
    'select',
    { 'aria-label': 'Where to search' },
    h('option', { value: '' }, 'Everywhere'),
    room ? h('option', { value: room }, 'In this chat') : null,
  );
  const author = h(
    'select',
    { 'aria-label': 'From whom' },
    h('option', { value: '' }, 'From anyone'),
    h('option', { value: session.me.id }, 'From me'),
    session.people.inState('friend').map((friend) => h('option', { value: friend.id }, `From ${friend.name}`)),
  );
  const note = h('p', { class: 'quiet', role: 'status' }, 'Words of the message you are looking for.');
  const results = h('ul', { class: 'plain-list results', 'aria-label': 'Messages found' });
  const settle = roving(results, '.result');
  const more = h('button', { class: 'button wide', type: 'button', hidden: true, onclick: () => void find(next) }, 'More');
  /** @type {string | undefined} */
  let next;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let turn = 0;

  /** @param {string} [after] the page to go on from */
  const find = async (after) => {
    const q = input.value.trim();
    const mine = ++turn;
    if (q === '') {
      fill(results);
      more.hidden = true;
      note.textContent = 'Words of the message you are looking for.';
      return;
    }
    try {
      const page = await session.api.search({ q: asTyped(q), room: where.value, author: author.value, after });
      if (mine !== turn) return;
      next = page.next ?? undefined;
      more.hidden = next === undefined;
      if (!after) fill(results);
      append(results, page.items.map((item) => row(item.room, item.message, q)));
      const count = results.childElementCount;
      note.textContent = count === 0 ? `Nothing found for “${q}”.` : `${count}${next ? ' or more' : ''} found`;
      settle();
    } catch (error) {
      if (mine === turn) note.textContent = error instanceof Error ? error.message : String(error);
    }
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => void find(), DELAY_MS);
  });
  for (const select of [where, author]) select.addEventListener('change', () => void find());

  /**
   * @param {string} inRoom
   * @param {Message} message
   * @param {string} q
   */
  function row(inRoom, message, q) {
    const view = session.rooms.views.get(inRoom);
    const person = session.people.profile(message.user) ?? { id: message.user, name: '…' };
    return h(
      'li',
      null,
      h(
        'button',
        { class: 'result', type: 'button', onclick: () => jump(inRoom, message.seq) },
        h(
          'span',
          { class: 'result-top' },
          avatar(person, { size: 'small' }),
          h('span', { class: 'person-name' }, person.name),
          view && (view.kind !== 'dm' || message.user === session.me.id) ? h('span', { class: 'result-room' }, view.kind === 'dm' ? `to ${session.rooms.title(view)}` : session.rooms.title(view)) : null,
          h('time', { class: 'chat-when', title: fullTimeOf(message.ts) }, shortWhen(message.ts)),
        ),
        h('span', { class: 'result-text' }, marked(message.text, q)),
      ),
    );
  }

  return {
    view: h(
      'div',
      { class: 'panel-body', role: 'search', 'aria-label': 'Messages' },
      h('div', { class: 'search-field' }, icon('search'), input),
      h('div', { class: 'search-filters' }, where, author),
      note,
      results,
      more,
    ),
    focus: () => input.focus(),
  };
}

/**
 * While it is being typed, the last word may only be the beginning of one.
 * @param {string} q
 */
function asTyped(q) {
  return /[\p{L}\p{N}]$/u.test(q) ? `${q}*` : q;
}

/**
 * The text with the words searched for marked.
 * @param {string} text
 * @param {string} q
 * @returns {(string | HTMLElement)[]}
 */
function marked(text, q) {
  const words = q.split(/[\s*]+/u).filter(Boolean).map((word) => word.replaceAll(/[.*+?^${}()|[\]\\]/gu, '\\$&'));
  if (words.length === 0) return [text];
  const pattern = new RegExp(`(${words.join('|')})`, 'giu');
  return text.split(pattern).map((part, index) => (index % 2 === 1 ? h('mark', null, part) : part));
}
