/**
 * Where messages are written: grows with the text, completes mentions, says that somebody types,
 * and carries the reply or the edit that is under way.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { icon } from '../icons.js';
import { mentionedIds } from '../model/mentions.js';
import { openEmoji } from './emoji.js';
import { mentionCompletion } from './mention-completion.js';
import { attempt } from './toast.js';

/** @import { Message } from '../../fireside/types.js' */
/** @import { Conversation } from '../model/conversation.js' */
/** @import { Session } from '../model/session.js' */

/** How often `typing` is said again while somebody writes. */
const TYPING_EVERY_MS = 4_000;
/** From so few characters left on it is said how many: the field cuts a long paste without a word. */
const NEARLY_FULL = 200;
const TYPING_STOPS_MS = 5_000;

/** What was written and not sent, by room; it waits while other rooms are open. */
/** @type {Map<string, string>} */
const drafts = new Map();

/**
 * @param {Session} session
 * @param {Conversation} conversation
 * @param {{ sent: () => void, focusLog: () => void }} hooks
 */
export function composer(session, conversation, hooks) {
  const { room } = conversation;
  const input = h('textarea', { rows: 1, 'aria-label': 'Message', placeholder: 'Write a message', maxlength: session.maxText, enterkeyhint: 'send' });
  const send = h('button', { class: 'send', type: 'submit', 'aria-label': 'Send', title: 'Send' }, icon('send'));
  const left = h('span', { class: 'composer-left', role: 'status', hidden: true });
  const emoji = h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Insert emoji', title: 'Insert emoji' }, icon('smile'));
  const context = h('div', { class: 'composer-context', hidden: true });
  const muted = h('p', { class: 'composer-muted', role: 'status', hidden: true }, icon('mute'), 'You are muted in this room.');
  const form = h('form', { class: 'composer', 'aria-label': 'Write a message' }, context, h('div', { class: 'composer-row' }, emoji, input, left, send));
  /** @type {Message | undefined} */
  let replying;
  /** @type {Message | undefined} */
  let editing;
  let typingSaid = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typingStops;

  const people = () => {
    const members = [...conversation.members.values()].filter((m) => m.id !== session.me.id);
    return members.map((m) => ({ id: m.id, name: session.people.name(m.id) }));
  };
  const completion = mentionCompletion(input, people);
  form.prepend(completion.view);

  const grow = () => {
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, 200)}px`;
    send.disabled = input.value.trim() === '';
    const free = session.maxText - input.value.length;
    left.hidden = free > NEARLY_FULL;
    left.textContent = left.hidden ? '' : `${free} left`;
    left.classList.toggle('none', free <= 0);
  };
  /** @param {string} text */
  const setText = (text) => {
    input.value = text;
    grow();
    input.setSelectionRange(text.length, text.length);
  };
  const drawContext = () => {
    const about = editing ?? replying;
    context.hidden = !about;
    if (!about) return;
    const words = editing ? 'Editing your message' : `Replying to ${session.people.name(about.user)}`;
    const excerpt = editing ? '' : about.text.replaceAll(/\s+/gu, ' ').slice(0, 120);
    fill(
      context,
      icon(editing ? 'edit' : 'reply'),
      h('span', { class: 'quote-name' }, words),
      h('span', { class: 'quote-text' }, excerpt),
      h('button', { class: 'icon-button', type: 'button', 'aria-label': editing ? 'Cancel editing' : 'Cancel reply', onclick: cancel }, icon('x')),
    );
  };
  const cancel = () => {
    if (editing) setText(drafts.get(room) ?? '');
    editing = undefined;
    replying = undefined;
    drawContext();
    input.focus();
  };

  const sayTyping = (/** @type {boolean} */ on) => {
    clearTimeout(typingStops);
    if (!on) {
      if (typingSaid) session.client.tell('typing', { room, on: false });
      typingSaid = 0;
      return;
    }
    typingStops = setTimeout(() => sayTyping(false), TYPING_STOPS_MS);
    if (Date.now() - typingSaid < TYPING_EVERY_MS) return;
    typingSaid = Date.now();
    session.client.tell('typing', { room, on: true });
  };

  const submit = async () => {
    const text = input.value.trim();
    if (text === '') return;
    // The server forgets the sign with the message; saying so as well would only cost a frame.
    clearTimeout(typingStops);
    typingSaid = 0;
    const mentions = mentionedIds(text, people());
    if (editing) {
      const seq = editing.seq;
      const unchanged = editing.text === text;
      cancel();
      if (!unchanged && !(await attempt(() => session.client.request('message.edit', { room, seq, text, mentions })))) setText(text);
      return;
    }
    session.client.send({ room, text, mentions, reply_to: replying?.seq });
    drafts.delete(room);
    replying = undefined;
    drawContext();
    setText('');
    hooks.sent();
  };

  input.addEventListener('input', () => {
    grow();
    if (!editing) drafts.set(room, input.value);
    if (!editing) sayTyping(input.value.trim() !== '');
  });
  input.addEventListener('keydown', (event) => {
    if (completion.keydown(event)) return;
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      void submit();
    } else if (event.key === 'Escape' && (editing || replying)) {
      event.stopPropagation();
      cancel();
    } else if (event.key === 'ArrowUp' && input.value === '') {
      const own = conversation.log.messages.findLast((m) => m.user === session.me.id && !m.deleted);
      if (!own) return;
      event.preventDefault();
      edit(own);
    }
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void submit();
    input.focus();
  });
  emoji.addEventListener('click', () =>
    openEmoji(emoji, (picked) => {
      input.setRangeText(picked, input.selectionStart, input.selectionEnd, 'end');
      input.dispatchEvent(new Event('input', { bubbles: true }));
      input.focus();
    }),
  );

  /** @param {Message} message */
  const edit = (message) => {
    editing = message;
    replying = undefined;
    setText(message.text);
    drawContext();
    input.focus();
  };

  const drawMuted = () => {
    const until = session.rooms.views.get(room)?.muted_until;
    const silent = until !== undefined && until > Date.now();
    muted.hidden = !silent;
    input.disabled = silent;
    emoji.disabled = silent;
  };
  const offs = [
    session.on('rooms', drawMuted),
    session.on('members', (where) => where === room && completion.refresh()),
  ];
  drawMuted();
  setText(drafts.get(room) ?? '');

  return {
    view: h('div', { class: 'composer-holder' }, muted, form),
    focus: () => input.focus(),
    edit,
    /** @param {Message} message */
    reply(message) {
      if (editing) cancel();
      replying = message;
      drawContext();
      input.focus();
    },
    stop() {
      offs.forEach((off) => off());
      sayTyping(false);
    },
  };
}
