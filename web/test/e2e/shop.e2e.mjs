import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';
import { Shopkeeper, dollars } from './shopkeeper.mjs';

let server;
let browser;
/** @type {Shopkeeper} */
let keeper;
/** @type {Person} */
let ana;
/** @type {any[]} */
let games;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  keeper = await Shopkeeper.hire(server);
  games = await keeper.games(3);
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const main = () => ana.page.getByRole('main');
const section = (name) => ana.page.getByRole('navigation', { name: 'Shop' }).getByRole('link', { name: new RegExp(`^${name}`, 'u') });
const found = () => main().getByRole('list', { name: 'Games found' }).getByRole('listitem');

async function openGame(game) {
  await ana.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main().getByRole('heading', { name: game.title, exact: true }).waitFor();
}

/** Does it, and is told so: what is told goes away by itself, so somebody has to look meanwhile. */
async function told(words, act) {
  await Promise.all([ana.page.getByRole('status').getByText(words).first().waitFor(), act()]);
}

async function redeem(cents) {
  await section('Wallet').click();
  await main().getByLabel('Gift card code').fill((await keeper.card(cents)).toLowerCase());
  await main().getByRole('button', { name: 'Redeem' }).click();
  await main().getByText(`${dollars(cents)} came into your wallet.`).waitFor();
}

test('one looks through the shelves and filters, page by page', async () => {
  await ana.page.getByRole('button', { name: 'Shop', exact: true }).click();
  await main().getByRole('region', { name: 'On sale' }).getByRole('listitem').first().waitFor();
  await accessible(ana);
  await main().getByRole('list', { name: 'Categories' }).getByRole('link', { name: /^Racing/u }).click();
  const count = Number(/\d+/u.exec(await main().getByRole('combobox', { name: 'Category' }).locator('option', { hasText: 'Racing' }).innerText())?.[0]);
  await found().first().waitFor();
  // All of them, over as many pages as it takes, and each once.
  const more = main().getByRole('button', { name: 'Show more' });
  for (let n = await found().count(); n < count; n = await found().count()) {
    await more.click();
    await found().nth(n).waitFor();
  }
  await more.waitFor({ state: 'hidden' });
  const titles = await found().locator('.game-link').evaluateAll((links) => links.map((link) => link.getAttribute('href')));
  assert.equal(titles.length, count);
  assert.equal(new Set(titles).size, count);

  await main().getByRole('checkbox', { name: 'On sale' }).check();
  await main().getByRole('combobox', { name: 'Order' }).selectOption('price');
  await ana.page.waitForFunction(() => location.hash.includes('on_sale=true') && location.hash.includes('sort=price'));
  await ana.page.waitForFunction(() => {
    const cards = [...document.querySelectorAll('.game-grid .game-card')];
    return cards.length > 0 && cards.every((card) => card.querySelector('.price-off'));
  });
  await accessible(ana);
});

test('titles are suggested while one types, and what one searched for is remembered', async () => {
  const [game] = games;
  const field = main().getByRole('combobox', { name: 'Search games' });
  await section('Store').click();
  await main().getByRole('heading', { name: 'Store' }).waitFor();
  await field.fill(game.title.slice(0, -2));
  await main().getByRole('option', { name: game.title, exact: true }).waitFor();
  await accessible(ana);
  for (let i = 0; i < 12; i += 1) {
    await field.press('ArrowDown');
    if ((await main().getByRole('option', { selected: true }).innerText()) === game.title) break;
  }
  await field.press('Enter');
  await main().getByRole('heading', { name: game.title, exact: true }).waitFor();

  await ana.page.goBack();
  await field.fill(game.title);
  const remembered = ana.page.waitForResponse((response) => response.url().endsWith('/v1/searches') && response.request().method() === 'POST');
  await main().getByRole('button', { name: 'Search', exact: true }).click();
  await found().filter({ hasText: game.title }).first().waitFor();
  await remembered;
  await section('Store').click();
  await main().getByRole('heading', { name: 'Store' }).waitFor();
  await field.focus();
  // Words are remembered, not what stands between them.
  const words = game.title.match(/[\p{L}\p{N}]+/gu).join(' ');
  await main().getByRole('option', { name: words }).waitFor();
  await field.press('Escape');
  await main().getByRole('region', { name: 'Searched for this week' }).getByRole('link', { name: words }).waitFor();

  await field.fill('zzzz zzzz');
  await field.press('Enter');
  await main().getByText('No game fits.').waitFor();
});

