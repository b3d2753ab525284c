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
/** @type {Person} */
let bo;
/** @type {any[]} */
let games;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  keeper = await Shopkeeper.hire(server);
  games = await keeper.games(3);
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo', { bypassCSP: true });
  await ana.befriend(bo);
  await ana.page.goto(`${server.url}/#/shop/wallet`);
  await ana.page.getByLabel('Gift card code').fill(await keeper.card(5_000));
  await ana.page.getByRole('button', { name: 'Redeem' }).click();
  await ana.page.getByText('$50.00 came into your wallet.').waitFor();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const main = (person) => person.page.getByRole('main');
const section = (person, name) => person.page.getByRole('navigation', { name: 'Shop' }).getByRole('link', { name: new RegExp(`^${name}`, 'u') });
const notices = (person) => person.page.getByRole('list', { name: 'Notices' });

async function openGame(person, game) {
  await person.page.goto(`${server.url}/#/shop/game/${game.slug}`);
  await main(person).getByRole('heading', { name: game.title, exact: true }).waitFor();
}

/** Somebody does it, and this person is told so: what is told goes away by itself, so they look meanwhile. */
async function told(person, words, act) {
  await Promise.all([person.page.getByRole('status').getByText(words).first().waitFor(), act()]);
}

async function give(game, message) {
  await openGame(ana, game);
  await main(ana).getByRole('button', { name: 'Give to a friend' }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByLabel('Who is it for?').selectOption({ label: 'Bo' });
  await dialog.getByLabel('A line to go with it').fill(message);
  await dialog.getByText(dollars(game.price.minor)).first().waitFor();
  await dialog.getByRole('button', { name: 'Give it' }).click();
  await dialog.waitFor({ state: 'detached' });
}

test('whoever wishes for a game hears of it when its price falls, and finds it in the notices', async () => {
  const [game] = games;
  await openGame(bo, game);
  await main(bo).getByRole('button', { name: 'Wish for it' }).click();
  await main(bo).getByRole('button', { name: 'On your wishlist', pressed: true }).waitFor();
  await section(bo, 'Wishlist').click();
  await main(bo).getByRole('list', { name: 'Wished for' }).getByRole('link', { name: game.title }).waitFor();
  await accessible(bo);
  const words = `${game.title} costs ${dollars(game.price.minor - 50)} now, not ${dollars(game.price.minor)}`;
  await told(bo, words, () => keeper.setPrice(game, game.price.minor - 50));
  await main(bo).getByRole('list', { name: 'Wished for' }).getByText(dollars(game.price.minor - 50)).waitFor();
  await bo.page.getByRole('button', { name: 'Notices, 1 unread' }).click();
  await notices(bo).getByText('New').waitFor();
  await notices(bo).getByRole('link', { name: words }).waitFor();
  await accessible(bo);
  await bo.page.getByRole('button', { name: 'Notices', exact: true }).waitFor();
  await bo.page.reload();
  await bo.settled();
  await bo.page.getByRole('button', { name: 'Notices', exact: true }).click();
  await notices(bo).getByRole('link', { name: words }).click();
  await main(bo).getByRole('heading', { name: game.title, exact: true }).waitFor();
  assert.equal(await notices(bo).getByText('New').count(), 0);
  await main(bo).getByRole('button', { name: 'On your wishlist' }).click();
  await main(bo).getByRole('button', { name: 'Wish for it' }).waitFor();
});

test('a gift is a card in the chat of the two, and is owned once it is accepted', async () => {
  const [, game] = games;
  await bo.page.getByRole('button', { name: 'Close panel' }).click();
  await bo.open(ana);
  await told(bo, `Ana Reyes gives you ${game.title}: for the long evenings`, () => give(game, 'for the long evenings'));
  const card = main(bo).getByRole('article', { name: `A gift from Ana Reyes: ${game.title}` });
  await card.getByText('for the long evenings').waitFor();
  await accessible(bo);
  await ana.open(bo);
  await main(ana).getByRole('article', { name: `Your gift to Bo: ${game.title}` }).getByRole('button', { name: 'Take back' }).waitFor();
  await told(ana, `Bo accepted ${game.title}`, () => card.getByRole('button', { name: `Accept ${game.title}` }).click());
  await card.waitFor({ state: 'detached' });
  await main(ana).getByRole('article', { name: `Your gift to Bo: ${game.title}` }).waitFor({ state: 'detached' });
  await bo.page.getByRole('button', { name: 'Shop', exact: true }).click();
  await section(bo, 'Library').click();
  await main(bo).getByRole('list', { name: 'Library' }).getByRole('link', { name: game.title }).waitFor();
  await section(bo, 'Gifts').click();
  await main(bo).getByRole('article', { name: `A gift from Ana Reyes: ${game.title}` }).getByText('Accepted').waitFor();

  // Nobody is given what they have.
  await openGame(ana, game);
  await main(ana).getByRole('button', { name: 'Give to a friend' }).click();
  await ana.page.getByRole('dialog').getByLabel('Who is it for?').selectOption({ label: 'Bo' });
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Give it' }).click();
  await ana.page.getByRole('dialog').getByRole('alert').getByText('Bo has this game already.').waitFor();
  await accessible(ana);
  await ana.page.keyboard.press('Escape');
});

test('a gift declined from the notices is paid back', async () => {
  const [, , game] = games;
  const wallet = section(ana, 'Wallet');
  const before = await wallet.innerText();
  await give(game, '');
  await bo.page.getByRole('button', { name: 'Notices, 2 unread' }).click();
  await told(ana, `Bo declined ${game.title}; you are paid back`, () => notices(bo).getByRole('button', { name: `Decline ${game.title}` }).click());
  await notices(bo).getByRole('button', { name: `Decline ${game.title}` }).waitFor({ state: 'detached' });
  await ana.page.waitForFunction((text) => document.querySelector('.shop-section:last-child')?.innerText === text, before);
  await section(ana, 'Gifts').click();
  await main(ana).getByRole('article', { name: `Your gift to Bo: ${game.title}` }).getByText('Declined').waitFor();
  await accessible(ana);
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});
