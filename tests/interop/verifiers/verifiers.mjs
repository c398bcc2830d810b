// Node verifiers, each set up by its README, against the four forms of token. Prints a row for each.
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import express from 'express';
import Fastify from 'fastify';
import fastifyJwtJwks from 'fastify-jwt-jwks';
import jwt from 'jsonwebtoken';
import jwksRsa from 'jwks-rsa';
import passport from 'passport';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { expressjwt } from 'express-jwt';
import { auth } from 'express-oauth2-jwt-bearer';
import { ExtractJwt, Strategy } from 'passport-jwt';

const issuer = process.env.M2M_ISSUER;
const audience = process.env.M2M_AUDIENCE;
const jwksUri = `${issuer}/.well-known/jwks.json`;
const forms = process.env.M2M_FORMS.split(' ').map((form) => readFileSync(`${process.env.M2M_TOKENS}/${form}`, 'utf8').trim());

/** The status of a server's answer to a bearer token. */
async function ask(url, token) {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return answer.status === 200;
}

/** A listening Express application behind `middleware`. */
async function behind(...middleware) {
  const app = express();
  app.get('/', ...middleware, (_, response) => response.json({}));
  app.use((error, _, response, next) => (response.headersSent ? next(error) : response.status(error.status ?? 500).end()));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return [`http://127.0.0.1:${server.address().port}/`, () => server.close()];
}

const client = () => jwksRsa({ jwksUri, cache: true, rateLimit: true });

async function served(...middleware) {
  const [url, close] = await behind(...middleware);
  return [(token) => ask(url, token), close];
}

const verifiers = {
  'jose': async () => {
    const keys = createRemoteJWKSet(new URL(jwksUri));
    return [(token) => jwtVerify(token, keys, { issuer, audience }), () => {}];
  },
  'jsonwebtoken, jwks-rsa': async () => {
    const keys = client();
    const key = (header, done) => keys.getSigningKey(header.kid, (error, found) => done(error, found?.getPublicKey()));
    return [(token) => new Promise((resolve) => jwt.verify(token, key, { issuer, audience }, (error) => resolve(!error))), () => {}];
  },
  'express-jwt, jwks-rsa (`RS256`)': () => served(expressjwt({
    secret: jwksRsa.expressJwtSecret({ jwksUri, cache: true }), audience, issuer, algorithms: ['RS256'],
  })),
  'express-oauth2-jwt-bearer': () => served(auth({ issuerBaseURL: issuer, audience })),
  'passport-jwt, jwks-rsa (`RS256`)': async () => {
    passport.use(new Strategy({
      jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
      secretOrKeyProvider: jwksRsa.passportJwtSecret({ jwksUri, cache: true }),
      audience, issuer, algorithms: ['RS256'],
    }, (claims, done) => done(null, claims)));
    return served(passport.authenticate('jwt', { session: false }));
  },
  'fastify-jwt-jwks': async () => {
    const app = Fastify();
    await app.register(fastifyJwtJwks, { jwksUrl: jwksUri, audience, issuer });
    app.get('/', { preValidation: app.authenticate }, async () => ({}));
    const address = await app.listen({ port: 0, host: '127.0.0.1' });
    return [(token) => ask(address, token), () => app.close()];
  },
};

for (const [name, start] of Object.entries(verifiers)) {
  const [accepts, close] = await start();
  const row = [];
  for (const token of forms) {
    try {
      row.push((await accepts(token)) ? 'yes' : 'no');
    } catch {
      row.push('no');
    }
  }
  console.log(`| ${name} | ${row.join(' | ')} |`);
  await close();
}
process.exit(0);
