/**
 * The queue before a drop, as whoever waits in it sees it: their place, live, until it is their turn.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { placeText } from '../../model/coupon.js';
import { refusalText } from '../../model/refusal.js';
import { ApiError } from '../../net/http.js';
import { toast } from '../toast.js';

/** @import { CouponDrop, QueuePlace } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

/** How often to ask at the most when the socket tells of changes. */
const SOONEST_MS = 1000;
/** How often to ask at the least. */
const LATEST_MS = 20_000;

/**
 * Where the person stands, and what they can do about it.
 * @param {ShopContext} context
 * @param {CouponDrop} drop
 * @param {(pass?: string) => Promise<void>} claim
 * @param {() => void} gone called when the place is gone without the person having left: the drop may be over
 */
export function queueView({ api, shop, keep }, drop, claim, gone) {
  const view = h('div', { class: 'queue', role: 'group', 'aria-label': `Queue for ${drop.name}` });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = 0;
  let ended = false;
  /** @type {QueuePlace['state'] | 'none' | undefined} */
  let shown;
  const where = h('p', { class: 'quiet', role: 'status' });

  const later = (/** @type {number} */ pause) => {
    clearTimeout(timer);
    // A row that another has taken the place of asks nobody any more.
    if (!ended) timer = setTimeout(() => void (view.isConnected && ask()), pause);
  };
  /** @param {QueuePlace | undefined} place */
  const show = (place) => {
    if (ended) return;
    const before = shown;
    shown = place?.state ?? 'none';
    if (!place) {
      clearTimeout(timer);
      if (before !== shown) fill(view, button('Wait in the queue', () => api.joinQueue(drop.id).then(show)));
    } else if (place.state === 'waiting') {
      where.textContent = placeText(place);
      // The button stays as it is, and keeps the focus.
      if (before !== shown) fill(view, where, button('Leave the queue', () => api.leaveQueue(drop.id).then(() => show(undefined))));
      later(Math.min((place.timeout ?? LATEST_MS) / 3, LATEST_MS));
    } else {
      where.textContent = 'It is your turn';
      fill(view, where, button('Get', () => claim(place.pass)));
      later(Math.max((place.pass_expires_at ?? 0) - Date.now(), SOONEST_MS));
    }
  };
  const ask = async () => {
    asked = Date.now();
    try {
      show(await api.queuePlace(drop.id));
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) return later(LATEST_MS / 4);
      const had = shown !== undefined && shown !== 'none';
      show(undefined);
      if (had && !ended) gone();
    }
  };
  /**
   * @param {string} label
   * @param {() => Promise<unknown>} act
   */
  const button = (label, act) => {
    const made = h('button', { class: `button ${label.startsWith('Leave') ? '' : 'primary'}`, type: 'button', 'aria-label': `${label}: ${drop.name}` }, label);
    made.addEventListener('click', async () => {
      made.disabled = true;
      await act().catch((error) => toast(refusalText(error), 'error'));
      made.disabled = false;
    });
    return made;
  };
  keep(
    shop.on('queue', (of) => {
      if (of === drop.id) later(Math.max(asked + SOONEST_MS - Date.now(), 0));
    }),
    () => {
      ended = true;
      clearTimeout(timer);
    },
  );
  void ask();
  return view;
}
