/**
 * What the person owns.
 *
 * @module
 */

import { differs, fill, h, reconcile } from '../../dom.js';
import { duration, shortWhen } from '../../format.js';
import { refusalText } from '../../model/refusal.js';
import { shopRoute } from '../../route.js';
import { toast } from '../toast.js';
import { cover } from './card.js';

/** @import { Owned } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function libraryPage({ shop, keep }) {
  const list = h('ul', { class: 'plain-list game-rows', 'aria-label': 'Library' });
  const note = h('p', { class: 'shop-note', role: 'status' });
  const only = h('input', { type: 'checkbox', onchange: () => draw() });
  const draw = () => {
    const items = [...shop.library.values()].filter((owned) => owned.installed || !only.checked).sort((a, b) => a.title.localeCompare(b.title));
    note.textContent = !shop.stocked ? 'Loading…' : items.length > 0 ? '' : shop.library.size > 0 ? 'Nothing is installed.' : 'You own no games yet. Have a look at the store.';
    reconcile(list, items, {
      key: (owned) => owned.id,
      create: () => h('li', { class: 'game-row' }),
      update: (row, owned) => differs(row, JSON.stringify(owned)) && drawOwned(row, owned),
    });
  };
  /**
   * @param {HTMLElement} row
   * @param {Owned} owned
   */
  const drawOwned = (row, owned) => {
    const held = row.contains(document.activeElement);
    const box = h('input', { type: 'checkbox', 'aria-label': `${owned.title} is installed`, checked: owned.installed });
    box.addEventListener('change', async () => {
      try {
        await shop.setInstalled(owned.id, box.checked);
      } catch (error) {
        box.checked = owned.installed;
        toast(refusalText(error), 'error');
      }
    });
    fill(
      row,
      cover(owned, 'cover-small'),
      h('div', { class: 'grow' }, h('a', { class: 'game-title', href: shopRoute('game', owned.slug) }, owned.title), h('p', { class: 'quiet' }, playedLine(owned))),
      h('label', { class: 'check' }, box, 'Installed'),
    );
    if (held) box.focus();
  };
  keep(shop.on('shelf', draw));
  draw();
  return {
    title: 'Library',
    view: h('div', { class: 'shop-page' }, h('div', { class: 'filters' }, h('label', { class: 'check' }, only, 'Only what is installed')), list, note),
  };
}

/** @param {Owned} owned */
function playedLine({ played_seconds, played_at, acquired_at }) {
  if (!played_at) return `Yours since ${shortWhen(acquired_at)}, not played yet`;
  const spent = played_seconds < 60 ? 'less than a minute' : duration(played_seconds * 1000);
  return `Played ${spent}, last ${shortWhen(played_at)}`;
}
