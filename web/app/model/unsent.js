/**
 * Messages that are still on their way, kept over a reload of the tab. Sent again under the nonces
 * they had, they are in the log once, whether or not the server had them already.
 *
 * @module
 */

/** @import { Outgoing } from '../../fireside/types.js' */

const MAX_KEPT = 100;

export class Unsent {
  /** @param {string} me */
  constructor(me) {
    this.key = `fireside.unsent.${me}`;
    /** @type {Map<string, Outgoing>} */
    this.messages = new Map();
  }

  /** @param {Outgoing} message */
  update(message) {
    if (message.status === 'sent') {
      if (!this.messages.delete(message.nonce)) return;
    } else if (message.status === 'failed') {
      // Whether to try again is the person's to say, and they can see it only until they reload.
      if (!this.messages.delete(message.nonce)) return;
    } else if (!this.messages.has(message.nonce)) this.messages.set(message.nonce, message);
    else return;
    this.save();
  }

  save() {
    const kept = [...this.messages.values()].slice(0, MAX_KEPT);
    try {
      if (kept.length === 0) sessionStorage.removeItem(this.key);
      else sessionStorage.setItem(this.key, JSON.stringify(kept));
    } catch {
      // A full storage costs the safety net, not the message.
    }
  }

  /** What an earlier page of this tab did not get rid of. */
  take() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key) ?? '[]');
      sessionStorage.removeItem(this.key);
      return kept.filter(isMessage);
    } catch {
      return [];
    }
  }
}

/**
 * @param {unknown} value
 * @returns {value is { room: string, nonce: string, text: string, reply_to?: number, mentions?: string[] }}
 */
function isMessage(value) {
  if (typeof value !== 'object' || value === null) return false;
  const { room, nonce, text } = /** @type {Record<string, unknown>} */ (value);
  return typeof room === 'string' && typeof nonce === 'string' && typeof text === 'string';
}
