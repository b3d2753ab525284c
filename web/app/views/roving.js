/**
 * Roving focus: a list is one stop of the Tab key, and the arrows move within it.
 *
 * @module
 */

/**
 * @param {HTMLElement} list
 * @param {string} selector of what takes the focus
 */
export function roving(list, selector) {
  const all = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll(selector)]).filter((e) => e.offsetParent !== null);
  const settle = () => {
    const items = all();
    const current = items.find((e) => e.tabIndex === 0) ?? items[0];
    for (const item of items) item.tabIndex = item === current ? 0 : -1;
  };
  list.addEventListener('focusin', (event) => {
    const target = event.target instanceof Element ? event.target.closest(selector) : null;
    if (!(target instanceof HTMLElement)) return;
    for (const item of all()) item.tabIndex = item === target ? 0 : -1;
  });
  list.addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement | null} */ (event.target);
    if (!target?.matches(selector)) return;
    const items = all();
    const at = items.indexOf(target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    items[Math.max(0, Math.min(to, items.length - 1))]?.focus();
  });
  return settle;
}
