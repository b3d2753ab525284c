import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PASSWORD, Person, openBrowser } from './people.mjs';
import { Server } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const script = fileURLToPath(new URL('../../../store-api/tests/store/oidc_provider.mjs', import.meta.url));

let provider;
let server;
let browser;

/** A provider of identities that knows the store at this address as two, on a port of its choice. */
async function startProvider(url) {
  const cache = process.env.FIRESIDE_TEST_CACHE || join(homedir(), '.cache/fireside');
  const redirects = ['kakao', 'oak'].map((name) => `${url}/v1/auth/providers/${name}/return`);
  provider = spawn('node', [script, join(cache, 'oidc'), '0', ...redirects], { stdio: ['pipe', 'pipe', 'ignore'] });
  return new Promise((resolve, reject) => {
    provider.once('exit', () => reject(new Error('the provider did not start')));
    provider.stdout.once('data', (line) => resolve(`http://127.0.0.1:${String(line).trim()}`));
  });
}

/**
 * The settings of one of the two.
 * @param {string} kind
 * @param {string} url
 * @param {string} who they all are there: what people say at a provider themselves
 */
function settings(kind, url, who) {
  return {
    [`FIRESIDE_${kind}_LOGIN_ID`]: 'fireside',
    [`FIRESIDE_${kind}_LOGIN_SECRET`]: 'the secret of fireside',
    [`FIRESIDE_${kind}_LOGIN_SCOPES`]: 'openid profile email',
    [`FIRESIDE_${kind}_LOGIN_AUTHORIZE_URL`]: `${url}/auth?login_hint=${who}`,
    [`FIRESIDE_${kind}_LOGIN_TOKEN_URL`]: `${url}/token`,
    [`FIRESIDE_${kind}_LOGIN_USER_URL`]: `${url}/me`,
  };
}

before(async () => {
  server = await Server.start();
  const url = await startProvider(server.url);
  await server.kill();
  server.settings = {
    FIRESIDE_LOGIN_PUBLIC_URL: server.url,
    ...settings('KAKAO', url, 'ana'),
    ...settings('OIDC', url, 'cy'),
    FIRESIDE_OIDC_LOGIN_NAME: 'oak',
    FIRESIDE_OIDC_LOGIN_LABEL: 'Oak',
  };
  await server.boot();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  provider?.kill('SIGKILL');
});

async function clean(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(' | ')}`), []);
}

/** Comes by a provider, and makes an account. */
async function come(name, label) {
  const person = await Person.arrive(browser, server.url, name, { bypassCSP: true });
  const { page } = person;
  await page.getByRole('button', { name: `Continue with ${label}` }).click();
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByRole('button', { name: 'Create account' }).click();
  await person.settled();
  return person;
}

/** From the settings to a form of the account. */
async function open({ page }, what) {
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByRole('menuitem', { name: 'Account…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: what }).click();
}

/** One of the ways one signs in, in the list of them. */
const way = ({ page }, name) => page.getByRole('list', { name: 'Ways to sign in' }).getByRole('listitem').filter({ hasText: name });

async function close({ page }) {
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

/** The code for a new password that was mailed to an address. */
async function code(email) {
  const mails = join(server.data, 'mails');
  for (;;) {
    for (const name of await readdir(mails).catch(() => [])) {
      const mail = name.endsWith('.eml') ? await readFile(join(mails, name), 'utf8') : '';
      if (mail.includes(`<${email}>`) && /A new password for/u.test(mail)) return /^ {4}([0-9A-Z]{4}-[0-9A-Z]{4})\r?$/mu.exec(mail)[1];
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('somebody comes by a provider, chooses a name, and comes again', async () => {
  const ana = await Person.arrive(browser, server.url, 'Ana', { bypassCSP: true });
  const { page } = ana;
  await page.getByRole('button', { name: 'Continue with Kakao' }).waitFor();
  await clean(page);
  await page.getByRole('button', { name: 'Continue with Kakao' }).click();
  const name = page.getByLabel('Name', { exact: true });
  await name.waitFor();
  assert.equal(await name.inputValue(), 'ana');
  // Nothing of the log-in is left in the address.
  assert.equal(new URL(page.url()).hash, '');
  await clean(page);
  await name.fill('Ana');
  await page.getByRole('button', { name: 'Create account' }).click();
  await ana.settled();

  const elsewhere = await Person.arrive(browser, server.url, 'Ana', { bypassCSP: true });
  await elsewhere.page.getByRole('button', { name: 'Continue with Kakao' }).click();
  await elsewhere.settled();
  assert.deepEqual([...ana.problems, ...elsewhere.problems], []);
});

test('a ticket that is no browser of ours gets nobody in', async () => {
  const eve = await Person.arrive(browser, server.url, 'Eve', { bypassCSP: true });
  await eve.page.goto(`${server.url}/#/login?login=forged`);
  await eve.page.reload();
  await eve.page.getByRole('alert').getByText(/begin again/iu).waitFor();
  await eve.page.getByRole('button', { name: 'Sign in' }).waitFor();
});

