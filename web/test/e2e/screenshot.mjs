/**
 * Takes the picture in the README: a real server, real people, a real conversation.
 *
 *     FIRESIDE_BIN=../target/release/fireside node test/e2e/screenshot.mjs ../docs/screenshot.png
 *
 * @module
 */

import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

const target = process.argv[2] ?? 'screenshot.png';
const server = await Server.start();
const browser = await openBrowser();

/**
 * @param {Person} person
 * @param {{ game: string, state: string, details?: string, joinable?: boolean }} activity
 */
async function plays({ page }, { game, state, details = '', joinable = false }) {
  await page.getByRole('button', { name: /^Your status/ }).click();
  await page.getByRole('menuitem', { name: 'Set an activity…' }).click();
  await page.getByLabel('Game', { exact: true }).fill(game);
  await page.getByLabel('Where in the game').fill(state);
  await page.getByLabel('Details').fill(details);
  if (joinable) await page.getByLabel('Friends may join').check();
  await page.getByRole('button', { name: 'Set activity' }).click();
}

try {
  const people = [];
  for (const name of ['Ana Reyes', 'Bo', 'Mira Kell', 'Juniper', 'Tovi Lund', 'Sam Okafor']) {
    people.push(await Person.join(browser, server.url, name));
  }
  const [ana, bo, mira, juniper, tovi, sam] = people;
  for (const friend of [bo, mira, juniper, tovi]) await ana.befriend(friend);
  await sam.page.getByRole('searchbox', { name: 'Find people' }).fill('Ana');
  await sam.page.getByRole('button', { name: 'Add Ana Reyes' }).click();
  await plays(bo, { game: 'Emberfall', state: 'In the lobby', details: 'Ranked, Gold II', joinable: true });
  await plays(mira, { game: 'Starless Deep', state: 'Boss fight' });
  await tovi.page.getByRole('button', { name: /^Your status/ }).click();
  await tovi.page.getByRole('menuitemradio', { name: 'Away' }).click();

  await ana.open(bo);
  await ana.say('the new patch is live');
  await tovi.open(ana);
  await tovi.say('got a minute later?');

  await ana.startGroup('Friday raid', [bo, mira, juniper]);
  await ana.say('raid tonight at nine?');
  await mira.chat('Friday raid').click();
  await mira.hears('raid tonight');
  await mira.say("I'm in, just need to sell this loot first");
  await juniper.chat('Friday raid').click();
  await juniper.hears('sell this loot');
  for (const person of [juniper, mira]) {
    await person.act('raid tonight', 'Add reaction');
    await person.page.getByRole('button', { name: 'fire', exact: true }).click();
  }
  await juniper.say('same. who heals?');
  await ana.hears('who heals');
  await ana.act('who heals', 'Reply');
  await ana.say('@Mira Kell heals, @Bo tanks, you and I bring the damage');
  await mira.hears('bring the damage');
  await mira.say('deal');
  await bo.chat('Friday raid').click();
  await bo.hears('deal');
  await bo.say('tank reporting in 🛡️');
  await ana.hears('reporting in');
  await juniper.open(ana);
  await juniper.say('happy birthday, by the way!');
  await ana.chat('Juniper').waitFor();
  await ana.page.mouse.move(640, 760);
  await mira.field.pressSequentially('brb, potions');
  await ana.page.getByText('Mira Kell is typing…').first().waitFor();
  await ana.page.waitForTimeout(600);
  await ana.page.screenshot({ path: target });
} finally {
  await browser.close();
  await server.stop();
}
