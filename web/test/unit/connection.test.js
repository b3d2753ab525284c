import assert from 'node:assert/strict';
import test from 'node:test';
import { Fireside } from '../../fireside.js';
import { TestClock, settle } from './clock.js';
import { Wire, room, said } from './socket.js';

const token = (exp) => `x.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.y`;

function setUp({ encoding = 'json', getToken, expiresIn = 900 } = {}) {
  const clock = new TestClock();
  const wire = new Wire(encoding);
  const tokens = [];
  const client = new Fireside({
    url: 'ws://test/v1/ws',
    encoding,
    WebSocket: wire.WebSocket,
    clock,
    device: 'd1',
    getToken: async (how) => {
      tokens.push(how.refresh);
      return getToken ? getToken(how) : token(clock.now() / 1_000 + expiresIn);
    },
  });
  const states = [];
  client.on('state', (state) => states.push(state.name));
  const entries = [];
  client.on('entry', ({ entry }) => entries.push(entry.seq));
  return { clock, wire, client, states, tokens, entries };
}

async function online(rooms, options) {
  const all = setUp(options);
  all.client.connect();
  await settle();
  all.wire.start(rooms);
  await settle();
  return all;
}

for (const encoding of ['json', 'msgpack']) {
  test(`a session starts over ${encoding}, and events in the frame of the answer come after the snapshot`, async () => {
    const { wire, client, states } = setUp({ encoding });
    const order = [];
    client.on('started', () => order.push('started'));
    client.on('message.new', () => order.push('message'));
    client.connect();
    await settle();
    assert.equal(wire.socket.protocols[0], `fireside.v1.${encoding}`);
    assert.match(wire.socket.protocols[1], /^bearer\./);
    wire.hello();
    const start = wire.last('session.start');
    assert.equal(start.d.device, 'd1');
    wire.say(
      { id: start.id, ok: { sid: 's1', me: {}, friends: [], rooms: [room('r', 0)], limits: {} } },
      { s: 1, ev: 'message.new', d: { room: 'r', ...said(1) } },
    );
    assert.deepEqual(order, ['started', 'message']);
    assert.deepEqual(states, ['connecting', 'online']);
  });
}

test('a dropped socket is resumed after the last event, and replayed events are not heard twice', async () => {
  const { clock, wire, client, states, entries } = await online([room('r', 0)]);
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(1) } }, { s: 2, ev: 'message.new', d: { room: 'r', ...said(2) } });
  wire.close(1006);
  assert.equal(client.state.name, 'offline');
  await clock.pass(1_000);
  wire.hello();
  assert.deepEqual(wire.last('session.resume').d, { sid: 's1', s: 2 });
  wire.say({ s: 2, ev: 'message.new', d: { room: 'r', ...said(2) } }, { s: 3, ev: 'message.new', d: { room: 'r', ...said(3) } });
  wire.ok('session.resume', { sid: 's1', replayed: 1 });
  assert.deepEqual(entries, [1, 2, 3]);
  assert.deepEqual(states, ['connecting', 'online', 'offline', 'resuming', 'online']);
});

test('a lost session starts anew, and every room is caught up with entry by entry', async () => {
  const { clock, wire, entries } = await online([room('r', 5)]);
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(6) } });
  wire.close(4000);
  await clock.pass(1_000);
  wire.hello();
  wire.err('session.resume', { code: 'session_lost' });
  wire.ok('session.start', { sid: 's2', me: {}, friends: [], rooms: [room('r', 9)], limits: {} });
  await settle();
  const sync = wire.last('room.sync');
  assert.deepEqual([sync.d.room, sync.d.after, sync.d.epoch], ['r', 6, 'e1']);
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(10) } });
  wire.ok('room.sync', { epoch: 'e1', head: 9, entries: [said(7), said(8), said(9)], more: false });
  await settle();
  assert.deepEqual(entries, [6, 7, 8, 9, 10]);
});

