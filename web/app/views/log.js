/**
 * The scrolling log of a room: draws the rows, keeps the place while history grows above it,
 * sticks to the newest while the person is there, and notices what has been read.
 *
 * @module
 */

import { batched, fill, h, reconcile } from '../dom.js';
import { dayLabel } from '../format.js';
import { icon } from '../icons.js';
import { rowsOf } from '../model/rows.js';
import { drawMessage, drawOutgoing } from './message.js';
import { noticeText } from './notice.js';
import { roving } from './roving.js';

/** @import { MessageContext } from './message.js' */
/** @import { Row } from '../model/rows.js' */

/** Closer to an edge than this, the next page is asked for. */
const NEAR_PX = 700;
/** Closer to the bottom than this counts as there. */
const BOTTOM_PX = 48;

/** @param {MessageContext & { beginning: () => string }} context */
export function messageLog(context) {
  const { session, conversation } = context;
  const rows = h('div', { class: 'rows' });
  const top = h('div', { class: 'log-edge' });
  const bottom = h('div', { class: 'log-edge' });
  const scroller = h('div', { class: 'log', role: 'log', 'aria-label': 'Messages', tabindex: '0' }, top, rows, bottom);
  const toPresent = h('button', { class: 'to-present', type: 'button', hidden: true }, icon('down'), h('span', null));
  const settle = roving(rows, 'article');
  let stick = true;
  let drawing = false;
  /** @type {number | undefined} */
  let newAfter = context.view()?.unread ? context.view()?.read : undefined;
  /** @type {number | undefined} */
  let wanted;

  const atBottom = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < BOTTOM_PX;
  const present = () => !conversation.log.hasAfter && conversation.log.loaded;

  /** The first row that is on the screen, to hold on to while others come and go. */
  const anchor = () => {
    const edge = scroller.getBoundingClientRect().top;
    for (const row of rows.children) {
      const at = row.getBoundingClientRect();
      if (at.bottom > edge) return { row, offset: at.top - edge };
    }
    return undefined;
  };

  const paint = () => {
    drawing = true;
    const held = stick && present() ? undefined : anchor();
    const { log } = conversation;
    const items = rowsOf({
      messages: log.messages,
      notices: log.notices,
      pending: log.hasAfter ? [] : conversation.pending.values(),
      me: session.me.id,
      newAfter,
    });
    const lastRead = lastReadOfOurs();
    // A page of history is not news: only what comes at the end is to be read out.
    scroller.setAttribute('aria-busy', String(conversation.loading !== undefined));
    reconcile(rows, items, {
      key: (row) => row.key,
      create: (row) => (row.type === 'message' || row.type === 'pending' ? h('article', { tabindex: '-1' }) : h('div', null)),
      update: (element, row) => drawRow(element, row, lastRead),
    });
    settle();
    edges();
    if (wanted !== undefined && conversation.loading === undefined) reveal();
    else if (stick && present()) scroller.scrollTop = scroller.scrollHeight;
    else if (held?.row.isConnected) {
      scroller.scrollTop += held.row.getBoundingClientRect().top - scroller.getBoundingClientRect().top - held.offset;
    }
    drawing = false;
    look();
  };
  const draw = batched(paint);

  /**
   * @param {HTMLElement} element
   * @param {Row} row
   * @param {{ seq: number, words: string } | undefined} lastRead
   */
  const drawRow = (element, row, lastRead) => {
    switch (row.type) {
      case 'message': {
        const seen = row.message.seq === lastRead?.seq ? lastRead.words : undefined;
        drawMessage(context, element, row.message, { head: row.head, seen, read: row.message.seq <= (lastRead?.seq ?? 0) });
        break;
      }
      case 'pending':
        drawOutgoing(context, element, row.outgoing, row.head);
        break;
      case 'day':
        element.className = 'day';
        label(element, dayLabel(row.ts));
        break;
      case 'new':
        element.className = 'day new-mark';
        label(element, 'New');
        break;
      default:
        element.className = 'notice';
        label(element, noticeText(session, row.notice));
    }
  };

  /** The newest message of ours that somebody has read, and who. */
  const lastReadOfOurs = () => {
    const room = context.view();
    if (!room || room.kind === 'channel') return undefined;
    for (const message of [...conversation.log.messages].reverse()) {
      if (message.user !== session.me.id || message.deleted) continue;
      const readers = conversation.readersOf(message.seq, session.me.id);
      if (readers.length === 0) continue;
      if (room.kind === 'dm') return { seq: message.seq, words: 'Seen' };
      const names = readers.slice(0, 3).map((m) => session.people.name(m.id));
      const rest = readers.length - names.length;
      return { seq: message.seq, words: `Seen by ${names.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}` };
    }
    return undefined;
  };

  const edges = () => {
    const { log, loading, error } = conversation;
    if (loading === 'first' && !log.loaded) {
      fill(top, h('div', { class: 'skeletons', 'aria-hidden': 'true' }, [1, 2, 3, 4, 5].map((n) => h('div', { class: `skeleton skeleton-message s${n}` }))));
    } else if (error) {
      fill(top, h('p', { class: 'log-problem' }, icon('alert'), error, h('button', { class: 'link', type: 'button', onclick: again }, 'Try again')));
    } else if (loading === 'before') fill(top, h('div', { class: 'spinner', role: 'progressbar', 'aria-label': 'Loading earlier messages' }));
    else if (log.loaded && !log.hasBefore) fill(top, h('div', { class: 'beginning' }, log.expired ? 'Older messages have expired.' : context.beginning()));
    else fill(top);
    fill(bottom, loading === 'after' ? h('div', { class: 'spinner', role: 'progressbar', 'aria-label': 'Loading later messages' }) : null);
    toPresent.hidden = present() && stick;
    const words = toPresent.lastElementChild;
    const unread = context.view()?.unread ?? 0;
    if (words) words.textContent = unread > 0 ? `${unread} new` : 'To the newest';
  };

  const again = () => void (conversation.log.loaded ? conversation.loadMore('before') : conversation.load({}));

  /** Brings a message that was asked for into view. */
  const reveal = () => {
    const seq = wanted;
    wanted = undefined;
    const row = rows.querySelector(`[data-seq="${seq}"]`);
    if (!(row instanceof HTMLElement)) return;
    stick = false;
    row.scrollIntoView({ block: 'center' });
    row.classList.add('found');
    row.focus({ preventScroll: true });
    setTimeout(() => row.classList.remove('found'), 2_500);
  };

  /** After a draw or a scroll: ask for what comes next, and say what has been read. */
  const look = () => {
    const { log } = conversation;
    if (!log.loaded) return;
    if (!conversation.error && conversation.loading === undefined) {
      if (log.hasBefore && scroller.scrollTop < NEAR_PX) void conversation.loadMore('before');
      else if (log.hasAfter && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX) void conversation.loadMore('after');
    }
    if (present() && atBottom() && document.visibilityState === 'visible' && document.hasFocus()) session.read(conversation.room);
  };

  scroller.addEventListener('scroll', () => {
    if (drawing) return;
    const now = present() && atBottom();
    if (now !== stick) {
      stick = now;
      edges();
    }
    look();
  }, { passive: true });
  toPresent.addEventListener('click', async () => {
    stick = true;
    await conversation.toPresent();
    draw();
  });
  const resized = new ResizeObserver(() => {
    if (stick && present()) scroller.scrollTop = scroller.scrollHeight;
  });
  resized.observe(scroller);
  resized.observe(rows);
  addEventListener('focus', look);
  document.addEventListener('visibilitychange', look);
  const offs = [
    session.on('conversation', (room) => room === conversation.room && draw()),
    session.on('people', draw),
    session.on('rooms', draw),
  ];
  draw();

  return {
    view: h('div', { class: 'log-holder' }, scroller, toPresent),
    /** @param {number} seq */
    async jump(seq) {
      stick = false;
      wanted = seq;
      await conversation.around(seq);
      draw();
    },
    /** Whoever writes wants to see it. */
    follow() {
      stick = true;
      newAfter = undefined;
      void conversation.toPresent();
      draw();
    },
    focusLast() {
      const last = [...rows.querySelectorAll('article')].at(-1);
      if (last instanceof HTMLElement) last.focus();
    },
    stop() {
      offs.forEach((off) => off());
      resized.disconnect();
      removeEventListener('focus', look);
      document.removeEventListener('visibilitychange', look);
    },
  };
}

/**
 * Written only when it differs: a live region reads out what is written.
 * @param {HTMLElement} element
 * @param {string} text
 */
function label(element, text) {
  if (element.textContent !== text) fill(element, h('span', null, text));
}
