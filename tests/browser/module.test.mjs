// The module against a scripted server: every branch, without a browser.

import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import { createDoorward, decodeTokenPart, DoorwardError } from '../../assets/web/doorward.js';

const HERE = 'https://login.example.org';
const BOB = {
  id: 'u1',
  email: 'bob@example.org',
  role: 'viewer',
  permissions: ['articles:read'],
  createdAt: '2026-01-01T00:00:00Z',
};

let made = 0;
const jwt = (claims) =>
  `h.${Buffer.from(JSON.stringify({ sub: 'u1', role: 'viewer', permissions: ['articles:read'], n: made++, ...claims })).toString('base64url')}.s`;
const ok = (body, headers = {}) =>
  new Response(body === null ? null : JSON.stringify(body), { status: body === null ? 204 : 200, headers });
const refusal = (status, error, more = {}) =>
  new Response(JSON.stringify({ error, message: `message of ${error}`, requestId: 'r', ...more }), { status });
const tokens = (more = {}, claims = {}) =>
  ok({ accessToken: jwt(claims), tokenType: 'Bearer', expiresIn: 900, csrfToken: `c${made}`, ...more });

let clients = [];
let now = 0;
const real = { now: performance.now, date: Date.now, timeout: globalThis.setTimeout };
let kept = new Map();
let timers = [];
// The client's channel to other tabs keeps no process up; these tests wait for it.
const awake = setInterval(() => {}, 1000);
after(() => clearInterval(awake));

const storage = (entries) => ({
  getItem: (name) => entries.get(name) ?? null,
  setItem: (name, value) => entries.set(name, value),
  removeItem: (name) => entries.delete(name),
});

beforeEach(() => {
  now = 0;
  timers = [];
  performance.now = () => now;
  Date.now = () => 1e12 + now;
  kept = new Map();
  // The tab's own: there are no Web Locks here, unless a test brings them.
  globalThis.sessionStorage = storage(kept);
  // Waiting takes no time; what is planned for later is run by the test.
  globalThis.setTimeout = (act, ms) => {
    if (ms < 4000) return real.timeout(act, 0);
    const timer = { act, ms };
    // What ends a call that gets no answer is not what these tests look for.
    if (ms !== 30e3) timers.push(timer);
    return timer;
  };
});
afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
  performance.now = real.now;
  Date.now = real.date;
  globalThis.setTimeout = real.timeout;
  for (const name of ['document', 'location', 'addEventListener', 'sessionStorage', 'localStorage'])
    delete globalThis[name];
});

/** A page at `origin` and a server that answers by this script: path to answer, or a list of answers in turn. */
async function stage(script, { origin = HERE, cookie = '__Host-doorward-csrf=c0', ready = true, ...options } = {}) {
  globalThis.location = { origin, href: `${origin}/` };
  globalThis.document = { cookie, visibilityState: 'visible' };
  const heard = {};
  globalThis.addEventListener = (type, act) => (heard[type] = act);
  const sent = [];
  const fetch = async (input, init) => {
    const request = new Request(input, init);
    const { pathname } = new URL(request.url);
    sent.push({
      path: pathname,
      method: request.method,
      headers: Object.fromEntries(request.headers),
      body: await request.clone().text(),
      keepalive: request.keepalive,
    });
    const step = script[pathname];
    if (step === undefined) throw new Error(`unexpected ${pathname}`);
    const answer = Array.isArray(step) ? (step.length > 1 ? step.shift() : step[0]) : step;
    const made = typeof answer === 'function' ? await answer(request) : answer;
    if (made instanceof Error) throw made;
    return made.clone();
  };
  const auth = createDoorward({ baseUrl: HERE, fetch, ...options });
  clients.push(auth);
  const changes = [];
  auth.onChange((user, reason) => changes.push([user && user.email, reason]));
  if (ready) await auth.ready;
  const to = (path) => sent.filter((each) => each.path === path);
  return { auth, sent, to, changes, heard, latest: () => timers.at(-1) };
}

const signedIn = (more = {}) => ({ '/api/auth/refresh': () => tokens(), '/api/users/me': () => ok(BOB), ...more });
const code = (promise) =>
  promise.then(
    () => 'none',
    (error) => error.code ?? error.name,
  );

