/**
 * A message's text as nodes: links and mentions stand out, the rest stays as it was written.
 *
 * @module
 */

import { h, safeUrl } from '../dom.js';
import { findMentions } from '../model/mentions.js';

/** @import { Named } from '../model/mentions.js' */

const LINK = /\bhttps?:\/\/[^\s<>"']+/giu;
/** What ends a sentence rather than an address. */
const TRAILING = /[.,;:!?)\]}]+$/u;
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D|\p{Emoji_Modifier}|\p{Extended_Pictographic})*\s*){1,4}$/u;

/**
 * @param {string} text
 * @param {Named[]} mentioned
 * @param {string} me
 * @returns {Node[]}
 */
export function richText(text, mentioned, me) {
  /** @type {Node[]} */
  const nodes = [];
  let from = 0;
  for (const { start, end, id } of findMentions(text, mentioned)) {
    nodes.push(...linked(text.slice(from, start)));
    nodes.push(h('span', { class: id === me ? 'mention mention-me' : 'mention' }, text.slice(start, end)));
    from = end;
  }
  nodes.push(...linked(text.slice(from)));
  return nodes;
}

/** @param {string} text */
export function isOnlyEmoji(text) {
  return ONLY_EMOJI.test(text.trim());
}

/**
 * @param {string} text
 * @returns {Node[]}
 */
function linked(text) {
  /** @type {Node[]} */
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(TRAILING, '');
    if (!safeUrl(address)) continue;
    nodes.push(document.createTextNode(text.slice(from, match.index)));
    nodes.push(h('a', { href: address, target: '_blank', rel: 'noopener noreferrer nofollow' }, address));
    from = match.index + address.length;
  }
  nodes.push(document.createTextNode(text.slice(from)));
  return nodes;
}
