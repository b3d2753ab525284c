/**
 * A signed-in person's session: the client on one side, what the views show on the other. Views
 * read from here and listen; they never talk to the socket's events themselves.
 *
 * @module
 */

import { Fireside } from '../../fireside.js';
import { Emitter } from '../../fireside/emitter.js';
import { ProfilesApi } from '../net/profiles.js';
import { ShopApi } from '../net/shop.js';
import { Conversation } from './conversation.js';
import { People } from './people.js';
import { Rooms } from './rooms.js';
import { Seen } from './seen.js';
import { Shop } from './shop.js';
import { Unsent } from './unsent.js';

/** @import { Activity, ConnectionState, Outgoing, PresenceSet, PresenceView, ShopNotice, Status } from '../../fireside/types.js' */
/** @import { Api, Own } from '../net/api.js' */
/** @import { Account, Auth } from '../net/auth.js' */

/**
 * @typedef {{
 *   me: undefined, people: undefined, rooms: undefined,
 *   conversation: string, members: string, typing: string,
 *   connection: ConnectionState, removed: string, 'send-failed': Outgoing, news: ShopNotice,
 * }} SessionEvents
 */

/** How long until friends are asked for again when that failed. */
const RELOAD_MS = 5_000;
/** How long counts of a room wait before they are asked for anew. */
const RECOUNT_MS = 400;

/** @extends {Emitter<SessionEvents>} */
export class Session extends Emitter {
  /**
   * @param {{ auth: Auth, api: Api, account: Account, device: string }} with_
   */
  constructor({ auth, api, account, device }) {
    super();
    this.auth = auth;
    this.api = api;
    /** @type {Own} */
    this.me = { ...account };
    this.people = new People(api, () => this.emit('people', undefined));
    this.people.learn(this.me);
    this.rooms = new Rooms(this.people);
    this.rooms.me = account.id;
    this.shop = new Shop(new ShopApi(api));
    this.profiles = new ProfilesApi(api);
    /** @type {Map<string, Conversation>} */
    this.conversations = new Map();
    /** Whether the first snapshot is in. */
    this.ready = false;
    this.maxText = 4_000;
    /** @type {Map<string, ReturnType<typeof setTimeout>>} */
    this.recounts = new Map();

    /** The notices of the shop that were shown. */
    this.news = new Seen();

    this.presence = this.rememberedPresence();
    /** Away because nobody touches the page; what was chosen comes back with the person. */
    this.idle = false;

    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.client = new Fireside({
      url: `${scheme}//${location.host}/v1/ws`,
      getToken: (how) => auth.token(how),
      encoding: encodingWanted(),
      device,
      client: 'fireside-web/0.1.0',
      presence: this.presence,
    });
    this.unsent = new Unsent(account.id);
    this.listen();
  }

  start() {
    this.client.connect();
    for (const { room, nonce, text, reply_to, mentions } of this.unsent.take()) {
      this.client.send({ room, nonce, text, reply_to, mentions });
    }
    this.reload();
  }

  /** Reads what comes over REST and not over the socket. */
  reload() {
    this.people.load().catch(() => {
      if (this.client.state.name !== 'stopped') setTimeout(() => this.reload(), RELOAD_MS);
    });
    this.api.me().then(
      (me) => {
        this.me = me;
        this.people.learn(me);
        this.emit('me', undefined);
      },
      () => undefined,
    );
  }

  /** @param {string} room */
  conversation(room) {
    let conversation = this.conversations.get(room);
    if (!conversation) this.conversations.set(room, (conversation = new Conversation(this, room)));
    return conversation;
  }

  /**
   * Opens the direct conversation with somebody.
   * @param {string} user
   * @returns {Promise<string>} the room
   */
  async openDirect(user) {
    const known = this.rooms.directWith(user);
    if (known) return known.id;
    const { room } = await this.client.request('room.open_dm', { user });
    this.client.rooms.adopt(room);
    this.rooms.put(room);
    this.emit('rooms', undefined);
    return room.id;
  }

  /**
   * @param {string} name
   * @param {string[]} members
   */
  async createGroup(name, members) {
    const { room } = await this.client.request('room.create', { kind: 'group', name, members });
    this.client.rooms.adopt(room);
    this.rooms.put(room);
    this.emit('rooms', undefined);
    return room.id;
  }

  /**
   * Tells the server how far a room was read.
   * @param {string} room
   */
  read(room) {
    const view = this.rooms.views.get(room);
    if (!view || view.read >= view.head || this.client.state.name !== 'online') return;
    const seq = view.head;
    this.client.tell('read', { room, seq });
    this.rooms.markRead(room, seq);
    this.emit('rooms', undefined);
  }

  /**
   * @param {Exclude<Status, 'offline' | 'unknown'>} status
   * @param {Activity | undefined} activity
   */
  async setPresence(status, activity) {
    this.presence = activity ? { status, activity } : { status };
    this.idle = false;
    localStorage.setItem(`fireside.presence.${this.me.id}`, JSON.stringify(this.presence));
    this.emit('me', undefined);
    await this.client.setPresence(this.presence);
  }