test('a page without the cookie asks nothing and knows that nobody is signed in', async () => {
  const { auth, sent } = await stage({}, { cookie: '' });
  assert.equal(auth.user, null);
  assert.equal(await auth.token(), null);
  assert.deepEqual(sent, []);
});

test('a page with the cookie refreshes silently, with the proof, outliving the page', async () => {
  const { auth, to, changes } = await stage(signedIn());
  assert.equal(auth.user.email, 'bob@example.org');
  assert.equal(to('/api/auth/refresh')[0].headers['x-csrf-token'], 'c0');
  assert.ok(to('/api/auth/refresh')[0].keepalive);
  assert.deepEqual(changes, [['bob@example.org', 'signed-in']]);
  assert.equal(auth.expiresIn, 900);
});

for (const [origin, cookie, sent] of [
  [HERE, 'csrfToken=t; doorward-csrf-443=t; __Host-doorward-csrf=real', 'real'],
  ['http://box:8080', 'doorward-csrf-3000=t; doorward-csrf-8080=real; xdoorward-csrf-8080=t', 'real'],
  ['http://box', 'doorward-csrf-3000=t; doorward-csrf-80=real', 'real'],
  ['http://box:5173', 'csrfToken=t; doorward-csrf-3000=real', 'real'],
]) {
  test(`cok_5 the cookie of ${origin} is found in ${cookie}`, async () => {
    const { to } = await stage(signedIn(), { origin, baseUrl: origin, cookie });
    assert.equal(to('/api/auth/refresh')[0].headers['x-csrf-token'], sent);
  });
}

test('refreshes at the same time are one', async () => {
  const { auth, to } = await stage(signedIn());
  await Promise.all(Array.from({ length: 20 }, () => auth.refresh()));
  assert.equal(to('/api/auth/refresh').length, 2, 'one at load, one for twenty');
});

for (const reason of [
  'MISSING_REFRESH_TOKEN',
  'INVALID_REFRESH_TOKEN',
  'REFRESH_TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'TOKEN_REUSE_DETECTED',
]) {
  test(`${reason} is a sign-out and says why`, async () => {
    const { auth, changes } = await stage(signedIn({ '/api/auth/refresh': [tokens(), refusal(401, reason)] }));
    await auth.refresh();
    assert.equal(auth.user, null);
    assert.equal(await auth.token(), null);
    assert.deepEqual(changes.at(-1), [null, reason]);
  });
}

for (const [what, answer, expected] of [
  ['no network', new TypeError('failed to fetch'), 'NETWORK'],
  ['429', refusal(429, 'RATE_LIMITED', { retryAfter: 9 }), 'RATE_LIMITED'],
  ['503', refusal(503, 'OVERLOADED'), 'OVERLOADED'],
  ["an app's 401", new Response('{"error":"unauthorized"}', { status: 401 }), 'UNEXPECTED'],
  ['a page for tokens', new Response('<html>'), 'UNEXPECTED'],
  ['JSON without tokens', ok({}), 'UNEXPECTED'],
  ["a portal's 401", new Response('<html>', { status: 401 }), 'UNEXPECTED'],
]) {
  test(`${what} is no sign-out`, async () => {
    const { auth, changes } = await stage(signedIn({ '/api/auth/refresh': [tokens(), answer, tokens()] }));
    assert.equal(await code(auth.refresh()), expected);
    assert.equal(auth.user.email, 'bob@example.org');
    await auth.refresh();
    assert.equal(changes.length, 1);
  });
}

test('a new token that is refused when it is first used is no sign-out: it may have expired on the way', async () => {
  const refused = refusal(401, 'TOKEN_EXPIRED');
  const { auth, changes, latest } = await stage(signedIn({ '/api/users/me': [refused, ok(BOB)] }));
  assert.deepEqual(changes, [[undefined, 'TOKEN_EXPIRED']]);
  latest().act();
  assert.ok(await auth.token());
  assert.equal(auth.user.email, 'bob@example.org');
});

