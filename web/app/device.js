/**
 * A name for this tab as a device, kept over reloads. A duplicated tab inherits the copied name
 * from its original; the lock tells the two apart, or each would take the other's session over.
 *
 * @module
 */

import { nonce } from '../fireside.js';

const KEY = 'fireside.device';

/** @returns {Promise<string>} */
export async function deviceId() {
  const kept = sessionStorage.getItem(KEY);
  if (kept && (await claim(kept))) return kept;
  const fresh = `web-${nonce()}`;
  sessionStorage.setItem(KEY, fresh);
  await claim(fresh);
  return fresh;
}

/**
 * Holds a lock of that name for as long as the tab lives.
 * @param {string} device
 * @returns {Promise<boolean>} whether it was free
 */
function claim(device) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    void navigator.locks.request(`fireside.device.${device}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}
