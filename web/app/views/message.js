/**
 * One message on the screen, and what can be done with it.
 *
 * @module
 */

import { differs, fill, h } from '../dom.js';
import { UNREADABLE, fullTimeOf, timeOf } from '../format.js';
import { icon } from '../icons.js';
import { avatar } from './avatar.js';
import { confirmAction } from './dialog.js';
import { openEmoji } from './emoji.js';
import { isOnlyEmoji, richText } from './text.js';
import { attempt } from './toast.js';

/** @import { Message, Outgoing, RoomView } from '../../fireside/types.js' */
/** @import { Conversation } from '../model/conversation.js' */
/** @import { Session } from '../model/session.js' */

/**
 * @typedef {object} MessageContext
 * @property {Session} session
 * @property {Conversation} conversation
 * @property {() => RoomView | undefined} view
 * @property {(message: Message) => void} reply
 * @property {(message: Message) => void} edit
 * @property {(seq: number) => void} jump
 */

/**
 * @param {MessageContext} context
 * @param {HTMLElement} article
 * @param {Message} message
 * @param {{ head: boolean, seen: string | undefined, read: boolean }} how `seen`: who read this newest one that was read; `read`: whether somebody read so far
 */
export function drawMessage(context, article, message, { head, seen, read }) {
  const { session, conversation } = context;
  const author = session.people.profile(message.user) ?? { id: message.user, name: '…' };
  const mine = message.user === session.me.id;
  const quoted = message.reply_to === undefined ? undefined : quoteOf(context, message.reply_to);
  const mentioned = (message.mentions ?? []).map((id) => ({ id, name: session.people.name(id) }));
  const reactors = (message.reactions ?? []).map((r) => r.users.slice(0, 10).map((id) => session.people.name(id)));
  const allowed = mayDelete(context, message);
  const signature = JSON.stringify([message, head, seen, read, author, quoted, mentioned, reactors, allowed]);
  if (!differs(article, signature)) return;
  const state = seen ?? (read ? 'Seen' : 'Sent');
  article.dataset.seq = String(message.seq);
  const hadFocus = article.contains(document.activeElement);
  const mentionsMe = message.mentions?.includes(session.me.id) && !mine;
  article.className = `message${head ? ' message-head' : ''}${mine ? ' mine' : ''}${mentionsMe ? ' mentions-me' : ''}`;
  article.setAttribute('aria-label', `${author.name}, ${timeOf(message.ts)}`);
  fill(
    article,
    head ? avatar(author) : h('time', { class: 'gutter-time', 'aria-hidden': 'true' }, timeOf(message.ts)),
    h(
      'div',
      { class: 'message-body' },
      quoted
        ? h(
            'button',
            { class: 'quote', type: 'button', onclick: () => context.jump(quoted.seq), 'aria-label': `In reply to ${quoted.name}: ${quoted.text}` },
            icon('reply'),
            h('span', { class: 'quote-name' }, quoted.name),
            h('span', { class: 'quote-text' }, quoted.text),
          )
        : null,
      head
        ? h('div', { class: 'message-top' }, h('span', { class: 'author' }, author.name), h('time', { datetime: new Date(message.ts).toISOString(), title: fullTimeOf(message.ts) }, timeOf(message.ts)))
        : null,
      message.deleted
        ? h('p', { class: 'text tombstone' }, icon('trash'), 'Message deleted')
        : message.unreadable
        ? h('p', { class: 'text tombstone' }, UNREADABLE)
        : h(
            'p',
            { class: isOnlyEmoji(message.text) ? 'text jumbo' : 'text' },
            richText(message.text, mentioned, session.me.id),
            message.edited_ts ? h('span', { class: 'edited', title: fullTimeOf(message.edited_ts) }, ' (edited)') : null,
          ),
      reactionRow(context, message),
    ),
    mine ? h('span', { class: 'state', title: state }, icon(read ? 'checks' : 'check'), h('span', { class: 'sr-only' }, state)) : null,
    message.deleted ? null : tools(context, message, mine, allowed),
  );
  if (seen) article.append(h('span', { class: 'seen' }, seen));
  if (hadFocus && !article.contains(document.activeElement)) article.focus({ preventScroll: true });
  article.onkeydown = (event) => keys(event, context, article, message, mine, allowed);
  void conversation;
}

/**
 * @param {MessageContext} context
 * @param {HTMLElement} article
 * @param {Outgoing} outgoing
 * @param {boolean} head
 */
export function drawOutgoing(context, article, outgoing, head) {
  const { session } = context;
  const signature = JSON.stringify(['out', outgoing.status, outgoing.error?.message, head]);
  if (!differs(article, signature)) return;
  const failed = outgoing.status === 'failed';
  const words = failed ? 'Not sent' : 'Sending';
  article.className = `message mine pending${head ? ' message-head' : ''}${failed ? ' failed' : ''}`;
  article.setAttribute('aria-label', `${session.me.name}, ${words.toLowerCase()}`);
  article.onkeydown = null;
  fill(
    article,
    head ? avatar(session.me) : h('span', { class: 'gutter-time' }),
    h(
      'div',
      { class: 'message-body' },
      head ? h('div', { class: 'message-top' }, h('span', { class: 'author' }, session.me.name)) : null,
      h('p', { class: isOnlyEmoji(outgoing.text) ? 'text jumbo' : 'text' }, richText(outgoing.text, [], session.me.id)),
      failed
        ? h(
            'p',
            { class: 'send-problem' },
            icon('alert'),
            h('span', null, outgoing.error?.message ?? 'Not sent'),
            h('button', { class: 'link', type: 'button', onclick: () => void retry(context, outgoing) }, 'Retry'),
            h('button', { class: 'link', type: 'button', onclick: () => discard(context, outgoing) }, 'Discard'),
          )
        : null,
    ),
    h('span', { class: 'state', title: words }, icon(failed ? 'alert' : 'clock'), h('span', { class: 'sr-only' }, words)),
  );
}

