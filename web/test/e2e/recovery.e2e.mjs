import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PASSWORD, Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FRESH = 'a cold place by the sea';

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

/** The code in the only mail to an address whose subject reads so. */
async function code(email, subject) {
  const mails = join(server.data, 'mails');
  for (;;) {
    for (const name of await readdir(mails).catch(() => [])) {
      const mail = name.endsWith('.eml') ? await readFile(join(mails, name), 'utf8') : '';
      if (mail.includes(`<${email}>`) && subject.test(mail)) return /^ {4}([0-9A-Z]{4}-[0-9A-Z]{4})\r?$/mu.exec(mail)[1];
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function clean(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(' | ')}`), []);
}

test('an address is proved, and a lost password chosen anew', async () => {
  const ana = await Person.join(browser, server.url, 'Ana', { bypassCSP: true });
  const { page } = ana;
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByRole('menuitem', { name: 'Account…' }).click();
  await page.getByRole('button', { name: 'E-mail address…' }).click();
  await clean(page);
  const first = await code(ana.email, /is your code for/u);
  await page.getByRole('button', { name: `Send a code to ${ana.email}` }).click();
  const field = page.getByRole('dialog').getByLabel('Code');
  await field.fill(first);
  await page.keyboard.press('Enter');
  // Another was asked for, and ended it.
  await page.getByRole('dialog').getByRole('alert').getByText(/wrong/iu).waitFor();
  await clean(page);

  const elsewhere = await Person.arrive(browser, server.url, 'Ana', { bypassCSP: true });
  const door = elsewhere.page;
  await door.getByLabel('E-mail or name').fill(ana.email);
  await door.getByRole('button', { name: 'Forgot your password?' }).click();
  await clean(door);
  await door.getByRole('button', { name: 'Send me a code' }).click();
  await door.getByLabel('Code').fill(await code(ana.email, /A new password for/u));
  await door.getByLabel('New password').fill(FRESH);
  await clean(door);
  await door.getByRole('button', { name: 'Change password' }).click();
  await elsewhere.settled();
  // Who was signed in is out, and who has the new password is in, by name.
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  await page.getByLabel('E-mail or name').fill('Ana');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText(/wrong/iu).waitFor();
  await page.getByLabel('Password').fill(FRESH);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await ana.settled();
  assert.deepEqual([...ana.problems, ...elsewhere.problems], []);
});
