import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Provider } from './provider.mjs';
import { Server } from './server.mjs';

let provider;
let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;

before(async () => {
  provider = await Provider.start();
  server = await Server.start((url) => provider.settings(url));
  browser = await openBrowser();
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo');
  await ana.befriend(bo);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  provider?.stop();
});

const main = () => ana.page.getByRole('main');
const payment = () => main().getByRole('status', { name: 'Payment' });
const balance = () => main().getByRole('status', { name: 'Balance' });
const won = (minor) => `₩${minor.toLocaleString('en')}`;

/** The person is at the provider's, and pays there or does not. */
async function atProvider(choice) {
  await ana.page.waitForURL((url) => url.origin === provider.url);
  await ana.page.getByRole('link', { name: choice }).click();
  await ana.page.waitForURL((url) => url.origin === server.url);
}

async function charge(amount) {
  await main().getByLabel('Charge your wallet', { exact: true }).fill(String(amount));
  await main().getByRole('button', { name: 'KakaoPay' }).click();
}

/** Those that cost something and are not on sale. */
async function games() {
  const { items } = await (await fetch(`${server.url}/v1/games?sort=title&limit=200`)).json();
  return items.filter((one) => one.price.minor > 0 && !one.full_price);
}

/** The provider has paid back so much in all. */
async function paidBack(minor) {
  for (;;) {
    const [, back] = await provider.books();
    if (back === minor) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('a wallet is charged by a provider, to which one goes and comes back', async () => {
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await balance().getByText(won(0)).waitFor();
  await accessible(ana);
  await charge(30_000);
  await atProvider('Pay');
  await payment().getByText(`${won(30_000)} came into your wallet.`).waitFor();
  await balance().getByText(won(30_000)).waitFor();
  await main().getByRole('list', { name: 'What came and went' }).getByText(`+${won(30_000)}`).waitFor();
  await accessible(ana);
  // Looking at it again pays nothing again.
  await ana.page.reload();
  await payment().getByText(`${won(30_000)} came into your wallet.`).waitFor();
  await balance().getByText(won(30_000)).waitFor();
  assert.deepEqual(await provider.books(), [30_000, 0]);
});

test('who gives up there pays nothing, and who comes back without an answer may go on', async () => {
  await charge(5000);
  await atProvider('Give up');
  await payment().getByText('You did not pay.').waitFor();
  let begun;
  await ana.page.route('**/v1/payments', async (route) => {
    const response = await route.fetch();
    begun = await response.json();
    return route.fulfill({ response });
  });
  await charge(6000);
  await ana.page.waitForURL((url) => url.origin === provider.url);
  await ana.page.unroute('**/v1/payments');
  await ana.page.goto(`${server.url}/#/shop/wallet?payment=${begun.id}`);
  await payment().getByText('You have not paid yet.').waitFor();
  await accessible(ana);
  await payment().getByRole('link', { name: 'Go on to KakaoPay' }).click();
  await atProvider('Pay');
  await balance().getByText(won(36_000)).waitFor();
  assert.deepEqual(await provider.books(), [36_000, 0]);
});

test('a game is paid by a provider, is owned, and goes back to the provider', async () => {
  const [game] = await games();
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main().getByRole('button', { name: /^Buy for/u }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).waitFor();
  await accessible(ana);
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).click();
  await atProvider('Pay');
  await payment().getByText(`You paid ${won(game.price.minor)}.`).waitFor();
  await balance().getByText(won(36_000)).waitFor();
  await payment().getByRole('link', { name: 'Look at your order' }).click();
  await main().getByRole('button', { name: /^Give back/u }).first().click();
  await dialog.getByRole('button', { name: 'Give it back' }).click();
  await paidBack(game.price.minor);
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await balance().getByText(won(36_000)).waitFor();
});

test('a gift is paid by a provider, waits for the friend, and goes back to the provider if they decline', async () => {
  const [first, game] = await games();
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main().getByRole('heading', { name: game.title, exact: true }).waitFor();
  await main().getByRole('button', { name: 'Give to a friend' }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).waitFor();
  // Nobody pays for a gift to nobody.
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).click();
  await dialog.getByLabel('Who is it for?').selectOption({ label: 'Bo' });
  await dialog.getByLabel('A line to go with it').fill('for the long evenings');
  await accessible(ana);
  await dialog.getByRole('button', { name: 'Pay by KakaoPay' }).click();
  await atProvider('Pay');
  await payment().getByText(`You paid ${won(game.price.minor)}.`).waitFor();
  await balance().getByText(won(36_000)).waitFor();
  await bo.page.goto(`${server.url}/#/shop/gifts`);
  const gift = bo.page.getByRole('main').getByRole('article', { name: `A gift from Ana Reyes: ${game.title}` });
  await gift.getByText('for the long evenings').waitFor();
  await gift.getByRole('button', { name: `Decline ${game.title}` }).click();
  await paidBack(first.price.minor + game.price.minor);
  await ana.page.goto(`${server.url}/#/shop/gifts`);
  await main().getByRole('article', { name: `Your gift to Bo: ${game.title}` }).getByText('Declined').waitFor();
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await balance().getByText(won(36_000)).waitFor();
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});
