import assert from 'node:assert/strict';
import test from 'node:test';
import { couponText, nextChange, placeText } from '../../app/model/coupon.js';
import { minus, money, percentOff, price, signed, total } from '../../app/money.js';
import { paymentText, refusalText, ruleOf } from '../../app/model/refusal.js';
import { RequestKeys } from '../../app/model/request-keys.js';
import { Shop } from '../../app/model/shop.js';
import { ApiError } from '../../app/net/http.js';
import { parseRoute, shopRoute } from '../../app/route.js';
import { newsLink, newsText, titles } from '../../app/views/news.js';

const usd = (minor) => ({ minor, currency: 'USD', exponent: 2 });
const won = (minor) => ({ minor, currency: 'KRW', exponent: 0 });

test('money is spelled by its currency, and what costs nothing is free', () => {
  assert.equal(money(usd(1999)), '$19.99');
  assert.equal(money(usd(-5)), '-$0.05');
  assert.equal(money(won(19900)), '₩19,900');
  assert.equal(price(won(0)), 'Free');
  assert.equal(signed(usd(100)), '+$1.00');
  assert.equal(signed(usd(-100)), '-$1.00');
});

test('sums are of whole minor units, and nothing is said to be cheaper than it is', () => {
  assert.deepEqual(total([usd(10), usd(20)], usd(0)), usd(30));
  assert.deepEqual(total([], won(7)), won(0));
  assert.deepEqual(minus(usd(10), usd(25)), usd(-15));
  assert.equal(percentOff(usd(667), usd(1000)), 33);
  assert.equal(percentOff(usd(1), usd(1000)), 99);
  for (const full of [undefined, null, usd(0), usd(667), usd(500)]) assert.equal(percentOff(usd(667), full), 0);
});

test('addresses of the shop are read as they are written', () => {
  for (const [page, id, query] of [['', undefined, {}], ['game', 'a/b c%', {}], ['games', undefined, { q: 'a&b=#?', tag: 'co-op' }]]) {
    const { shop } = parseRoute(shopRoute(page, id, query));
    assert.deepEqual(shop, id === undefined ? { page, query } : { page, id, query });
  }
  assert.equal(shopRoute('games', undefined, { q: '', sort: undefined }), '#/shop/games');
  assert.deepEqual(parseRoute('#/shop/game/%E0%A4%A'), {});
});

test('a place in a queue is said in words', () => {
  assert.equal(placeText({ number: 1, state: 'waiting', ahead: 0, wait: 0 }), 'You are next, less than a minute');
  assert.equal(placeText({ number: 2, state: 'waiting', ahead: 1, wait: 60_000 }), '1 person is ahead of you, about 1 minute');
  assert.equal(placeText({ number: 9, state: 'waiting', ahead: 8, wait: 61_000 }), '8 people are ahead of you, about 2 minutes');
});

test('what is told of a queue is passed on, and is no news to be kept', () => {
  const shop = new Shop({}, new RequestKeys({ getItem: () => null, setItem() {} }));
  const heard = [];
  shop.on('queue', (drop) => heard.push(drop));
  shop.heard({ id: '01A', topic: 'queue_rank', ts: 1, data: { drop: 'autumn', ahead: 3 } });
  assert.deepEqual([heard, shop.notices, shop.unread], [['autumn'], [], 0]);
  shop.heard({ id: '01B', topic: 'queue_admitted', ts: 1, data: { drop: 'autumn' } });
  assert.deepEqual([heard, shop.notices.length, shop.unread], [['autumn', 'autumn'], 1, 1]);
});

const refused = (rule) => new ApiError(409, { detail: 'no', errors: [{ field: 'games', rule, message: 'said by the server' }] });
const lost = () => new ApiError(0, { detail: 'The server cannot be reached.' });

