/**
 * Changes of a room in words.
 *
 * @module
 */

/** @import { Notice } from '../model/roomlog.js' */
/** @import { Session } from '../model/session.js' */

/**
 * @param {Session} session
 * @param {Notice} notice
 */
export function noticeText(session, notice) {
  const name = (/** @type {string} */ id) => (id === session.me.id ? 'You' : session.people.name(id));
  const by = name(notice.user);
  if (notice.kind === 'room') {
    if (notice.created) return `${by} started the conversation`;
    if (notice.name !== undefined) return `${by} named the group “${notice.name}”`;
    if (notice.topic !== undefined) return notice.topic ? `${by} set the topic: ${notice.topic}` : `${by} removed the topic`;
    if (notice.slow_mode_ms !== undefined) return notice.slow_mode_ms ? `${by} turned slow mode on` : `${by} turned slow mode off`;
    return `${by} changed the group`;
  }
  const whom = name(notice.member);
  const alone = notice.user === notice.member;
  switch (notice.action) {
    case 'join':
      return alone ? `${whom} joined` : `${by} added ${lower(whom)}`;
    case 'leave':
      return `${whom} left`;
    case 'role':
      return `${by} made ${lower(whom)} ${notice.role ?? 'member'}`;
    default:
      return `${by} ${PAST[notice.action]} ${lower(whom)}`;
  }
}

/** @type {Record<string, string>} */
const PAST = { kick: 'removed', ban: 'banned', unban: 'lifted the ban of', mute: 'muted', unmute: 'unmuted' };

/** @param {string} name */
function lower(name) {
  return name === 'You' ? 'you' : name;
}