test('a token of somebody who could not be asked for is not used in the name of who was signed in before', async () => {
  const { auth, to } = await stage(
    signedIn({
      '/api/auth/refresh': [tokens(), () => tokens({}, { sub: 'u2' })],
      '/api/users/me': [ok(BOB), new TypeError('x'), ok({ ...BOB, id: 'u2', email: 'eve@example.org' })],
      '/api/x': ({ headers }) => ok({ bearer: headers.get('authorization') }),
    }),
  );
  assert.equal(await code(auth.refresh()), 'NETWORK');
  assert.equal(auth.expiresIn, 0);
  await auth.call('GET', '/api/x');
  assert.equal(to('/api/users/me').length, 3, 'asked who it is before the token was used');
  assert.equal(auth.user.email, 'eve@example.org');
});

test('a server that cannot be reached at load leaves it open who is signed in, and is asked again', async () => {
  const { auth, changes, latest } = await stage(signedIn({ '/api/auth/refresh': [new TypeError('x'), tokens()] }));
  assert.equal(auth.user, undefined);
  assert.deepEqual(changes, [[undefined, 'NETWORK']]);
  assert.equal(latest().ms, 5000);
  await latest().act();
  assert.equal(auth.user.email, 'bob@example.org');
});

test('a call after such a load tries once more itself', async () => {
  const { auth } = await stage(
    signedIn({ '/api/auth/refresh': [new TypeError('x'), tokens()], '/api/x': ok({ fine: 1 }) }),
  );
  assert.deepEqual(await auth.call('GET', '/api/x'), { fine: 1 });
});

test('a conflict waits and goes on with the cookie of the winner', async () => {
  const { auth, to } = await stage(
    signedIn({
      '/api/auth/refresh': [
        () => (
          (globalThis.document.cookie = '__Host-doorward-csrf=c9'),
          refusal(409, 'REFRESH_CONFLICT', { retryAfter: 1 })
        ),
        tokens(),
      ],
    }),
  );
  assert.equal(auth.user.email, 'bob@example.org');
  assert.deepEqual(
    to('/api/auth/refresh').map(({ headers }) => headers['x-csrf-token']),
    ['c0', 'c9'],
  );
});

test('cok_7 after a refused proof the server is asked, once, whatever the cookie says', async () => {
  const refuse = ({ headers }) => (headers.get('x-csrf-token') === 'good' ? tokens() : refusal(403, 'CSRF_FAILED'));
  const { auth, to } = await stage(
    signedIn({ '/api/auth/refresh': refuse, '/api/auth/csrf': ok({ csrfToken: 'good' }) }),
  );
  assert.equal(auth.user.email, 'bob@example.org');
  assert.deepEqual(
    to('/api/auth/refresh').map(({ headers }) => headers['x-csrf-token']),
    ['c0', 'good'],
  );
  assert.equal(to('/api/auth/csrf').length, 1);
});

test('cok_7 a proof that another tab replaces meanwhile is read anew', async () => {
  const other = () => ((globalThis.document.cookie = '__Host-doorward-csrf=c9'), refusal(403, 'CSRF_FAILED'));
  const { auth, to } = await stage(
    signedIn({
      '/api/auth/refresh': [refusal(403, 'CSRF_FAILED'), other, tokens()],
      '/api/auth/csrf': ok({ csrfToken: 'k' }),
    }),
  );
  assert.equal(auth.user.email, 'bob@example.org');
  assert.deepEqual(
    to('/api/auth/refresh').map(({ headers }) => headers['x-csrf-token']),
    ['c0', 'k', 'c9'],
  );
});

for (const [status, error] of [
  [403, 'CSRF_FAILED'],
  [400, 'INVALID_REQUEST'],
]) {
  test(`cok_4 at load, ${error} that nothing heals leads to the sign-in form`, async () => {
    const { auth, changes, to } = await stage({
      '/api/auth/refresh': refusal(status, error),
      '/api/auth/csrf': refusal(403, 'CSRF_FAILED'),
    });
    assert.equal(auth.user, null);
    assert.deepEqual(changes, [[null, error]]);
    assert.ok(to('/api/auth/csrf').length <= 1);
  });

  test(`cok_4 ${error} while the token is good is an error of that call`, async () => {
    const { auth } = await stage(
      signedIn({
        '/api/auth/refresh': [tokens(), refusal(status, error)],
        '/api/auth/csrf': refusal(403, 'CSRF_FAILED'),
      }),
    );
    assert.equal(await code(auth.refresh()), error);
    assert.equal(auth.user.email, 'bob@example.org');
  });
}

