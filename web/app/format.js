/**
 * Times and presences in words.
 *
 * @module
 */

/** @import { Activity, PresenceView } from '../fireside/types.js' */

const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const shortDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const mediumDay = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short' });

/** What stands for a message whose words the server can no longer read. */
export const UNREADABLE = 'This message cannot be read any more';

const DAY_MS = 86_400_000;

/** @param {number} ts */
export const timeOf = (ts) => clockTime.format(ts);
/** @param {number} ts */
export const fullTimeOf = (ts) => fullTime.format(ts);
/** @param {number} ts a day past or to come */
export const dateOf = (ts) => mediumDay.format(ts);

/** @param {number} ts a number that is the same for two times of one local day */
export function dayOf(ts) {
  const date = new Date(ts);
  return date.getFullYear() * 10_000 + date.getMonth() * 100 + date.getDate();
}

/**
 * @param {number} ts
 * @param {number} [now]
 */
export function dayLabel(ts, now = Date.now()) {
  if (dayOf(ts) === dayOf(now)) return 'Today';
  if (dayOf(ts) === dayOf(now - DAY_MS)) return 'Yesterday';
  return longDay.format(ts);
}

/**
 * When something was, as short as it can be told.
 * @param {number} ts
 * @param {number} [now]
 */
export function shortWhen(ts, now = Date.now()) {
  if (dayOf(ts) === dayOf(now)) return clockTime.format(ts);
  if (now - ts < 6 * DAY_MS) return weekday.format(ts);
  return shortDay.format(ts);
}

/**
 * @param {number} ms
 */
export function duration(ms) {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** @type {Record<string, string>} */
export const STATUS_WORDS = {
  online: 'Online',
  away: 'Away',
  busy: 'Do not disturb',
  invisible: 'Invisible',
  offline: 'Offline',
  unknown: 'Status unknown',
};

/**
 * Where in the game, with whom, since when.
 * @param {Activity} activity
 * @param {number} [now]
 */
export function activityDetail(activity, now = Date.now()) {
  const parts = [activity.state, activity.details];
  if (activity.party) parts.push(`Party ${activity.party.size}/${activity.party.max}`);
  if (activity.since) {
    const spent = duration(now - activity.since);
    parts.push(spent === 'just now' ? 'just started' : spent);
  }
  return parts.filter(Boolean).join(' · ');
}

/**
 * A presence in one line.
 * @param {PresenceView | undefined} presence
 * @param {number} [now]
 */
export function presenceLine(presence, now = Date.now()) {
  if (!presence) return STATUS_WORDS.unknown ?? '';
  if (presence.activity && presence.status !== 'offline') {
    const where = presence.activity.state;
    return where ? `${presence.activity.game} — ${where}` : `Playing ${presence.activity.game}`;
  }
  if (presence.status === 'offline' && presence.last_seen) {
    const ago = now - presence.last_seen;
    if (ago < 60_000) return 'Last seen just now';
    if (ago < DAY_MS) return `Last seen ${duration(ago)} ago`;
    return `Last seen ${shortDay.format(presence.last_seen)}`;
  }
  return STATUS_WORDS[presence.status] ?? presence.status;
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
