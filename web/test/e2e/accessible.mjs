/**
 * The page held against axe's rules.
 *
 * @module
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** All rules in the dark; in the light those that colours can break. */
const HOW = {
  dark: { resultTypes: ['violations'] },
  light: { resultTypes: ['violations'], runOnly: { type: 'rule', values: ['color-contrast'] } },
};

/**
 * In dark and in light. The person's context has to be made with `bypassCSP`: the checker is put in
 * by the test, past the page's own content policy.
 * @param {import('./people.mjs').Person} person
 */
export async function accessible({ page }) {
  await page.evaluate(axe);
  for (const colorScheme of /** @type {const} */ (['dark', 'light'])) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate((how) => globalThis.axe.run(document, how), HOW[colorScheme]);
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join(' | ')}`), []);
  }
  await page.emulateMedia({ colorScheme: 'dark' });
}
