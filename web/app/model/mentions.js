/**
 * Finding `@name` in what is written, and completing it. Pure.
 *
 * @module
 */

/** @typedef {{ id: string, name: string }} Named */

/** The most people a message may mention. */
const MAX_MENTIONS = 50;

/**
 * The stretches of `text` that mention somebody. Names may hold spaces, so the longest that fits wins.
 * @param {string} text
 * @param {Named[]} people
 * @returns {{ start: number, end: number, id: string }[]}
 */
export function findMentions(text, people) {
  const byLength = people.filter((p) => p.name !== '').sort((a, b) => b.name.length - a.name.length);
  const lower = text.toLowerCase();
  const found = [];
  for (let at = lower.indexOf('@'); at !== -1; at = lower.indexOf('@', at + 1)) {
    if (at > 0 && isWord(text[at - 1])) continue;
    const person = byLength.find((p) => lower.startsWith(p.name.toLowerCase(), at + 1) && !isWord(text[at + 1 + p.name.length]));
    if (!person) continue;
    found.push({ start: at, end: at + 1 + person.name.length, id: person.id });
    at += person.name.length;
  }
  return found;
}

/**
 * The ids of those whom `text` mentions.
 * @param {string} text
 * @param {Named[]} people
 */
export function mentionedIds(text, people) {
  return [...new Set(findMentions(text, people).map((m) => m.id))].slice(0, MAX_MENTIONS);
}

/**
 * The `@…` that is being written before the caret, if one is.
 * @param {string} text
 * @param {number} caret
 * @returns {{ start: number, query: string } | undefined}
 */
export function mentionBeingWritten(text, caret) {
  const start = text.lastIndexOf('@', caret - 1);
  if (start === -1 || (start > 0 && isWord(text[start - 1]))) return undefined;
  const query = text.slice(start + 1, caret);
  if (query.length > 32 || /\n/u.test(query) || /\s\s/u.test(query)) return undefined;
  return { start, query };
}

/**
 * Those whom a query may mean: names that begin with it first.
 * @template {Named} T
 * @param {string} query
 * @param {T[]} people
 * @param {number} limit
 */
export function completions(query, people, limit = 6) {
  const wanted = query.toLowerCase();
  const rank = (/** @type {T} */ p) => {
    const name = p.name.toLowerCase();
    if (name.startsWith(wanted)) return 0;
    return name.split(/\s+/u).some((word) => word.startsWith(wanted)) ? 1 : 2;
  };
  return people
    .filter((p) => rank(p) < 2)
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name))
    .slice(0, limit);
}

/** @param {string | undefined} letter */
function isWord(letter) {
  return letter !== undefined && /[\p{L}\p{N}_]/u.test(letter);
}
