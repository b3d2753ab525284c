/**
 * What this tab shows once it is back from a provider. It is kept in the tab and ends with it; no other has it.
 *
 * @module
 */

const KEY = 'fireside.begun';

/**
 * `link` is what the provider is called that is to be linked to the account; without it somebody signs in.
 * @typedef {{ secret: string, link?: string }} Begun
 */

/** @param {Begun} begun */
export function remember(begun) {
  sessionStorage.setItem(KEY, JSON.stringify(begun));
}

/**
 * What was begun here, once.
 * @returns {Begun | undefined}
 */
export function recall() {
  const text = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  return text ? JSON.parse(text) : undefined;
}