test('a hole is filled before anything newer is heard', async () => {
  const { wire, entries } = await online([room('r', 1)]);
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(4) } });
  await settle();
  assert.deepEqual(entries, []);
  wire.ok('room.sync', { epoch: 'e1', head: 4, entries: [said(2), said(3), said(4)], more: false });
  await settle();
  assert.deepEqual(entries, [2, 3, 4]);
});

test('another epoch is a reset, not a hole', async () => {
  const { clock, wire, client, entries } = await online([room('r', 40)]);
  const resets = [];
  client.on('reset', (reset) => resets.push([reset.room, reset.view?.epoch]));
  wire.close(1006);
  await clock.pass(1_000);
  wire.hello();
  wire.err('session.resume', { code: 'session_lost' });
  wire.ok('session.start', { sid: 's2', me: {}, friends: [], rooms: [room('r', 3, 'e2')], limits: {} });
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(4) } });
  await settle();
  assert.deepEqual(resets, [['r', 'e2']]);
  assert.deepEqual(entries, [4]);
});

test('a room.sync that answers reset drops what is held', async () => {
  const { wire, client, entries } = await online([room('r', 1)]);
  const resets = [];
  client.on('reset', (reset) => resets.push(reset.room));
  wire.say({ s: 1, ev: 'message.new', d: { room: 'r', ...said(4) } });
  await settle();
  wire.ok('room.sync', { epoch: 'e2', head: 2, reset: true, entries: [], more: false });
  await settle();
  assert.deepEqual(resets, ['r']);
  wire.say({ s: 2, ev: 'message.new', d: { room: 'r', ...said(3) } });
  assert.deepEqual(entries, [3]);
});

test('an acknowledged message is sent once; an unanswered one again under its nonce', async () => {
  const { clock, wire, client } = await online([room('r')]);
  const { done } = client.send({ room: 'r', text: 'gg' });
  client.send({ room: 'r', text: 'wp' });
  await settle();
  const first = wire.last('message.send');
  assert.equal(wire.all('message.send').length, 1, 'one at a time, or they may swap places');
  wire.close(1006);
  await clock.pass(1_000);
  wire.hello();
  wire.ok('session.resume', { sid: 's1', replayed: 0 });
  await settle();
  assert.deepEqual(wire.last('message.send').d, first.d);
  wire.ok('message.send', { seq: 1, ts: 1, dup: true });
  assert.deepEqual(await done, { seq: 1, ts: 1, dup: true });
  await settle();
  assert.equal(wire.last('message.send').d.text, 'wp');
  wire.ok('message.send', { seq: 2, ts: 2, dup: false });
  await clock.pass(60_000);
  assert.equal(wire.all('message.send').length, 3);
});

test('a send that is not answered in time is repeated, one that is refused for good fails', async () => {
  const { clock, wire, client } = await online([room('r')]);
  const { message, done } = client.send({ room: 'r', text: 'gg' });
  await clock.pass(11_000);
  assert.equal(wire.all('message.send').length, 2);
  wire.err('message.send', { code: 'rate_limited', retry: true, retry_after_ms: 800 });
  await clock.pass(700);
  assert.equal(wire.all('message.send').length, 2);
  await clock.pass(200);
  assert.equal(wire.all('message.send').length, 3);
  assert.equal(new Set(wire.all('message.send').map((c) => c.d.nonce)).size, 1);
  wire.err('message.send', { code: 'muted', retry: false });
  await assert.rejects(done, { code: 'muted' });
  assert.equal(message.status, 'failed');
});

test('bye.delay_ms is waited out', async () => {
  const { clock, wire } = await online([]);
  wire.say({ ev: 'bye', d: { code: 4001, reason: 'draining', resume: true, delay_ms: 4_000 } });
  wire.close(4001);
  await clock.pass(3_900);
  assert.equal(wire.sockets.length, 1);
  await clock.pass(1_000);
  assert.equal(wire.sockets.length, 2);
});