test('a request keeps its name until it was answered, also over a reload', async () => {
  const kept = new Map();
  const memory = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => void kept.set(name, value) };
  let made = 0;
  const fresh = () => `key-${++made}`;
  const send = (answer) => async (key) => {
    used.push(key);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const used = [];
  const order = { games: ['a'], expected_total: 1 };
  const keys = new RequestKeys(memory, fresh);
  await assert.rejects(keys.run('orders', order, send(lost())));
  await assert.rejects(keys.run('orders', order, send(new ApiError(503, {}))));
  const reloaded = new RequestKeys(memory, fresh);
  await assert.rejects(reloaded.run('orders', { ...order, expected_total: 2 }, send(lost())));
  assert.equal(await reloaded.run('orders', order, send('bought')), 'bought');
  await assert.rejects(reloaded.run('orders', order, send(refused('already_owned'))));
  await reloaded.run('orders', order, send('bought'));
  assert.deepEqual(used, ['key-1', 'key-1', 'key-2', 'key-1', 'key-3', 'key-4']);
});

test('without room for the names they last as long as the page', async () => {
  const full = { getItem: () => '{not json', setItem: () => { throw new Error('full'); } };
  const keys = new RequestKeys(full, () => 'a-key-of-its-own');
  const used = [];
  await assert.rejects(keys.run('orders', {}, async (key) => { used.push(key); throw lost(); }));
  keys.fresh = () => 'another';
  await keys.run('orders', {}, async (key) => void used.push(key));
  assert.deepEqual(used, ['a-key-of-its-own', 'a-key-of-its-own']);
});

test('a refusal is said in words, and a lost answer is not said to be one', () => {
  assert.match(refusalText(refused('insufficient_funds')), /not enough money/u);
  assert.equal(refusalText(refused('of_the_future')), 'Games: said by the server.');
  assert.equal(ruleOf(refused('price_changed')), 'price_changed');
  assert.equal(ruleOf(new Error('x')), undefined);
  assert.match(paymentText(lost()), /not pay twice/u);
  assert.match(paymentText(refused('price_changed')), /price has changed/u);
  assert.equal(paymentText(new Error('Signed out.')), 'Signed out.');
});

test('a notice leads somewhere, and games are named together', () => {
  assert.equal(newsLink({ topic: 'price_dropped', data: { game: { id: 'g' } } }), '#/shop/game/g');
  assert.equal(newsLink({ topic: 'gift_declined', data: {} }), '#/shop/gifts');
  const bought = { topic: 'friend_bought', data: { friend: { id: 'b', name: 'Bo' }, games: [{ id: 'g', title: 'Star' }] } };
  assert.equal(newsText(bought), 'Bo bought Star, which you wish for');
  assert.equal(newsLink(bought), '#/shop/game/g');
  assert.equal(newsText({ topic: 'guest_book_entry', data: { entry: 'e', from: { id: 'b', name: 'Bo' } } }), 'Bo wrote in your guest book');
  assert.equal(newsText({ topic: 'coupon_received', data: { coupon: 'c', name: 'Autumn', ends_at: 1 } }), 'A coupon for you: Autumn');
  assert.equal(newsLink({ topic: 'guest_book_entry', data: { entry: 'e' } }), '#/shop/person');
  const paid = (data) => ({ topic: 'payment', data: { purpose: 'top_up', state: 'paid', amount: won(3000), cancelled: won(0), ...data } });
  assert.equal(newsText(paid({})), '₩3,000 came into your wallet');
  assert.equal(newsText(paid({ purpose: 'order' })), 'You paid ₩3,000');
  assert.equal(newsText(paid({ state: 'partly_cancelled', cancelled: won(1000) })), '₩1,000 of a payment went back to you');
  assert.equal(newsText(paid({ state: 'expired' })), 'A payment of ₩3,000 came to nothing');
  assert.equal(newsText(paid({ state: 'approving' })), undefined);
  assert.equal(newsLink(paid({})), '#/shop/wallet');
  assert.equal(newsLink({ topic: 'of the future', data: {} }), undefined);
  assert.equal(titles([{ title: 'A' }, { title: 'B' }, { title: 'C' }]), 'A, B and C');
});

