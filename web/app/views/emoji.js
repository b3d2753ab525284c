/**
 * A small picker of emoji, for reactions and for writing.
 *
 * @module
 */

import { h } from '../dom.js';
import { homeOf, place } from './menu.js';

/** @type {[string, string][]} emoji and the name it goes by */
const EMOJI = [
  ['👍', 'thumbs up'], ['❤️', 'heart'], ['😂', 'tears of joy'], ['🔥', 'fire'], ['🎉', 'party'], ['😮', 'surprised'],
  ['😢', 'sad'], ['👀', 'eyes'], ['🙏', 'thanks'], ['💯', 'hundred'], ['👏', 'clapping'], ['🤔', 'thinking'],
  ['😀', 'grinning'], ['😅', 'sweat smile'], ['😍', 'heart eyes'], ['😎', 'cool'], ['🥳', 'celebrating'], ['😴', 'sleeping'],
  ['😭', 'crying'], ['😡', 'angry'], ['🤯', 'mind blown'], ['🫡', 'salute'], ['👎', 'thumbs down'], ['👋', 'waving'],
  ['💪', 'strong'], ['✨', 'sparkles'], ['⭐', 'star'], ['🚀', 'rocket'], ['🎮', 'game controller'], ['🏆', 'trophy'],
  ['⚔️', 'swords'], ['🛡️', 'shield'], ['🎯', 'bullseye'], ['🍕', 'pizza'], ['☕', 'coffee'], ['✅', 'done'],
];
const COLUMNS = 6;

/** @type {(() => void) | undefined} */
let closeOpen;

/**
 * @param {HTMLElement} anchor
 * @param {(emoji: string) => void} pick
 */
export function openEmoji(anchor, pick) {
  closeOpen?.();
  const grid = h('div', { class: 'emoji-grid', role: 'dialog', 'aria-label': 'Emoji' });
  const close = (/** @type {boolean} */ refocus) => {
    grid.remove();
    closeOpen = undefined;
    removeEventListener('pointerdown', outside, true);
    if (refocus && anchor.isConnected) anchor.focus();
  };
  const outside = (/** @type {Event} */ event) => {
    if (event.target instanceof Node && !grid.contains(event.target)) close(false);
  };
  closeOpen = () => close(false);
  const buttons = EMOJI.map(([emoji, name]) =>
    h(
      'button',
      {
        type: 'button',
        class: 'emoji',
        'aria-label': name,
        title: name,
        tabindex: '-1',
        onclick: () => {
          close(true);
          pick(emoji);
        },
      },
      emoji,
    ),
  );
  grid.append(...buttons);
  grid.addEventListener('keydown', (event) => {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + COLUMNS, ArrowUp: at - COLUMNS, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) buttons[Math.max(0, Math.min(to, buttons.length - 1))]?.focus();
    else if (event.key === 'Escape' || event.key === 'Tab') close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  homeOf(anchor).append(grid);
  place(grid, anchor);
  addEventListener('pointerdown', outside, true);
  buttons[0]?.focus();
}
