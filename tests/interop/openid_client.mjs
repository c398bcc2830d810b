// The flows of openid-client, with both kinds of discovery; jose verifies the tokens.
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import * as jose from 'jose';
import * as openid from 'openid-client';

const issuer = process.env.M2M_ISSUER;
const parts = process.env.M2M_PARTS.split(' ');
const secret = readFileSync(process.env.M2M_SECRET_FILE, 'ascii');
const scope = 'devices:read';

const discover = (id, authentication, algorithm = 'oidc') =>
  openid.discovery(new URL(issuer), id, undefined, authentication, {
    algorithm,
    execute: [openid.allowInsecureRequests],
  });

async function accept(config, token, client) {
  const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
  const { payload, protectedHeader } = await jose.jwtVerify(token.access_token, keys, {
    issuer,
    audience: process.env.M2M_AUDIENCE,
    typ: 'at+jwt',
    requiredClaims: ['sub', 'jti', 'exp', 'iat', 'client_id'],
  });
  assert.equal(protectedHeader.alg, 'ES256');
  assert.equal(payload.sub, client);
  assert.equal(payload.scope, scope);
}

for (const algorithm of ['oidc', 'oauth2']) {
  for (const method of [openid.ClientSecretBasic, openid.ClientSecretPost]) {
    const config = await discover('legacy', method(secret), algorithm);
    await accept(config, await openid.clientCredentialsGrant(config, { scope }), 'legacy');
  }
}
const config = await discover('legacy', openid.ClientSecretPost(secret));
const wrong = await discover('legacy', openid.ClientSecretPost('wrong'));
await assert.rejects(openid.clientCredentialsGrant(wrong), { error: 'invalid_client', status: 401 });
await assert.rejects(openid.clientCredentialsGrant(config, { scope: 'admin' }), { error: 'invalid_scope', status: 400 });
await assert.rejects(openid.genericGrantRequest(config, 'urn:unknown:grant', {}), {
  error: 'unsupported_grant_type',
  status: 400,
});

if (parts.includes('private_key_jwt')) {
  const key = await jose.importPKCS8(readFileSync(process.env.M2M_KEY_FILE, 'ascii'), 'ES256');
  const signer = await discover('signer', openid.PrivateKeyJwt(key));
  await accept(signer, await openid.clientCredentialsGrant(signer, { scope }), 'signer');
}

const { access_token: token } = await openid.clientCredentialsGrant(config, { scope });
const active = async () => (await openid.tokenIntrospection(config, token)).active;
if (parts.includes('introspection')) assert.equal(await active(), true);
await openid.tokenRevocation(config, token, { token_type_hint: 'access_token' });
if (parts.includes('introspection')) assert.equal(await active(), false);

if (parts.includes('refresh')) {
  const first = await openid.clientCredentialsGrant(config, { scope });
  const second = await openid.refreshTokenGrant(config, first.refresh_token);
  await accept(config, second, 'legacy');
  assert.notEqual(second.refresh_token, first.refresh_token);
  await openid.tokenRevocation(config, second.refresh_token);
  await assert.rejects(openid.refreshTokenGrant(config, second.refresh_token), { error: 'invalid_grant' });
}
console.log('openid-client: accepted');
