// Calls a protected API from Node with openid-client.
//
// Shows: discovery by the library, the client credentials grant with an audience, the call with the token.
// A program that keeps running reuses the token for `expires_in`, then gets a new one.
//
// Needs: Node 20 or later. Run it from the root of the clone, while the sidecar of conf/quickstart.yaml runs:
//
//     npm ci --silent --prefix examples/node
//     node examples/node/call-api.js
//
// Environment: the settings below.
import { readFile } from 'node:fs/promises';
import * as client from 'openid-client';

const {
  ISSUER_URL = 'http://127.0.0.1:8080',
  API_URL = 'http://127.0.0.1:8081/api/v1/devices',
  CLIENT_ID = 'legacy',
  CLIENT_SECRET_FILE = 'data/legacy-secret',
  SCOPE = 'devices:read',
  AUDIENCE = 'https://devices.example',
} = process.env;

// openid-client refuses http://. It is safe on this machine; use https to any other machine.
const onThisMachine = (url) => ['127.0.0.1', '[::1]', 'localhost'].includes(new URL(url).hostname);
const insecure = (url) => (onThisMachine(url) ? [client.allowInsecureRequests] : []);

async function callApi() {
  const secret = (await readFile(CLIENT_SECRET_FILE, 'utf8')).trim();
  const config = await client.discovery(
    new URL(ISSUER_URL),
    CLIENT_ID,
    undefined,
    client.ClientSecretBasic(secret),
    { execute: insecure(ISSUER_URL) },
  );
  const { access_token: token } = await client.clientCredentialsGrant(config, { scope: SCOPE, audience: AUDIENCE });
  const answer = await client.fetchProtectedResource(config, token, new URL(API_URL), 'GET').catch((error) => {
    // The library throws on a challenge; here it is a refusal like any other.
    if (error instanceof client.WWWAuthenticateChallengeError) return error.response;
    throw error;
  });
  const body = await answer.text();
  if (!answer.ok) throw new Error(`${API_URL} answered ${answer.status}: ${body.trim()}`);
  return body;
}

try {
  process.stdout.write(await callApi());
} catch (error) {
  // The library's error names the step, and its cause the fault.
  const why = error.error_description ?? error.cause?.message;
  console.error(`call-api: ${error.error ?? error.message}${why ? `: ${why}` : ''}`);
  process.exit(1);
}
