// A service with one page, GET /articles, that verifies access tokens by itself.
//
// It asks Doorward for its public keys, which jose caches, and listens to its feed of revocations.
//
// DOORWARD_KEY=dwk_… DOORWARD_URL=http://127.0.0.1:3000 PORT=8080 node examples/verifier.mjs
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const { DOORWARD_URL = 'http://127.0.0.1:3000', PERMISSION = 'articles:read', PORT = '8080' } = process.env;
const { ISSUER = new URL(DOORWARD_URL).origin, AUDIENCE = 'doorward' } = process.env;
const key = process.env.DOORWARD_KEY;
if (!key) {
  console.error('DOORWARD_KEY must be an API key with tokens:introspect');
  process.exit(1);
}
const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', DOORWARD_URL));

/** Seconds that the clocks of the two machines may differ. */
const LEEWAY = 5;

/** Nobody is let in after so many milliseconds without a word of the feed; it says at least a blank line every 15 s. */
const SILENCE = 60_000;

/** What the feed has told: tokens that are void although they look good, by what they are void for. */
const revoked = { user: new Map(), session: new Map(), token: new Map(), before: 0 };
let cursor;
let heardAt = -Infinity;

function take({ changes, startsAnew, cursor: read }) {
  const now = Date.now() / 1000;
  for (const list of [revoked.user, revoked.session, revoked.token]) {
    for (const [id, { until }] of list) if (until < now) list.delete(id); // what was void has expired since
  }
  for (const { type, until, ...change } of changes) {
    if (type === 'user') {
      const known = revoked.user.get(change.sub) ?? { least: 0, until: 0 };
      const least = Math.max(known.least, change.leastVersion);
      revoked.user.set(change.sub, { least, until: Math.max(known.until, until) });
    }
    if (type === 'session') revoked.session.set(change.sid, { until });
    if (type === 'token') revoked.token.set(change.jti, { until });
    if (type === 'notBefore') revoked.before = Math.max(revoked.before, change.iat);
  }
  cursor = read;
  return startsAnew || changes.some(({ type }) => type === 'keys');
}

/** Reads the feed until it ends: events of lines, with a blank line behind each. */
async function listen() {
  const headers = { accept: 'text/event-stream', authorization: `Bearer ${key}` };
  if (cursor) headers['last-event-id'] = cursor;
  const dead = new AbortController();
  let timer = setTimeout(() => dead.abort(), SILENCE);
  try {
    const answer = await fetch(new URL('/api/revocations', DOORWARD_URL), { headers, signal: dead.signal });
    if (!answer.ok) throw new Error(`the feed says ${answer.status}: ${await answer.text()}`);
    let rest = '';
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) if (line.startsWith('data:') && take(JSON.parse(line.slice(5)))) await keys.reload();
      heardAt = Date.now();
      clearTimeout(timer);
      timer = setTimeout(() => dead.abort(), SILENCE);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function follow() {
  for (;;) {
    await listen().catch((error) => console.error(error.message));
    await sleep(1000);
  }
}

class Unavailable extends Error {}

/** The claims of a token that is in force. */
async function verify(token) {
  const algorithms = ['EdDSA', 'ES256', 'RS256'];
  const { payload } = await jwtVerify(token, keys, {
    algorithms,
    issuer: ISSUER,
    audience: AUDIENCE,
    typ: 'at+jwt',
    clockTolerance: LEEWAY,
  });
  if (Date.now() - heardAt > SILENCE) throw new Unavailable();
  const { sub, sid, jti, ver, iat } = payload;
  const least = revoked.user.get(sub)?.least ?? 0;
  if (ver < least || iat < revoked.before || revoked.session.has(sid) || revoked.token.has(jti)) {
    throw new errors.JWTInvalid('revoked');
  }
  return payload;
}

/** Whether a permission is among those granted; `articles:*` and `*` grant more than one. */
const may = (granted) => [PERMISSION, PERMISSION.replace(/:.*/, ':*'), '*'].some((one) => granted.includes(one));

async function articles(authorization = '') {
  const [scheme, token = ''] = authorization.split(' ');
  try {
    const { sub, permissions } = await verify(/^bearer$/i.test(scheme) ? token : '');
    if (may(permissions)) return [200, { articles: ['On doors'], reader: sub }];
    return [403, { error: 'FORBIDDEN' }, `Bearer error="insufficient_scope", scope="${PERMISSION}"`];
  } catch (error) {
    const isUnanswered = ['ERR_JOSE_GENERIC', 'ERR_JWKS_TIMEOUT'].includes(error.code); // for the keys
    const isRefused = error instanceof errors.JOSEError && !isUnanswered;
    console.error(`refused: ${error.message}`);
    return isRefused
      ? [401, { error: 'INVALID_TOKEN' }, 'Bearer error="invalid_token"']
      : [503, { error: 'UNAVAILABLE' }];
  }
}

follow();
const server = createServer(async (request, response) => {
  const found = request.method === 'GET' && request.url === '/articles';
  const [status, body, challenge] = found ? await articles(request.headers.authorization) : [404, {}];
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    ...(challenge && { 'WWW-Authenticate': challenge }),
  });
  response.end(JSON.stringify(body));
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
