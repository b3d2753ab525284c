/**
 * Paying, from the wallet or by a provider: what it comes to, what is left, and what stands against it.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { icon } from '../../icons.js';
import { minus, money, price, total } from '../../money.js';
import { paymentText, ruleOf } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { openDialog } from '../dialog.js';
import { goAndPay, providersOf } from './charge.js';

/** @import { Money } from '../../money.js' */
/** @import { GameCard, Preview } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

/** @typedef {Pick<GameCard, 'id' | 'title' | 'price'>} Item */

/**
 * What it comes to beside what is there.
 * @param {ShopContext['shop']} shop
 * @param {Item[]} items at least one
 * @param {Preview} [preview] what the shop says they cost with coupons
 */
export function bill(shop, items, preview) {
  const first = items[0]?.price ?? { minor: 0, currency: 'USD', exponent: 2 };
  const sum = preview?.total ?? total(items.map((item) => item.price), first);
  const balance = shop.wallet?.balance;
  const left = balance && minus(balance, sum);
  const missing = left && left.minor < 0 ? { ...left, minor: -left.minor } : undefined;
  return {
    sum,
    missing,
    view: h(
      'div',
      { class: 'bill' },
      h('ul', { class: 'plain-list', 'aria-label': 'What you pay for' }, items.map((item) => h('li', { class: 'bill-line' }, h('span', { class: 'grow' }, item.title), h('span', null, price(item.price))))),
      h(
        'dl',
        { class: 'bill-sums' },
        (preview?.coupons ?? []).map((coupon) => sumLine(`Coupon: ${coupon.name}`, { ...coupon.discount, minor: -coupon.discount.minor })),
        sumLine('Total', sum, 'bill-total'),
        balance ? sumLine('In your wallet', balance) : null,
        left && !missing ? sumLine('Left after that', left) : null,
      ),
      missing
        ? h('p', { class: 'form-notice' }, `You need ${money(missing)} more. `, h('a', { class: 'link', href: shopRoute('wallet') }, providersOf(shop.wallet).length > 0 ? 'Charge your wallet' : 'Redeem a gift card'))
        : null,
    ),
  };
}

/**
 * @param {string} name
 * @param {Money} amount
 * @param {string} [style]
 */
function sumLine(name, amount, style = '') {
  return h('div', { class: style }, h('dt', null, name), h('dd', null, money(amount)));
}

/**
 * @param {ShopContext} context
 * @param {Item[]} games
 */
export function openCheckout(context, games) {
  const { shop, api } = context;
  let items = games;
  const holder = h('div', null);
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const pay = h('button', { class: 'button primary', type: 'button' });
  const others = h('div', { class: 'form-actions' });
  let paying = false;
  /** @type {Preview | undefined} */
  let preview;
  let pricing = Promise.resolve();
  const draw = () => {
    const { view, sum, missing } = bill(shop, items, preview);
    fill(holder, items.length > 0 ? view : h('p', null, 'There is nothing left to buy here.'));
    pay.textContent = paying ? 'Paying…' : sum.minor === 0 ? 'Get it' : `Pay ${money(sum)}`;
    pay.disabled = paying || missing !== undefined || items.length === 0;
    const providers = sum.minor > 0 ? providersOf(shop.wallet) : [];
    fill(others, providers.map(({ name, title }) => h('button', { class: 'button', type: 'button', disabled: paying, onclick: () => void payBy(name) }, `Pay by ${title}`)));
  };
  /** What each costs by now; what is not sold any more is left out. */
  const look = async () => {
    const found = await Promise.allSettled(items.map((item) => api.game(item.id)));
    items = found.flatMap((answer) => (answer.status === 'fulfilled' && !answer.value.mine.includes('library') ? [answer.value] : []));
  };
  const ids = () => items.map((item) => item.id);
  /** With coupons; what the shop refuses to price, it refuses to sell, and says so then. */
  const priced = async () => {
    preview = items.length > 0 ? await api.preview(ids()).catch(() => undefined) : undefined;
    draw();
  };
  /**
   * @param {(order: { games: string[], expected_total: number, coupons: string[] }) => Promise<void>} act
   */
  const attempt = async (act) => {
    problem.textContent = '';
    paying = true;
    const shown = bill(shop, items, preview).sum.minor;
    draw();
    try {
      await pricing;
      // Less than was shown is fine, more is not.
      const sum = Math.min(shown, bill(shop, items, preview).sum.minor);
      await act({ games: ids(), expected_total: sum, coupons: (preview?.coupons ?? []).map((coupon) => coupon.id) });
      return;
    } catch (error) {
      problem.textContent = paymentText(error);
      if (ruleOf(error) !== undefined) {
        await Promise.allSettled([look(), shop.readWallet(), shop.readShelf()]);
        pricing = priced();
        await pricing;
      }
    } finally {
      paying = false;
      draw();
    }
    pay.focus();
  };
  const buy = () =>
    attempt(async ({ games: wanted, expected_total: sum, coupons }) => {
      await shop.buy(wanted, sum, coupons);
      close();
      location.hash = shopRoute('library');
    });
  /** @param {string} provider */
  const payBy = (provider) => attempt((order) => goAndPay(context, provider, { order }));
  pay.addEventListener('click', () => void buy());
  const offs = [shop.on('wallet', draw)];
  const leave = () => close();
  addEventListener('hashchange', leave);
  const { close } = openDialog(
    items.length === 1 ? `Buy ${items[0]?.title}` : 'Check out',
    [holder, problem, h('div', { class: 'form-actions' }, h('button', { class: 'button', type: 'button', onclick: leave }, 'Cancel'), pay), others, h('p', { class: 'hint' }, icon('clock'), 'You can give a game back for some days, if you hardly played it.')],
    {
      class: 'checkout',
      onclose: () => {
        offs.forEach((off) => off());
        removeEventListener('hashchange', leave);
      },
    },
  );
  pricing = priced();
  if (!shop.wallet) void shop.readWallet().catch(() => undefined);
  draw();
  pay.focus();
}
