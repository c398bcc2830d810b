// An independent authority: oidc-provider, for client_credentials only. Its standard output names each client that it
// granted or refused a token, and the authentication method. It accepts Basic and form for every client.
import { readFileSync } from 'node:fs';
import * as jose from 'jose';
import Provider, { errors } from 'oidc-provider';

const issuer = process.env.M2M_AUTHORITY;
const content = (name) => readFileSync(`${process.env.M2M_CLIENTS}/${name}`, 'ascii');

const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
const client = (client_id, token_endpoint_auth_method, credentials) => ({
  client_id,
  token_endpoint_auth_method,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  ...credentials,
});
const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await jose.exportJWK(privateKey)), use: 'sig' }] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  clients: [
    client('basic', 'client_secret_basic', { client_secret: content('basic-secret') }),
    client('post', 'client_secret_post', { client_secret: content('post-secret') }),
    client('signer', 'private_key_jwt', { jwks: JSON.parse(content('signer-jwks.json')) }),
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    // Without a resource the token would be opaque, without an audience.
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => {
        if (resource !== process.env.M2M_AUDIENCE) throw new errors.InvalidTarget();
        const scope = 'devices:read devices:write';
        return { audience: resource, scope, accessTokenFormat: 'jwt', accessTokenTTL: 600 };
      },
    },
  },
});

function method({ headers, oidc }) {
  if (headers.authorization) return 'client_secret_basic';
  if (oidc.params?.client_secret) return 'client_secret_post';
  return oidc.params?.client_assertion ? 'private_key_jwt' : 'none';
}
const described = (context) => `${context.oidc.client?.clientId} ${method(context)}`;
provider.on('grant.success', (context) => console.log(`granted ${described(context)}`));
provider.on('grant.error', (context, error) => {
  const why = error.error_detail ?? error.error_description;
  console.log(`refused ${described(context)} ${error.message}: ${why} ${error.cause ?? ''}`);
});
provider.on('server_error', (_context, error) => console.error(error));
const { hostname, port } = new URL(issuer);
provider.listen(port, hostname);
