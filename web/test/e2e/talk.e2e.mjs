import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

/** @type {Server} */
let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('two people register, become friends, and see each other online', async () => {
  ana = await Person.join(browser, server.url, 'Ana Reyes');
  bo = await Person.join(browser, server.url, 'Bo');
  await ana.befriend(bo);
  await ana.friendIn('Online', 'Bo').waitFor();
  await bo.friendIn('Online', 'Ana Reyes').waitFor();
});

test('they talk both ways, and what waits is counted until it is read', async () => {
  await ana.open(bo);
  await ana.say('hey Bo');
  await ana.message('hey Bo').getByText('Sent').waitFor();
  await bo.page.getByRole('button', { name: /^Ana Reyes ?, 1 unread\./ }).waitFor();
  await bo.page.waitForFunction(() => document.title.startsWith('(1)'));
  await bo.chat('Ana Reyes').click();
  await bo.hears('hey Bo');
  await bo.page.waitForFunction(() => document.title === 'Fireside');
  await ana.page.getByText('Seen', { exact: true }).last().waitFor();
  await bo.say('hey yourself');
  await ana.hears('hey yourself');
});

test('who types is seen typing', async () => {
  await bo.field.pressSequentially('let me see');
  await ana.page.getByText('Bo is typing…').waitFor();
  await bo.field.fill('');
});

test('messages are edited, answered, reacted to and deleted', async () => {
  await ana.say('tonigt at eight?');
  await bo.hears('tonigt at eight?');
  await ana.act('tonigt', 'Edit');
  await ana.say('tonight at eight?');
  await bo.message('tonight at eight?').getByText('(edited)').waitFor();

  await bo.act('tonight at eight?', 'Reply');
  await bo.say('works for me');
  await ana.message('works for me').getByRole('button', { name: 'In reply to Ana Reyes: tonight at eight?' }).waitFor();

  await bo.act('hey Bo', 'Add reaction');
  await bo.page.getByRole('button', { name: 'fire', exact: true }).click();
  const flame = ana.message('hey Bo').getByRole('button', { name: '🔥 1' });
  await flame.click();
  await bo.message('hey Bo').getByRole('button', { name: '🔥 2' }).waitFor();
  await ana.message('hey Bo').getByRole('button', { name: '🔥 2' }).click();
  await bo.message('hey Bo').getByRole('button', { name: '🔥 1' }).waitFor();

  await ana.say('never mind this one');
  await bo.hears('never mind this one');
  await ana.act('never mind this one', 'Delete');
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await bo.message('never mind this one').waitFor({ state: 'detached' });
  await bo.message('Message deleted').waitFor();
  assert.equal(await bo.message('Message deleted').getByRole('button').count(), 0);
});

test('status and activity are seen by friends, and an invisible friend is offline', async () => {
  const status = bo.page.getByRole('button', { name: /^Your status/ });
  await status.click();
  await bo.page.getByRole('menuitem', { name: 'Set an activity…' }).click();
  await bo.page.getByLabel('Game', { exact: true }).fill('Emberfall');
  await bo.page.getByLabel('Where in the game').fill('In the lobby');
  await bo.page.getByRole('button', { name: 'Set activity' }).click();
  await ana.friendIn('In game', 'Bo').getByText('Emberfall — In the lobby').waitFor();

  await status.click();
  await bo.page.getByRole('menuitem', { name: 'Clear activity' }).click();
  await status.click();
  await bo.page.getByRole('menuitemradio', { name: 'Do not disturb' }).click();
  await ana.friendIn('Away and busy', 'Bo').waitFor();
  await status.click();
  await bo.page.getByRole('menuitemradio', { name: 'Invisible' }).click();
  await ana.friendIn('Offline', 'Bo').waitFor();
  await status.click();
  await bo.page.getByRole('menuitemradio', { name: 'Online' }).click();
  await ana.friendIn('Online', 'Bo').waitFor();
});

test('a profile is changed, and a picture that is no web address is refused', async () => {
  await bo.page.getByRole('button', { name: 'Settings' }).click();
  await bo.page.getByRole('menuitem', { name: 'Edit profile…' }).click();
  await bo.page.getByLabel('Status text').fill('by the fire');
  await bo.page.getByRole('button', { name: 'Save profile' }).click();
  await ana.friend('Bo').getByText('by the fire').waitFor();

  await bo.page.getByRole('button', { name: 'Settings' }).click();
  await bo.page.getByRole('menuitem', { name: 'Edit profile…' }).click();
  await bo.page.getByLabel('Picture address').fill('javascript:alert(1)');
  await bo.page.getByRole('button', { name: 'Save profile' }).click();
  await bo.page.getByRole('dialog').getByRole('alert').getByText(/http/).waitFor();
  await bo.page.keyboard.press('Escape');
});

test('what people write is text, whatever it looks like', async () => {
  await bo.say('<img src=x onerror="document.title=1"> https://example.org/a?b=1. javascript:alert(1)');
  await ana.hears('<img src=x');
  const links = ana.message('<img src=x').getByRole('link');
  assert.deepEqual(await links.allInnerTexts(), ['https://example.org/a?b=1']);
  assert.equal(await ana.message('<img src=x').locator('img').count(), 0);
});

test('a blocked friend is gone, and comes back only as a stranger', async () => {
  await ana.friend('Bo').hover();
  await ana.page.getByRole('button', { name: 'More for Bo' }).click();
  await ana.page.getByRole('menuitem', { name: 'Block' }).click();
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Block' }).click();
  await ana.friend('Bo').waitFor({ state: 'detached' });
  await bo.friend('Ana Reyes').waitFor({ state: 'detached' });
  await ana.page.getByRole('button', { name: 'Settings' }).click();
  await ana.page.getByRole('menuitem', { name: 'Blocked people…' }).click();
  await ana.page.getByRole('button', { name: 'Unblock Bo' }).click();
  await ana.page.getByText('You block nobody.').waitFor();
  await ana.page.keyboard.press('Escape');
});

test('nothing was thrown and nothing broke the content policy on the way', () => {
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});