test('a wrong gift card is refused in words, a right one fills the wallet', async () => {
  await section('Wallet').click();
  await main().getByLabel('Gift card code').fill('00000-00000-00000-00000');
  await main().getByRole('button', { name: 'Redeem' }).click();
  await main().getByRole('alert').getByText('No such gift card').waitFor();
  await accessible(ana);
  await redeem(100);
  await main().getByRole('status', { name: 'Balance' }).getByText('$1.00').waitFor();
  await main().getByRole('list', { name: 'What came and went' }).getByText('+$1.00').waitFor();
});

test('a game is bought from the wallet, once there is enough in it', async () => {
  const [game] = games;
  const { minor } = game.price;
  await openGame(game);
  await accessible(ana);
  await main().getByRole('button', { name: /^Buy for/u }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByText(`You need ${dollars(minor - 100)} more.`).waitFor();
  assert.equal(await dialog.getByRole('button', { name: /^Pay/u }).isDisabled(), true);
  await accessible(ana);
  await dialog.getByRole('link', { name: 'Redeem a gift card' }).click();
  await redeem(2 * minor);

  await openGame(game);
  await main().getByRole('button', { name: /^Buy for/u }).click();
  // The first answer is lost on its way: the same request comes again under the same name.
  const keys = [];
  await ana.page.route('**/v1/orders', async (route) => {
    keys.push(route.request().headers()['idempotency-key']);
    if (keys.length > 1) return route.fallback();
    await route.fetch();
    return route.abort();
  });
  await told(`You bought ${game.title}`, () => dialog.getByRole('button', { name: `Pay ${dollars(minor)}` }).click());
  await dialog.getByRole('alert').getByText('you will not pay twice').waitFor();
  await dialog.getByRole('button', { name: /^Pay/u }).click();
  await main().getByRole('heading', { name: 'Library' }).waitFor();
  await ana.page.unroute('**/v1/orders');
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  const said = ana.page.waitForResponse((response) => response.request().method() === 'PATCH');
  await main().getByRole('checkbox', { name: `${game.title} is installed` }).check();
  assert.equal((await said).status(), 204);
  await accessible(ana);
  await section('Wallet').getByText(dollars(100 + minor)).waitFor();
  await section('Orders').click();
  await main().getByRole('list', { name: 'Orders' }).getByText(game.title).waitFor();
  assert.equal(await main().getByRole('list', { name: 'Orders' }).locator('.order').count(), 1);
  await ana.page.reload();
  await section('Library').click();
  assert.equal(await main().getByRole('checkbox', { name: `${game.title} is installed` }).isChecked(), true);
  await openGame(game);
  await main().getByText('It is in your library').waitFor();
  assert.equal(await main().getByRole('button', { name: /^Buy/u }).count(), 0);
});

test('the cart is paid at once; a price that changed meanwhile is said, and nothing is bought', async () => {
  const [, game, other] = games;
  for (const each of [game, other]) {
    await openGame(each);
    await main().getByRole('button', { name: 'Add to cart' }).click();
    await main().getByRole('link', { name: 'In your cart' }).waitFor();
  }
  await redeem(5_000);
  await section('Cart').click();
  await main().getByText('2 games, together').waitFor();
  await accessible(ana);
  await main().getByRole('button', { name: `Remove ${other.title}` }).click();
  await main().getByText('1 game, together').waitFor();
  const priced = ana.page.waitForResponse('**/v1/orders/preview');
  await main().getByRole('button', { name: 'Check out' }).click();
  await priced;
  await keeper.setPrice(game, 150);
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByRole('button', { name: `Pay ${dollars(game.price.minor)}` }).click();
  await dialog.getByRole('alert').getByText('The price has changed').waitFor();
  await dialog.getByRole('button', { name: 'Pay $1.50' }).click();
  await main().getByRole('list', { name: 'Library' }).getByRole('link', { name: game.title }).waitFor();
  await section('Cart').click();
  await main().getByText('Your cart is empty.').waitFor();
});

test('those who own a game review it, change their mind, and are found helpful', async () => {
  const [game] = games;
  const bo = await Person.join(browser, server.url, 'Bo');
  const reviews = () => main().getByRole('list', { name: 'Reviews' });
  await openGame(game);
  await main().getByRole('button', { name: 'Write a review' }).click();
  await ana.page.getByRole('radio', { name: /^4/u }).check();
  await ana.page.getByLabel('Why?').fill('Cosy, and too short.');
  await accessible(ana);
  await ana.page.getByRole('button', { name: 'Save review' }).click();
  await reviews().getByText('Cosy, and too short.').waitFor();
  await main().getByRole('button', { name: 'Change your review' }).click();
  assert.equal(await ana.page.getByLabel('Why?').inputValue(), 'Cosy, and too short.');
  await ana.page.getByRole('radio', { name: /^5/u }).check();
  await ana.page.getByRole('button', { name: 'Save review' }).click();
  await reviews().getByText('5 stars of 5').waitFor();
  await main().getByText('Rated 5.0 of 5').waitFor();
  await accessible(ana);

  await bo.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await bo.page.getByText('Those who own the game can write about it.').waitFor();
  await bo.page.getByRole('button', { name: 'The review of Ana Reyes is helpful' }).click();
  await bo.page.getByText('1 person found it helpful').waitFor();
  await ana.page.reload();
  await reviews().getByText('1 person found it helpful').waitFor();
  await main().getByRole('button', { name: 'Delete your review' }).click();
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await main().getByText('Nobody has written about it yet.').waitFor();
  assert.deepEqual(bo.problems, []);
});

test('what was hardly played is given back', async () => {
  const [game] = games;
  const before = await section('Wallet').innerText();
  await section('Orders').click();
  await main().getByRole('button', { name: `Give back ${game.title}` }).click();
  await accessible(ana);
  await told(`You gave back ${game.title}`, () => ana.page.getByRole('dialog').getByRole('button', { name: 'Give it back' }).click());
  await main().getByText('Given back', { exact: true }).waitFor();
  await main().getByRole('button', { name: `Give back ${game.title}` }).waitFor({ state: 'detached' });
  assert.notEqual(await section('Wallet').innerText(), before);
  await section('Wallet').click();
  await main().getByRole('list', { name: 'What came and went' }).getByText('Refund').waitFor();
  await section('Library').click();
  await main().getByRole('list', { name: 'Library' }).getByRole('link', { name: game.title }).waitFor({ state: 'detached' });
});

test('on a narrow screen the shop has the screen, and nothing sticks out', async () => {
  await ana.page.setViewportSize({ width: 390, height: 844 });
  for (const page of ['', '/games', `/game/${games[0].slug}`, '/wallet', '/orders', '/library']) {
    await ana.page.goto(`${server.url}/#/shop${page}`);
    await main().getByRole('heading').first().waitFor();
    assert.equal(await ana.page.evaluate(() => document.documentElement.scrollWidth), 390, page);
  }
  await ana.page.getByRole('navigation', { name: 'Sections' }).getByRole('button', { name: 'Chats' }).click();
  await ana.page.getByRole('button', { name: 'Search messages' }).waitFor();
  await ana.page.getByRole('navigation', { name: 'Sections' }).getByRole('button', { name: 'Shop' }).click();
  await main().getByRole('heading', { name: 'Store' }).waitFor();
  assert.deepEqual(ana.problems, []);
});
