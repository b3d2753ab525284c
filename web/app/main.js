/**
 * Where the page begins: the door for those who are not signed in, the shell for those who are.
 *
 * @module
 */

import { deviceId } from './device.js';
import { fill } from './dom.js';
import { watchIdle } from './idle.js';
import { Session } from './model/session.js';
import { Api } from './net/api.js';
import { Auth } from './net/auth.js';
import { parseRoute } from './route.js';
import { titleNotices } from './title.js';
import { closeDialogs } from './views/dialog.js';
import { cameBack } from './views/providers.js';
import { shell } from './views/shell.js';
import { signInView } from './views/signin.js';
import { toasts } from './views/toast.js';

const root = document.querySelector('#app');
const auth = new Auth();
const api = new Api(auth);

/** @type {(() => void) | undefined} */
let leave;

/**
 * @param {string} [notice]
 * @param {string} [ticket] of somebody who is back from a provider
 */
function showDoor(notice, ticket) {
  leave?.();
  leave = undefined;
  closeDialogs();
  if (location.hash) history.replaceState(null, '', location.pathname);
  if (root) fill(root, signInView(auth, notice, ticket, () => void showShell()));
}

async function showShell() {
  const { account } = auth;
  if (!account || !root) {
    showDoor();
    return;
  }
  const session = new Session({ auth, api, account, device: await deviceId() });
  const stops = [
    titleNotices(session),
    watchIdle((idle) => session.setIdle(idle)),
    session.on('connection', (state) => {
      if (state.name !== 'stopped') return;
      if (state.reason !== 'unauthenticated' && state.reason !== 'revoked') return;
      // What this tab does to the account is settled below, and what another did, it has stored.
      if (auth.changing) return;
      void auth.undisturbed().then(() => {
        if (auth.renewedElsewhere) return location.reload();
        auth.clear();
        showDoor('Your session has ended. Please sign in again.');
      });
    }),
  ];
  const signOut = async () => {
    const ending = session.client.end();
    leave = undefined;
    page.stop();
    stops.forEach((stop) => stop());
    await ending;
    await auth.logout();
    showDoor();
  };
  const page = shell(session, () => void signOut());
  leave = () => {
    session.client.close();
    page.stop();
    stops.forEach((stop) => stop());
  };
  const wake = () => {
    if (document.visibilityState === 'visible') session.client.wake();
  };
  addEventListener('online', wake);
  document.addEventListener('visibilitychange', wake);
  stops.push(() => {
    removeEventListener('online', wake);
    document.removeEventListener('visibilitychange', wake);
  });
  fill(root, page.view);
  session.start();
}

// Another tab signed out, or in as somebody else: this one follows.
auth.onForeignChange = () => location.reload();

// Every session has ended, this one too: there is another to go on with, or the account is gone.
auth.onOwnChange = () => {
  if (!auth.account) return showDoor('Your account is deleted.');
  leave?.();
  void showShell();
};

document.body.append(toasts);
// Good once, and nothing to keep in the history.
const { ticket } = parseRoute(location.hash);
if (ticket !== undefined) history.replaceState(null, '', location.pathname);
if (!auth.account) showDoor(undefined, ticket);
else if (ticket === undefined) void showShell();
else void cameBack(auth, api, ticket).then(showShell);
