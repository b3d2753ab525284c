/**
 * A list of what somebody shows to some and not to others.
 *
 * @module
 */

import { h } from '../../dom.js';
import { ApiError } from '../../net/http.js';
import { pagedList } from './paged.js';

/**
 * A paged list; when it is not for the person, it says so, and offers no second try.
 * @template T
 * @param {Parameters<typeof pagedList<T>>[0] & { kept: string }} how `kept`: what is said then
 */
export function shownList({ kept, load, ...how }) {
  const note = h('p', { class: 'shop-note', hidden: true }, kept);
  const list = pagedList({
    ...how,
    load: async (cursor) => {
      try {
        const page = await load(cursor);
        note.hidden = true;
        list.view.hidden = false;
        return page;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 403) throw error;
        note.hidden = false;
        list.view.hidden = true;
        return { items: [] };
      }
    },
  });
  return { ...list, view: h('div', null, note, list.view) };
}
