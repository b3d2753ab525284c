import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('kill -9 and a restart: the banner tells, nothing is lost, nothing doubled', { timeout: 120_000 }, async () => {
  const ana = await Person.join(browser, server.url, 'Ana Reyes');
  const bo = await Person.join(browser, server.url, 'Bo');
  await ana.befriend(bo);
  await ana.open(bo);
  await bo.open(ana);
  for (let n = 1; n <= 10; n += 1) await ana.say(`before ${n}.`);
  await bo.hears('before 10.');

  // Some are on their way when the server dies.
  for (let n = 1; n <= 5; n += 1) await ana.say(`during ${n}.`);
  await server.kill();
  const banner = ana.page.getByRole('status', { name: 'Connection' });
  await banner.getByText('Connection lost').waitFor();
  for (let n = 1; n <= 5; n += 1) await ana.say(`after ${n}.`);
  await ana.message('after 5.').getByText('Sending').waitFor();

  await server.boot();
  for (const person of [ana, bo]) {
    const retry = person.page.getByRole('button', { name: /^Retry now/ });
    if (await retry.isVisible()) await retry.click().catch(() => undefined);
  }
  await bo.hears('after 5.');
  await ana.message('after 5.').getByText(/^(Sent|Seen)$/).first().waitFor();

  const wanted = [
    ...Array.from({ length: 10 }, (_, i) => `before ${i + 1}.`),
    ...Array.from({ length: 5 }, (_, i) => `during ${i + 1}.`),
    ...Array.from({ length: 5 }, (_, i) => `after ${i + 1}.`),
  ];
  assert.deepEqual(await bo.texts(), wanted);
  assert.deepEqual(await ana.texts(), wanted);
  await bo.page.reload();
  await bo.hears('after 5.');
  assert.deepEqual(await bo.texts(), wanted, 'and so says the server');
  assert.deepEqual([...ana.problems, ...bo.problems], []);
});

test('a reload while messages wait sends them, once', { timeout: 120_000 }, async () => {
  const eve = await Person.join(browser, server.url, 'Eve');
  const fay = await Person.join(browser, server.url, 'Fay');
  await eve.befriend(fay);
  await eve.open(fay);
  await eve.say('here');
  await eve.message('here').getByText('Sent').waitFor();
  await server.kill();
  await eve.page.getByRole('status', { name: 'Connection' }).getByText('Connection lost').waitFor();
  await eve.say('written in the dark');
  await eve.say('and another');
  await server.boot();
  await eve.page.reload();
  await eve.message('and another').getByText('Sent').waitFor();
  await eve.page.reload();
  await eve.hears('and another');
  assert.deepEqual(await eve.texts(), ['here', 'written in the dark', 'and another']);
});

test('a socket that drops is resumed without a new session', async () => {
  const cara = await Person.join(browser, server.url, 'Cara');
  const dan = await Person.join(browser, server.url, 'Dan');
  await cara.befriend(dan);
  await cara.open(dan);
  await dan.open(cara);
  await dan.say('first');
  await cara.hears('first');
  await cara.context.setOffline(true);
  await cara.page.evaluate(() => dispatchEvent(new Event('offline')));
  await dan.say('while you were out');
  await cara.context.setOffline(false);
  await cara.page.evaluate(() => dispatchEvent(new Event('online')));
  await cara.hears('while you were out');
  assert.deepEqual(await cara.texts(), ['first', 'while you were out']);
});
