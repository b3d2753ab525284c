import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { PASSWORD, Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FRESH = 'a cold place by the sea';

let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo');
  await ana.befriend(bo);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function clean() {
  await ana.page.evaluate(axe);
  const { violations } = await ana.page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join(' | ')}`), []);
}

/** With the keyboard alone, from the settings to a form of the account. */
async function open(what) {
  const { page } = ana;
  await page.getByRole('button', { name: 'Settings' }).focus();
  await page.keyboard.press('Enter');
  const item = page.getByRole('menuitem', { name: 'Account…' });
  await item.waitFor();
  await item.focus();
  await page.keyboard.press('Enter');
  const button = page.getByRole('dialog').getByRole('button', { name: what });
  await button.waitFor();
  await clean();
  for (let i = 0; i < 6 && !(await button.evaluate((b) => b === document.activeElement)); i += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
}

const fill = (label, text) => ana.page.getByRole('dialog').getByLabel(label, { exact: true }).fill(text);
const refusal = () => ana.page.getByRole('dialog').getByRole('alert');

test('the password is changed here, and everywhere else one is signed out', async () => {
  const { page } = ana;
  // Another tab goes on; another browser does not.
  const tab = await ana.context.newPage();
  await tab.goto(server.url);
  await tab.getByRole('button', { name: /^Your status/ }).waitFor();
  const elsewhere = await Person.arrive(browser, server.url, 'Ana Reyes');
  await elsewhere.signIn();

  await open('Change password…');
  await clean();
  await fill('Current password', 'not my password');
  await fill('New password', FRESH);
  await fill('New password again', `${FRESH}!`);
  await page.keyboard.press('Enter');
  await refusal().getByText('differ').waitFor();
  await fill('New password again', FRESH);
  await page.keyboard.press('Enter');
  await refusal().getByText(/wrong/iu).waitFor();
  await fill('Current password', PASSWORD);
  await page.keyboard.press('Enter');
  await page.getByText('Your password is changed.').waitFor();
  await page.getByRole('dialog').waitFor({ state: 'detached' });

  await elsewhere.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await ana.settled();
  await ana.chat('Bo').or(ana.friend('Bo')).first().click();
  await ana.say('still here');
  await bo.page.getByRole('button', { name: /^Ana Reyes ?, 1 unread\./ }).waitFor();
  await tab.getByRole('button', { name: /^Your status/ }).waitFor();
  await tab.close();

  // The old one is worth nothing now.
  await elsewhere.page.getByLabel('E-mail').fill(ana.email);
  await elsewhere.page.getByLabel('Password').fill(PASSWORD);
  await elsewhere.page.getByRole('button', { name: 'Sign in' }).click();
  await elsewhere.page.getByRole('alert').getByText(/\w/).waitFor();
  await elsewhere.page.getByLabel('Password').fill(FRESH);
  await elsewhere.page.getByRole('button', { name: 'Sign in' }).click();
  await elsewhere.settled();
  await elsewhere.context.close();
});

test('what is held of one is saved as a file', async () => {
  const [download] = await Promise.all([ana.page.waitForEvent('download'), open('Download my data')]);
  const held = JSON.parse(readFileSync(await download.path(), 'utf8'));
  assert.equal(held.account[0].name, 'Ana Reyes');
  assert.equal(held.friends.length, 1);
  assert.match(download.suggestedFilename(), /^fireside-.+\.json$/u);
  await ana.page.getByText('Your data is in your downloads.').waitFor();
});

test('an account is deleted for good, once the password says so', async () => {
  const { page } = ana;
  await open('Delete account…');
  await clean();
  await fill('Password', PASSWORD);
  await page.keyboard.press('Enter');
  await refusal().getByText(/wrong/iu).waitFor();
  await fill('Password', FRESH);
  await page.keyboard.press('Enter');
  await page.getByText('Your account is deleted.').waitFor();
  await page.getByLabel('E-mail').fill(ana.email);
  await page.getByLabel('Password').fill(FRESH);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText(/\w/).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  await bo.friend('Ana Reyes').waitFor({ state: 'detached' });
  assert.deepEqual(bo.problems, []);
  assert.deepEqual(ana.problems, []);
});
