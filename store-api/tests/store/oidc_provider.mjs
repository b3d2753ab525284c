// A provider of identities for the store's tests: oidc-provider, at which people are whoever `login_hint` says they
// are. Says its port, and ends with its standard input.
//
// node oidc_provider.mjs DIRECTORY PORT REDIRECT… — the directory has oidc-provider installed.

import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// Whoever starts this reads the port and nothing more: what the library says of itself goes elsewhere.
console.info = console.error;

const [directory, port, ...redirects] = process.argv.slice(2);
const library = join(directory, 'node_modules/oidc-provider/lib/index.js');
const { default: Provider } = await import(pathToFileURL(library));

const client = {
  client_id: 'fireside',
  client_secret: 'the secret of fireside',
  redirect_uris: redirects,
  token_endpoint_auth_method: 'client_secret_post',
};

// What people say of themselves: those whose name begins with `unproved-` never read a mail.
const claims = (id) => ({
  sub: id,
  nickname: id,
  email: `${id.replace('unproved-', '')}@example.org`,
  email_verified: !id.startsWith('unproved-'),
});

const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));

const provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
  clients: [client],
  claims: { openid: ['sub'], profile: ['nickname'], email: ['email', 'email_verified'] },
  cookies: { keys: ['a key of the tests'] },
  features: { devInteractions: { enabled: false } },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => claims(id) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  // Everybody agrees to be known.
  loadExistingGrant: async ({ oidc }) => {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope('openid profile email');
    await grant.save();
    return grant;
  },
  pkce: { methods: ['S256'], required: () => true },
});
const answer = provider.callback();

async function handle(request, response) {
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  const { params } = await provider.interactionDetails(request, response);
  const refused = { error: 'access_denied' };
  const result = params.login_hint ? { login: { accountId: params.login_hint } } : refused;
  return provider.interactionFinished(request, response, result);
}

console.log(server.address().port);
process.stdin.on('end', () => process.exit()).resume();