/**
 * @param {MessageContext} context
 * @param {Outgoing} outgoing
 */
function retry({ session }, outgoing) {
  const { room, nonce, text, reply_to, mentions, data } = outgoing;
  return session.client.send({ room, nonce, text, reply_to, mentions, data }).done.catch(() => undefined);
}

/**
 * @param {MessageContext} context
 * @param {Outgoing} outgoing
 */
function discard({ conversation }, outgoing) {
  conversation.pending.delete(outgoing.nonce);
  conversation.changed();
}

/**
 * @param {MessageContext} context
 * @param {number} seq
 */
function quoteOf({ session, conversation }, seq) {
  const message = conversation.log.find(seq);
  if (!message) return { seq, name: 'an earlier message', text: '' };
  const text = message.deleted ? 'Message deleted' : message.unreadable ? UNREADABLE : message.text.replaceAll(/\s+/gu, ' ').slice(0, 140);
  return { seq, name: session.people.name(message.user), text };
}

/**
 * @param {MessageContext} context
 * @param {Message} message
 */
function mayDelete({ session, conversation, view }, message) {
  if (message.user === session.me.id) return true;
  const room = view();
  if (!room || room.kind === 'dm' || room.role === 'member') return false;
  return room.role === 'owner' || conversation.members.get(message.user)?.role !== 'owner';
}

/**
 * @param {MessageContext} context
 * @param {Message} message
 */
function reactionRow(context, message) {
  const { session } = context;
  if (!message.reactions?.length) return null;
  return h(
    'div',
    { class: 'reactions' },
    message.reactions.map(({ emoji, count, users }) => {
      const mine = users.includes(session.me.id);
      const who = users.slice(0, 10).map((id) => (id === session.me.id ? 'you' : session.people.name(id)));
      if (count > who.length) who.push(`${count - who.length} more`);
      return h(
        'button',
        {
          class: 'reaction',
          type: 'button',
          'aria-pressed': String(mine),
          'aria-label': `${emoji} ${count}`,
          title: who.join(', '),
          onclick: () => void toggleReaction(context, message, emoji, !mine),
        },
        h('span', null, emoji),
        h('span', { class: 'reaction-count' }, count),
      );
    }),
  );
}

/**
 * @param {MessageContext} context
 * @param {Message} message
 * @param {string} emoji
 * @param {boolean} on
 */
function toggleReaction({ session, conversation }, message, emoji, on) {
  const d = { room: conversation.room, seq: message.seq, emoji };
  return attempt(() => session.client.request(on ? 'reaction.add' : 'reaction.remove', d));
}

/**
 * @param {MessageContext} context
 * @param {HTMLElement} anchor
 * @param {Message} message
 */
function react(context, anchor, message) {
  openEmoji(anchor, (emoji) => {
    const mine = message.reactions?.find((r) => r.emoji === emoji)?.users.includes(context.session.me.id);
    void toggleReaction(context, message, emoji, !mine);
  });
}

/**
 * @param {MessageContext} context
 * @param {Message} message
 */
function remove({ session, conversation }, message) {
  confirmAction('Delete message', 'It disappears for everybody.', 'Delete', () =>
    session.client.request('message.delete', { room: conversation.room, seq: message.seq }),
  );
}

/**
 * @param {MessageContext} context
 * @param {Message} message
 * @param {boolean} mine
 * @param {boolean} allowed
 */
function tools(context, message, mine, allowed) {
  const button = (/** @type {string} */ label, /** @type {string} */ glyph, /** @type {(event: MouseEvent) => void} */ run) =>
    h('button', { class: 'icon-button', type: 'button', 'aria-label': label, title: label, onclick: run }, icon(glyph));
  return h(
    'div',
    { class: 'message-tools', role: 'group', 'aria-label': 'Message actions' },
    button('Add reaction', 'smile', (event) => react(context, /** @type {HTMLElement} */ (event.currentTarget), message)),
    button('Reply', 'reply', () => context.reply(message)),
    mine ? button('Edit', 'edit', () => context.edit(message)) : null,
    allowed ? button('Delete', 'trash', () => remove(context, message)) : null,
  );
}

/**
 * @param {KeyboardEvent} event
 * @param {MessageContext} context
 * @param {HTMLElement} article
 * @param {Message} message
 * @param {boolean} mine
 * @param {boolean} allowed
 */
function keys(event, context, article, message, mine, allowed) {
  if (event.target !== article || event.ctrlKey || event.metaKey || event.altKey || message.deleted) return;
  if (event.key === 'r') context.reply(message);
  else if (event.key === 'e' && mine) context.edit(message);
  else if (event.key === '+') react(context, article, message);
  else if (event.key === 'Delete' && allowed) remove(context, message);
  else return;
  event.preventDefault();
  event.stopPropagation();
}