test('who came by a provider chooses a password by a code, and may then unlink it and link it again', async () => {
  const ana = await Person.arrive(browser, server.url, 'Ana', { bypassCSP: true });
  const { page } = ana;
  await page.getByRole('button', { name: 'Continue with Kakao' }).click();
  await ana.settled();
  await open(ana, 'Ways to sign in…');
  await way(ana, 'Kakao').getByText('The only way you sign in').waitFor();
  assert.equal(await way(ana, 'Kakao').getByRole('button').count(), 0);
  await way(ana, 'Oak').getByText('Not linked.').waitFor();
  await clean(page);

  await way(ana, 'Password').getByRole('button', { name: 'Choose…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Sign in again with Kakao' }).waitFor();
  await clean(page);
  await page.getByRole('button', { name: 'Have a code sent to ana@example.org instead' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Send me a code' }).click();
  await dialog.getByLabel('Code').fill(await code('ana@example.org'));
  await dialog.getByLabel('New password').fill(PASSWORD);
  await clean(page);
  await dialog.getByRole('button', { name: 'Change password' }).click();
  await page.getByText('You have a password now.').waitFor();
  await ana.settled();

  await open(ana, 'Ways to sign in…');
  await way(ana, 'Kakao').getByRole('button', { name: 'Unlink…' }).click();
  await page.getByRole('button', { name: 'Unlink', exact: true }).click();
  await page.getByText('Kakao is unlinked.').waitFor();
  await way(ana, 'Kakao').getByText('Not linked.').waitFor();

  // At the door the address belongs to an account, which is not hers for that alone.
  const elsewhere = await Person.arrive(browser, server.url, 'Ana', { bypassCSP: true });
  await elsewhere.page.getByRole('button', { name: 'Continue with Kakao' }).click();
  await elsewhere.page.getByRole('alert').getByText(/log in to it/iu).waitFor();
  await elsewhere.signIn();
  await elsewhere.context.close();

  await way(ana, 'Kakao').getByRole('button', { name: 'Link…' }).click();
  await page.getByRole('dialog').getByLabel('Password').fill('not my password');
  await page.getByRole('button', { name: 'Go to Kakao' }).click();
  await page.getByRole('dialog').getByRole('alert').getByText(/wrong/iu).waitFor();
  await page.getByRole('dialog').getByLabel('Password').fill(PASSWORD);
  await clean(page);
  await page.getByRole('button', { name: 'Go to Kakao' }).click();
  await page.getByText('You can sign in with Kakao now.').waitFor();
  await ana.settled();
  await open(ana, 'Ways to sign in…');
  await way(ana, 'Kakao').getByRole('button', { name: 'Unlink…' }).waitFor();
  await close(ana);
  assert.deepEqual(ana.problems, []);
});

test('who has no password signs in again, and may leave', async () => {
  const cy = await come('Cy', 'Oak');
  const { page } = cy;
  await open(cy, 'E-mail address…');
  await page.getByRole('dialog').getByText('Your account has no password.').waitFor();
  await clean(page);
  await page.getByRole('button', { name: 'Sign in again with Oak' }).click();
  await page.getByText('You have signed in again.').waitFor();
  await cy.settled();
  await open(cy, 'Delete account…');
  await page.getByRole('button', { name: 'Sign in again with Oak' }).waitFor();
  await clean(page);
  await page.getByRole('dialog').getByRole('button', { name: 'Delete account' }).click();
  await page.getByText('Your account is deleted.').waitFor();
  // Nobody is that person any more.
  await page.getByRole('button', { name: 'Continue with Oak' }).click();
  await page.getByRole('button', { name: 'Create account' }).waitFor();
  assert.deepEqual(cy.problems, []);
});
