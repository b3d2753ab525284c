/**
 * What the log of a room shows, line by line: day separators, the mark of what is new, messages
 * (those of one author in a row drawn together), notices, and messages on their way.
 *
 * @module
 */

import { dayOf } from '../format.js';

/** @import { Message, Outgoing } from '../../fireside/types.js' */
/** @import { Notice } from './roomlog.js' */

/** Messages of one author within this time are drawn under one head. */
const TOGETHER_MS = 5 * 60_000;

/**
 * @typedef {{ key: string, type: 'day', ts: number }
 *   | { key: string, type: 'new' }
 *   | { key: string, type: 'message', message: Message, head: boolean }
 *   | { key: string, type: 'notice', notice: Notice }
 *   | { key: string, type: 'pending', outgoing: Outgoing, head: boolean }} Row
 */

/**
 * @param {object} log
 * @param {Message[]} log.messages
 * @param {Notice[]} log.notices
 * @param {Iterable<Outgoing>} log.pending shown last, so only when the window reaches the present
 * @param {string} log.me
 * @param {number | undefined} log.newAfter how far the room was read when it was opened
 * @returns {Row[]}
 */
export function rowsOf({ messages, notices, pending, me, newAfter }) {
  /** @type {Row[]} */
  const rows = [];
  let day = 0;
  let marked = newAfter === undefined;
  /** @type {{ user: string, ts: number } | undefined} */
  let before;
  let next = 0;

  const startDay = (/** @type {number} */ ts) => {
    if (dayOf(ts) === day) return;
    day = dayOf(ts);
    before = undefined;
    rows.push({ key: `day-${day}`, type: 'day', ts });
  };
  const headOf = (/** @type {string} */ user, /** @type {number} */ ts, /** @type {boolean} */ alone) => {
    const head = alone || !before || before.user !== user || ts - before.ts > TOGETHER_MS;
    before = { user, ts };
    return head;
  };
  const noticesBefore = (/** @type {number} */ seq) => {
    for (let notice = notices[next]; notice && notice.seq < seq; notice = notices[++next]) {
      startDay(notice.ts);
      rows.push({ key: `notice-${notice.seq}`, type: 'notice', notice });
      before = undefined;
    }
  };

  for (const message of messages) {
    noticesBefore(message.seq);
    startDay(message.ts);
    if (!marked && message.seq > (newAfter ?? 0) && message.user !== me) {
      marked = true;
      before = undefined;
      rows.push({ key: 'new', type: 'new' });
    }
    rows.push({
      key: rowKey(message.user === me ? message.nonce : undefined, message.seq),
      type: 'message',
      message,
      head: headOf(message.user, message.ts, message.reply_to !== undefined),
    });
  }
  noticesBefore(Infinity);
  for (const outgoing of pending) {
    startDay(outgoing.ts);
    rows.push({
      key: rowKey(outgoing.nonce, 0),
      type: 'pending',
      outgoing,
      head: headOf(me, outgoing.ts, outgoing.reply_to !== undefined),
    });
  }
  return rows;
}

/**
 * A message of ours keeps its key, and so its element, from the moment it is written until it
 * stands in the log.
 * @param {string | undefined} nonce
 * @param {number} seq
 */
function rowKey(nonce, seq) {
  return nonce ? `own-${nonce}` : `seq-${seq}`;
}
