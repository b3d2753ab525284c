/**
 * Giving a game to a friend.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { paymentText, ruleOf } from '../../model/refusal.js';
import { openDialog, openForm } from '../dialog.js';
import { toast } from '../toast.js';
import { goAndPay, providersOf } from './charge.js';
import { bill } from './checkout.js';

/** @import { GameCard, Preview } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

const MESSAGE = 140;

/**
 * @param {ShopContext} context
 * @param {GameCard} game
 */
export function openGive(context, game) {
  const { session, shop, api } = context;
  const friends = session.people.inState('friend');
  if (friends.length === 0) {
    openDialog('Give to a friend', [h('p', null, 'Gifts are for friends, and you have none here yet. Find somebody in the list of friends first.')]);
    return;
  }
  let item = game;
  /** @type {Preview | undefined} */
  let preview;
  let pricing = Promise.resolve();
  const holder = h('div', null);
  const others = h('div', { class: 'form-actions' });
  const draw = () => {
    const { view, sum } = bill(shop, [item], preview);
    fill(holder, view);
    const providers = sum.minor > 0 ? providersOf(shop.wallet) : [];
    fill(others, providers.map(({ name, title }) => h('button', { class: 'button', type: 'submit', name: 'by', value: name }, `Pay by ${title}`)));
  };
  const friend = h('select', { id: 'gift-friend', name: 'friend', required: true }, h('option', { value: '' }, 'Choose a friend'), friends.map(({ id, name }) => h('option', { value: id }, name)));
  /** With coupons, once it is known for whom; what the shop refuses to price, it refuses to sell, and says so then. */
  const priced = async () => {
    const recipient = friend.value;
    const found = recipient === '' ? undefined : await api.preview([item.id], recipient).catch(() => undefined);
    if (recipient !== friend.value) return;
    preview = found;
    draw();
  };
  friend.addEventListener('change', () => (pricing = priced()));
  const message = h('textarea', { id: 'gift-message', name: 'message', rows: '2', maxlength: String(MESSAGE), placeholder: 'Happy birthday!' });
  const { dialog, form, close } = openForm(
    `Give ${game.title}`,
    [
      h('div', { class: 'field' }, h('label', { for: 'gift-friend' }, 'Who is it for?'), friend),
      h('div', { class: 'field' }, h('label', { for: 'gift-message' }, 'A line to go with it'), message),
      holder,
      h('p', { class: 'hint' }, 'You pay now. If they decline, or do not answer, you are paid back.'),
    ],
    {
      submit: 'Give it',
      others,
      run: async (data) => {
        const text = String(data.get('message') ?? '').trim();
        const recipient = String(data.get('friend'));
        const by = data.get('by');
        const shown = bill(shop, [item], preview).sum.minor;
        await pricing;
        // Less than was shown is fine, more is not.
        const sum = Math.min(shown, bill(shop, [item], preview).sum.minor);
        const coupons = (preview?.coupons ?? []).map((coupon) => coupon.id);
        const gift = { recipient, games: [item.id], message: text === '' ? undefined : text, expected_total: sum, coupons };
        try {
          if (by) return await goAndPay(context, String(by), { order: gift });
          await shop.give(gift);
        } catch (error) {
          if (ruleOf(error) === 'already_owned') throw new Error(`${session.people.name(recipient)} has this game already.`);
          if (ruleOf(error) === 'price_changed') item = await api.game(item.id).catch(() => item);
          if (ruleOf(error) === 'insufficient_funds') await shop.readWallet().catch(() => undefined);
          pricing = priced();
          await pricing;
          throw new Error(paymentText(error));
        }
        return toast(`Your gift waits for ${session.people.name(recipient)}.`);
      },
    },
  );
  const off = shop.on('wallet', draw);
  const leave = () => close();
  addEventListener('hashchange', leave);
  dialog.addEventListener('close', () => {
    off();
    removeEventListener('hashchange', leave);
  });
  if (!shop.wallet) void shop.readWallet().catch(() => undefined);
  draw();
  void form;
  friend.focus();
}
