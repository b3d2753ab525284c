import assert from 'node:assert/strict';
import test from 'node:test';
import { parseRoute, routeOf } from '../../app/route.js';
import { completions, findMentions, mentionBeingWritten, mentionedIds } from '../../app/model/mentions.js';
import { groupOf } from '../../app/model/people.js';
import { Rooms } from '../../app/model/rooms.js';
import { rowsOf } from '../../app/model/rows.js';
import { Seen } from '../../app/model/seen.js';
import { newsText } from '../../app/views/news.js';
import { backoff } from '../../fireside/backoff.js';
import { RoomPosition } from '../../fireside/roomposition.js';
import { expiryOf } from '../../fireside/token.js';
import { room, said } from './socket.js';

const people = [{ id: '1', name: 'Bo' }, { id: '2', name: 'Bo Lang' }, { id: '3', name: 'Mira' }];

test('the longest name that fits is the one mentioned', () => {
  assert.deepEqual(mentionedIds('@bo lang and @Mira, not @Boris nor mail@bo', people), ['2', '3']);
  assert.deepEqual(findMentions('(@Bo)', people), [{ start: 1, end: 4, id: '1' }]);
  assert.deepEqual(mentionedIds('@Bo @bo @BO', people), ['1']);
});

test('completion offers names that begin with what is written', () => {
  assert.deepEqual(mentionBeingWritten('hi @mi', 6), { start: 3, query: 'mi' });
  assert.equal(mentionBeingWritten('mail@mi', 7), undefined);
  assert.equal(mentionBeingWritten('hi', 2), undefined);
  assert.deepEqual(completions('l', people).map((p) => p.id), ['2']);
  assert.deepEqual(completions('b', people).map((p) => p.id), ['1', '2']);
});

test('unknown is its own group, never offline', () => {
  const activity = { kind: 'game', game: 'x' };
  assert.equal(groupOf(undefined), 'unknown');
  assert.equal(groupOf({ status: 'unknown' }), 'unknown');
  assert.equal(groupOf({ status: 'busy', activity }), 'game');
  assert.equal(groupOf({ status: 'busy' }), 'away');
  assert.equal(groupOf({ status: 'offline', activity }), 'offline');
});

function someRooms() {
  const rooms = new Rooms({ learn() {}, name: (id) => id });
  rooms.me = 'me';
  rooms.replace([{ ...room('r', 10), read: 8, unread: 1 }]);
  return { rooms, view: rooms.views.get('r') };
}

test('what the snapshot counted is not counted again', () => {
  const { rooms, view } = someRooms();
  rooms.apply('r', said(9));
  rooms.apply('r', said(10));
  assert.equal(view.unread, 1);
  rooms.apply('r', { ...said(11), mentions: ['me'] });
  assert.deepEqual([view.unread, view.mentions, view.head], [2, 1, 11]);
});

test('reading up to the newest clears the counts, reading less asks for them', () => {
  const { rooms, view } = someRooms();
  rooms.apply('r', said(11));
  assert.equal(rooms.markRead('r', 10), true);
  assert.equal(rooms.markRead('r', 11), false);
  assert.deepEqual([view.unread, view.read], [0, 11]);
  assert.equal(rooms.markRead('r', 9), false);
  assert.equal(view.read, 11, 'never backwards');
});

