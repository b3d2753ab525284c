/**
 * What the person bought, and giving it back.
 *
 * @module
 */

import { h } from '../../dom.js';
import { fullTimeOf, shortWhen } from '../../format.js';
import { money, price } from '../../money.js';
import { paymentText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { openForm } from '../dialog.js';
import { toast } from '../toast.js';
import { pagedList } from './paged.js';

/** @import { Order } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function ordersPage(context) {
  const list = pagedList({
    label: 'Orders',
    class: 'orders',
    empty: 'You have bought nothing yet.',
    load: (cursor) => context.api.orders(cursor),
    row: (order) => orderRow(context, order),
  });
  return { title: 'Orders', view: h('div', { class: 'shop-page' }, list.view) };
}

/**
 * @param {ShopContext} context
 * @param {Order} order
 * @returns {HTMLElement}
 */
function orderRow(context, order) {
  const { session } = context;
  const held = order.lines.filter((line) => line.refunded_at === undefined);
  const names = order.lines.map((line) => line.title).join(', ');
  const row = h(
    'li',
    { class: 'order' },
    h(
      'header',
      { class: 'order-head' },
      h('time', { title: fullTimeOf(order.at) }, shortWhen(order.at)),
      order.gift_for ? h('a', { class: 'chip', href: shopRoute('gifts') }, `Gift for ${session.people.name(order.gift_for)}`) : null,
      h('span', { class: 'grow' }),
      h('strong', null, price(order.total)),
    ),
    h(
      'ul',
      { class: 'plain-list' },
      order.lines.map((line) =>
        h(
          'li',
          { class: 'bill-line' },
          h('a', { class: 'grow game-title', href: shopRoute('game', line.game) }, line.title),
          line.refunded_at ? h('span', { class: 'chip' }, 'Given back') : null,
          h('span', null, price(line.price)),
        ),
      ),
    ),
    order.gift_for || held.length === 0
      ? null
      : h('div', { class: 'form-actions' }, h('button', { class: 'button small', type: 'button', 'aria-label': `Give back ${names}`, onclick: () => openRefund(context, order, (after) => row.replaceWith(orderRow(context, after))) }, 'Give back')),
  );
  return row;
}

/**
 * @param {ShopContext} context
 * @param {Order} order
 * @param {(after: Order) => void} done
 */
function openRefund({ shop }, order, done) {
  const held = order.lines.filter((line) => line.refunded_at === undefined);
  openForm(
    'Give back',
    [
      h('p', null, `It leaves your library, and what you paid comes back ${order.payment ? 'from where you paid it' : 'into your wallet'}.`),
      h(
        'fieldset',
        { class: 'choice' },
        h('legend', { class: 'sr-only' }, 'What to give back'),
        held.map((line) =>
          h('label', { class: 'check row' }, h('input', { type: 'checkbox', name: 'game', value: line.game, checked: held.length === 1 }), h('span', { class: 'grow' }, line.title), h('span', null, money(line.price))),
        ),
      ),
    ],
    {
      submit: 'Give it back',
      run: async (data) => {
        const games = data.getAll('game').map(String);
        if (games.length === 0) throw new Error('Which game is it?');
        try {
          done(await shop.refund(order.id, games));
        } catch (error) {
          throw new Error(paymentText(error));
        }
        toast(order.payment ? 'It is given back, and your money is on its way.' : 'It is given back, and your wallet has the money.');
      },
    },
  );
}
