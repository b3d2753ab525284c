import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { accessible } from './accessible.mjs';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  // The checker is put in by the test, past the page's own content policy.
  ana = await Person.join(browser, server.url, 'Ana Reyes', { bypassCSP: true });
  bo = await Person.join(browser, server.url, 'Bo');
  await ana.befriend(bo);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** @param {Person} person */
async function violations(person) {
  await person.page.evaluate(axe);
  const { violations: found } = await person.page.evaluate(() => globalThis.axe.run());
  return found.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join(' | ')}`);
}

test('a message is sent with the keyboard alone', async () => {
  const { page } = ana;
  await page.reload();
  await ana.settled();
  const reach = async (/** @type {string} */ selector) => {
    for (let i = 0; i < 40; i += 1) {
      await page.keyboard.press('Tab');
      if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) return;
    }
    assert.fail(`Tab does not reach ${selector}`);
  };
  await reach('.groups .person-main');
  await page.keyboard.press('Enter');
  await ana.field.waitFor();
  await page.waitForFunction(() => document.activeElement?.matches('textarea'));
  await page.keyboard.type('no mouse here');
  await page.keyboard.press('Enter');
  await bo.page.getByRole('button', { name: /^Ana Reyes ?, 1 unread\./ }).waitFor();

  // Among messages with the arrows, an answer with R, and Escape out of it.
  await page.keyboard.press('Shift+Tab');
  for (let i = 0; i < 12 && !(await page.evaluate(() => document.activeElement?.matches('article'))); i += 1) await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('r');
  await page.getByText('Replying to Ana Reyes').waitFor();
  await page.keyboard.press('Escape');
  await page.getByText('Replying to Ana Reyes').waitFor({ state: 'hidden' });
  await page.keyboard.press('ArrowUp');
  await page.getByText('Editing your message').waitFor();
  await page.keyboard.press('End');
  await page.keyboard.type('!');
  await page.keyboard.press('Enter');
  await ana.message('no mouse here!').waitFor();
});

for (const scheme of /** @type {const} */ (['dark', 'light'])) {
  test(`axe finds nothing wrong, ${scheme}`, async () => {
    await ana.page.emulateMedia({ colorScheme: scheme });
    assert.deepEqual(await violations(ana), []);
    await ana.page.getByRole('button', { name: 'Settings' }).click();
    assert.deepEqual(await violations(ana), []);
    await ana.page.getByRole('menuitem', { name: 'Edit profile…' }).click();
    assert.deepEqual(await violations(ana), []);
    await ana.page.keyboard.press('Escape');
    const guest = await Person.arrive(browser, server.url, 'Guest', { bypassCSP: true, colorScheme: scheme });
    await guest.page.getByRole('button', { name: 'Sign in' }).waitFor();
    assert.deepEqual(await violations(guest), []);
    await guest.context.close();
  });
}

test('nor in a group where everything happened', async () => {
  await ana.startGroup('Campfire', [bo]);
  await ana.say('@Bo hello, see https://example.org');
  await ana.act('hello', 'Add reaction');
  await ana.page.getByRole('button', { name: 'fire', exact: true }).click();
  await ana.message('hello').getByRole('button', { name: '🔥 1' }).waitFor();
  await ana.act('hello', 'Reply');
  await ana.say('an answer');
  await ana.say('gone soon');
  await ana.act('gone soon', 'Delete');
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await ana.hears('Message deleted');
  await ana.page.keyboard.press('Control+k');
  await ana.page.getByRole('searchbox', { name: 'Search messages' }).fill('hel');
  await ana.page.getByRole('list', { name: 'Messages found' }).getByRole('button').first().waitFor();
  for (const colorScheme of /** @type {const} */ (['dark', 'light'])) {
    await ana.page.emulateMedia({ colorScheme });
    assert.deepEqual(await violations(ana), []);
  }
  await ana.page.keyboard.press('Escape');
  await ana.page.getByRole('button', { name: 'Members', exact: true }).click();
  await ana.page.getByRole('list', { name: 'Members' }).getByRole('button', { name: /^Bo/ }).click();
  assert.deepEqual(await violations(ana), []);
  await ana.page.keyboard.press('Escape');
  await ana.page.keyboard.press('Escape');
});

test('dark and light follow the system, unless one is chosen, and the choice stays', async () => {
  const ground = () => ana.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await ana.page.emulateMedia({ colorScheme: 'dark' });
  const dark = await ground();
  await ana.page.emulateMedia({ colorScheme: 'light' });
  const light = await ground();
  assert.notEqual(dark, light);
  await ana.page.getByRole('button', { name: 'Settings' }).click();
  await ana.page.getByRole('menuitemradio', { name: 'Dark' }).click();
  assert.equal(await ground(), dark);
  await ana.page.reload();
  assert.equal(await ground(), dark);
  await ana.page.getByRole('button', { name: 'Settings' }).click();
  await ana.page.getByRole('menuitemradio', { name: 'Follow the system' }).click();
  assert.equal(await ground(), light);
});

test('a reload keeps one signed in, two tabs do not sign each other out, and signing out is for both', async () => {
  await ana.page.reload();
  await ana.settled();
  const second = await ana.context.newPage();
  // Both tabs want a fresh token at the same time: a refresh token may be used once only.
  await Promise.all([ana.page.reload(), second.goto(server.url)]);
  await ana.settled();
  await second.getByRole('button', { name: /^Your status/ }).waitFor();
  await Promise.all([ana.page.reload(), second.reload()]);
  await ana.settled();
  await second.getByRole('button', { name: /^Your status/ }).waitFor();

  await second.getByRole('button', { name: 'Settings' }).click();
  await second.getByRole('menuitem', { name: 'Sign out' }).click();
  await second.getByRole('button', { name: 'Sign in' }).waitFor();
  await ana.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await second.close();
  await ana.signIn();
  await ana.chat('Bo').waitFor();
});

test('a wrong password is refused in words', async () => {
  const guest = await Person.arrive(browser, server.url, 'Bo');
  await guest.page.getByLabel('E-mail').fill(bo.email);
  await guest.page.getByLabel('Password').fill('not the password');
  await guest.page.getByRole('button', { name: 'Sign in' }).click();
  await guest.page.getByRole('alert').getByText(/\w/).waitFor();
  await guest.context.close();
});

test('an address that leads nowhere is a page that says so', async () => {
  const { page } = ana;
  const before = page.url();
  const response = await page.goto(`${server.url}/v1/payments/nowhere/return?outcome=cancelled`);
  assert.equal(response.status(), 404);
  await page.getByRole('heading', { name: 'There is nothing here' }).waitFor();
  await page.getByText('not_found').waitFor();
  await accessible(ana);
  await page.getByRole('link', { name: 'Go to Fireside' }).click();
  await ana.settled();
  await page.goto(before);
  await ana.settled();
});

test('on a narrow screen one thing is shown at a time', async () => {
  await bo.page.setViewportSize({ width: 390, height: 844 });
  await bo.chat('Ana Reyes').click();
  await bo.field.waitFor();
  assert.equal(await bo.chat('Ana Reyes').isVisible(), false);
  await bo.say('from the phone');
  await bo.hears('from the phone');
  await bo.page.getByRole('button', { name: 'Back to chats' }).click();
  await bo.chat('Ana Reyes').waitFor();
  await bo.page.getByRole('navigation', { name: 'Sections' }).getByRole('button', { name: 'Friends' }).click();
  await bo.friend('Ana Reyes').waitFor();
  const width = await bo.page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 390, 'nothing sticks out');
  assert.deepEqual(bo.problems, []);
});
