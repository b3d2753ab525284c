/**
 * The little a client reads from its own access token: when it runs out. The signature is the
 * servers' business.
 *
 * @module
 */

/**
 * When a JWT expires, in ms since the epoch; undefined when it does not say.
 * @param {string} token
 * @returns {number | undefined}
 */
export function expiryOf(token) {
  const payload = token.split('.')[1];
  if (!payload) return undefined;
  try {
    const bytes = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    // `exp` is ASCII, so the bytes of names beyond it need no decoding to be skipped over.
    const { exp } = JSON.parse(bytes);
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