/** A shop whose answers come when the test says so. */
function slowShop() {
  /** @type {[string, (answer: any) => void][]} */
  const asked = [];
  const ask = (what) => () => new Promise((resolve) => asked.push([what, resolve]));
  const shop = new Shop({ notices: ask('notices'), mark: async () => undefined, list: ask('list'), library: ask('library'), wallet: ask('wallet'), gifts: ask('gifts') }, new RequestKeys({ getItem: () => null, setItem() {} }));
  const answer = async (what, value) => {
    const at = asked.findIndex(([name]) => name === what);
    assert.notEqual(at, -1, `${what} was asked for`);
    asked.splice(at, 1)[0][1](value);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { shop, answer, asked };
}

const notice = (id, read = false) => ({ id, topic: 'purchase', ts: 1, data: { games: [] }, read });

test('of two answers the one to the later question counts', async () => {
  const { shop, asked } = slowShop();
  const [first, second] = [shop.readWallet(), shop.readWallet()];
  const [[, older], [, newer]] = asked;
  newer({ country: 'US', balance: usd(2) });
  older({ country: 'US', balance: usd(1) });
  await Promise.all([first, second]);
  assert.deepEqual(shop.wallet?.balance, usd(2));
});

test('a notice that is heard while the list is on its way is not lost, nor there twice', async () => {
  const { shop, answer } = slowShop();
  const reading = shop.readNotices();
  shop.heard(notice('02'));
  shop.heard(notice('02'));
  assert.equal(shop.unread, 1);
  await answer('notices', { items: [notice('01', true)], unread: 0 });
  await reading;
  assert.deepEqual(shop.notices.map(({ id }) => id), ['02']);
  await answer('notices', { items: [notice('02'), notice('01', true)], unread: 1 });
  assert.deepEqual(shop.notices.map(({ id }) => id), ['02', '01']);
  assert.equal(shop.unread, 1);
});

test('gifts that wait between two are found on either side', () => {
  const { shop } = slowShop();
  const gift = (id, giver, recipient, state, at) => ({ id, giver, recipient, state, at, games: [], expires_at: 9 });
  shop.gifts = {
    received: { items: [gift('3', 'bo', 'me', 'waiting', 3), gift('2', 'bo', 'me', 'declined', 2), gift('4', 'mira', 'me', 'waiting', 4)] },
    sent: { items: [gift('1', 'me', 'bo', 'waiting', 1)] },
  };
  assert.deepEqual(shop.waitingWith('bo').map(({ id }) => id), ['1', '3']);
});

test('a coupon says what it takes off, and off what', () => {
  const usDollars = { currency: 'USD' };
  for (const [terms, words] of [
    [{ kind: 'percent', percent: 20 }, '20% off'],
    [{ kind: 'percent', percent: 50, cap: 150, ...usDollars }, '50% off, up to $1.50'],
    [{ kind: 'fixed', amount: 5000, currency: 'KRW', minimum: 20000 }, '₩5,000 off, from ₩20,000 on'],
    [{ kind: 'bundle', percent: 30, games: ['a', 'b'] }, '30% off, 2 games bought together'],
    [{ kind: 'category', percent: 10, categories: ['puzzle', 'racing'], at_least: 3 }, '10% off, 3 games or more of puzzle and racing'],
    [{ kind: 'percent', percent: 10, games: ['a'], publishers: ['p'] }, '10% off, one game, games of some publishers'],
    [{ kind: 'first_purchase', percent: 100 }, '100% off, your first purchase'],
  ]) {
    assert.equal(couponText(terms), words);
  }
});

test('drops are looked at again when the clock changes one of them', () => {
  const drop = (opens, closes) => ({ opens_at: opens, closes_at: closes });
  assert.equal(nextChange([], 5), undefined);
  assert.equal(nextChange([drop(1, 4)], 5), undefined);
  assert.equal(nextChange([drop(1, 9), drop(7, 20)], 5), 7);
  assert.equal(nextChange([drop(1, 9), drop(7, 20)], 7), 9);
});
