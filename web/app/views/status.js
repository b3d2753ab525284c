/**
 * The signed-in person's card: who they are, how they seem, what they do, and the settings.
 *
 * @module
 */

import { h, fill, unseen } from '../dom.js';
import { icon } from '../icons.js';
import { STATUS_WORDS, presenceLine } from '../format.js';
import { setTheme, theme } from '../appearance.js';
import { shopRoute } from '../route.js';
import { openAccount } from './account.js';
import { avatar, presenceDot } from './avatar.js';
import { field, openForm } from './dialog.js';
import { openMenu } from './menu.js';
import { openPrivacy } from './privacy.js';
import { openBlocked, openProfile } from './profile.js';
import { openShortcuts } from './shortcuts.js';
import { attempt } from './toast.js';

/** @import { Activity } from '../../fireside/types.js' */
/** @import { Session } from '../model/session.js' */

/** @type {('online' | 'away' | 'busy' | 'invisible')[]} */
const CHOICES = ['online', 'away', 'busy', 'invisible'];

/**
 * @param {Session} session
 * @param {() => void} signOut
 */
export function meCard(session, signOut) {
  const face = h('span', { class: 'me-face' });
  const name = h('span', { class: 'me-name' });
  const line = h('span', { class: 'me-line' });
  const who = h('button', { class: 'me-who', type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false' }, unseen('Your status: '), face, h('span', { class: 'me-words' }, name, line));
  who.addEventListener('click', () => openStatusMenu(session, who));
  const gear = h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Settings', 'aria-haspopup': 'menu', 'aria-expanded': 'false' }, icon('gear'));
  gear.addEventListener('click', () => openSettings(session, gear, signOut));

  const draw = () => {
    const presence = session.shownPresence;
    fill(face, avatar(session.me, { presence }));
    name.textContent = session.me.name;
    line.textContent = presenceLine(presence);
  };
  session.on('me', draw);
  draw();
  return h('div', { class: 'me' }, who, gear);
}

/**
 * @param {Session} session
 * @param {HTMLElement} anchor
 */
function openStatusMenu(session, anchor) {
  const { status, activity } = session.presence;
  openMenu(anchor, 'Status', [
    ...CHOICES.map((choice) => ({
      label: STATUS_WORDS[choice] ?? choice,
      mark: presenceDot({ status: choice }),
      checked: status === choice,
      run: () => void attempt(() => session.setPresence(choice, activity)),
    })),
    '-',
    { label: activity ? 'Change activity…' : 'Set an activity…', icon: 'game', run: () => openActivity(session) },
    activity && {
      label: 'Clear activity',
      icon: 'x',
      run: () => void attempt(() => session.setPresence(/** @type {any} */ (status), undefined)),
    },
  ]);
}

/** @param {Session} session */
function openActivity(session) {
  const { status, activity } = session.presence;
  openForm(
    'What are you playing?',
    [
      field('Game', { name: 'game', required: true, maxlength: 128, value: activity?.game ?? '', placeholder: 'Emberfall' }),
      field('Where in the game', { name: 'state', maxlength: 128, value: activity?.state ?? '', placeholder: 'In the lobby' }),
      field('Details', { name: 'details', maxlength: 128, value: activity?.details ?? '', placeholder: 'Ranked, Gold II' }),
      h(
        'label',
        { class: 'check' },
        h('input', { type: 'checkbox', name: 'joinable', checked: activity?.joinable }),
        'Friends may join',
      ),
    ],
    {
      submit: 'Set activity',
      run: async (data) => {
        const text = (/** @type {string} */ name) => String(data.get(name) ?? '').trim();
        const game = text('game');
        if (game === '') throw new Error('Which game is it?');
        /** @type {Activity} */
        const next = { kind: 'game', game, since: activity?.game === game ? activity.since : Date.now() };
        if (text('state')) next.state = text('state');
        if (text('details')) next.details = text('details');
        if (data.has('joinable')) next.joinable = true;
        await session.setPresence(/** @type {any} */ (status), next);
      },
    },
  );
}

/**
 * @param {Session} session
 * @param {HTMLElement} anchor
 * @param {() => void} signOut
 */
function openSettings(session, anchor, signOut) {
  const now = theme();
  openMenu(anchor, 'Settings', [
    { label: 'Your profile', icon: 'user', run: () => (location.hash = shopRoute('person')) },
    { label: 'Edit profile…', icon: 'edit', run: () => openProfile(session) },
    { label: 'Account…', icon: 'gear', run: () => void openAccount(session) },
    { label: 'Privacy…', icon: 'shield', run: () => openPrivacy(session) },
    { label: 'Blocked people…', icon: 'block', run: () => openBlocked(session) },
    { label: 'Keyboard shortcuts', icon: 'keyboard', hint: '?', run: openShortcuts },
    '-',
    { label: 'Follow the system', checked: now === 'system', run: () => setTheme('system') },
    { label: 'Dark', checked: now === 'dark', run: () => setTheme('dark') },
    { label: 'Light', checked: now === 'light', run: () => setTheme('light') },
    '-',
    { label: 'Sign out', icon: 'logout', danger: true, run: signOut },
  ]);
}
