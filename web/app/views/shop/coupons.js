/**
 * Coupons: those to be had by coming first, those the person has, and a code for more.
 *
 * @module
 */

import { fill, h, reconcile } from '../../dom.js';
import { dateOf, fullTimeOf } from '../../format.js';
import { icon } from '../../icons.js';
import { couponText, nextChange } from '../../model/coupon.js';
import { refusalText } from '../../model/refusal.js';
import { ApiError } from '../../net/http.js';
import { field } from '../dialog.js';
import { toast } from '../toast.js';
import { pagedList } from './paged.js';
import { queueView } from './queue.js';

/** @import { Coupon, CouponDrop } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/** The longest that a timer can wait. */
const LONGEST = 2 ** 31 - 1;

/** @type {Record<Coupon['state'], string>} */
const STATES = { good: 'Good', held: 'Waits for a payment', used: 'Used', over: 'Too old' };

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function couponsPage(context) {
  const { api, shop, keep } = context;
  const mine = pagedList({ label: 'Your coupons', class: 'gifts', empty: 'You have no coupons.', load: (cursor) => api.coupons(cursor), row: couponRow });
  const given = () => shop.notices.filter((notice) => notice.topic === 'coupon_received').length;
  let seen = given();
  keep(
    shop.on('notices', () => {
      if (given() > seen) mine.reload();
      seen = given();
    }),
  );
  return {
    title: 'Coupons',
    view: h(
      'div',
      { class: 'shop-page' },
      dropsSection(context, mine.reload),
      codeForm(context, mine.reload),
      h('section', { class: 'shelf', 'aria-label': 'Your coupons' }, h('h2', null, 'Your coupons'), h('p', { class: 'shop-note' }, 'When you pay, the best of them are used by themselves.'), mine.view),
    ),
  };
}

/**
 * @param {ShopContext} context
 * @param {() => void} got called when the person has one more
 */
function dropsSection(context, got) {
  const { api, keep, left } = context;
  const list = h('ul', { class: 'plain-list gifts', 'aria-label': 'First come, first served' });
  const section = h('section', { class: 'shelf', 'aria-label': 'First come, first served', hidden: true }, h('h2', null, 'First come, first served'), list);
  /** @type {CouponDrop[]} */
  let drops = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const read = async () => {
    drops = await api.drops();
    if (left()) return;
    section.hidden = drops.length === 0;
    reconcile(list, drops, {
      key: (drop) => `${drop.id} ${drop.state} ${drop.left} ${drop.mine ?? ''}`,
      create: (drop) => dropRow(context, drop, (pass) => claim(drop, pass), () => void read().catch(() => undefined)),
    });
    clearTimeout(timer);
    const next = nextChange(drops, Date.now());
    if (next !== undefined) timer = setTimeout(() => void read().catch(() => undefined), Math.min(next - Date.now(), LONGEST));
  };
  /**
   * @param {CouponDrop} drop
   * @param {string} [pass]
   */
  const claim = async (drop, pass) => {
    try {
      await api.claim(drop.id, pass);
      toast(`You have it: ${drop.name}`);
      got();
    } catch (error) {
      toast(error instanceof ApiError && error.rule === 'sold_out' ? `${drop.name}: others were faster, there are none left.` : refusalText(error), 'error');
    }
    await read().catch(() => undefined);
  };
  keep(() => clearTimeout(timer));
  read().catch((error) => toast(refusalText(error), 'error'));
  return section;
}

/**
 * @param {ShopContext} context
 * @param {CouponDrop} drop
 * @param {(pass?: string) => Promise<void>} claim
 * @param {() => void} changed called when the drop may not be any more what it was
 */
function dropRow(context, drop, claim, changed) {
  const button = h('button', { class: 'button primary', type: 'button', 'aria-label': `Get ${drop.name}` }, 'Get');
  button.addEventListener('click', async () => {
    button.disabled = true;
    await claim();
    button.disabled = false;
  });
  const say = (/** @type {string} */ words) => h('p', { class: 'quiet' }, words);
  const doing = () => {
    if (drop.mine) return say('You have it');
    if (drop.queue_rate !== undefined && (drop.state === 'open' || drop.state === 'soon')) return queueView(context, drop, claim, changed);
    if (drop.state === 'open') return button;
    if (drop.state === 'soon') return say(`Opens ${fullTimeOf(drop.opens_at)}`);
    return say(drop.state === 'sold_out' ? 'None left' : 'Over');
  };
  const left = drop.state === 'open' ? `${drop.left} of ${drop.quantity} left` : `${drop.quantity} in all`;
  return h('li', null, card(drop.name, [couponText(drop), left], doing()));
}

/** @param {Coupon} coupon */
function couponRow(coupon) {
  const until = coupon.state === 'good' ? `${STATES.good} until ${dateOf(coupon.ends_at)}` : STATES[coupon.state];
  return h('li', null, card(coupon.name, [couponText(coupon)], h('p', { class: 'quiet', title: fullTimeOf(coupon.ends_at) }, until)));
}

/**
 * @param {string} name
 * @param {string[]} lines
 * @param {HTMLElement} end
 */
function card(name, lines, end) {
  return h('article', { class: 'gift-card', 'aria-label': name }, h('span', { class: 'gift-mark' }, icon('ticket')), h('div', { class: 'grow' }, h('p', { class: 'gift-title' }, name), lines.map((line) => h('p', { class: 'quiet' }, line))), end);
}

/**
 * @param {ShopContext} context
 * @param {() => void} got called when the person has one more
 */
function codeForm({ api }, got) {
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const done = h('p', { class: 'form-notice', role: 'status', hidden: true });
  const code = field('Coupon code', { name: 'code', required: true, maxlength: '64', spellcheck: 'false', autocapitalize: 'characters', placeholder: 'AUTUMN-10' });
  const button = h('button', { class: 'button primary', type: 'submit' }, 'Redeem');
  const form = h('form', { class: 'redeem', 'aria-label': 'Redeem a coupon code' });
  fill(form, code, button, problem, done);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    done.hidden = true;
    button.disabled = true;
    try {
      const coupon = await api.redeemCoupon(String(new FormData(form).get('code') ?? '').trim());
      form.reset();
      done.textContent = `You have it: ${coupon.name}`;
      done.hidden = false;
      got();
    } catch (error) {
      problem.textContent = codeText(error);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

/** @param {unknown} error */
function codeText(error) {
  if (error instanceof ApiError && error.status === 404) return 'No such code: look at it again.';
  if (error instanceof ApiError && error.status === 429) return 'Too many wrong codes. Try again in an hour.';
  return refusalText(error);
}