const keys = (to) => to('/api/auth/refresh').map(({ headers }) => headers['idempotency-key']);

test('ref_4 each refresh has a key of its own, forgotten when the answer is there', async () => {
  const { auth, to } = await stage(signedIn());
  await auth.refresh();
  const [first, second] = keys(to);
  assert.match(first, /^[!-~]{8,128}$/);
  assert.notEqual(first, second);
  assert.equal(kept.size, 0);
});

for (const [what, answer] of [
  ['is lost', new TypeError('x')],
  [
    'is cut',
    () => ({
      clone() {
        return { ok: true, status: 200, headers: new Headers(), text: () => Promise.reject(new TypeError('x')) };
      },
    }),
  ],
  ['is a gateway’s', new Response('<h1>502</h1>', { status: 502 })],
  ['asks to wait', refusal(429, 'RATE_LIMITED')],
]) {
  test(`ref_4 when the answer ${what}, the next try has the same key, the one after a new one`, async () => {
    const { auth, to } = await stage(signedIn({ '/api/auth/refresh': [tokens(), answer, tokens()] }));
    assert.notEqual(await code(auth.refresh()), 'none');
    await auth.refresh();
    await auth.refresh();
    const [first, second, third, fourth] = keys(to);
    assert.equal(second, third);
    assert.equal(new Set([first, second, fourth]).size, 3);
    assert.equal(kept.size, 0);
  });
}

test('ref_4 the next load goes on with the key of a refresh that was lost, from another origin with its proof too', async () => {
  const away = { origin: 'https://app.example.org' };
  const one = await stage(
    signedIn({ '/api/auth/csrf': ok({ csrfToken: 'k1' }), '/api/auth/refresh': new TypeError('x') }),
    away,
  );
  one.auth.close();
  const two = await stage(signedIn(), away);
  assert.equal(two.auth.user.email, 'bob@example.org');
  assert.deepEqual(keys(two.to), keys(one.to));
  assert.equal(two.to('/api/auth/refresh')[0].headers['x-csrf-token'], 'k1');
  assert.deepEqual(two.to('/api/auth/csrf'), []);
});

test('ref_4 without storage a retry has the same key all the same', async () => {
  Object.defineProperty(globalThis, 'sessionStorage', {
    configurable: true,
    get() {
      throw new Error('SecurityError');
    },
  });
  const { auth, to } = await stage(signedIn({ '/api/auth/refresh': [tokens(), new TypeError('x'), tokens()] }));
  await auth.refresh().catch(() => {});
  await auth.refresh();
  assert.equal(keys(to)[1], keys(to)[2]);
});

test('ref_4 a sign-out forgets the key', async () => {
  const { auth } = await stage(
    signedIn({ '/api/auth/refresh': [tokens(), new TypeError('x')], '/api/auth/logout': ok({ message: 'x' }) }),
  );
  await auth.refresh().catch(() => {});
  assert.equal(kept.size, 1);
  await auth.logout();
  assert.equal(kept.size, 0);
});

for (const [what, act] of [
  ['sign-out', (auth) => auth.logout()],
  ['sign-in', (auth) => auth.login({ email: 'a', password: 'b' })],
]) {
  test(`ref_6 a ${what} after a refresh that was lost says its key, so that a spent cookie is no theft`, async () => {
    const { auth, to, sent } = await stage(
      signedIn({
        '/api/auth/refresh': [tokens(), new TypeError('x')],
        '/api/auth/logout': ok({ message: 'x' }),
        '/api/auth/login': () => tokens({ user: BOB }),
      }),
    );
    await auth.refresh().catch(() => {});
    await act(auth);
    const [, key] = keys(to);
    assert.ok(key);
    assert.equal(sent.at(-1).headers['idempotency-key'], key);
    assert.equal(kept.size, 0);
  });
}

