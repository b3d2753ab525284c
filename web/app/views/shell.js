/**
 * The page of a signed-in person: chats, the open room or the shop, the panel; which of them is on
 * the screen when there is room for one only; and the keys that work everywhere.
 *
 * @module
 */

import { fill, h } from '../dom.js';
import { flame, icon } from '../icons.js';
import { connectionBanner } from './banner.js';
import { chatView } from './chat.js';
import { chatList } from './chats.js';
import { friendsPanel } from './friends.js';
import { membersPanel } from './members.js';
import { newsText } from './news.js';
import { noticesPanel } from './notices.js';
import { searchPanel } from './search.js';
import { sections } from './sections.js';
import { shopView } from './shop/index.js';
import { openShortcuts } from './shortcuts.js';
import { meCard } from './status.js';
import { attempt, toast, toastError } from './toast.js';
import { parseRoute, routeOf, shopRoute } from '../route.js';
import { welcome } from './welcome.js';

/** @import { ShopPlace } from '../route.js' */
/** @import { Session } from '../model/session.js' */

/** @typedef {'friends' | 'members' | 'search' | 'notices'} PanelMode */

/** @type {Record<PanelMode, string>} */
const PANEL_TITLES = { friends: 'Friends', members: 'Members', search: 'Search', notices: 'Notices' };

/**
 * @param {Session} session
 * @param {() => void} signOut
 */
