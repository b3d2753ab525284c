/**
 * The page on which a payer meets the window of Toss Payments: it loads Toss's script and opens the window. Whoever agrees is sent
 * back to the store by the script, and so is whom Toss refuses; who closes the window is here again.
 *
 * It is a page of its own, since it runs a script of somebody else.
 *
 * @module
 */

import { fill, h, safeUrl } from './dom.js';
import { flame } from './icons.js';

/**
 * What the store says of the payment: `next` of it.
 * @typedef {{
 *   sdk_url: string, client_key: string, customer_key: string, order_id: string, order_name: string, amount: number, currency: string,
 *   success_url: string, fail_url: string,
 * }} Window
 */
/**
 * What Toss's script brings.
 * @typedef {(clientKey: string) => {
 *   payment: (payer: { customerKey: string }) => {
 *     requestPayment: (what: {
 *       method: 'CARD', amount: { currency: string, value: number }, orderId: string, orderName: string, successUrl: string, failUrl: string,
 *     }) => Promise<void>,
 *   },
 * }} TossPayments
 */

/** How long the script may take to come. */
const SCRIPT_MS = 20_000;

const root = document.querySelector('#app');
const said = document.querySelector('meta[name=fireside-payment]')?.getAttribute('content');
if (root && said) show(root, JSON.parse(said));

/**
 * @param {Element} root
 * @param {Window} payment
 */
function show(root, payment) {
  const sum = new Intl.NumberFormat('en', { style: 'currency', currency: payment.currency }).format(payment.amount);
  const state = h('p', { class: 'form-notice', role: 'status' });
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const again = h('button', { class: 'button primary wide', type: 'button', hidden: true, onclick: () => void open() }, `Pay ${sum}`);
  const open = async () => {
    again.hidden = true;
    state.hidden = false;
    state.textContent = 'Opening the window of Toss Payments…';
    problem.textContent = '';
    try {
      const toss = await load(payment.sdk_url);
      await toss(payment.client_key)
        .payment({ customerKey: payment.customer_key })
        .requestPayment({
          method: 'CARD',
          amount: { currency: payment.currency, value: payment.amount },
          orderId: payment.order_id,
          orderName: payment.order_name,
          successUrl: payment.success_url,
          failUrl: payment.fail_url,
        });
      state.textContent = 'Back to Fireside…';
    } catch (error) {
      const closed = isClosed(error);
      state.hidden = !closed;
      if (closed) state.textContent = 'You closed the window. Nothing was paid.';
      else problem.textContent = `The window of Toss Payments does not open: ${error instanceof Error ? error.message : String(error)} Nothing was paid.`;
      again.hidden = false;
      again.focus();
    }
  };
  const back = safeUrl(payment.fail_url.replace('outcome=failed', 'outcome=cancelled'));
  fill(
    root,
    h(
      'div',
      { class: 'door' },
      h(
        'main',
        { class: 'door-card' },
        h('div', { class: 'door-brand' }, flame(), h('h1', null, 'Fireside')),
        h('p', { class: 'door-line' }, `You pay ${sum} with Toss Payments.`),
        state,
        problem,
        again,
        h('p', { class: 'door-switch' }, h('a', { class: 'link', href: back }, 'Go back without paying')),
      ),
    ),
  );
  void open();
}

/**
 * Loads the script, once.
 * @param {string} url
 * @returns {Promise<TossPayments>}
 */
async function load(url) {
  const known = script();
  if (known) return known;
  const element = h('script', { src: url });
  const loaded = new Promise((resolve, reject) => {
    element.addEventListener('load', resolve);
    element.addEventListener('error', () => reject(new Error('its script does not load.')));
    setTimeout(() => reject(new Error('its script takes too long.')), SCRIPT_MS);
  });
  document.head.append(element);
  // What failed is asked for anew the next time.
  await loaded.catch((error) => (element.remove(), Promise.reject(error)));
  const found = script();
  if (!found) throw new Error('its script is another one than it was.');
  return found;
}

/** @returns {TossPayments | undefined} */
function script() {
  return /** @type {{ TossPayments?: TossPayments }} */ (globalThis).TossPayments;
}

/**
 * Whether the payer closed the window.
 * @param {unknown} error
 */
function isClosed(error) {
  const code = /** @type {{ code?: unknown }} */ (error ?? {}).code;
  return code === 'USER_CANCEL' || code === 'PAY_PROCESS_CANCELED';
}
