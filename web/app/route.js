/**
 * Where in the page a person is, in the address: `#/room/ID`, or `#/room/ID/SEQ` for a message;
 * `#/login` for who is back from a provider, with the ticket behind a question mark;
 * `#/shop`, `#/shop/PAGE` or `#/shop/PAGE/ID`, with what is looked for behind a question mark.
 *
 * @module
 */

/** @typedef {{ page: string, id?: string, query: Record<string, string> }} ShopPlace */
/** @typedef {{ room?: string, seq?: number, shop?: ShopPlace, ticket?: string }} Route */

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const [path = '', search = ''] = hash.replace(/^#/u, '').split('?', 2);
  const [, kind, first, second] = path.split('/');
  try {
    if (kind === 'shop') {
      /** @type {ShopPlace} */
      const shop = { page: first ?? '', query: Object.fromEntries(new URLSearchParams(search)) };
      if (second) shop.id = decodeURIComponent(second);
      return { shop };
    }
    if (kind === 'login') return { ticket: new URLSearchParams(search).get('login') ?? undefined };
    if (kind !== 'room' || !first) return {};
    const number = Number(second);
    return { room: decodeURIComponent(first), seq: Number.isSafeInteger(number) && number > 0 ? number : undefined };
  } catch {
    return {};
  }
}

/** @param {{ room?: string, seq?: number }} route */
export function routeOf({ room, seq }) {
  if (room === undefined) return '#/';
  return `#/room/${encodeURIComponent(room)}${seq === undefined ? '' : `/${seq}`}`;
}

/**
 * The address of a page of the shop; what is looked for is left out where it is empty.
 * @param {string} [page]
 * @param {string} [id]
 * @param {Record<string, string | undefined>} [query]
 */
export function shopRoute(page = '', id = undefined, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, value);
  const path = [page, id === undefined ? '' : encodeURIComponent(id)].filter(Boolean).map((part) => `/${part}`);
  return `#/shop${path.join('')}${search.size > 0 ? `?${search}` : ''}`;
}
