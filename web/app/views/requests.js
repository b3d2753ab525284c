/**
 * Friend requests, come in and gone out.
 *
 * @module
 */

import { h, reconcile } from '../dom.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { befriend } from './person-actions.js';
import { attempt } from './toast.js';

/** @import { Session } from '../model/session.js' */
/** @import { Profile } from '../net/api.js' */

/**
 * @param {Session} session
 * @param {() => void} leave where the focus goes when the last request is answered
 */
export function requestList(session, leave) {
  const list = h('ul', { class: 'plain-list' });
  const section = h('section', { class: 'group requests', 'aria-label': 'Friend requests' }, h('h3', null, 'Requests'), list);
  const draw = () => {
    const incoming = session.people.inState('incoming').map((person) => ({ person, incoming: true }));
    const outgoing = session.people.inState('outgoing').map((person) => ({ person, incoming: false }));
    const all = [...incoming, ...outgoing];
    const held = section.contains(document.activeElement);
    section.hidden = all.length === 0;
    reconcile(list, all, {
      key: ({ person, incoming: into }) => `${into}:${person.id}:${person.name}:${person.avatar_url ?? ''}`,
      create: ({ person, incoming: into }) =>
        h(
          'li',
          { class: 'row' },
          avatar(person),
          h('span', { class: 'person-words' }, h('span', { class: 'person-name' }, person.name), h('span', { class: 'person-line' }, into ? 'wants to be friends' : 'request sent')),
          into
            ? [
                button(`Accept ${person.name}`, 'check', 'accept', () => befriend(session, person.id)),
                button(`Decline ${person.name}`, 'x', '', () => drop(session, person)),
              ]
            : button(`Cancel request to ${person.name}`, 'x', '', () => drop(session, person)),
        ),
    });
    // The button that was pressed went with its row.
    if (held && !section.contains(document.activeElement)) {
      const next = section.querySelector('button');
      if (next) next.focus();
      else leave();
    }
  };
  session.on('people', draw);
  draw();
  return section;
}

/**
 * @param {string} label
 * @param {string} glyph
 * @param {string} style
 * @param {() => Promise<unknown>} run
 */
function button(label, glyph, style, run) {
  return h(
    'button',
    { class: `icon-button ${style}`, type: 'button', 'aria-label': label, title: label, onclick: () => void attempt(run) },
    icon(glyph),
  );
}

/**
 * @param {Session} session
 * @param {Profile} person
 */
async function drop(session, person) {
  await session.api.unfriend(person.id);
  session.people.setRelation(person.id, 'none');
}
