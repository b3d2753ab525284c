/**
 * The list that opens while an `@name` is being written.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { completions, mentionBeingWritten } from '../model/mentions.js';
import { avatar } from './avatar.js';

/** @import { Named } from '../model/mentions.js' */

let count = 0;

/**
 * @param {HTMLTextAreaElement} input
 * @param {() => Named[]} people
 */
export function mentionCompletion(input, people) {
  count += 1;
  const id = `mentions-${count}`;
  const list = h('ul', { class: 'mention-list', role: 'listbox', id, 'aria-label': 'People to mention', hidden: true });
  input.setAttribute('aria-controls', id);
  input.setAttribute('aria-autocomplete', 'list');
  /** @type {Named[]} */
  let offered = [];
  let chosen = 0;
  let start = 0;

  const close = () => {
    offered = [];
    draw();
  };
  const draw = () => {
    list.hidden = offered.length === 0;
    fill(
      list,
      offered.map((person, index) =>
        h(
          'li',
          {
            role: 'option',
            id: `${id}-${index}`,
            'aria-selected': String(index === chosen),
            // Before the text field loses the focus.
            onpointerdown: (/** @type {Event} */ event) => {
              event.preventDefault();
              accept(person);
            },
          },
          avatar(person, { size: 'small' }),
          person.name,
        ),
      ),
    );
    if (offered.length > 0) input.setAttribute('aria-activedescendant', `${id}-${chosen}`);
    else input.removeAttribute('aria-activedescendant');
  };
  /** @param {Named} person */
  const accept = (person) => {
    input.setRangeText(`@${person.name} `, start, input.selectionStart, 'end');
    close();
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const update = () => {
    const writing = mentionBeingWritten(input.value, input.selectionStart);
    offered = writing ? completions(writing.query, people()) : [];
    start = writing?.start ?? 0;
    chosen = 0;
    draw();
  };
  input.addEventListener('input', update);
  input.addEventListener('blur', close);

  return {
    view: list,
    /** Those who may be mentioned have changed; perhaps somebody waits for them. */
    refresh() {
      if (document.activeElement === input) update();
    },
    /**
     * @param {KeyboardEvent} event
     * @returns {boolean} whether the key was meant for the list
     */
    keydown(event) {
      if (offered.length === 0) return false;
      const person = offered[chosen];
      if (event.key === 'ArrowDown') chosen = (chosen + 1) % offered.length;
      else if (event.key === 'ArrowUp') chosen = (chosen + offered.length - 1) % offered.length;
      else if ((event.key === 'Enter' || event.key === 'Tab') && person) accept(person);
      else if (event.key === 'Escape') close();
      else return false;
      event.preventDefault();
      event.stopPropagation();
      draw();
      return true;
    },
  };
}
