/**
 * Coupons and drops in words.
 *
 * @module
 */

import { money } from '../money.js';

/** @import { CouponTerms, CouponDrop, QueuePlace } from '../net/shop.js' */

/**
 * What a coupon takes off, and off what.
 * @param {CouponTerms} terms
 */
export function couponText(terms) {
  const amount = (/** @type {number | undefined} */ minor) => (minor === undefined || terms.currency === undefined ? '' : money({ minor, currency: terms.currency, exponent: exponentOf(terms.currency) }));
  const parts = [terms.kind === 'fixed' ? `${amount(terms.amount)} off` : `${terms.percent}% off`];
  if (terms.cap !== undefined) parts.push(`up to ${amount(terms.cap)}`);
  parts.push(...wares(terms));
  if (terms.kind === 'first_purchase') parts.push('your first purchase');
  if (terms.minimum !== undefined) parts.push(`from ${amount(terms.minimum)} on`);
  return parts.join(', ');
}

/** @param {CouponTerms} terms */
function wares({ kind, games = [], categories = [], publishers = [], at_least: atLeast = 1 }) {
  const parts = [];
  if (kind === 'bundle') parts.push(`${games.length} games bought together`);
  else if (games.length > 0) parts.push(games.length === 1 ? 'one game' : `some of ${games.length} games`);
  if (categories.length > 0) parts.push(`${atLeast > 1 ? `${atLeast} games or more of ` : ''}${categories.join(' and ')}`);
  if (publishers.length > 0) parts.push('games of some publishers');
  return parts;
}

/** @param {string} currency */
function exponentOf(currency) {
  return new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

/**
 * Where somebody stands who waits.
 * @param {QueuePlace} place
 */
export function placeText({ ahead = 0, wait = 0 }) {
  const before = ahead === 0 ? 'You are next' : `${ahead} ${ahead === 1 ? 'person is' : 'people are'} ahead of you`;
  const minutes = Math.ceil(wait / 60_000);
  return wait < 60_000 ? `${before}, less than a minute` : `${before}, about ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;
}

/**
 * When a drop changes by the clock next, if it does.
 * @param {CouponDrop[]} drops
 * @param {number} now
 */
export function nextChange(drops, now) {
  const moments = drops.flatMap((drop) => [drop.opens_at, drop.closes_at]).filter((at) => at > now);
  return moments.length > 0 ? Math.min(...moments) : undefined;
}
