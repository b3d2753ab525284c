/**
 * What the signed-in person shows to whom.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { refusalText } from '../model/refusal.js';
import { openForm } from './dialog.js';
import { toast } from './toast.js';

/** @import { Session } from '../model/session.js' */
/** @import { Audience, Privacy, Section } from '../net/profiles.js' */

/** @type {[Section, string, string][]} */
const SECTIONS = [
  ['profile', 'Picture and status text', 'Your name is for everybody.'],
  ['friends', 'Your friends', 'For nobody: you are left out of the lists of others, too.'],
  ['library', 'Your games', 'For nobody: friends do not hear of what you buy either.'],
  ['wishlist', 'Your wishlist', ''],
  ['play_time', 'How long you played', 'In your reviews, too.'],
  ['guest_book', 'Reading your guest book', ''],
  ['guest_book_entries', 'Writing in your guest book', ''],
];

/** @type {[Audience, string][]} */
const AUDIENCES = [
  ['public', 'Everybody'],
  ['friends', 'Friends'],
  ['nobody', 'Nobody'],
];

/** @param {Session} session */
export function openPrivacy({ profiles }) {
  /** @type {Privacy | undefined} what is so by now */
  let now;
  const body = h('div', { class: 'privacy' }, h('p', { class: 'quiet', role: 'status' }, 'Loading…'));
  const { form } = openForm('Privacy', [h('p', null, 'Who sees what of you. Whom you block sees what strangers see.'), body], {
    submit: 'Save',
    run: async (data) => {
      /** @type {Partial<Privacy>} */
      const change = {};
      for (const [section] of SECTIONS) {
        const chosen = /** @type {Audience | null} */ (data.get(section));
        if (chosen && chosen !== now?.[section]) change[section] = chosen;
      }
      await profiles.changePrivacy(change);
      toast('Your privacy is as you chose.');
    },
  });
  const save = /** @type {HTMLButtonElement} */ (form.querySelector('[type=submit]'));
  save.disabled = true;
  profiles.privacy().then(
    (privacy) => {
      now = privacy;
      fill(body, SECTIONS.map(([section, words, hint]) => choice(section, words, hint, privacy[section])));
      save.disabled = false;
    },
    (error) => fill(body, h('p', { class: 'form-error', role: 'alert' }, refusalText(error))),
  );
}

/**
 * @param {Section} section
 * @param {string} words
 * @param {string} hint
 * @param {Audience} audience
 */
function choice(section, words, hint, audience) {
  const id = `privacy-${section}`;
  const select = h(
    'select',
    { id, name: section, 'aria-describedby': hint ? `${id}-hint` : undefined },
    AUDIENCES.map(([value, name]) => h('option', { value, selected: value === audience }, name)),
  );
  return h('div', { class: 'field privacy-row' }, h('label', { for: id }, words), select, hint ? h('p', { class: 'hint', id: `${id}-hint` }, hint) : null);
}
