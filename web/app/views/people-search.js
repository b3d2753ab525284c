/**
 * Finding people by name.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { befriend } from './person-actions.js';
import { attempt } from './toast.js';

/** @import { Session } from '../model/session.js' */
/** @import { Profile } from '../net/api.js' */

const DELAY_MS = 250;
const MIN_LETTERS = 2;

/**
 * @param {Session} session
 * @param {(user: string) => void} openChat
 */
export function peopleSearch(session, openChat) {
  const input = h('input', { type: 'search', 'aria-label': 'Find people', placeholder: 'Find people by name', autocomplete: 'off', spellcheck: 'false' });
  const results = h('ul', { class: 'plain-list', 'aria-label': 'People found' });
  const note = h('p', { class: 'quiet', role: 'status' });
  /** @type {Profile[]} */
  let found = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const draw = () => {
    // The button that was pressed is gone; its row, or the field, is where to go on.
    const held = [...results.children].findIndex((child) => child.contains(document.activeElement));
    fill(results, found.map((person) => row(person)));
    if (held !== -1) (results.children[held]?.querySelector('button') ?? input).focus();
  };
  const find = async () => {
    const q = input.value.trim();
    if (q.length < MIN_LETTERS) {
      found = [];
      note.textContent = '';
      draw();
      return;
    }
    try {
      const people = await session.api.findPeople(q);
      if (input.value.trim() !== q) return;
      found = people.filter((person) => person.id !== session.me.id);
      for (const person of found) session.people.learn(person);
      note.textContent = found.length === 0 ? `Nobody’s name begins with “${q}”.` : '';
    } catch (error) {
      note.textContent = error instanceof Error ? error.message : String(error);
    }
    draw();
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(find, DELAY_MS);
  });
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || input.value === '') return;
    event.stopPropagation();
    input.value = '';
    void find();
  });
  session.on('people', () => {
    if (found.length > 0) draw();
  });

  /** @param {Profile} person */
  function row(person) {
    return h(
      'li',
      { class: 'row' },
      avatar(person),
      h('span', { class: 'person-words' }, h('span', { class: 'person-name' }, person.name), person.status_text ? h('span', { class: 'person-line' }, person.status_text) : null),
      action(person),
    );
  }

  /** @param {Profile} person */
  function action(person) {
    const { id, name } = person;
    const ask = (/** @type {string} */ label, /** @type {string} */ words) =>
      h('button', { class: 'button small primary', type: 'button', 'aria-label': label, onclick: () => void attempt(() => befriend(session, id)) }, words);
    if (session.people.blocked.has(id)) return h('span', { class: 'quiet' }, 'Blocked');
    switch (session.people.relation(id)) {
      case 'friend':
        return h('button', { class: 'button small', type: 'button', 'aria-label': `Message ${name}`, onclick: () => openChat(id) }, 'Message');
      case 'outgoing':
        return h('span', { class: 'quiet' }, 'Request sent');
      case 'incoming':
        return ask(`Accept request of ${name}`, 'Accept');
      default:
        return ask(`Add ${name}`, 'Add');
    }
  }

  const view = h('div', { class: 'people-search', role: 'search', 'aria-label': 'People' }, h('div', { class: 'search-field' }, icon('search'), input), note, results);
  return { view, focus: () => input.focus() };
}
