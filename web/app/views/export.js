/**
 * What the store holds about oneself, as a file to keep.
 *
 * @module
 */

import { h } from '../dom.js';
import { attempt, toast } from './toast.js';

/** @import { Session } from '../model/session.js' */

/**
 * Has the browser save it.
 * @param {Session} session
 */
export function saveExport({ api, me }) {
  return attempt(async () => {
    const file = new Blob([JSON.stringify(await api.export(), undefined, 2)], { type: 'application/json' });
    const address = URL.createObjectURL(file);
    const link = h('a', { download: `fireside-${me.id}.json` });
    // Not by `h`, which takes no addresses of this kind: nothing that people write has one.
    link.href = address;
    link.click();
    // The browser has begun to read it by then.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    toast('Your data is in your downloads.');
  });
}
