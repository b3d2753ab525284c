/**
 * A face: the picture when there is one, initials otherwise, and a dot for the presence.
 *
 * @module
 */

import { h, safeUrl } from '../dom.js';
import { groupOf } from '../model/people.js';

/** @import { PresenceView } from '../../fireside/types.js' */

const HUES = 8;

/**
 * @param {{ id: string, name: string, avatar_url?: string | null }} who
 * @param {{ size?: 'small' | 'large', presence?: PresenceView, group?: boolean }} [how]
 */
export function avatar(who, { size, presence, group } = {}) {
  const face = h(
    'span',
    { class: `avatar hue-${hue(who.id)}${size ? ` avatar-${size}` : ''}${group ? ' avatar-group' : ''}`, 'aria-hidden': 'true' },
    h('span', { class: 'initials' }, initials(who.name)),
  );
  const url = who.avatar_url ? safeUrl(who.avatar_url) : undefined;
  if (url) {
    const picture = h('img', { src: url, alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
    picture.addEventListener('error', () => picture.remove());
    face.append(picture);
  }
  if (presence) face.append(presenceDot(presence));
  return face;
}

/** @param {PresenceView} presence */
export function presenceDot(presence) {
  const group = groupOf(presence);
  const kind = group === 'away' && presence.status === 'busy' ? 'busy' : group;
  return h('span', { class: `dot dot-${presence.status === 'invisible' ? 'invisible' : kind}` });
}

/** @param {string} name */
function initials(name) {
  const words = name.trim().split(/[\s_.-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...(word ?? '?')][0] ?? '').join('').toUpperCase();
}

/** @param {string} id */
function hue(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return sum % HUES;
}
