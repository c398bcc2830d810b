// A token is issued to openid-client and accepted by jose, by discovery alone.
import assert from 'node:assert';
const issuer = process.env.M2M_ISSUER;

(async () => {
  const openid = await import('openid-client');
  const jose = await import('jose');
  for (const algorithm of ['oidc', 'oauth2']) {
    for (const method of [openid.ClientSecretBasic, openid.ClientSecretPost]) {
      const config = await openid.discovery(new URL(issuer), 'legacy', undefined, method(process.env.M2M_SECRET), {
        algorithm,
        execute: [openid.allowInsecureRequests],
      });
      const token = await openid.clientCredentialsGrant(config, { scope: 'devices:read' });
      const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
      const { payload, protectedHeader } = await jose.jwtVerify(token.access_token, keys, {
        issuer,
        audience: process.env.M2M_AUDIENCE,
        typ: 'at+jwt',
        requiredClaims: ['sub', 'jti', 'exp', 'iat', 'client_id'],
      });
      assert.equal(protectedHeader.alg, 'ES256');
      assert.equal(payload.sub, 'legacy');
      assert.equal(payload.scope, 'devices:read');
    }
  }
  const config = await openid.discovery(new URL(issuer), 'legacy', undefined, openid.ClientSecretPost('wrong'), {
    execute: [openid.allowInsecureRequests],
  });
  await assert.rejects(openid.clientCredentialsGrant(config), { error: 'invalid_client', status: 401 });
  console.log('node: accepted');
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
