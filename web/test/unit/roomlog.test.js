import assert from 'node:assert/strict';
import test from 'node:test';
import { RoomLog } from '../../app/model/roomlog.js';
import { said } from './socket.js';

const message = (seq, user = 'bo') => {
  const { kind: _kind, ...rest } = said(seq, `m${seq}`, user);
  return rest;
};
const page = (from, to, has_before = false, has_after = false) => ({
  items: Array.from({ length: to - from + 1 }, (_, i) => message(from + i)),
  has_before,
  has_after,
  epoch: 'e1',
});
const seqs = (log) => log.messages.map((m) => m.seq);
const change = (seq, kind, rest) => ({ seq, user: 'ana', ts: seq, kind, ...rest });

test('entries that raced the first page are folded in, whichever came first', () => {
  const log = new RoomLog();
  log.apply(said(3));
  log.apply(change(4, 'edit', { target: 2, text: 'better' }));
  log.apply(said(5));
  log.show(page(1, 3));
  assert.deepEqual(seqs(log), [1, 2, 3, 5]);
  assert.equal(log.find(2).text, 'better');
});

test('an entry applied twice changes nothing the second time', () => {
  const log = new RoomLog();
  log.show(page(1, 2));
  for (let i = 0; i < 2; i += 1) {
    log.apply(said(3));
    log.apply(change(4, 'reaction', { target: 1, emoji: '🔥', on: true }));
  }
  assert.deepEqual(seqs(log), [1, 2, 3]);
  assert.deepEqual(log.find(1).reactions, [{ emoji: '🔥', count: 1, users: ['ana'] }]);
  log.apply(change(5, 'reaction', { target: 1, emoji: '🔥', on: false }));
  assert.deepEqual(log.find(1).reactions, []);
});

test('a deleted message is a tombstone, and nothing brings its words back', () => {
  const log = new RoomLog();
  log.show(page(1, 1));
  log.apply(change(2, 'delete', { target: 1 }));
  log.apply(change(3, 'edit', { target: 1, text: 'again' }));
  assert.equal(log.find(1).deleted, true);
  assert.equal(log.find(1).text, '');
});

test('pages overlap without doubles, before and after', () => {
  const log = new RoomLog();
  log.show(page(10, 20, true, true));
  log.prepend(page(5, 12, false));
  log.append(page(18, 25, true, false));
  assert.deepEqual(seqs(log), Array.from({ length: 21 }, (_, i) => i + 5));
  assert.deepEqual([log.hasBefore, log.hasAfter], [false, false]);
});

test('a log whose beginning has expired says so where it begins', () => {
  const log = new RoomLog();
  log.show(page(10, 20, true));
  assert.equal(log.expired, false);
  log.prepend({ ...page(5, 9), first: 4 });
  assert.deepEqual([log.hasBefore, log.expired], [false, true]);
  log.clear();
  assert.equal(log.expired, false);
  log.show({ items: [], has_before: false, has_after: false, first: 9, epoch: 'e1' });
  assert.deepEqual([log.hasBefore, log.expired], [false, true]);
});

test('a window in the past takes no live messages, and finds them when it reaches the present', () => {
  const log = new RoomLog();
  log.show(page(1, 5, false, true));
  log.apply(said(31));
  assert.deepEqual(seqs(log), [1, 2, 3, 4, 5]);
  log.append(page(6, 30, true, false));
  assert.equal(log.last, 31);
});

test('a long walk keeps a window, and knows what it let go', () => {
  const log = new RoomLog();
  log.show(page(1, 300));
  log.trim('after', 100);
  assert.deepEqual([log.first, log.last, log.hasAfter], [1, 100, true]);
  log.trim('before', 50);
  assert.deepEqual([log.first, log.last, log.hasBefore], [51, 100, true]);
});

test('a page is copied: what happens to the window does not happen to the page', () => {
  const log = new RoomLog();
  const first = page(1, 1);
  first.items[0].reactions = [{ emoji: '👍', count: 1, users: ['bo'] }];
  log.show(first);
  log.apply(change(2, 'reaction', { target: 1, emoji: '👍', on: true }));
  assert.equal(first.items[0].reactions[0].count, 1);
});
