import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser } from './people.mjs';
import { Server } from './server.mjs';

/**
 * The client library against the real server, without the page: it is loaded into an empty document
 * of the server's origin, once for each encoding.
 */

let server;
let browser;
let page;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  const context = await browser.newContext({ bypassCSP: true });
  page = await context.newPage();
  await page.goto(`${server.url}/assets/icon.svg`);
  await page.evaluate(async () => {
    const { Fireside } = await import('/fireside.js');
    const rest = async (method, path, token, body) => {
      const response = await fetch(path, {
        method,
        headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
        body: body && JSON.stringify(body),
      });
      const text = await response.text();
      return text ? JSON.parse(text) : undefined;
    };
    const join = async (name, encoding) => {
      const grant = await rest('POST', '/v1/auth/register', undefined, { name, email: `${name}@example.org`, password: 'a warm place by the fire' });
      const client = new Fireside({ url: `ws://${location.host}/v1/ws`, encoding, getToken: async () => grant.access_token });
      const entries = [];
      client.on('entry', ({ room, entry }) => entries.push({ room, ...entry }));
      const started = client.once('started');
      client.connect();
      return { client, entries, id: grant.user.id, token: grant.access_token, started: await started };
    };
    const until = async (what) => {
      for (let i = 0; i < 200; i += 1) {
        if (what()) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(`never: ${what}`);
    };
    Object.assign(globalThis, { rest, join, until });
  });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('two clients of different encodings hear the same log', async () => {
  const seen = await page.evaluate(async () => {
    const { join, until, rest } = globalThis;
    const ana = await join('ana', 'json');
    const bo = await join('bo', 'msgpack');
    globalThis.ana = ana;
    globalThis.bo = bo;
    const friends = bo.client.once('friend.changed');
    await rest('PUT', `/v1/friends/${bo.id}`, ana.token);
    await friends;
    const accepted = ana.client.once('friend.changed');
    await rest('PUT', `/v1/friends/${ana.id}`, bo.token);
    await accepted;
    const added = bo.client.once('room.added');
    const { room } = await ana.client.request('room.create', { kind: 'group', name: 'camp', members: [bo.id] });
    await added;
    globalThis.room = room.id;
    await ana.client.send({ room: room.id, text: 'héllo 🔥', data: { deep: [1, { n: 2 ** 40 }] } }).done;
    await bo.client.send({ room: room.id, text: 'hi', reply_to: room.head + 1 }).done;
    await until(() => ana.entries.some((e) => e.text === 'hi'));
    await ana.client.request('reaction.add', { room: room.id, seq: ana.entries.find((e) => e.text === 'hi').seq, emoji: '🔥' });
    await until(() => [ana, bo].every((p) => p.entries.some((e) => e.kind === 'reaction')));
    const messages = (p) => p.entries.filter((e) => e.kind !== 'room' && e.kind !== 'member');
    return [messages(ana), messages(bo)];
  });
  assert.deepEqual(seen[0], seen[1]);
  assert.deepEqual(seen[0].map((e) => e.kind), ['message', 'message', 'reaction']);
  assert.deepEqual(seen[0][0].data, { deep: [1, { n: 2 ** 40 }] });
});

test('a nonce sent twice is one message', async () => {
  const [first, second] = await page.evaluate(async () => {
    const { ana, room } = globalThis;
    const message = { room, text: 'once', nonce: 'the-same-nonce' };
    const one = await ana.client.send(message).done;
    return [one, await ana.client.send(message).done];
  });
  assert.equal(second.dup, true);
  assert.equal(second.seq, first.seq);
});

test('a socket that is cut is resumed, and what was missed comes once and in order', async () => {
  const result = await page.evaluate(async () => {
    const { ana, bo, room, until } = globalThis;
    const resumed = bo.client.once('resumed');
    const before = bo.entries.length;
    // As the network would: without a word to the server's session.
    bo.client.connection.socket.close(3000);
    for (let n = 0; n < 20; n += 1) await ana.client.send({ room, text: `missed ${n}` }).done;
    await resumed;
    await until(() => bo.entries.some((e) => e.text === 'missed 19'));
    return { missed: bo.entries.slice(before).filter((e) => e.text?.startsWith('missed')).map((e) => e.text), seqs: bo.entries.map((e) => e.seq) };
  });
  assert.deepEqual(result.missed, Array.from({ length: 20 }, (_, n) => `missed ${n}`));
  assert.deepEqual(result.seqs, [...new Set(result.seqs)].sort((a, b) => a - b));
});

test('refusals come as errors with their codes', async () => {
  const codes = await page.evaluate(async () => {
    const { ana, room } = globalThis;
    const code = (promise) => promise.then(() => 'ok', (error) => `${error.code}${error.retry ? ' retry' : ''}`);
    return [
      await code(ana.client.request('room.get', { room: 'no-such-room' })),
      await code(ana.client.request('message.edit', { room, seq: 999_999, text: 'x' })),
      await code(ana.client.request('no.such.op', {})),
      await code(ana.client.request('message.send', { room, nonce: 'n1', text: 'x'.repeat(4_001) })),
    ];
  });
  assert.deepEqual(codes, ['not_found', 'not_found', 'invalid', 'too_large']);
});

test('an ended session is gone; another kept client goes on', async () => {
  const state = await page.evaluate(async () => {
    const { ana, bo } = globalThis;
    await bo.client.end();
    return [bo.client.state, ana.client.state];
  });
  assert.deepEqual(state, [{ name: 'stopped', reason: 'ended' }, { name: 'online' }]);
});
