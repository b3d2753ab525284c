import assert from 'node:assert/strict';
import test from 'node:test';
import { MsgPackError, decode, decodeAll, encode } from '../../msgpack.js';

const hex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

test('what is encoded reads back the same', () => {
  const integers = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
  const values = [
    null, true, false, ...integers, ...integers.map((n) => -n - 1).filter(Number.isSafeInteger), -32, -33, -128, -129, -32_768, -32_769,
    0.5, -1.25e300, '', 'gg', 'é🔥', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(300), 'x'.repeat(70_000),
    [], [1, [2, [3]]], Array.from({ length: 20 }, (_, i) => i), {}, { a: { b: [null] } },
    Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, i])), new Uint8Array([1, 2, 3]),
  ];
  for (const value of values) assert.deepEqual(decode(encode(value)), value);
});

test('integers take the fewest bytes, as the specification asks', () => {
  const sizes = [[0, 1], [127, 1], [128, 2], [256, 3], [65_536, 5], [2 ** 32, 9], [-32, 1], [-33, 2], [-129, 3], [-32_769, 5]];
  for (const [n, size] of sizes) assert.equal(encode(n).length, size, String(n));
});

test('an integer that a double cannot hold becomes a bigint, not another number', () => {
  assert.equal(decode(hex('cfffffffffffffffff')), 2n ** 64n - 1n);
  assert.equal(decode(encode(2n ** 63n)), 2n ** 63n);
});

test('members that are undefined are left out, as in JSON', () => {
  assert.deepEqual(decode(encode({ a: undefined, b: 1 })), { b: 1 });
});

test('values may stand one after the other', () => {
  const frame = new Uint8Array([...encode({ id: 1 }), ...encode({ id: 2 })]);
  assert.deepEqual(decodeAll(frame), [{ id: 1 }, { id: 2 }]);
  assert.throws(() => decode(frame), MsgPackError);
});

test('what is cut off, too deep or too long is refused and allocates nothing', () => {
  const whole = encode({ text: 'gg', list: [1, 2, { x: 'y' }], n: 70_000 });
  for (let length = 0; length < whole.length; length += 1) {
    assert.throws(() => decode(whole.subarray(0, length)), MsgPackError, String(length));
  }
  for (const bad of ['dbffffffff', 'dfffffffff', 'ddffffffff', 'c6ffffffff', 'c1', 'a2c328', '8101c0']) {
    assert.throws(() => decode(hex(bad)), MsgPackError, bad);
  }
  assert.throws(() => decode(new Uint8Array(100_000).fill(0x91)), MsgPackError);
  let deep = [];
  for (let i = 0; i < 100; i += 1) deep = [deep];
  assert.throws(() => encode(deep), MsgPackError);
});

test('a key named __proto__ stays a member', () => {
  const value = decode(hex('81a95f5f70726f746f5f5f81a16101'));
  assert.deepEqual(Object.keys(value), ['__proto__']);
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal(value.a, undefined);
});
