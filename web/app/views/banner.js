/**
 * The state of the connection, shown whenever it is not simply good.
 *
 * @module
 */

import { h, fill } from '../dom.js';
import { icon } from '../icons.js';

/** @import { ConnectionState } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

/** A connection that is quick to come does not need words. */
const GRACE_MS = 700;

/** @type {Record<string, string>} */
const STOPPED = {
  replaced: 'This session was taken over somewhere else.',
  revoked: 'You were signed out.',
  banned: 'This account is banned.',
  upgrade_needed: 'This page is out of date. Reload it.',
  undecodable: 'The server did not understand this page. Reload it.',
};

/** @param {Session} session */
export function connectionBanner(session) {
  const words = h('span', { class: 'banner-words' });
  const action = h('button', { class: 'button small', type: 'button', hidden: true });
  const banner = h('div', { class: 'banner', 'data-state': 'online' }, icon('refresh'), words, action);
  const holder = h('div', { class: 'banner-holder', role: 'status', 'aria-label': 'Connection' }, banner);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let grace;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  let wasDown = false;

  const show = (/** @type {string} */ state, /** @type {string} */ text) => {
    banner.dataset.state = state;
    // Written only when it differs, or a screen reader would read each tick of the clock.
    if (words.textContent !== text) fill(words, text);
  };
  /** @param {ConnectionState} state */
  const draw = (state) => {
    clearTimeout(grace);
    clearInterval(ticking);
    action.hidden = true;
    switch (state.name) {
      case 'online':
        if (wasDown) {
          show('back', 'Connected again');
          grace = setTimeout(() => show('online', ''), 2_000);
        } else show('online', '');
        wasDown = false;
        return;
      case 'connecting':
      case 'resuming':
        grace = setTimeout(
          () => show('connecting', wasDown ? 'Reconnecting…' : 'Connecting…'),
          state.attempt === 0 && !wasDown ? GRACE_MS : 0,
        );
        return;
      case 'offline': {
        wasDown = true;
        show('offline', 'Connection lost. Reconnecting…');
        const { retryAt } = state;
        const tick = () => {
          const seconds = Math.ceil((retryAt - Date.now()) / 1_000);
          action.textContent = seconds > 1 ? `Retry now (${seconds} s)` : 'Retry now';
        };
        tick();
        ticking = setInterval(tick, 1_000);
        action.hidden = false;
        action.onclick = () => session.client.wake();
        return;
      }
      case 'stopped':
        wasDown = true;
        if (state.reason === 'closed' || state.reason === 'ended') return;
        show('stopped', STOPPED[state.reason] ?? 'Disconnected.');
        action.hidden = false;
        if (state.reason === 'replaced') {
          action.textContent = 'Use it here';
          action.onclick = () => session.client.connect();
        } else {
          action.textContent = 'Reload';
          action.onclick = () => location.reload();
        }
        return;
      default:
    }
  };
  session.on('connection', draw);
  draw(session.client.state);
  return holder;
}