test('days, the mark of what is new, and one head for messages in a row', () => {
  const at = (day, minute, seq, user) => ({ ...said(seq, 'x', user), ts: new Date(2026, 0, day, 12, minute).getTime() });
  const rows = rowsOf({
    messages: [at(1, 0, 1, 'bo'), at(1, 1, 2, 'bo'), at(1, 9, 3, 'bo'), at(2, 0, 4, 'bo'), at(2, 0, 6, 'me')],
    notices: [{ seq: 5, kind: 'member', action: 'join', member: 'x', user: 'bo', ts: new Date(2026, 0, 2, 12).getTime() }],
    pending: [{ nonce: 'p', room: 'r', text: 'y', ts: new Date(2026, 0, 2, 12, 1).getTime(), status: 'queued' }],
    me: 'me',
    newAfter: 2,
  });
  const shape = rows.map((row) => (row.type === 'message' ? `${row.message.seq}${row.head ? '!' : ''}` : row.type === 'pending' ? `p${row.head ? '!' : ''}` : row.type));
  assert.deepEqual(shape, ['day', '1!', '2', 'new', '3!', 'day', '4!', 'notice', '6!', 'p']);
  assert.equal(new Set(rows.map((row) => row.key)).size, rows.length);
});

test('a message of ours keeps its key when it arrives', () => {
  const log = { notices: [], me: 'me', newAfter: undefined };
  const [, sending] = rowsOf({ ...log, messages: [], pending: [{ nonce: 'n7', room: 'r', text: 'y', ts: 1, status: 'sending' }] });
  const [, arrived] = rowsOf({ ...log, messages: [said(7, 'y', 'me')], pending: [] });
  assert.equal(sending.key, arrived.key);
});

test('routes survive odd room ids', () => {
  for (const route of [{ room: 'dm:ab/c%d', seq: undefined }, { room: 'r', seq: 12 }]) assert.deepEqual(parseRoute(routeOf(route)), route);
  assert.deepEqual(parseRoute('#/room/%E0%A4%A'), {});
  assert.deepEqual(parseRoute('#/room/r/-3'), { room: 'r', seq: undefined });
});

test('a position hands entries on once and in order', () => {
  const position = new RoomPosition('e', 5);
  assert.deepEqual(position.take([said(8), said(7), said(5)]), []);
  assert.equal(position.behind, true);
  assert.deepEqual(position.take([said(6)]).map((e) => e.seq), [6, 7, 8]);
  assert.deepEqual(position.take([said(6), said(8)]), []);
  assert.equal(position.behind, false);
});

test('backoff has full jitter and a ceiling', () => {
  assert.equal(backoff(0, () => 0), 0);
  assert.ok(backoff(0, () => 0.999) <= 500);
  assert.ok(backoff(50, () => 0.999) <= 30_000);
});

test('a token says when it runs out, or nothing', () => {
  const payload = Buffer.from(JSON.stringify({ name: 'Zoë ÿ', exp: 1_795_000_000 })).toString('base64url');
  assert.equal(expiryOf(`h.${payload}.s`), 1_795_000_000_000);
  for (const bad of ['', 'x', 'a.b.c', 'a.%%.c']) assert.equal(expiryOf(bad), undefined);
});

test('news of the shop are said in words, and what is unknown is not said', () => {
  const games = [{ id: '1', title: 'Star' }, { id: '2', title: 'Moon' }];
  const say = (topic, data) => newsText({ id: 'n', ts: 0, topic, data });
  assert.equal(say('gift_received', { from: { id: 'b', name: 'Bo' }, games, message: 'for you' }), 'Bo gives you Star and Moon: for you');
  assert.equal(say('gift_accepted', { by: { id: 'b', name: 'Bo' }, games: games.slice(1) }), 'Bo accepted Moon');
  const won = (minor) => ({ minor, currency: 'KRW', exponent: 0 });
  assert.equal(say('price_dropped', { game: games[0], before: won(12000), now: won(9000) }), 'Star costs ₩9,000 now, not ₩12,000');
  assert.equal(say('of the future', {}), undefined);
});

test('what comes again is not met for the first time, in whatever order ids come', () => {
  const seen = new Seen(2);
  assert.deepEqual(['b', 'a', 'b', 'a'].map((id) => seen.first(id)), [true, true, false, false]);
  // The oldest is forgotten when there are too many.
  assert.equal(seen.first('c'), true);
  assert.deepEqual(['a', 'c', 'b'].map((id) => seen.first(id)), [false, false, true]);
});