export function shell(session, signOut) {
  /** @type {ReturnType<typeof chatView> | undefined} */
  let chat;
  /** @type {ReturnType<typeof shopView> | undefined} */
  let shop;
  /** @type {{ view: HTMLElement, stop?: () => void, focus?: () => void } | undefined} */
  let panelContent;
  /** @type {PanelMode} */
  let mode = 'friends';

  const openRoom = (/** @type {string} */ room, /** @type {number | undefined} */ seq = undefined) => {
    const hash = routeOf({ room, seq });
    if (location.hash === hash) route();
    else location.hash = hash;
  };
  const openChat = (/** @type {string} */ user) =>
    void attempt(async () => {
      openRoom(await session.openDirect(user));
    });
  const openShop = () => {
    // On a narrow screen this leads back to where one was; from there, and beside it, to the front.
    if (shop && root.dataset.view !== 'shop' && matchMedia('(width < 720px)').matches) setView('shop');
    else location.hash = shopRoute();
  };

  const friends = friendsPanel(session, openChat);
  const chats = chatList(session, { current: () => chat?.room, open: openRoom, search: () => showPanel('search') });
  const main = h('main', { class: 'main', id: 'main', tabindex: '-1', 'aria-label': 'Conversation' });
  const panelTitle = h('h2', null);
  const panelHolder = h('div', { class: 'panel-holder' });
  const panelClose = h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close panel', onclick: () => closePanel() }, icon('x'));
  const panel = h('aside', { class: 'panel', 'aria-label': 'Friends' }, h('header', { class: 'panel-head' }, panelTitle, panelClose), panelHolder);
  const root = h('div', { class: 'shell', 'data-view': 'chats' });
  const ways = sections(session, {
    chats: () => {
      location.hash = '';
      setView('chats');
    },
    shop: openShop,
    friends: () => showPanel('friends'),
    notices: () => (mode === 'notices' && root.dataset.panel ? closePanel() : showPanel('notices')),
  });

  const setView = (/** @type {'chats' | 'chat' | 'shop' | 'panel'} */ view) => {
    root.dataset.view = view;
    ways.show(view === 'panel' ? (mode === 'notices' ? 'notices' : 'friends') : view === 'shop' ? 'shop' : 'chats');
  };
  /** Makes way for what was chosen in the panel; where there is room for both it stays, and can be closed. */
  const foldPanel = () => {
    if (mode === 'friends' || !matchMedia('(width >= 1180px)').matches) delete root.dataset.panel;
  };
  /** Back to what the panel lies over. */
  const showMain = () => setView(shop ? 'shop' : chat ? 'chat' : 'chats');

  /** @param {PanelMode} next */
  const showPanel = (next) => {
    panelContent?.stop?.();
    panelContent = undefined;
    mode = next;
    panel.dataset.mode = next;
    panelTitle.textContent = PANEL_TITLES[next];
    panel.setAttribute('aria-label', PANEL_TITLES[next]);
    if (next === 'friends') fill(panelHolder, friends.view);
    else {
      if (next === 'members' && chat) panelContent = membersPanel(session, chat.room, openChat);
      if (next === 'search') panelContent = searchPanel(session, chat?.room, openRoom);
      if (next === 'notices') panelContent = noticesPanel(session);
      fill(panelHolder, panelContent?.view);
    }
    root.dataset.panel = 'open';
    setView('panel');
    panelContent?.focus?.();
  };
  const closePanel = () => {
    if (mode !== 'friends') showPanel('friends');
    delete root.dataset.panel;
    showMain();
    if (shop) shop.settle();
    else chat?.focus();
  };
  const findFriends = () => {
    showPanel('friends');
    friends.focus();
  };
  const togglePanel = (/** @type {'members' | 'search'} */ next) => (mode === next && root.dataset.panel ? closePanel() : showPanel(next));

  const route = () => {
    const { room, seq, shop: place } = parseRoute(location.hash);
    if (place) {
      showShop(place);
      return;
    }
    if (room === undefined || (session.ready && !session.rooms.views.has(room))) {
      closeRoom();
      return;
    }
    // The first snapshot has to be in before anything can be said about a room.
    if (!session.ready) return;
    if (chat?.room !== room) {
      leaveMain();
      if (mode === 'members') showPanel('friends');
      chat = chatView(session, room, { back: () => (location.hash = ''), openChat, togglePanel });
      fill(main, chat.view);
      main.setAttribute('aria-label', 'Conversation');
    }
    foldPanel();
    setView('chat');
    chats.draw();
    if (seq !== undefined) void chat.jump(seq);
    else if (matchMedia('(hover: hover)').matches) chat.focus();
  };
  const leaveMain = () => {
    chat?.stop();
    shop?.stop();
    chat = undefined;
    shop = undefined;
  };
  const closeRoom = () => {
    leaveMain();
    fill(main, welcome(session, findFriends));
    main.setAttribute('aria-label', 'Conversation');
    chats.draw();
    setView('chats');
  };
  /** @param {ShopPlace} place */
  const showShop = (place) => {
    if (mode === 'members') showPanel('friends');
    foldPanel();
    setView('shop');
    if (shop) {
      shop.show(place);
      return;
    }
    leaveMain();
    shop = shopView(session, place);
    fill(main, shop.view);
    main.setAttribute('aria-label', 'Shop');
    chats.draw();
    setView('shop');
    shop.settle();
  };

  root.append(
    h('a', { class: 'skip', href: '#main', onclick: skipTo(main) }, 'Skip to the conversation'),
    connectionBanner(session),
    h(
      'nav',
      { class: 'side', 'aria-label': 'Chats' },
      h('header', { class: 'side-head' }, flame(), h('h1', null, 'Fireside'), ways.buttons),
      chats.view,
      meCard(session, signOut),
    ),
    main,
    panel,
    ways.tabs,
  );
  showPanel('friends');
  delete root.dataset.panel;

  const neighbour = (/** @type {number} */ step, /** @type {boolean} */ unreadOnly) => {
    const rooms = session.rooms.sorted().filter((view) => !unreadOnly || view.unread > 0 || view.id === chat?.room);
    const at = rooms.findIndex((view) => view.id === chat?.room);
    const next = rooms[at === -1 ? 0 : (at + step + rooms.length) % rooms.length];
    if (next) openRoom(next.id);
  };
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches('input, textarea, select');
    if ((event.ctrlKey || event.metaKey) && event.key === 'k') showPanel('search');
    else if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) neighbour(event.key === 'ArrowUp' ? -1 : 1, event.shiftKey);
    else if (event.key === '?' && !typing && !document.querySelector('dialog')) openShortcuts();
    else if (event.key === 'Escape' && !document.querySelector('dialog')) {
      if (root.dataset.panel) closePanel();
      else if (chat) chat.focus();
    } else return;
    event.preventDefault();
  };
  addEventListener('keydown', keydown);
  addEventListener('hashchange', route);
  const offs = [
    session.on('rooms', () => {
      // Rooms may come before or after the address asks for one.
      if (!chat && session.ready && parseRoute(location.hash).room !== undefined) route();
    }),
    ways.stop,
    session.on('removed', (room) => {
      if (chat?.room !== room) return;
      toast('You are no longer in that group.');
      location.hash = '';
    }),
    session.on('news', (notice) => {
      const text = newsText(notice);
      if (text) toast(text);
    }),
    session.on('send-failed', (message) => {
      // In the open room the message itself says so.
      if (message.room !== chat?.room) toastError(message.error);
    }),
  ];
  closeRoom();
  route();
  return {
    view: root,
    stop() {
      removeEventListener('keydown', keydown);
      removeEventListener('hashchange', route);
      offs.forEach((off) => off());
      panelContent?.stop?.();
      leaveMain();
    },
  };
}

/**
 * A fragment is a route here, so the skip link moves the focus itself.
 * @param {HTMLElement} target
 */
function skipTo(target) {
  return (/** @type {Event} */ event) => {
    event.preventDefault();
    target.focus();
  };
}
