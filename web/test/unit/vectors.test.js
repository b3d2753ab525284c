import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { CODECS } from '../../fireside/codec.js';
import { CLOSE_WORDS, afterClose } from '../../fireside/errors.js';
import { decode, encode } from '../../msgpack.js';

/** The golden vectors that the servers' own tests run against. */
const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../shared/vectors/${name}.json`, import.meta.url), 'utf8'));
const bytesOf = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));

for (const file of ['commands', 'events', 'replies']) {
  test(`${file}: both encodings say the same`, () => {
    const all = vectors(file);
    assert.ok(all.length > 0);
    for (const { name, json, msgpack } of all) {
      const bytes = bytesOf(msgpack);
      assert.deepEqual(decode(bytes), json, name);
      assert.deepEqual(CODECS.msgpack.decode(bytes), [json], name);
      assert.deepEqual(CODECS.json.decode(JSON.stringify(json)), [json], name);
      // Members may stand in another order, but nothing may be larger or read differently.
      assert.ok(encode(json).length <= bytes.length, name);
      assert.deepEqual(decode(encode(json)), json, name);
    }
  });
}

test('every close code means to this client what it means to the servers', () => {
  const { closes } = vectors('codes');
  for (const { code, reason, after } of closes) {
    assert.equal(CLOSE_WORDS[code], reason);
    assert.equal(afterClose(code), after, reason);
  }
  assert.equal(Object.keys(CLOSE_WORDS).length, closes.length);
});

test('what a server closes on as undecodable does not get past this decoder unnoticed either', () => {
  for (const { name, encoding, text, hex } of vectors('bad')) {
    const frame = encoding === 'json' ? text : bytesOf(hex);
    if (frame === undefined) continue;
    let objects = [];
    try {
      objects = CODECS[encoding].decode(frame);
    } catch (error) {
      assert.ok(error instanceof Error, name);
    }
    for (const object of objects) assert.equal(typeof object, 'object', name);
  }
});
