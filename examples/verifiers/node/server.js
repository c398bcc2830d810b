// An API that requires the scope `orders:read`, on node:http and jose.
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const issuer = process.env.ISSUER_URL ?? 'http://127.0.0.1:8080';
const audience = process.env.AUDIENCE ?? 'https://orders.example';
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));

async function verify(authorization) {
  const [scheme, token] = (authorization ?? '').split(' ');
  if (scheme.toLowerCase() !== 'bearer' || !token) return undefined;
  // `typ` is not set here: it would pin one of the two types.
  const { payload } = await jwtVerify(token, keys, { issuer, audience });
  return payload;
}

createServer(async (request, response) => {
  const claims = await verify(request.headers.authorization).catch(() => undefined);
  const scopes = claims?.scope?.split(' ') ?? [];
  const status = !claims ? 401 : scopes.includes('orders:read') ? 200 : 403;
  const headers = { 'content-type': 'application/json' };
  if (status === 401) headers['www-authenticate'] = 'Bearer';
  response.writeHead(status, headers);
  response.end(JSON.stringify(status === 200 ? { client_id: claims.client_id } : {}));
}).listen(Number(process.env.PORT ?? 8090), '127.0.0.1');