test('ref_6 asking for a proof after a refresh that was lost says its key too', async () => {
  const { auth, to } = await stage(
    signedIn({
      '/api/auth/refresh': [tokens(), new TypeError('x'), refusal(403, 'CSRF_FAILED'), tokens()],
      '/api/auth/csrf': ok({ csrfToken: 'k1' }),
    }),
  );
  await auth.refresh().catch(() => {});
  await auth.refresh();
  const used = keys(to);
  assert.equal(to('/api/auth/csrf')[0].headers['idempotency-key'], used[1]);
  assert.deepEqual(used.slice(1), [used[1], used[1], used[1]]);
});

test('ref_6 with no refresh unanswered a sign-in and a sign-out say no key', async () => {
  const { auth, to } = await stage(
    signedIn({ '/api/auth/logout': ok({ message: 'x' }), '/api/auth/login': () => tokens({ user: BOB }) }),
  );
  await auth.login({ email: 'a', password: 'b' });
  await auth.logout();
  for (const path of ['/api/auth/login', '/api/auth/logout'])
    assert.ok(!('idempotency-key' in to(path)[0].headers), path);
});

test('an hour asleep: the token is over though one clock stood still, and a new one is waited for', async () => {
  const { auth, to } = await stage(signedIn());
  const before = await auth.token();
  Date.now = () => 1e12 + 3600e3;
  assert.equal(auth.expiresIn, 0);
  assert.notEqual(await auth.token(), before);
  assert.equal(to('/api/auth/refresh').length, 2);
  // A wall clock that is put back lengthens nothing.
  Date.now = () => 1e12 - 3600e3;
  now = 890e3;
  assert.equal(auth.expiresIn, 10);
  await auth.token();
  assert.equal(auth.expiresIn, 900, 'token() renews before it answers');
});

for (const event of ['visibilitychange', 'resume', 'pageshow', 'online']) {
  test(`${event} after a sleep renews`, async () => {
    const { auth, to, heard } = await stage(signedIn());
    heard[event]({});
    Date.now = () => 1e12 + 3600e3;
    heard[event]({});
    await auth.refresh();
    assert.equal(to('/api/auth/refresh').length, 2);
  });
}

test('a browser without AbortSignal.timeout works', async () => {
  const { timeout } = AbortSignal;
  delete AbortSignal.timeout;
  try {
    assert.equal((await stage(signedIn())).auth.user.email, 'bob@example.org');
  } finally {
    AbortSignal.timeout = timeout;
  }
});

test('a conflict without end is an error, never a sign-out', async () => {
  const { auth, to } = await stage(
    signedIn({ '/api/auth/refresh': [tokens(), refusal(409, 'REFRESH_CONFLICT', { retryAfter: 1 })] }),
  );
  assert.equal(await code(auth.refresh()), 'REFRESH_CONFLICT');
  assert.equal(to('/api/auth/refresh').length, 6);
  assert.equal(auth.user.email, 'bob@example.org');
});

test('from another origin the proof is asked for, kept, and asked for again when it failed', async () => {
  const script = signedIn({
    '/api/auth/csrf': [ok({ csrfToken: 'k1' }), ok({ csrfToken: 'k2' })],
    '/api/auth/refresh': [tokens({ csrfToken: 'k3' }), refusal(403, 'CSRF_FAILED'), tokens()],
  });
  const { auth, to } = await stage(script, { origin: 'https://app.example.org', cookie: 'csrfToken=not-mine' });
  await auth.refresh();
  assert.deepEqual(
    to('/api/auth/refresh').map(({ headers }) => headers['x-csrf-token']),
    ['k1', 'k3', 'k2'],
  );
});

test('from another origin nobody is signed in when there is no session', async () => {
  const script = {
    '/api/auth/csrf': refusal(401, 'MISSING_REFRESH_TOKEN'),
    '/api/auth/refresh': refusal(401, 'MISSING_REFRESH_TOKEN'),
  };
  const { auth } = await stage(script, { origin: 'https://app.example.org' });
  assert.equal(auth.user, null);
});