test('the range of a close code decides', async () => {
  const expired = await online([]);
  expired.wire.close(4100);
  await expired.clock.pass(1_000);
  assert.deepEqual(expired.tokens, [false, true], 'a fresh token');
  expired.wire.hello();
  assert.ok(expired.wire.last('session.resume'), 'and the same session');

  const replaced = await online([]);
  replaced.wire.close(4406);
  assert.deepEqual(replaced.client.state, { name: 'stopped', reason: 'replaced', code: 4406 });
  await replaced.clock.pass(600_000);
  assert.equal(replaced.wire.sockets.length, 1);
  replaced.client.connect();
  await settle();
  replaced.wire.hello();
  assert.ok(replaced.wire.last('session.start'), 'whoever was replaced starts anew');

  const lost = await online([]);
  lost.wire.close(4101);
  await lost.clock.pass(1_000);
  lost.wire.hello();
  assert.ok(lost.wire.last('session.start'));
});

test('waits grow while the server is away, and a refused upgrade is tried with a fresh token', async () => {
  const { clock, wire, client, tokens } = setUp();
  client.connect();
  const waits = [];
  for (let i = 0; i < 9; i += 1) {
    await settle();
    wire.close(1006);
    waits.push(client.state.retryAt - clock.now());
    await clock.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  assert.deepEqual(tokens.slice(0, 5), [false, true, false, false, true]);
});

test('without hope of a token the client stops; without a network it waits', async () => {
  const out = setUp({ getToken: () => Promise.reject(Object.assign(new Error('signed out'), { fatal: true })) });
  out.client.connect();
  await settle();
  assert.deepEqual(out.client.state, { name: 'stopped', reason: 'unauthenticated' });

  const away = setUp({ getToken: () => Promise.reject(new Error('no network')) });
  away.client.connect();
  await settle();
  assert.equal(away.client.state.name, 'offline');
});

test('the token is renewed before it runs out, and the session told', async () => {
  const { clock, wire, tokens } = await online([], { expiresIn: 600 });
  wire.answersPings = true;
  await clock.pass(538_000);
  assert.equal(wire.last('session.renew'), undefined);
  await clock.pass(3_000);
  assert.ok(wire.last('session.renew').d.token);
  assert.deepEqual(tokens, [false, true]);
  wire.ok('session.renew', { expires: clock.now() + 600_000 });
  await clock.pass(541_000);
  assert.equal(wire.all('session.renew').length, 2);
});

test('silence is broken with a ping, and a ping without an answer is a dead socket', async () => {
  const { clock, wire, client } = await online([]);
  await clock.pass(25_000);
  assert.ok(wire.last('ping'));
  wire.ok('ping', { ts: 1 });
  await clock.pass(25_000);
  assert.equal(wire.all('ping').length, 2);
  await clock.pass(10_000);
  assert.equal(client.state.name, 'offline');
});

test('events are acknowledged in bulk', async () => {
  const { clock, wire } = await online([]);
  for (let s = 1; s <= 70; s += 1) wire.say({ s, ev: 'read', d: { room: 'r', user: 'u', seq: s } });
  assert.deepEqual(wire.all('session.ack').map((c) => [c.d.s, c.id]), [[64, undefined]]);
  await clock.pass(5_000);
  assert.deepEqual(wire.last('session.ack').d, { s: 70 });
});

test('a request without a connection waits for one, but not for ever', async () => {
  const { clock, wire, client } = await online([room('r')]);
  wire.close(1006);
  const answer = client.request('ping', {});
  const late = client.request('ping', {}, { timeoutMs: 100 });
  late.catch(() => undefined);
  await clock.pass(1_000);
  await assert.rejects(late, { code: 'timeout' });
  wire.hello();
  wire.ok('session.resume', { sid: 's1', replayed: 0 });
  await settle();
  wire.ok('ping', { ts: 7 });
  assert.deepEqual(await answer, { ts: 7 });
});

test('a room that comes up unannounced is asked for', async () => {
  const { wire, client } = await online([]);
  const added = [];
  client.on('room.added', ({ room: view }) => added.push(view.id));
  wire.say({ s: 1, ev: 'message.new', d: { room: 'new', ...said(1) } });
  wire.ok('room.get', { room: room('new', 1) });
  await settle();
  assert.deepEqual(added, ['new']);
});
