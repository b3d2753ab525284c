/**
 * What waits to be read, in the title of the window.
 *
 * @module
 */

/** @import { Session } from './model/session.js' */

/**
 * @param {Session} session
 * @returns {() => void} stops
 */
export function titleNotices(session) {
  const draw = () => {
    const { messages, mentions } = session.rooms.unread;
    const requests = session.people.inState('incoming').length;
    const count = messages + requests;
    document.title = `${count > 0 ? `(${count}${mentions > 0 ? ' @' : ''}) ` : ''}Fireside`;
  };
  const offs = [session.on('rooms', draw), session.on('people', draw)];
  draw();
  return () => {
    offs.forEach((off) => off());
    document.title = 'Fireside';
  };
}
