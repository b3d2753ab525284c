/**
 * A list that grows page by page.
 *
 * @module
 */

import { append, fill, h } from '../../dom.js';
import { refusalText } from '../../model/refusal.js';

/** @import { Page } from '../../net/shop.js' */

/**
 * @template T
 * @param {object} how
 * @param {string} how.label
 * @param {string} [how.class]
 * @param {string} how.empty what is said when there is nothing
 * @param {(cursor?: string) => Promise<Page<T>>} how.load
 * @param {(item: T) => HTMLElement} how.row
 */
export function pagedList({ label, class: style = '', empty, load, row }) {
  const list = h('ul', { class: `plain-list ${style}`, 'aria-label': label });
  const note = h('p', { class: 'shop-note', role: 'status' });
  const more = h('button', { class: 'button', type: 'button', onclick: () => void read(next) }, 'Show more');
  more.hidden = true;
  /** @type {string | undefined} */
  let next;
  let turn = 0;

  /** @param {string} [cursor] */
  const read = async (cursor) => {
    const mine = ++turn;
    const seen = list.childElementCount;
    list.setAttribute('aria-busy', 'true');
    more.disabled = true;
    if (!cursor) note.textContent = 'Loading…';
    try {
      const page = await load(cursor);
      if (mine !== turn) return;
      if (!cursor) fill(list);
      append(list, page.items.map(row));
      next = page.next ?? undefined;
      more.textContent = 'Show more';
      more.hidden = next === undefined;
      note.textContent = list.childElementCount === 0 ? empty : '';
      // The button that was pressed may be gone: the person goes on with what is new.
      const first = list.children[seen]?.querySelector('a, button');
      if (cursor && more.hidden && first instanceof HTMLElement) first.focus();
    } catch (error) {
      if (mine !== turn) return;
      note.textContent = refusalText(error);
      next = cursor;
      more.textContent = 'Try again';
      more.hidden = false;
    } finally {
      if (mine === turn) {
        list.setAttribute('aria-busy', 'false');
        more.disabled = false;
      }
    }
  };
  void read();
  return { view: h('div', { class: 'paged' }, list, note, h('div', { class: 'paged-more' }, more)), list, reload: () => read() };
}
