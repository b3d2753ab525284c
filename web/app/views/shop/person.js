/**
 * Somebody's profile: what they show of themselves to who looks, and their guest book.
 *
 * @module
 */

import { fill, h } from '../../dom.js';
import { duration, shortWhen } from '../../format.js';
import { refusalText } from '../../model/refusal.js';
import { ApiError } from '../../net/http.js';
import { shopRoute } from '../../route.js';
import { avatar } from '../avatar.js';
import { openPrivacy } from '../privacy.js';
import { openProfile } from '../profile.js';
import { cover, priceTag } from './card.js';
import { guestBook } from './guest-book.js';
import { shownList } from './shown.js';

/** @import { Profile } from '../../net/api.js' */
/** @import { ShownGame } from '../../net/profiles.js' */
/** @import { Marked } from '../../net/shop.js' */
/** @import { ShopContext, ShopPage } from './place.js' */

/**
 * @param {ShopContext} context
 * @returns {ShopPage}
 */
export function personPage(context) {
  const { session, place, left } = context;
  const view = h('div', { class: 'shop-page' }, h('p', { class: 'shop-note', role: 'status' }, 'Loading…'));
  const id = place.id ?? session.me.id;
  const asked = id === session.me.id ? Promise.resolve(session.me) : session.api.person(id);
  asked.then(
    (person) => {
      if (!left()) fill(view, head(context, person), guestBook(context, person), games(context, person), wishes(context, person), friends(context, person));
    },
    (error) => {
      const nobody = error instanceof ApiError && error.status === 404;
      fill(view, h('p', { class: 'shop-note', role: 'status' }, nobody ? 'There is nobody of that name.' : refusalText(error)));
    },
  );
  return { title: 'Profile', view };
}

/**
 * @param {ShopContext} context
 * @param {Profile} person
 */
function head({ session, keep }, person) {
  const own = person.id === session.me.id;
  const view = h('header', { class: 'person-head' });
  const draw = () => {
    const shown = own ? session.me : person;
    fill(
      view,
      avatar(shown, { size: 'large' }),
      h('div', { class: 'grow' }, h('h2', null, shown.name), shown.status_text ? h('p', { class: 'review-text' }, shown.status_text) : null),
      own
        ? h(
            'div',
            { class: 'form-actions' },
            h('button', { class: 'button', type: 'button', onclick: () => openProfile(session) }, 'Edit profile…'),
            h('button', { class: 'button', type: 'button', onclick: () => openPrivacy(session) }, 'Privacy…'),
          )
        : null,
    );
  };
  if (own) keep(session.on('me', draw));
  draw();
  return view;
}

/**
 * @param {string} title
 * @param {ReturnType<typeof shownList>} list
 */
function shelf(title, list) {
  return h('section', { class: 'shelf', 'aria-label': title }, h('h3', null, title), list.view);
}

/**
 * @param {ShopContext} context
 * @param {Profile} person
 */
function games({ session }, person) {
  const { profiles } = session;
  const list = shownList({
    label: 'Games',
    class: 'game-rows',
    empty: 'No games yet.',
    kept: `${person.name} does not show you which games are theirs.`,
    load: (cursor) => profiles.libraryOf(person.id, cursor),
    row: (game) => gameRow(game, h('p', { class: 'quiet' }, playedLine(game))),
  });
  return shelf('Games', list);
}

/**
 * @param {ShopContext} context
 * @param {Profile} person
 */
function wishes({ session }, person) {
  const { profiles } = session;
  const list = shownList({
    label: 'Wishes',
    class: 'game-rows',
    empty: 'Nothing wished for.',
    kept: `${person.name} does not show you what they wish for.`,
    load: (cursor) => profiles.wishlistOf(person.id, cursor),
    row: (/** @type {Marked} */ { game }) => gameRow(game, priceTag(game)),
  });
  return shelf('Wishlist', list);
}

/**
 * @param {ShopContext} context
 * @param {Profile} person
 */
function friends({ session }, person) {
  const { profiles } = session;
  const list = shownList({
    label: 'Friends of this person',
    class: 'person-friends',
    empty: 'No friends to be seen here.',
    kept: `${person.name} does not show you their friends.`,
    load: (cursor) => profiles.friendsOf(person.id, cursor),
    row: (friend) => h('li', { class: 'row' }, avatar(friend, { size: 'small' }), h('a', { class: 'game-title', href: shopRoute('person', friend.id) }, friend.id === session.me.id ? 'You' : friend.name)),
  });
  return shelf('Friends', list);
}

/**
 * @param {{ id: string, slug: string, title: string, cover?: string }} game
 * @param {HTMLElement} more
 */
function gameRow(game, more) {
  return h('li', { class: 'game-row' }, cover(game, 'cover-small'), h('div', { class: 'grow' }, h('a', { class: 'game-title', href: shopRoute('game', game.slug) }, game.title), more));
}

/** @param {ShownGame} game */
function playedLine({ played_seconds: seconds, played_at: at }) {
  if (seconds === undefined) return '';
  if (!at) return 'Not played yet';
  return `Played ${seconds < 60 ? 'less than a minute' : duration(seconds * 1000)}, last ${shortWhen(at)}`;
}
