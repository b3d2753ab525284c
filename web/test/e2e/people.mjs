/**
 * People at their browsers: what a person does, by role and name, as they would find it.
 *
 * @module
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const PASSWORD = 'a warm place by the fire';

export async function openBrowser() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error('no Chromium found: install it (apt-get install chromium) or name it in CHROMIUM');
  return chromium.launch({ executablePath, args: ['--no-sandbox', ...(process.env.FIRESIDE_PAGE ? ['--disable-features=LocalNetworkAccessChecks'] : [])] });
}

/**
 * With FIRESIDE_PAGE the page comes from that folder, with the server's headers, and not from what
 * was compiled into it: while one works on the page, nothing has to be built.
 * @param {import('playwright-core').BrowserContext} context
 * @param {string} url
 */
async function pageFromFolder(context, url) {
  const folder = process.env.FIRESIDE_PAGE;
  if (!folder) return;
  const served = await context.request.get(url);
  const types = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
  await context.route((asked) => asked.origin === url && /^\/(?!v1\/)/u.test(asked.pathname), (route) => {
    const path = new URL(route.request().url()).pathname;
    const file = join(folder, path === '/' ? 'index.html' : path);
    const contentType = types[file.split('.').pop()];
    if (!contentType || !existsSync(file)) return route.fallback();
    return route.fulfill({ body: readFileSync(file), contentType, headers: { 'content-security-policy': served.headers()['content-security-policy'] } });
  });
}

export class Person {
  /**
   * @param {import('playwright-core').Browser} browser
   * @param {string} url
   * @param {string} name
   * @param {import('playwright-core').BrowserContextOptions} [options]
   */
  static async arrive(browser, url, name, options = {}) {
    const person = new Person();
    person.name = name;
    person.url = url;
    person.email = `${name.replaceAll(/\W/gu, '').toLowerCase()}@example.org`;
    person.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark', reducedMotion: 'reduce', ...options });
    await pageFromFolder(person.context, url);
    person.page = await person.context.newPage();
    person.page.setDefaultTimeout(15_000);
    /** What should never happen in a page: errors thrown, and things the content policy stopped. */
    person.problems = [];
    person.page.on('pageerror', (error) => person.problems.push(error.message));
    person.page.on('console', (message) => {
      if (/Content Security Policy|TrustedHTML/u.test(message.text())) person.problems.push(message.text());
    });
    await person.page.goto(url);
    return person;
  }

  /** Arrives and makes an account. */
  static async join(browser, url, name, options) {
    const person = await Person.arrive(browser, url, name, options);
    const { page } = person;
    await page.getByRole('button', { name: 'Create an account' }).click();
    await page.getByLabel('E-mail').fill(person.email);
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Create account' }).click();
    await person.settled();
    return person;
  }

  async signIn() {
    await this.page.getByLabel('E-mail').fill(this.email);
    await this.page.getByLabel('Password').fill(PASSWORD);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.settled();
  }

  /** The page is up and the first snapshot is in. */
  async settled() {
    await this.page.getByRole('button', { name: /^Your status/ }).waitFor();
    await this.page.locator('.side .skeletons').waitFor({ state: 'hidden' });
  }

  get field() {
    return this.page.getByRole('textbox', { name: 'Message', exact: true });
  }

  get log() {
    return this.page.getByRole('log', { name: 'Messages' });
  }

  /** @param {string} text */
  message(text) {
    return this.log.getByRole('article').filter({ hasText: text });
  }

  /** @param {string} name */
  chat(name) {
    return this.page.getByRole('list', { name: 'Chats' }).getByRole('button', { name: new RegExp(`^${name} ?[.,]`, 'u') });
  }

  /** @param {string} name */
  friend(name) {
    return this.page.locator('.groups').getByRole('button', { name: new RegExp(`^${name} ?, `, 'u') });
  }

  /** @param {string} group */
  friendIn(group, name) {
    return this.page.getByRole('region', { name: group }).getByRole('button', { name: new RegExp(`^${name} ?, `, 'u') });
  }

  /** @param {string} text */
  async say(text) {
    await this.field.fill(text);
    await this.field.press('Enter');
  }

  /** @param {string} text */
  async hears(text) {
    await this.message(text).first().waitFor();
  }

  /**
   * Presses a button of a message's own.
   * @param {string} text
   * @param {string} action
   */
  async act(text, action) {
    await this.message(text).hover();
    await this.message(text).getByRole('button', { name: action, exact: true }).click();
  }

  /** @param {Person} other */
  async befriend(other) {
    const search = this.page.getByRole('searchbox', { name: 'Find people' });
    await search.fill(other.name);
    await this.page.getByRole('button', { name: `Add ${other.name}` }).click();
    await other.page.getByRole('button', { name: `Accept ${this.name}` }).click();
    await search.fill('');
    await this.friend(other.name).waitFor();
    await other.friend(this.name).waitFor();
  }

  /** @param {Person} other */
  async open(other) {
    await this.friend(other.name).click();
    await this.page.getByRole('main').getByRole('heading', { name: other.name, exact: true }).waitFor();
  }

  /**
   * @param {string} name
   * @param {Person[]} members
   */
  async startGroup(name, members) {
    await this.page.getByRole('button', { name: 'New group' }).click();
    await this.page.getByLabel('Group name').fill(name);
    for (const member of members) await this.page.getByRole('checkbox', { name: member.name, exact: true }).check();
    await this.page.getByRole('button', { name: 'Create group' }).click();
    await this.page.getByRole('main').getByRole('heading', { name, exact: true }).waitFor();
  }

  /** Texts of the messages on the screen, in order. */
  texts() {
    return this.log.locator('article .text').allInnerTexts();
  }
}
