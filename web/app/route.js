/**
 * Where in the page a person is, in the address: `#/room/ID`, or `#/room/ID/SEQ` for a message.
 *
 * @module
 */

/** @typedef {{ room?: string, seq?: number }} Route */

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const [, kind, room, seq] = hash.replace(/^#/u, '').split('/');
  if (kind !== 'room' || !room) return {};
  const number = Number(seq);
  try {
    return { room: decodeURIComponent(room), seq: Number.isSafeInteger(number) && number > 0 ? number : undefined };
  } catch {
    return {};
  }
}

/** @param {Route} route */
export function routeOf({ room, seq }) {
  if (room === undefined) return '#/';
  return `#/room/${encodeURIComponent(room)}${seq === undefined ? '' : `/${seq}`}`;
}
