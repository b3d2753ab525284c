import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

let server;
let browser;
/** @type {Person} */
let ana;
/** @type {Person} */
let bo;
/** @type {Person} */
let mira;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  ana = await Person.join(browser, server.url, 'Ana Reyes');
  bo = await Person.join(browser, server.url, 'Bo');
  mira = await Person.join(browser, server.url, 'Mira Kell');
  await ana.befriend(bo);
  await ana.befriend(mira);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('a group of three talks, and mentions are counted apart', async () => {
  await ana.startGroup('Friday raid', [bo, mira]);
  await bo.chat('Friday raid').waitFor();
  await ana.field.pressSequentially('@mir');
  await ana.page.getByRole('option', { name: 'Mira Kell' }).waitFor();
  await ana.field.press('Enter');
  await ana.field.pressSequentially('can you heal?');
  await ana.field.press('Enter');
  await mira.page.getByRole('button', { name: /^Friday raid ?, 1 unread, 1 mention\./ }).waitFor();
  await bo.page.getByRole('button', { name: /^Friday raid ?, 1 unread\./ }).waitFor();
  await mira.chat('Friday raid').click();
  await mira.hears('@Mira Kell can you heal?');
  await mira.say('sure');
  await bo.chat('Friday raid').click();
  await bo.hears('sure');
  await mira.page.getByText('Seen by', { exact: false }).last().waitFor();
});

test('history loads as one scrolls, and the place on the screen is kept', async () => {
  for (let n = 1; n <= 130; n += 1) await ana.say(`line ${n}.`);
  await ana.log.getByText('Sending').first().waitFor({ state: 'detached', timeout: 60_000 });
  await bo.hears('line 130.');
  await bo.page.reload();
  await bo.settled();
  await bo.hears('line 130.');
  assert.equal(await bo.message('line 20.').count(), 0, 'one page only, at first');

  // Up by a screen at a time; what was under the eye stays there while pages come in above.
  const seen = new Set();
  for (let i = 0; i < 200 && !(await bo.message('line 1.').count()); i += 1) {
    await bo.log.hover();
    await bo.page.mouse.wheel(0, -500);
    const first = await bo.log.evaluate((log) => {
      const top = log.getBoundingClientRect().top;
      const row = [...log.querySelectorAll('article')].find((r) => r.getBoundingClientRect().top >= top);
      return row?.querySelector('.text')?.textContent;
    });
    seen.add(first);
    await bo.page.waitForTimeout(30);
  }
  await bo.message('line 1.').first().waitFor();
  const lines = (await bo.texts()).filter((text) => text.startsWith('line '));
  assert.deepEqual(lines, Array.from({ length: 130 }, (_, i) => `line ${i + 1}.`), 'every line once, in order');
});

test('a page that comes in above does not move what is read', async () => {
  await bo.page.reload();
  await bo.settled();
  await bo.hears('line 130.');
  const moved = await bo.log.evaluate(async (log) => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => resolve(undefined)));
    // Close to the top, so that the page before is asked for.
    log.scrollTop = 300;
    const top = log.getBoundingClientRect().top;
    const row = [...log.querySelectorAll('article')].find((r) => r.getBoundingClientRect().top >= top);
    const at = row?.getBoundingClientRect().top ?? 0;
    const count = log.querySelectorAll('article').length;
    for (let i = 0; i < 300 && log.querySelectorAll('article').length === count; i += 1) await frame();
    await frame();
    return { grew: log.querySelectorAll('article').length > count, by: Math.abs((row?.getBoundingClientRect().top ?? 0) - at) };
  });
  assert.equal(moved.grew, true);
  assert.ok(moved.by < 2, `moved by ${moved.by} px`);
});

test('search finds a message far back, and jumps to it', async () => {
  await bo.page.reload();
  await bo.settled();
  await bo.hears('line 130.');
  await bo.page.keyboard.press('Control+k');
  await bo.page.getByRole('searchbox', { name: 'Search messages' }).fill('heal');
  await bo.page.getByRole('list', { name: 'Messages found' }).getByRole('button').first().click();
  await bo.message('@Mira Kell can you heal?').waitFor();
  await bo.page.waitForFunction(() => document.activeElement?.textContent?.includes('can you heal?'));
  await bo.page.getByRole('button', { name: /To the newest|new$/ }).click();
  await bo.hears('line 130.');
});

test('an owner mutes, promotes and removes members', async () => {
  await ana.page.getByRole('button', { name: 'Members', exact: true }).click();
  const members = ana.page.getByRole('list', { name: 'Members' });
  await members.getByRole('button', { name: /^Ana Reyes ?, Owner/ }).waitFor();
  await members.getByRole('button', { name: /^Bo ?, Member/ }).click();
  await ana.page.getByRole('menuitem', { name: 'Mute for an hour' }).click();
  await bo.page.getByText('You are muted in this room.').waitFor();
  assert.equal(await bo.field.isDisabled(), true);
  await members.getByRole('button', { name: /^Bo ?, Member.*muted/ }).click();
  await ana.page.getByRole('menuitem', { name: 'Unmute' }).click();
  await bo.page.getByText('You are muted in this room.').waitFor({ state: 'hidden' });

  await members.getByRole('button', { name: /^Mira Kell ?, Member/ }).click();
  await ana.page.getByRole('menuitem', { name: 'Make moderator' }).click();
  await members.getByRole('button', { name: /^Mira Kell ?, Moderator/ }).waitFor();

  await members.getByRole('button', { name: /^Bo ?, Member/ }).click();
  await ana.page.getByRole('menuitem', { name: 'Kick' }).click();
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Kick' }).click();
  await bo.chat('Friday raid').waitFor({ state: 'detached' });
  await members.getByRole('button', { name: /^Bo ?, / }).waitFor({ state: 'detached' });

  await ana.page.getByRole('button', { name: 'Invite friends' }).click();
  await ana.page.getByRole('checkbox', { name: 'Bo', exact: true }).check();
  await ana.page.getByRole('dialog').getByRole('button', { name: 'Invite' }).click();
  await bo.chat('Friday raid').waitFor();
});

test('a group is renamed, and left', async () => {
  await ana.page.getByRole('button', { name: 'More', exact: true }).click();
  await ana.page.getByRole('menuitem', { name: 'Group settings…' }).click();
  await ana.page.getByLabel('Group name').fill('Saturday raid');
  await ana.page.getByRole('button', { name: 'Save group' }).click();
  await bo.chat('Saturday raid').click();
  await bo.page.getByRole('button', { name: 'More', exact: true }).click();
  await bo.page.getByRole('menuitem', { name: 'Leave group' }).click();
  await bo.page.getByRole('dialog').getByRole('button', { name: 'Leave' }).click();
  await bo.chat('Saturday raid').waitFor({ state: 'detached' });
  assert.deepEqual([...ana.problems, ...bo.problems, ...mira.problems], []);
});
