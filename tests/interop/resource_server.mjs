// An upstream that verifies the tokens of M2M_AUTHORITY for M2M_AUDIENCE with jose, and answers with their client.
import { createServer } from 'node:http';
import * as jose from 'jose';

const issuer = process.env.M2M_AUTHORITY;
const audience = process.env.M2M_AUDIENCE;
const metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri));

const server = createServer(async (request, response) => {
  const [, token] = /^Bearer (\S+)$/.exec(request.headers.authorization) ?? [];
  try {
    const { payload } = await jose.jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt' });
    response.end(JSON.stringify({ client_id: payload.client_id, scope: payload.scope }));
  } catch (error) {
    response.writeHead(401).end(error.message);
  }
});
const { hostname, port } = new URL(process.env.M2M_UPSTREAM);
server.listen(port, hostname);