test('register, setup and login send what they are given and sign in', async () => {
  for (const [method, form] of [
    ['register', { email: 'e', password: 'p', invite: 'i' }],
    ['setup', { token: 't', email: 'e', password: 'p' }],
    ['login', { email: 'e', password: 'p' }],
  ]) {
    const { auth, to, changes } = await stage({ [`/api/auth/${method}`]: tokens({ user: BOB }) }, { cookie: '' });
    assert.equal((await auth[method](form)).email, 'bob@example.org');
    assert.deepEqual(JSON.parse(to(`/api/auth/${method}`)[0].body), form);
    assert.deepEqual(
      changes,
      [
        [null, undefined],
        ['bob@example.org', 'signed-in'],
      ].slice(-changes.length),
    );
  }
});

test('a refused login is a typed error and changes nothing', async () => {
  const { auth } = await stage({ '/api/auth/login': refusal(429, 'RATE_LIMITED', { retryAfter: 7 }) }, { cookie: '' });
  const error = await auth.login({ email: 'e', password: 'p' }).catch((error) => error);
  assert.ok(error instanceof DoorwardError && error instanceof Error);
  assert.deepEqual(
    [error.name, error.code, error.status, error.retryAfter, error.requestId],
    ['DoorwardError', 'RATE_LIMITED', 429, 7, 'r'],
  );
  assert.equal(auth.user, null);
});

test('a 401 is refreshed and tried once more, with the same body', async () => {
  const { auth, to } = await stage(signedIn({ '/api/x': [refusal(401, 'TOKEN_EXPIRED'), ok({ fine: 1 })] }));
  const response = await auth.fetch(`${HERE}/api/x`, { method: 'POST', body: 'hello' });
  assert.equal(response.status, 200);
  assert.deepEqual(
    to('/api/x').map(({ body }) => body),
    ['hello', 'hello'],
  );
  assert.notEqual(to('/api/x')[0].headers.authorization, to('/api/x')[1].headers.authorization);
});

test('a second 401 is the answer', async () => {
  const { auth, to } = await stage(signedIn({ '/api/x': refusal(401, 'TOKEN_REVOKED') }));
  assert.equal(await code(auth.call('GET', '/api/x')), 'TOKEN_REVOKED');
  assert.equal(to('/api/x').length, 2);
});

test('many calls that are refused at once refresh once', async () => {
  let good = false;
  const script = signedIn({ '/api/x': () => (good ? ok({}) : refusal(401, 'TOKEN_EXPIRED')) });
  const { auth, to } = await stage(script);
  script['/api/auth/refresh'] = () => ((good = true), tokens());
  await Promise.all(Array.from({ length: 10 }, () => auth.call('GET', '/api/x')));
  assert.equal(to('/api/auth/refresh').length, 2);
});

test('a 401 that a refresh answers with a sign-out is handed on', async () => {
  const { auth } = await stage(
    signedIn({
      '/api/auth/refresh': [tokens(), refusal(401, 'TOKEN_REVOKED')],
      '/api/x': refusal(401, 'TOKEN_REVOKED'),
    }),
  );
  assert.equal((await auth.fetch(`${HERE}/api/x`)).status, 401);
  assert.equal(auth.user, null);
});

test('when somebody else is signed in after the refresh, the call is not made in their name', async () => {
  const { auth, to } = await stage(
    signedIn({
      '/api/auth/refresh': [tokens(), () => tokens({}, { sub: 'u2' })],
      '/api/users/me': [ok(BOB), ok({ ...BOB, id: 'u2', email: 'eve@example.org' })],
      '/api/x': refusal(401, 'TOKEN_REVOKED'),
    }),
  );
  assert.equal(await code(auth.call('DELETE', '/api/x')), 'USER_CHANGED');
  assert.equal(to('/api/x').length, 1);
  assert.equal(auth.user.email, 'eve@example.org');
});

test('a new role in the new token is told', async () => {
  const { auth, changes } = await stage(
    signedIn({ '/api/auth/refresh': [tokens(), () => tokens({}, { role: 'admin', permissions: ['*'] })] }),
  );
  await auth.refresh();
  assert.equal(auth.user.role, 'admin');
  assert.deepEqual(changes.at(-1), ['bob@example.org', 'changed']);
});

