/**
 * What people think of a game, and what the person does.
 *
 * @module
 */

import { fill, h, unseen } from '../../dom.js';
import { duration, fullTimeOf, plural, shortWhen } from '../../format.js';
import { icon } from '../../icons.js';
import { refusalText } from '../../model/refusal.js';
import { avatar } from '../avatar.js';
import { confirmAction, openForm } from '../dialog.js';
import { toast } from '../toast.js';
import { pagedList } from './paged.js';

/** @import { Game, Review } from '../../net/shop.js' */
/** @import { ShopContext } from './place.js' */

const TEXT = 4000;
const STARS = ['Bad', 'Poor', 'Fair', 'Good', 'Great'];

/**
 * @param {ShopContext} context
 * @param {Game} game
 * @param {() => void} rated when the person's own review has changed
 */
export function reviewsView(context, game, rated) {
  const { session, shop, api, keep } = context;
  const order = h('select', { 'aria-label': 'Order of reviews', onchange: () => list.reload() }, h('option', { value: 'helpful' }, 'Most helpful'), h('option', { value: 'newest' }, 'Newest'));
  /** @type {Review | undefined} the person's own, once it came by */
  let own;
  const mine = h('div', { class: 'review-own' });
  const list = pagedList({
    label: 'Reviews',
    class: 'reviews',
    empty: 'Nobody has written about it yet.',
    load: async (cursor) => {
      const page = await api.reviews(game.id, order.value, cursor);
      own = page.items.find((review) => review.author.id === session.me.id) ?? (cursor ? own : undefined);
      drawMine();
      return page;
    },
    row: (review) => reviewRow(context, game, review),
  });
  const write = () =>
    openReview(game, own, async (review) => {
      await api.writeReview(game.id, review);
      toast('Your review is there for all to read.');
      list.reload();
      rated();
    });
  const remove = () =>
    confirmAction('Delete review', `What you wrote about ${game.title} is gone then, with its votes.`, 'Delete', async () => {
      await api.deleteReview(game.id);
      own = undefined;
      list.reload();
      rated();
    });
  const drawMine = () => {
    if (!shop.library.has(game.id)) fill(mine, h('p', { class: 'quiet' }, 'Those who own the game can write about it.'));
    else {
      fill(
        mine,
        h('button', { class: 'button', type: 'button', onclick: write }, icon('edit'), own ? 'Change your review' : 'Write a review'),
        own ? h('button', { class: 'button', type: 'button', onclick: remove }, 'Delete your review') : null,
      );
    }
  };
  keep(shop.on('shelf', drawMine));
  drawMine();
  return h('section', { class: 'game-reviews', 'aria-label': 'What people think' }, h('header', { class: 'shelf-head' }, h('h3', null, 'What people think'), order), mine, list.view);
}

/**
 * @param {ShopContext} context
 * @param {Game} game
 * @param {Review} review
 */
function reviewRow({ session, api }, game, review) {
  const own = review.author.id === session.me.id;
  const person = session.people.profiles.get(review.author.id) ?? review.author;
  // Not everybody shows for how long they have played.
  const seconds = review.played_seconds ?? 0;
  const played = seconds >= 60 ? `played ${duration(seconds * 1000)}` : '';
  let { helpful } = review;
  let voted = false;
  const count = h('span', { class: 'quiet' });
  const vote = h('button', { class: 'button small', type: 'button', 'aria-pressed': 'false', 'aria-label': `The review of ${review.author.name} is helpful`, onclick: () => void toggle() }, 'Helpful');
  const draw = () => {
    vote.setAttribute('aria-pressed', String(voted));
    count.textContent = helpful > 0 ? `${plural(helpful, 'person', 'people')} found it helpful` : '';
  };
  const toggle = async () => {
    try {
      await api.helpful(game.id, review.author.id, !voted);
      voted = !voted;
      helpful = Math.max(0, helpful + (voted ? 1 : -1));
      draw();
    } catch (error) {
      toast(refusalText(error), 'error');
    }
  };
  draw();
  return h(
    'li',
    { class: 'review' },
    h(
      'div',
      { class: 'review-top' },
      avatar(person, { size: 'small' }),
      h('span', { class: 'person-name' }, own ? 'You' : review.author.name),
      h('span', { class: 'stars' }, unseen(`${plural(review.stars, 'star')} of 5`), h('span', { 'aria-hidden': 'true' }, '★'.repeat(review.stars) + '☆'.repeat(5 - review.stars))),
      h('time', { class: 'chat-when', title: fullTimeOf(review.updated_at) }, [shortWhen(review.updated_at), played].filter(Boolean).join(' · ')),
    ),
    review.text === '' ? null : h('p', { class: 'review-text' }, review.text),
    h('div', { class: 'review-foot' }, own ? null : vote, count),
  );
}

/**
 * @param {Game} game
 * @param {Review | undefined} own
 * @param {(review: { stars: number, text: string }) => Promise<void>} save
 */
function openReview(game, own, save) {
  openForm(
    `Your review of ${game.title}`,
    [
      h(
        'fieldset',
        { class: 'field' },
        h('legend', null, 'How do you like it?'),
        h(
          'div',
          { class: 'star-choice' },
          STARS.map((word, index) =>
            h('label', { class: 'check' }, h('input', { type: 'radio', name: 'stars', value: String(index + 1), required: true, checked: own?.stars === index + 1 }), h('span', null, `${index + 1} ★`, h('span', { class: 'hint' }, ` ${word}`))),
          ),
        ),
      ),
      h('div', { class: 'field' }, h('label', { for: 'review-text' }, 'Why?'), h('textarea', { id: 'review-text', name: 'text', rows: '6', maxlength: String(TEXT), value: own?.text ?? '' })),
    ],
    {
      submit: 'Save review',
      run: async (data) => {
        try {
          await save({ stars: Number(data.get('stars')), text: String(data.get('text') ?? '').trim() });
        } catch (error) {
          throw new Error(refusalText(error));
        }
      },
    },
  );
}
