/**
 * The wallet: what is in it, how it is charged, and what came and went.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { fullTimeOf, shortWhen } from '../../format.js';
import { ApiError } from '../../net/http.js';
import { money, signed } from '../../money.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { field } from '../dialog.js';
import { chargeForm, paymentNotice } from './charge.js';
import { pagedList } from './paged.js';

/** @import { WalletEntry } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/** @type {Record<string, string>} */
const CAUSES = {
  gift_card: 'Gift card',
  purchase: 'Purchase',
  refund: 'Refund',
  top_up: 'Payment',
  payment_cancel: 'Payment given back',
  payment_cancel_refused: 'Payment kept',
};

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function walletPage(context) {
  const { shop, api, keep } = context;
  const balance = h('p', { class: 'balance', role: 'status', 'aria-label': 'Balance' });
  const countries = new Intl.DisplayNames('en', { type: 'region' });
  const history = pagedList({
    label: 'What came and went',
    class: 'entries',
    empty: 'Nothing has come or gone yet.',
    load: (cursor) => api.walletHistory(cursor),
    row: entryRow,
  });
  const draw = () => {
    const { wallet } = shop;
    fill(balance, wallet ? [h('span', { class: 'balance-sum' }, money(wallet.balance)), h('span', { class: 'quiet' }, `You buy in ${countries.of(wallet.country) ?? wallet.country}`)] : 'Loading…');
  };
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const done = h('p', { class: 'form-notice', role: 'status', hidden: true });
  const code = field('Gift card code', { name: 'code', required: true, maxlength: '64', spellcheck: 'false', autocapitalize: 'characters', placeholder: '7Q2K0-1M9PX-4BDTV-C6H8W' });
  const button = h('button', { class: 'button primary', type: 'submit' }, 'Redeem');
  const form = h('form', { class: 'redeem', 'aria-label': 'Redeem a gift card' }, code, button, problem, done);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    done.hidden = true;
    button.disabled = true;
    try {
      const { amount } = await shop.redeem(String(new FormData(form).get('code') ?? '').trim());
      form.reset();
      done.textContent = `${money(amount)} came into your wallet.`;
      done.hidden = false;
      history.reload();
    } catch (error) {
      problem.textContent = cardText(error);
    } finally {
      button.disabled = false;
    }
  });
  keep(
    shop.on('wallet', () => {
      draw();
    }),
  );
  draw();
  return {
    title: 'Wallet',
    view: h('div', { class: 'shop-page' }, balance, paymentNotice(context, () => history.reload()), chargeForm(context), form, h('section', { 'aria-label': 'History' }, h('h2', null, 'What came and went'), history.view)),
  };
}

/** @param {unknown} error */
function cardText(error) {
  if (error instanceof ApiError && error.status === 404) return 'No such gift card: look at the code again. It may also be too old, or redeemed by somebody else.';
  if (error instanceof ApiError && error.status === 429) return 'Too many wrong codes. Try again in an hour.';
  if (error instanceof ApiError && error.rule === 'currency') return 'This card is in another currency than your wallet.';
  return refusalText(error);
}

/** @param {WalletEntry} entry */
function entryRow(entry) {
  const order = entry.cause === 'purchase' || entry.cause === 'refund';
  const name = CAUSES[entry.cause] ?? entry.cause;
  return h(
    'li',
    { class: 'entry' },
    h('span', { class: 'grow' }, order ? h('a', { class: 'link', href: shopRoute('orders') }, name) : name, ' ', h('time', { class: 'quiet', title: fullTimeOf(entry.at) }, shortWhen(entry.at))),
    h('span', { class: entry.amount.minor < 0 ? 'amount' : 'amount came' }, signed(entry.amount)),
    h('span', { class: 'quiet amount' }, money(entry.balance)),
  );
}
