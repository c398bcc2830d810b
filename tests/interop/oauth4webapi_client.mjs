// oauth4webapi, which checks every answer strictly, as a client and (RFC 9068) as a resource server.
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';

const issuer = new URL(process.env.M2M_ISSUER);
const parts = process.env.M2M_PARTS.split(' ');
const secret = readFileSync(process.env.M2M_SECRET_FILE, 'ascii');
const insecure = { [oauth.allowInsecureRequests]: true };
const client = { client_id: 'legacy' };
const authentication = oauth.ClientSecretPost(secret);

const discover = async (algorithm) =>
  oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }));
const server = await discover('oauth2');
assert.deepEqual(await discover('oidc'), server);

async function grant(client, authentication, parameters = {}) {
  const request = { scope: 'devices:read', ...parameters };
  const answer = await oauth.clientCredentialsGrantRequest(server, client, authentication, request, insecure);
  return oauth.processClientCredentialsResponse(server, client, answer);
}

async function accept(token, client) {
  const headers = { authorization: `Bearer ${token.access_token}` };
  const request = new Request('https://devices.example/', { headers });
  const claims = await oauth.validateJwtAccessToken(server, request, process.env.M2M_AUDIENCE, insecure);
  assert.equal(claims.client_id, client.client_id);
  assert.equal(claims.scope, 'devices:read');
}

for (const method of [oauth.ClientSecretBasic(secret), authentication]) {
  await accept(await grant(client, method), client);
}
const unknown = { client_id: 'unknown-of-oauth4webapi' };
await assert.rejects(grant(unknown, authentication), { error: 'invalid_client', status: 401 });
// With Basic the answer must carry a challenge (RFC 6749 section 5.2), which oauth4webapi reads before the body.
await assert.rejects(grant(unknown, oauth.ClientSecretBasic(secret)), (error) => {
  assert(error instanceof oauth.WWWAuthenticateChallengeError);
  assert.equal(error.cause[0].scheme, 'basic');
  return true;
});
await assert.rejects(grant(client, authentication, { scope: 'admin' }), { error: 'invalid_scope', status: 400 });
await assert.rejects(grant(client, authentication, { audience: 'https://other.example' }), { error: 'invalid_target' });

if (parts.includes('private_key_jwt')) {
  const key = await jose.importPKCS8(readFileSync(process.env.M2M_KEY_FILE, 'ascii'), 'ES256');
  const signer = { client_id: 'signer' };
  await accept(await grant(signer, oauth.PrivateKeyJwt(key)), signer);
}

const { access_token: token } = await grant(client, authentication);
const active = async () => {
  const answer = await oauth.introspectionRequest(server, client, authentication, token, insecure);
  return (await oauth.processIntrospectionResponse(server, client, answer)).active;
};
if (parts.includes('introspection')) assert.equal(await active(), true);
await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, authentication, token, insecure));
if (parts.includes('introspection')) assert.equal(await active(), false);

if (parts.includes('refresh')) {
  const refresh = async (token) => {
    const answer = await oauth.refreshTokenGrantRequest(server, client, authentication, token, insecure);
    return oauth.processRefreshTokenResponse(server, client, answer);
  };
  const first = await grant(client, authentication);
  const second = await refresh(first.refresh_token);
  await accept(second, client);
  assert.notEqual(second.refresh_token, first.refresh_token);
  await assert.rejects(refresh('nonsense'), { error: 'invalid_grant', status: 400 });
}
console.log('oauth4webapi: accepted');
