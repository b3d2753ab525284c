/**
 * Switching between dark and light.
 *
 * @module
 */

/** @typedef {'system' | 'dark' | 'light'} Theme */

const KEY = 'fireside.theme';

/** @returns {Theme} */
export function theme() {
  const choice = document.documentElement.dataset.theme;
  return choice === 'dark' || choice === 'light' ? choice : 'system';
}

/** @param {Theme} choice */
export function setTheme(choice) {
  if (choice === 'system') {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    document.documentElement.dataset.theme = choice;
    localStorage.setItem(KEY, choice);
  }
}
