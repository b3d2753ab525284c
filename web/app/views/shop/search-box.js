/**
 * The field one searches games with: titles are suggested while one types, and before that what
 * one searched for last.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { icon } from '../../icons.js';
import { shopRoute } from '../../route.js';

/** @import { ShopContext } from './place.js' */

const DELAY_MS = 150;
let count = 0;

/**
 * @param {ShopContext} context
 * @param {string} text what stands in it at first
 * @param {(q: string) => void} search
 */
export function searchBox({ api, left }, text, search) {
  count += 1;
  const id = `suggestions-${count}`;
  const input = h('input', {
    type: 'search',
    role: 'combobox',
    'aria-label': 'Search games',
    'aria-autocomplete': 'list',
    'aria-expanded': 'false',
    'aria-controls': id,
    placeholder: 'Search games',
    autocomplete: 'off',
    maxlength: '100',
    value: text,
  });
  const list = h('ul', { class: 'suggestions', role: 'listbox', id, 'aria-label': 'Suggestions', hidden: true });
  /** @type {{ text: string, run: () => void }[]} */
  let options = [];
  let chosen = -1;
  let turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const close = () => {
    turn += 1;
    clearTimeout(timer);
    options = [];
    draw();
  };
  const choose = (/** @type {number} */ index) => {
    const option = options[index];
    close();
    option?.run();
  };
  const draw = () => {
    chosen = -1;
    list.hidden = options.length === 0;
    input.setAttribute('aria-expanded', String(options.length > 0));
    input.removeAttribute('aria-activedescendant');
    fill(
      list,
      options.map((option, index) =>
        h('li', { class: 'suggestion', role: 'option', id: `${id}-${index}`, 'aria-selected': 'false', onclick: () => choose(index) }, option.text),
      ),
    );
  };
  const select = (/** @type {number} */ index) => {
    chosen = (index + options.length) % options.length;
    [...list.children].forEach((row, at) => row.setAttribute('aria-selected', String(at === chosen)));
    input.setAttribute('aria-activedescendant', `${id}-${chosen}`);
    list.children[chosen]?.scrollIntoView({ block: 'nearest' });
  };
  const suggest = async () => {
    const q = input.value.trim();
    const mine = ++turn;
    try {
      const found = q === '' ? (await api.recentSearches()).map(searchAgain) : (await api.suggestions(q)).map(openGame);
      if (mine !== turn || left()) return;
      options = found;
      draw();
    } catch {
      // A suggestion that does not come is not missed.
    }
  };
  /** @param {string} words */
  const searchAgain = (words) => ({
    text: words,
    run: () => {
      input.value = words;
      search(words);
    },
  });
  /** @param {{ slug: string, title: string }} game */
  const openGame = ({ slug, title }) => ({ text: title, run: () => void (location.hash = shopRoute('game', slug)) });

  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => void suggest(), DELAY_MS);
  });
  input.addEventListener('focus', () => {
    if (input.value.trim() === '') void suggest();
  });
  input.addEventListener('blur', close);
  // A press in the list would take the focus, and with it the list, before it is a click.
  list.addEventListener('pointerdown', (event) => event.preventDefault());
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' && options.length > 0) select(chosen + 1);
    else if (event.key === 'ArrowUp' && options.length > 0) select(chosen === -1 ? -1 : chosen - 1);
    else if (event.key === 'Escape' && options.length > 0) close();
    else if (event.key === 'Enter' && chosen >= 0) choose(chosen);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const form = h('form', { class: 'game-search', role: 'search', 'aria-label': 'Games' }, h('div', { class: 'search-field' }, icon('search'), input, list), h('button', { class: 'button', type: 'submit' }, 'Search'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const q = input.value.trim();
    close();
    if (q !== '') api.searched(q).catch(() => undefined);
    search(q);
  });
  return form;
}
