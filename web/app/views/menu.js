/**
 * Pop-up menus, with the keys that menus have everywhere.
 *
 * @module
 */

import { h } from '../dom.js';
import { icon } from '../icons.js';

/**
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {string} [icon]
 * @property {string} [hint]
 * @property {Node} [mark] shown in the icon's place
 * @property {boolean} [checked] one of several choices, chosen or not
 * @property {boolean} [danger]
 * @property {() => void} run
 */

/** @type {(() => void) | undefined} */
let closeOpen;

/**
 * Opens a menu beside an element; `'-'` is a line between items.
 * @param {HTMLElement} anchor
 * @param {string} label
 * @param {(MenuItem | '-' | null | false | undefined)[]} items
 */
export function openMenu(anchor, label, items) {
  closeOpen?.();
  const menu = h('div', { class: 'menu', role: 'menu', 'aria-label': label });
  for (const item of items) {
    if (!item) continue;
    menu.append(item === '-' ? h('div', { class: 'menu-line', role: 'separator' }) : row(item));
  }
  const close = (/** @type {boolean} */ refocus) => {
    menu.remove();
    closeOpen = undefined;
    anchor.setAttribute('aria-expanded', 'false');
    removeEventListener('pointerdown', outside, true);
    removeEventListener('resize', gone);
    if (refocus && anchor.isConnected) anchor.focus();
  };
  const outside = (/** @type {Event} */ event) => {
    if (!(event.target instanceof Node) || !menu.contains(event.target)) close(false);
  };
  const gone = () => close(false);
  closeOpen = gone;

  /** @param {MenuItem} item */
  function row(item) {
    const radio = item.checked !== undefined;
    return h(
      'button',
      {
        class: `menu-item${item.danger ? ' danger-text' : ''}`,
        type: 'button',
        role: radio ? 'menuitemradio' : 'menuitem',
        'aria-checked': radio ? String(item.checked) : undefined,
        tabindex: '-1',
        onclick: () => {
          close(true);
          item.run();
        },
      },
      item.mark ?? (item.icon ? icon(item.icon) : h('span', { class: 'icon' })),
      h('span', { class: 'menu-label' }, item.label),
      item.hint ? h('span', { class: 'menu-hint' }, item.hint) : null,
      item.checked ? icon('check') : null,
    );
  }

  const buttons = () => /** @type {HTMLElement[]} */ ([...menu.querySelectorAll('button')]);
  menu.addEventListener('keydown', (event) => {
    const all = buttons();
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all[(to + all.length) % all.length]?.focus();
    else if (event.key === 'Escape' || event.key === 'Tab') close(true);
    else if (event.key.length === 1 && /\S/u.test(event.key)) {
      const wanted = event.key.toLowerCase();
      const order = [...all.slice(at + 1), ...all.slice(0, at + 1)];
      order.find((b) => b.textContent?.trim().toLowerCase().startsWith(wanted))?.focus();
      return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  homeOf(anchor).append(menu);
  place(menu, anchor);
  anchor.setAttribute('aria-haspopup', 'menu');
  anchor.setAttribute('aria-expanded', 'true');
  addEventListener('pointerdown', outside, true);
  addEventListener('resize', gone);
  (buttons().find((b) => b.getAttribute('aria-checked') === 'true') ?? buttons()[0])?.focus();
}

/**
 * Where something that floats beside an element belongs: within its landmark, where it is found by
 * those who walk from landmark to landmark; and within a modal dialog, outside of which all is inert.
 * @param {Element} anchor
 */
export function homeOf(anchor) {
  return anchor.closest('dialog, nav, main, aside') ?? document.body;
}

/**
 * Puts a floating element beside its anchor, inside the window.
 * @param {HTMLElement} floating
 * @param {Element} anchor
 */
export function place(floating, anchor) {
  const at = anchor.getBoundingClientRect();
  const size = floating.getBoundingClientRect();
  const below = at.bottom + 6 + size.height <= innerHeight - 8;
  const top = below ? at.bottom + 6 : Math.max(8, at.top - 6 - size.height);
  const left = at.left + size.width <= innerWidth - 8 ? at.left : at.right - size.width;
  floating.style.top = `${top}px`;
  floating.style.left = `${Math.max(8, Math.min(left, innerWidth - size.width - 8))}px`;
}
