import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';
import { Shopkeeper, dollars } from './shopkeeper.mjs';

const WEEK_MS = 7 * 86_400_000;

let server;
let browser;
/** @type {Shopkeeper} */
let keeper;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  keeper = await Shopkeeper.hire(server);
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo', { bypassCSP: true });
  await ana.befriend(bo);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const main = (person) => person.page.getByRole('main');
const drops = (person) => main(person).getByRole('list', { name: 'First come, first served' });
const mine = (person) => main(person).getByRole('list', { name: 'Your coupons' });
const campaign = (terms) => keeper.ask('POST', '/v1/campaigns', { ends_at: Date.now() + WEEK_MS, ...terms });

async function openCoupons(person) {
  await person.page.goto(`${server.url}/#/shop/coupons`);
  // Whoever is there already would see what was there when they came.
  await person.page.reload();
  await main(person).getByRole('heading', { name: 'Coupons', exact: true }).waitFor();
}

/** Somebody does it, and this person is told so: what is told goes away by itself, so they look meanwhile. */
async function told(person, role, words, act) {
  await Promise.all([person.page.getByRole(role).getByText(words).first().waitFor(), act()]);
}

test('whoever comes first has the coupon, and the other is told that none is left', async () => {
  await campaign({ name: 'Early bird', kind: 'percent', percent: 25, drop: true, quantity: 1 });
  await openCoupons(ana);
  await openCoupons(bo);
  await drops(ana).getByText('1 of 1 left').waitFor();
  await drops(bo).getByText('25% off').waitFor();
  await accessible(ana);
  await told(ana, 'status', 'You have it: Early bird', () => drops(ana).getByRole('button', { name: 'Get Early bird' }).click());
  await mine(ana).getByRole('article', { name: 'Early bird' }).getByText(/^Good until .*\d{4}$/u).waitFor();
  await drops(ana).getByText('You have it').waitFor();
  await told(bo, 'alert', 'Early bird: others were faster, there are none left.', () => drops(bo).getByRole('button', { name: 'Get Early bird' }).click());
  await drops(bo).getByText('None left').waitFor();
  assert.equal(await mine(bo).getByRole('article').count(), 0);
  await accessible(bo);
});

test('a drop that is to open opens while one looks at it', async () => {
  await campaign({ name: 'Night owl', kind: 'fixed', amount: 100, currency: 'USD', drop: true, quantity: 5, opens_at: Date.now() + 4_000 });
  await bo.page.reload();
  await bo.settled();
  const owl = drops(bo).getByRole('article', { name: 'Night owl' });
  await owl.getByText(/^Opens /u).waitFor();
  await owl.getByRole('button', { name: 'Get Night owl' }).click();
  await mine(bo).getByRole('article', { name: 'Night owl' }).getByText('$1.00 off').waitFor();
});

test('who waits in the queue before a drop sees their place, live, and comes in by a pass', async () => {
  await campaign({ name: 'Long line', kind: 'percent', percent: 30, drop: true, quantity: 5, queue_rate: 20, opens_at: Date.now() + 8_000 });
  await openCoupons(ana);
  await openCoupons(bo);
  const [anas, bos] = [ana, bo].map((person) => drops(person).getByRole('group', { name: 'Queue for Long line' }));
  await anas.getByRole('button', { name: 'Wait in the queue: Long line' }).click();
  await anas.getByText(/^You are next/u).waitFor();
  await bos.getByRole('button', { name: 'Wait in the queue: Long line' }).click();
  await bos.getByText(/^1 person is ahead of you/u).waitFor();
  await accessible(bo);
  // Nobody touches the page: it is told.
  await anas.getByText('It is your turn').waitFor();
  await bos.getByText(/^You are next/u).waitFor();
  await anas.getByRole('button', { name: 'Get: Long line' }).click();
  await mine(ana).getByRole('article', { name: 'Long line' }).waitFor();
  await bos.getByText('It is your turn').waitFor();
  await bos.getByRole('button', { name: 'Get: Long line' }).click();
  await mine(bo).getByRole('article', { name: 'Long line' }).waitFor();
});

test('a code gives a coupon, which makes a purchase cheaper and is used then', async () => {
  const code = `CODE${String(Date.now()).slice(-8)}`;
  await campaign({ name: 'Half of it', kind: 'percent', percent: 50, code });
  await openCoupons(ana);
  const form = main(ana).getByRole('form', { name: 'Redeem a coupon code' });
  await form.getByLabel('Coupon code').fill('NO-SUCH-1');
  await form.getByRole('button', { name: 'Redeem' }).click();
  await form.getByText('No such code: look at it again.').waitFor();
  await form.getByLabel('Coupon code').fill(code.toLowerCase());
  await form.getByRole('button', { name: 'Redeem' }).click();
  await form.getByText('You have it: Half of it').waitFor();
  await mine(ana).getByRole('article', { name: 'Half of it' }).waitFor();
  await accessible(ana);

  const [game] = await keeper.games(1);
  const cost = game.price.minor - Math.floor(game.price.minor / 2);
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await ana.page.getByLabel('Gift card code').fill(await keeper.card(cost));
  await ana.page.getByRole('button', { name: 'Redeem' }).click();
  await ana.page.getByText(`${dollars(cost)} came into your wallet.`).waitFor();
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main(ana).getByRole('button', { name: /^Buy/u }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByText('Coupon: Half of it').waitFor();
  await dialog.getByRole('button', { name: `Pay ${dollars(cost)}` }).click();
  await main(ana).getByRole('list', { name: 'Library' }).getByRole('link', { name: game.title }).waitFor();
  await openCoupons(ana);
  await mine(ana).getByRole('article', { name: 'Half of it' }).getByText('Used').waitFor();
  await mine(ana).getByRole('article', { name: 'Early bird' }).getByText(/^Good until/u).waitFor();
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});

test('a coupon makes a gift cheaper, once it is known for whom', async () => {
  const [, game] = await keeper.games(2);
  const cost = game.price.minor - Math.floor((game.price.minor * 30) / 100);
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await ana.page.getByLabel('Gift card code').fill(await keeper.card(cost));
  await ana.page.getByRole('button', { name: 'Redeem' }).click();
  await ana.page.getByText(`${dollars(cost)} came into your wallet.`).waitFor();
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main(ana).getByRole('button', { name: 'Give to a friend' }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByText(/^You need \$/u).waitFor();
  assert.equal(await dialog.getByText(/^Coupon:/u).count(), 0);
  await dialog.getByLabel('Who is it for?').selectOption({ label: 'Bo' });
  await dialog.getByText('Coupon: Long line').waitFor();
  await accessible(ana);
  await dialog.getByRole('button', { name: 'Give it' }).click();
  await dialog.waitFor({ state: 'detached' });
  await openCoupons(ana);
  await mine(ana).getByRole('article', { name: 'Long line' }).getByText('Used').waitFor();
  await bo.page.goto(`${server.url}/#/shop/gifts`);
  const gift = main(bo).getByRole('article', { name: `A gift from Ana Reyes: ${game.title}` });
  await gift.getByRole('button', { name: `Decline ${game.title}` }).click();
  await openCoupons(ana);
  await mine(ana).getByRole('article', { name: 'Long line' }).getByText(/^Good until/u).waitFor();
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});
