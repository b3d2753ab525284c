/**
 * Everybody the page knows: names and faces, how they stand to the signed-in person, and how they
 * are right now.
 *
 * @module
 */

/** @import { FriendState, PresenceView, UserRef } from '../../fireside/types.js' */
/** @import { Api, Profile } from '../net/api.js' */

/** @typedef {'game' | 'online' | 'away' | 'offline' | 'unknown'} PresenceGroup */

/** @type {[PresenceGroup, string][]} */
export const GROUPS = [
  ['game', 'In game'],
  ['online', 'Online'],
  ['away', 'Away and busy'],
  ['unknown', 'Status unknown'],
  ['offline', 'Offline'],
];

/**
 * @param {PresenceView | undefined} presence
 * @returns {PresenceGroup}
 */
export function groupOf(presence) {
  if (!presence) return 'unknown';
  const { status, activity } = presence;
  if (status === 'unknown') return 'unknown';
  if (status === 'offline' || status === 'invisible') return 'offline';
  if (activity) return 'game';
  return status === 'online' ? 'online' : 'away';
}

export class People {
  /**
   * @param {Api} api
   * @param {() => void} changed
   */
  constructor(api, changed) {
    this.api = api;
    this.changed = changed;
    /** @type {Map<string, Profile>} */
    this.profiles = new Map();
    /** @type {Map<string, FriendState>} */
    this.relations = new Map();
    /** @type {Map<string, PresenceView>} */
    this.presences = new Map();
    /** @type {Set<string>} */
    this.blocked = new Set();
    /** @type {Set<string>} people asked for by id, so that each is asked for once */
    this.asked = new Set();
    this.loaded = false;
  }

  /** Reads friends, requests and blocks afresh. */
  async load() {
    const [friends, blocks] = await Promise.all([this.api.friends(), this.api.blocks().catch(() => [])]);
    this.relations = new Map(friends.map((item) => [item.user.id, item.state]));
    this.blocked = new Set(blocks.map((item) => item.user.id));
    for (const { user } of [...friends, ...blocks]) this.learn(user);
    this.loaded = true;
    this.changed();
  }

  /** @param {UserRef & Partial<Profile>} user */
  learn(user) {
    const known = this.profiles.get(user.id);
    if (!user.name && !known) return;
    this.profiles.set(user.id, { ...known, ...user, name: user.name ?? known?.name ?? user.id });
  }

  /** @param {string} id */
  profile(id) {
    const known = this.profiles.get(id);
    if (!known) void this.ask(id);
    return known;
  }

  /** @param {string} id */
  name(id) {
    return this.profile(id)?.name ?? '…';
  }

  /** @param {string} id */
  async ask(id) {
    if (this.asked.has(id)) return;
    this.asked.add(id);
    try {
      this.learn(await this.api.person(id));
    } catch {
      this.learn({ id, name: 'Somebody' });
    }
    this.changed();
  }

  /** @param {string} id */
  relation(id) {
    return this.relations.get(id) ?? 'none';
  }

  /**
   * @param {string} id
   * @param {FriendState} state
   */
  setRelation(id, state) {
    if (state === 'none') this.relations.delete(id);
    else this.relations.set(id, state);
    if (state !== 'friend') this.presences.delete(id);
    this.changed();
  }

  /**
   * @param {FriendState} state
   * @returns {Profile[]} by name
   */
  inState(state) {
    const list = [...this.relations].filter(([, s]) => s === state).map(([id]) => this.profiles.get(id));
    return list.filter((p) => p !== undefined).sort(byName);
  }

  /** Friends by how they are. */
  grouped() {
    /** @type {Map<PresenceGroup, Profile[]>} */
    const groups = new Map(GROUPS.map(([group]) => [group, []]));
    for (const friend of this.inState('friend')) groups.get(groupOf(this.presences.get(friend.id)))?.push(friend);
    return groups;
  }
}

/**
 * @param {Profile} a
 * @param {Profile} b
 */
export function byName(a, b) {
  return a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1);
}