test('claims are read as UTF-8, by the page too', async () => {
  const permissions = ['café:čtení', '記事:write'];
  const { auth } = await stage(signedIn({ '/api/auth/refresh': [tokens(), () => tokens({}, { permissions })] }));
  await auth.refresh();
  assert.deepEqual(auth.user.permissions, permissions);
  const token = await auth.token();
  assert.deepEqual(decodeTokenPart(token.split('.')[1]).permissions, permissions);
});

test('the token goes to no origin that was not named', async () => {
  const { auth, sent } = await stage(signedIn({ '/x': ok({}) }), { origins: ['https://api.example.org'] });
  assert.equal((await auth.fetch('https://api.example.org/x')).status, 200);
  assert.ok(sent.at(-1).headers.authorization);
  const before = sent.length;
  assert.equal(await code(auth.fetch('https://evil.example/x')), 'TypeError');
  assert.equal(sent.length, before);
});

test('nobody signed in: a call goes out bare', async () => {
  const { auth, to } = await stage({ '/api/x': refusal(401, 'MISSING_TOKEN') }, { cookie: '' });
  assert.equal(await code(auth.call('GET', '/api/x')), 'MISSING_TOKEN');
  assert.equal(to('/api/x').length, 1);
  assert.equal(to('/api/x')[0].headers.authorization, undefined);
});

test('a token is renewed below a minute while calls go on, and waited for when it is over', async () => {
  const { auth, to } = await stage(signedIn({ '/api/x': () => ok({}) }));
  now = 839e3;
  await auth.call('GET', '/api/x');
  assert.equal(to('/api/auth/refresh').length, 1, '61 s are left');
  now = 845e3;
  const before = to('/api/x')[0].headers.authorization;
  await auth.call('GET', '/api/x');
  assert.equal(to('/api/x')[1].headers.authorization, before, 'the call did not wait');
  await auth.token();
  assert.equal(to('/api/auth/refresh').length, 2);
  now += 901e3;
  await auth.call('GET', '/api/x');
  assert.equal(to('/api/auth/refresh').length, 3);
  assert.notEqual(to('/api/x')[2].headers.authorization, before);
});

test('X-Token-Expires-In below a minute renews at once', async () => {
  const { auth, to } = await stage(signedIn({ '/api/x': () => ok({}, { 'X-Token-Expires-In': '42' }) }));
  await auth.call('GET', '/api/x');
  await auth.refresh();
  assert.equal(to('/api/auth/refresh').length, 2, 'the background one and the explicit one are one');
});

test('a timer renews before the end, and waits while nobody looks', async () => {
  const { auth, to, latest, heard } = await stage(signedIn());
  assert.ok(latest().ms > 800e3 && latest().ms <= 850e3, `${latest().ms}`);
  const first = latest();
  globalThis.document.visibilityState = 'hidden';
  now = 850e3;
  first.act();
  assert.equal(to('/api/auth/refresh').length, 1);
  globalThis.document.visibilityState = 'visible';
  heard.visibilitychange({});
  await auth.refresh();
  assert.equal(to('/api/auth/refresh').length, 2);
});

test('short lives have a lead of half their length, so that nobody refreshes without pause', async () => {
  const { latest, auth } = await stage(signedIn({ '/api/auth/refresh': () => tokens({ expiresIn: 20 }) }));
  assert.ok(latest().ms >= 10e3 && latest().ms < 12e3);
  assert.equal(auth.expiresIn, 20);
});

test('a timer that finds no network tries again, when the server asked to', async () => {
  const { latest } = await stage(
    signedIn({ '/api/auth/refresh': [tokens(), refusal(503, 'OVERLOADED', { retryAfter: 13 })] }),
  );
  await latest().act();
  assert.equal(latest().ms, 13e3);
});

test('coming online, and back from the back-forward cache, it looks again', async () => {
  const { auth, to, heard } = await stage(signedIn());
  heard.online({});
  assert.equal(to('/api/auth/refresh').length, 1, 'the token is still good');
  now = 900e3;
  heard.online({});
  await auth.refresh();
  assert.equal(to('/api/auth/refresh').length, 2);
  heard.pageshow({ persisted: false });
  heard.pageshow({ persisted: true });
  await auth.refresh();
  assert.equal(to('/api/auth/refresh').length, 3);
});

