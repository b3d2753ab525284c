/**
 * Paying by a provider: the person goes to its page, and what became of it is shown once they are back.
 *
 * @module
 */

import { fill, h, safeUrl } from '../../dom.js';
import { money } from '../../money.js';
import { paymentText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { field } from '../dialog.js';

/** @import { PaidOrder, Payment, Wallet } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

/** @type {Record<string, string>} */
const NAMES = { kakao_pay: 'KakaoPay', toss: 'Toss Payments' };

/** How often a payment is looked at that is on its way. */
const LOOK_MS = 1000;

/**
 * Those by whom the person can pay, and what they are called.
 * @param {Wallet | undefined} wallet
 */
export function providersOf(wallet) {
  return (wallet?.providers ?? []).flatMap((name) => {
    const title = NAMES[name];
    return title === undefined ? [] : [{ name, title }];
  });
}

/**
 * Begins a payment and goes to its provider's page.
 * @param {ShopContext} context
 * @param {string} provider
 * @param {{ amount: number } | { order: PaidOrder }} what
 */
export async function goAndPay({ shop, api, left }, provider, what) {
  const begun = await shop.pay(provider, what);
  const payment = await lookUntil(api, begun, (one) => one.state !== 'created', left);
  const url = pageOf(payment);
  if (url === undefined) throw new Error('The payment provider does not answer as it should. Try again later.');
  location.assign(url);
}

/**
 * The page on which the person agrees, while they can: the provider's, or the store's that opens the provider's window.
 * @param {Payment} payment
 */
function pageOf({ state, next }) {
  if (state !== 'ready' || !next || !['redirect', 'window'].includes(next.kind)) return undefined;
  const mobile = matchMedia('(pointer: coarse)').matches ? next.mobile_url : undefined;
  return safeUrl(mobile ?? next.url ?? '');
}

/**
 * Looks at a payment until something is so, or nobody waits any more.
 * @param {ShopContext['api']} api
 * @param {Payment} payment
 * @param {(payment: Payment) => boolean} enough
 * @param {() => boolean} left
 * @param {(payment: Payment) => void} [seen]
 */
async function lookUntil(api, payment, enough, left, seen) {
  let last = payment;
  seen?.(last);
  while (!enough(last) && !left()) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    last = await api.payment(last.id);
    seen?.(last);
  }
  return last;
}

/**
 * @param {ShopContext} context
 */
export function chargeForm(context) {
  const { shop, keep } = context;
  const amount = field('Charge your wallet', { name: 'amount', type: 'number', required: true });
  const input = /** @type {HTMLInputElement} */ (amount.querySelector('input'));
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const buttons = h('div', { class: 'form-actions' });
  const form = h('form', { class: 'redeem', 'aria-label': 'By a payment provider', hidden: true }, amount, buttons, problem);
  const draw = () => {
    const { wallet } = shop;
    const providers = providersOf(wallet);
    form.hidden = providers.length === 0;
    if (!wallet || form.hidden) return;
    const unit = { ...wallet.balance, minor: 1 };
    input.min = input.step = String(1 / 10 ** unit.exponent);
    input.placeholder = money({ ...unit, minor: 10_000 });
    fill(buttons, providers.map(({ name, title }) => h('button', { class: 'button primary', type: 'submit', value: name }, title)));
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const exponent = shop.wallet?.balance.exponent ?? 0;
    const provider = event.submitter instanceof HTMLButtonElement ? event.submitter.value : '';
    problem.textContent = '';
    const all = [...buttons.querySelectorAll('button')];
    for (const button of all) button.disabled = true;
    try {
      await goAndPay(context, provider, { amount: Math.round(input.valueAsNumber * 10 ** exponent) });
    } catch (error) {
      problem.textContent = paymentText(error);
    } finally {
      for (const button of all) button.disabled = false;
    }
  });
  keep(shop.on('wallet', draw));
  draw();
  return form;
}

/**
 * What became of the payment that somebody comes back from, if they do.
 * @param {ShopContext} context
 * @param {() => void} settled
 */
export function paymentNotice({ shop, api, place, left }, settled) {
  const view = h('p', { class: 'form-notice', role: 'status', 'aria-label': 'Payment', hidden: true });
  const id = place.query.payment;
  if (!id) return view;
  const known = (/** @type {Payment} */ payment) => !['created', 'approving'].includes(payment.state);
  const look = async () => {
    const first = await api.payment(id);
    view.hidden = false;
    await lookUntil(api, first, known, left, (payment) => fill(view, becameOf(payment)));
    settled();
    await shop.readWallet();
  };
  look().catch((error) => {
    view.hidden = false;
    fill(view, paymentText(error));
  });
  return view;
}

/** @param {Payment} payment */
function becameOf(payment) {
  const name = NAMES[payment.provider] ?? payment.provider;
  const bought = payment.purpose === 'order';
  switch (payment.state) {
    case 'paid':
      return bought ? [`You paid ${money(payment.amount)}. `, h('a', { class: 'link', href: shopRoute('orders') }, 'Look at your order')] : `${money(payment.amount)} came into your wallet.`;
    case 'cancelled':
    case 'partly_cancelled':
      return bought && !payment.order ? `It could not be bought any more: ${name} gives ${money(payment.amount)} back to you.` : `${name} gave ${money(payment.cancelled)} back to you.`;
    case 'failed':
      return payment.failure === 'given_up' ? 'You did not pay.' : `${name} refused the payment.`;
    case 'expired':
      return 'It was not paid in time.';
    case 'ready': {
      const url = pageOf(payment);
      return ['You have not paid yet. ', url ? h('a', { class: 'link', href: url }, `Go on to ${name}`) : null];
    }
    default:
      return `${name} is being asked…`;
  }
}