  /** @param {boolean} idle */
  setIdle(idle) {
    if (idle === this.idle || (idle && this.presence.status !== 'online')) return;
    this.idle = idle;
    this.emit('me', undefined);
    this.client.setPresence(this.shownPresence).catch(() => undefined);
  }

  /** @returns {PresenceSet & PresenceView} */
  get shownPresence() {
    return this.idle ? { ...this.presence, status: 'away' } : this.presence;
  }

  /** @returns {PresenceSet} */
  rememberedPresence() {
    try {
      const value = JSON.parse(localStorage.getItem(`fireside.presence.${this.me.id}`) ?? 'null');
      if (['online', 'away', 'busy', 'invisible'].includes(value?.status)) return value;
    } catch {
      // Somebody else's writing: begin afresh.
    }
    return { status: 'online' };
  }

  listen() {
    const { client, people, rooms } = this;
    client.on('state', (state) => this.emit('connection', state));
    client.on('started', (started) => {
      this.ready = true;
      this.maxText = started.limits.max_text_chars;
      rooms.replace(started.rooms);
      for (const friend of started.friends) {
        people.learn({ id: friend.id, name: friend.name });
        people.relations.set(friend.id, 'friend');
        people.presences.set(friend.id, friend.presence);
      }
      people.loaded = true;
      for (const conversation of this.conversations.values()) void conversation.loadMembers();
      void this.shop.refresh();
      if (this.started) this.reload();
      this.started = true;
      this.emit('people', undefined);
      this.emit('rooms', undefined);
    });
    client.on('entry', ({ room, entry }) => {
      if (rooms.apply(room, entry)) this.recount(room);
      this.conversations.get(room)?.apply(entry);
      this.emit('rooms', undefined);
    });
    client.on('reset', ({ room, view }) => {
      if (view) rooms.put(view);
      else this.recount(room);
      void this.conversations.get(room)?.reset();
      this.emit('rooms', undefined);
    });
    client.on('room.added', ({ room }) => {
      rooms.put(room);
      if (room.last) this.conversations.get(room.id)?.stopTyping(room.last.user);
      this.emit('rooms', undefined);
    });
    client.on('room.removed', ({ room }) => {
      rooms.views.delete(room);
      this.conversations.delete(room);
      this.emit('rooms', undefined);
      this.emit('removed', room);
    });
    client.on('read', ({ room, user, seq }) => {
      if (user === this.me.id && rooms.markRead(room, seq)) this.recount(room);
      this.conversations.get(room)?.markRead(user, seq);
      this.emit('rooms', undefined);
    });
    client.on('typing', ({ room, user, on }) => {
      if (user !== this.me.id) this.conversation(room).setTyping(user, on);
    });
    client.on('presence', ({ user, ...presence }) => {
      if (user === this.me.id) return;
      people.presences.set(user, presence);
      this.emit('people', undefined);
    });
    client.on('friend.changed', ({ user, state }) => {
      people.learn(user);
      people.setRelation(user.id, state);
      if (!people.profiles.get(user.id)?.avatar_url) {
        people.asked.delete(user.id);
        void people.ask(user.id);
      }
    });
    client.on('block.changed', ({ user, blocked }) => {
      if (blocked) people.blocked.add(user);
      else people.blocked.delete(user);
      this.emit('people', undefined);
    });
    client.on('profile.changed', ({ user, avatar_url, status_text }) => {
      people.learn({ ...user, avatar_url, status_text });
      if (user.id === this.me.id) {
        this.me = { ...this.me, name: user.name ?? this.me.name, avatar_url, status_text };
        this.emit('me', undefined);
      }
      this.emit('people', undefined);
    });
    client.on('notice', (notice) => {
      if (!this.news.first(notice.id)) return;
      this.shop.heard(notice);
      if (notice.topic !== 'queue_rank') this.emit('news', notice);
    });
    client.on('outgoing', (message) => {
      this.unsent.update(message);
      this.conversation(message.room).outgoing(message);
      if (message.status === 'failed') this.emit('send-failed', message);
    });
  }

  /** @param {string} room */
  recount(room) {
    if (this.recounts.has(room)) return;
    this.recounts.set(
      room,
      setTimeout(async () => {
        this.recounts.delete(room);
        try {
          const { room: view } = await this.client.request('room.get', { room });
          // Entries that overtook this answer have been counted already.
          if (view.head >= (this.rooms.views.get(room)?.head ?? 0)) this.rooms.put(view);
          this.emit('rooms', undefined);
        } catch {
          // The next snapshot brings the counts.
        }
      }, RECOUNT_MS),
    );
  }
}

/** The encoding can be switched for debugging: `localStorage['fireside.encoding'] = 'json'`. */
function encodingWanted() {
  return localStorage.getItem('fireside.encoding') === 'json' ? 'json' : 'msgpack';
}
