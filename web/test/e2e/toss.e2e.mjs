import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Provider } from './provider.mjs';
import { Server } from './server.mjs';

let provider;
let server;
let browser;
/** @type {Person} whose pages are held to their content policy */
let ana;
/** @type {Person} */
let bo;
/** @type {any[]} */
let games;

before(async () => {
  provider = await Provider.start();
  server = await Server.start((url) => provider.settings(url));
  browser = await openBrowser();
  ana = await Person.join(browser, server.url, 'Ana Reyes');
  bo = await Person.join(browser, server.url, 'Bo', { bypassCSP: true });
  await ana.befriend(bo);
  const { items } = await (await fetch(`${server.url}/v1/games?sort=title&limit=200`)).json();
  games = items.filter((one) => one.price.minor > 0 && !one.full_price);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  provider?.stop();
});

const main = (person = ana) => person.page.getByRole('main');
const payment = (person = ana) => main(person).getByRole('status', { name: 'Payment' });
const balance = (person = ana) => main(person).getByRole('status', { name: 'Balance' });
const won = (minor) => `₩${minor.toLocaleString('en')}`;
/** Toss's window, over the page that opened it. */
const toss = (person = ana) => person.page.frameLocator('iframe[title^="Toss Payments"]');

async function charge(amount, person = ana) {
  await person.page.goto(`${server.url}/#/shop/wallet`);
  await main(person).getByLabel('Charge your wallet', { exact: true }).fill(String(amount));
  await main(person).getByRole('button', { name: 'KakaoPay' }).waitFor();
  await main(person).getByRole('button', { name: 'Toss Payments' }).click();
  await person.page.waitForURL((url) => url.pathname.endsWith('/window'));
}

/** The person pays in the window, or does not, and is back. */
async function atToss(choice, person = ana) {
  await toss(person).getByRole('link', { name: choice }).click();
  await person.page.waitForURL((url) => url.pathname === '/');
}

async function openGame(game) {
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main().getByRole('heading', { name: game.title, exact: true }).waitFor();
}

test('a wallet is charged in the window of Toss, from which one comes back', async () => {
  await charge(30_000);
  await main().getByText(`You pay ${won(30_000)} with Toss Payments.`).waitFor();
  await toss().getByText('30000 KRW').waitFor();
  await atToss('Pay');
  await payment().getByText(`${won(30_000)} came into your wallet.`).waitFor();
  await balance().getByText(won(30_000)).waitFor();
  // Looking at it again pays nothing again.
  await ana.page.reload();
  await payment().getByText(`${won(30_000)} came into your wallet.`).waitFor();
  assert.deepEqual(await provider.books(), [30_000, 0]);
});

test('whom Toss refuses, and who gives up there, pays nothing', async () => {
  await charge(5000);
  await atToss('Be refused');
  await payment().getByText('Toss Payments refused the payment.').waitFor();
  await charge(5000);
  await atToss('Give up');
  await payment().getByText('You did not pay.').waitFor();
  await balance().getByText(won(30_000)).waitFor();
  assert.deepEqual(await provider.books(), [30_000, 0]);
});

test('who closes the window may open it again, or go back', async () => {
  await charge(6000, bo);
  await toss(bo).getByRole('button', { name: 'Close' }).click();
  await main(bo).getByText('You closed the window. Nothing was paid.').waitFor();
  await accessible(bo);
  await main(bo).getByRole('button', { name: `Pay ${won(6000)}` }).click();
  await atToss('Pay', bo);
  await balance(bo).getByText(won(6000)).waitFor();
  await charge(7000, bo);
  await toss(bo).getByRole('button', { name: 'Close' }).click();
  await main(bo).getByRole('link', { name: 'Go back without paying' }).click();
  await payment(bo).getByText('You did not pay.').waitFor();
  assert.deepEqual(await provider.books(), [36_000, 0]);
});

test('who goes away in the midst of it may go on later', async () => {
  await charge(8000);
  const window = new URL(ana.page.url());
  const [, , , id] = window.pathname.split('/');
  await ana.page.goto(`${server.url}/#/shop/wallet?payment=${id}`);
  await payment().getByText('You have not paid yet.').waitFor();
  await payment().getByRole('link', { name: 'Go on to Toss Payments' }).click();
  await atToss('Pay');
  await balance().getByText(won(38_000)).waitFor();
  // What is over is shown, and not paid again.
  await ana.page.goto(window.href);
  await payment().getByText(`${won(8000)} came into your wallet.`).waitFor();
  assert.deepEqual(await provider.books(), [44_000, 0]);
});

test('a script that does not come is said, and asked for again', async () => {
  await ana.page.route(`${provider.url}/v2/standard`, (route) => route.abort());
  await charge(9000);
  await main().getByRole('alert').getByText('its script does not load').waitFor();
  await ana.page.unroute(`${provider.url}/v2/standard`);
  await main().getByRole('button', { name: `Pay ${won(9000)}` }).click();
  await atToss('Pay');
  await balance().getByText(won(47_000)).waitFor();
  assert.deepEqual(await provider.books(), [53_000, 0]);
});

test('a game is paid with Toss, is owned, and goes back there', async () => {
  const [game] = games;
  await openGame(game);
  await main().getByRole('button', { name: /^Buy for/u }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).waitFor();
  await dialog.getByRole('button', { name: 'Pay by Toss Payments' }).click();
  await atToss('Pay');
  await payment().getByText(`You paid ${won(game.price.minor)}.`).waitFor();
  await payment().getByRole('link', { name: 'Look at your order' }).click();
  await main().getByRole('button', { name: /^Give back/u }).first().click();
  await dialog.getByRole('button', { name: 'Give it back' }).click();
  await paidBack(game.price.minor);
});

test('a gift is paid with Toss, and is owned once it is accepted', async () => {
  const [, game] = games;
  await openGame(game);
  await main().getByRole('button', { name: 'Give to a friend' }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByLabel('Who is it for?').selectOption({ label: 'Bo' });
  await dialog.getByRole('button', { name: 'Pay by Toss Payments' }).click();
  await atToss('Pay');
  await payment().getByText(`You paid ${won(game.price.minor)}.`).waitFor();
  await bo.page.goto(`${server.url}/#/shop/gifts`);
  await main(bo).getByRole('article', { name: `A gift from Ana Reyes: ${game.title}` }).getByRole('button', { name: `Accept ${game.title}` }).click();
  await bo.page.goto(`${server.url}/#/shop/library`);
  await main(bo).getByRole('list', { name: 'Library' }).getByRole('link', { name: game.title }).waitFor();
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});

/** Toss has paid back so much in all. */
async function paidBack(minor) {
  for (;;) {
    const [, back] = await provider.books();
    if (back === minor) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
