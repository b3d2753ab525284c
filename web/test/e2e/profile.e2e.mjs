import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;
/** @type {Person} */
let kim;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo', { bypassCSP: true });
  kim = await Person.join(browser, server.url, 'Kim');
  await ana.befriend(bo);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** @param {Person} person */
const main = ({ page }) => page.getByRole('main');
/** @param {Person} person */
const book = (person) => main(person).getByRole('region', { name: 'Guest book' });
/** @param {Person} person */
const entries = (person) => book(person).getByRole('listitem');

/** Through the menu of settings, as one goes there. */
async function settings(person, item) {
  await person.page.getByRole('button', { name: 'Settings' }).click();
  await person.page.getByRole('menuitem', { name: item }).click();
}

/** @param {Person} person */
async function look(person, other) {
  await person.page.getByRole('button', { name: `More for ${other.name}` }).click();
  await person.page.getByRole('menuitem', { name: 'Profile' }).click();
  await main(person).getByRole('heading', { name: other.name, exact: true }).waitFor();
}

/** @param {Person} person */
async function write(person, text) {
  await book(person).getByRole('textbox').fill(text);
  await book(person).getByRole('button', { name: 'Write', exact: true }).click();
}

/** Shows sections to others than before. */
async function show(person, sections) {
  await settings(person, 'Privacy…');
  const dialog = person.page.getByRole('dialog');
  for (const [label, audience] of sections) await dialog.getByLabel(label, { exact: true }).selectOption(audience);
  await accessible(person);
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.waitFor({ state: 'hidden' });
}

test('a friend writes in a guest book, whose owner hears of it, hides it and deletes it', async () => {
  await look(bo, ana);
  await book(bo).getByText('Nobody has written in Ana Reyes’s guest book yet.').waitFor();
  await write(bo, 'Good game last night!');
  await entries(bo).getByText('Good game last night!').waitFor();
  await accessible(bo);

  await ana.page.getByRole('button', { name: /^Notices/u }).click();
  await ana.page.getByRole('link', { name: 'Bo wrote in your guest book' }).click();
  await entries(ana).getByText('Good game last night!').waitFor();
  await accessible(ana);
  await book(ana).getByRole('button', { name: 'Hide what Bo wrote' }).click();
  await entries(ana).getByText('Hidden', { exact: true }).waitFor();
  await accessible(ana);

  // Who wrote it sees it as before, and others do not.
  await bo.page.reload();
  await entries(bo).getByText('Good game last night!').waitFor();
  await kim.page.goto(bo.page.url());
  await book(kim).getByText('Nobody has written in Ana Reyes’s guest book yet.').waitFor();
  await write(kim, 'May I?');
  await book(kim).getByRole('alert').getByText('You may not write in this book.').waitFor();

  await book(ana).getByRole('button', { name: 'Show what Bo wrote' }).click();
  await book(ana).getByRole('button', { name: 'Hide what Bo wrote' }).waitFor();
  await kim.page.reload();
  await entries(kim).getByText('Good game last night!').waitFor();
  await book(ana).getByRole('button', { name: 'Delete what Bo wrote' }).click();
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await book(ana).getByText('Nobody has written in your guest book yet.').waitFor();
});

test('what is written twice because an answer was lost stands there once', async () => {
  await bo.page.route('**/guest-book', async (route) => {
    if (route.request().method() !== 'POST') return route.fallback();
    await route.fetch();
    return route.abort();
  });
  await write(bo, 'Twice?');
  await book(bo).getByRole('alert').getByText('The server cannot be reached.').waitFor();
  await bo.page.unroute('**/guest-book');
  await book(bo).getByRole('button', { name: 'Write', exact: true }).click();
  await entries(bo).getByText('Twice?').waitFor();
  assert.equal(await entries(bo).count(), 1);
});

test('one chooses who sees what, and that holds at once', async () => {
  const section = (person, name) => main(person).getByRole('region', { name });
  await bo.page.reload();
  await section(bo, 'Friends').getByRole('link', { name: 'You' }).waitFor();
  await section(bo, 'Games').getByText('No games yet.').waitFor();
  await kim.page.reload();
  await section(kim, 'Games').getByText('Ana Reyes does not show you which games are theirs.').waitFor();
  await section(kim, 'Friends').getByText('Ana Reyes does not show you their friends.').waitFor();

  await show(ana, [['Your games', 'nobody'], ['Your friends', 'public'], ['Reading your guest book', 'nobody']]);
  await bo.page.reload();
  await section(bo, 'Games').getByText('Ana Reyes does not show you which games are theirs.').waitFor();
  await section(bo, 'Guest book').getByText('Ana Reyes does not show you the guest book.').waitFor();
  await kim.page.reload();
  await section(kim, 'Friends').getByRole('link', { name: 'Bo' }).waitFor();

  // What was chosen is what the dialog says when it is opened again.
  await settings(ana, 'Privacy…');
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByLabel('Your games', { exact: true }).waitFor();
  assert.equal(await dialog.getByLabel('Your games', { exact: true }).inputValue(), 'nobody');
  assert.equal(await dialog.getByLabel('Your wishlist', { exact: true }).inputValue(), 'friends');
  await dialog.getByRole('button', { name: 'Cancel' }).click();
});

test('the page of oneself says what one says of oneself', async () => {
  await settings(ana, 'Your profile');
  await main(ana).getByRole('button', { name: 'Edit profile…' }).click();
  const dialog = ana.page.getByRole('dialog');
  await dialog.getByLabel('Status text').fill('Somewhere warm');
  await dialog.getByRole('button', { name: 'Save profile' }).click();
  await main(ana).getByText('Somewhere warm').waitFor();
  await ana.page.goto(`${server.url}/#/shop/person/nobody-at-all`);
  await main(ana).getByText('There is nobody of that name.').waitFor();
  for (const person of [ana, bo, kim]) assert.deepEqual(person.problems, []);
});