test('sign-out sends proof and bearer; without an answer nobody is signed out', async () => {
  const { auth, to, changes } = await stage(
    signedIn({ '/api/auth/logout': [new TypeError('x'), ok({ message: 'x' })] }),
  );
  assert.equal(await code(auth.logout()), 'NETWORK');
  assert.equal(auth.user.email, 'bob@example.org');
  await auth.logout();
  assert.equal(auth.user, null);
  assert.deepEqual(changes.at(-1), [null, 'signed-out']);
  const { headers } = to('/api/auth/logout')[1];
  assert.ok(headers['x-csrf-token'] && headers.authorization);
});

test('sign-out everywhere ends all sessions, then this browser’s cookie', async () => {
  const { auth, sent } = await stage(
    signedIn({ '/api/auth/logout-all': ok({}), '/api/auth/logout': ok({ message: 'x' }) }),
  );
  await auth.logoutAll();
  assert.deepEqual(
    sent.slice(-2).map(({ path }) => path),
    ['/api/auth/logout-all', '/api/auth/logout'],
  );
  assert.equal(auth.user, null);
});

test('a password change goes on with the new tokens; a wrong password is not tried twice', async () => {
  const { auth, to } = await stage(
    signedIn({ '/api/auth/password': [refusal(401, 'INVALID_CREDENTIALS'), refusal(401, 'TOKEN_EXPIRED'), tokens()] }),
  );
  const form = { currentPassword: 'a', newPassword: 'b' };
  assert.equal(await code(auth.changePassword(form)), 'INVALID_CREDENTIALS');
  assert.equal(to('/api/auth/password').length, 1);
  await auth.changePassword(form);
  assert.equal(to('/api/auth/password').length, 3);
  assert.equal(auth.user.email, 'bob@example.org');
});

test('tabs tell each other: out is believed, in is looked up', async () => {
  const one = await stage(
    signedIn({ '/api/auth/logout': ok({ message: 'x' }), '/api/auth/login': () => tokens({ user: BOB }) }),
  );
  const two = await stage(signedIn());
  const next = (auth) => new Promise((resolve) => auth.onChange((user) => resolve(user)));
  let heard = next(two.auth);
  await one.auth.logout();
  assert.equal(await heard, null);
  heard = next(two.auth);
  await one.auth.login({ email: 'e', password: 'p' });
  assert.equal((await heard).email, 'bob@example.org');
});

test('a refresh that was under way when another tab signed out counts for nothing', async () => {
  let answer;
  const one = await stage(signedIn({ '/api/auth/logout': ok({ message: 'x' }) }));
  const two = await stage(
    signedIn({ '/api/auth/refresh': [tokens(), () => new Promise((done) => (answer = () => done(tokens())))] }),
  );
  const out = new Promise((resolve) => two.auth.onChange(resolve));
  const refreshed = two.auth.refresh();
  await one.auth.logout();
  await out;
  answer();
  await refreshed;
  assert.equal(two.auth.user, null);
  assert.equal(await two.auth.token(), null);
});

test('with Web Locks what changes the cookies holds the lock of that server, and tabs share the key of a lost refresh', async () => {
  const held = [];
  const shared = new Map();
  globalThis.localStorage = storage(shared);
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  const locks = { request: (name, work) => (held.push(name), work()) };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks } });
  try {
    const { to } = await stage(signedIn({ '/api/auth/refresh': new TypeError('x') }));
    assert.deepEqual(held, [`doorward ${HERE}`]);
    assert.ok(shared.get(`doorward ${HERE}`).startsWith(keys(to)[0]));
    assert.equal(kept.size, 0);
  } finally {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, 'navigator', before);
  }
});

test('who stops listening hears nothing, and a closed client plans nothing', async () => {
  const { auth } = await stage(signedIn());
  let heard = 0;
  auth.onChange(() => heard++)();
  auth.close();
  const before = timers.length;
  await auth.refresh();
  assert.equal(timers.length, before);
  assert.equal(heard, 0);
});
