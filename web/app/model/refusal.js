/**
 * Why the shop did not do what it was asked, as one says it to a person.
 *
 * @module
 */

import { ApiError } from '../net/http.js';
import { isUnknown } from './request-keys.js';

/** @type {Record<string, string>} */
const WORDS = {
  insufficient_funds: 'There is not enough money in your wallet. Charge it first.',
  price_changed: 'The price has changed meanwhile. Nothing was bought: look at the new total.',
  already_owned: 'One of these games is owned already.',
  not_sold_here: 'One of these games is not sold where you buy.',
  not_sold_there: 'One of these games is not sold where your friend lives.',
  not_released: 'One of these games is not out yet.',
  not_a_friend: 'Gifts are for friends, and you two are not friends any more.',
  empty: 'There is nothing to buy.',
  too_late: 'It was bought too long ago to be given back.',
  played: 'It was played for too long to be given back.',
  already_refunded: 'It was given back already.',
  gift: 'A gift cannot be given back here: take it back while it waits.',
  currency: 'That is in another currency than your wallet.',
  answered: 'This gift has had its answer.',
  expired: 'This gift has waited too long. Whoever gave it was paid back.',
  full: 'This list is full.',
  too_much: 'That is more than there is room for.',
  too_many: 'Too many of your payments are neither paid nor given up.',
  used: 'One of these coupons was used meanwhile. Look at the new total.',
  held: 'One of these coupons waits for another payment. Look at the new total.',
  not_open: 'This has not begun yet.',
  over: 'This is over.',
  sold_out: 'There are none left.',
  no_pass: 'There is a queue: wait for your turn.',
  wrong_pass: 'That was the turn of somebody else. Wait for yours.',
  pass_expired: 'Your turn is over. Wait in the queue again.',
  self: 'This review is your own.',
};

/**
 * The stable word for the rule that stood against a request.
 * @param {unknown} error
 */
export function ruleOf(error) {
  return error instanceof ApiError ? error.rule : undefined;
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function refusalText(error) {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  return (error.rule && WORDS[error.rule]) || error.message;
}

/**
 * The same, of a request that moves money: nobody is left to wonder whether they paid.
 * @param {unknown} error
 */
export function paymentText(error) {
  if (error instanceof ApiError && isUnknown(error)) return 'No answer came, so we cannot say whether it went through. Try again: you will not pay twice.';
  return refusalText(error);
}
