/**
 * Elements without markup strings: everything a person wrote gets in as text, never as HTML.
 *
 * @module
 */

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */
/** @typedef {Record<string, unknown>} Props */

/**
 * Makes an element. Props that begin with `on` are listeners; `true` sets an empty attribute;
 * `false`, `null` and `undefined` leave it out. Addresses are checked: nothing but http, https and
 * this page's own files ever becomes an `href` or a `src`.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  append(element, children);
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {unknown} value
 */
function setProp(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith('on') && typeof value === 'function') {
    element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
  } else if (name === 'value' && 'value' in element) element.value = String(value);
  else if (name === 'href' || name === 'src') {
    const url = safeUrl(String(value));
    if (url !== undefined) element.setAttribute(name, url);
  } else element.setAttribute(name, value === true ? '' : String(value));
}

/**
 * @param {Node} parent
 * @param {Child[]} children
 */
export function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Words for those who do not see the page.
 * @param {string} text
 */
export function unseen(text) {
  return h('span', { class: 'sr-only' }, text);
}

/**
 * Replaces what an element holds.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * The address when it is one of the web or of this page, else undefined.
 * @param {string} text
 * @returns {string | undefined}
 */
export function safeUrl(text) {
  if (text.startsWith('#')) return text;
  try {
    const url = new URL(text, location.href);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the children of `parent` those of `items`, in order, keeping the element of each key.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {{ key: (item: T) => string, create: (item: T) => HTMLElement, update?: (element: HTMLElement, item: T) => void }} how
 */
export function reconcile(parent, items, { key, create, update }) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of [...parent.children]) {
    if (child instanceof HTMLElement && child.dataset.key !== undefined) old.set(child.dataset.key, child);
  }
  const wanted = new Set(items.map(key));
  for (const [name, element] of old) if (!wanted.has(name)) element.remove();
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    if (!element) {
      element = create(item);
      element.dataset.key = name;
    }
    update?.(element, item);
    if (element === next) next = next.nextElementSibling;
    // Moving an element drops the focus inside it, so only what is out of place is moved.
    else parent.insertBefore(element, next);
  }
}

/**
 * Runs `draw` once before the next frame, however often it is asked for until then. In a hidden
 * tab there are no frames, so a timer stands in.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function batched(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    const run = () => {
      if (!asked) return;
      asked = false;
      draw();
    };
    if (document.hidden) setTimeout(run, 0);
    else requestAnimationFrame(run);
  };
}

/** @type {WeakMap<Element, string>} */
const drawn = new WeakMap();

/**
 * Whether an element was last drawn from something else; from now on it counts as drawn from this.
 * @param {Element} element
 * @param {string} signature
 */
export function differs(element, signature) {
  if (drawn.get(element) === signature) return false;
  drawn.set(element, signature);
  return true;
}
