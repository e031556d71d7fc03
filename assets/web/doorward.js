// Sign-in for any page. Reference: docs/client.md; types: doorward.d.ts.

export class DoorwardError extends Error {
  constructor(status, { error, message, ...details }, cause) {
    super(message ?? error, { cause });
    Object.assign(this, details, { name: 'DoorwardError', code: error, status });
  }
}

const ANSWER_WITHIN = 30e3;
// Seconds; half the life of a token that lives shorter.
const LEAD = 60;
const TRIES = 5;

function lost(cause) {
  throw new DoorwardError(0, { error: 'NETWORK', message: 'The server cannot be reached' }, cause);
}

// A proxy's or a portal's answer is no word of ours.
const read = (member) => async (response) => {
  const { status, ok } = response;
  const text = await response.text().catch(lost);
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {}
  if (status === 204 || (ok && (member ? body?.[member] : text && body))) return body;
  if (ok || !body?.error || !body.requestId) body = { error: 'UNEXPECTED', message: `Unexpected answer (${status})` };
  throw new DoorwardError(status, body);
};

export function createDoorward({
  baseUrl = import.meta.url,
  origins = [],
  fetch = (input, init) => globalThis.fetch(input, init),
} = {}) {
  const page = globalThis.location?.origin;
  const { origin: base, port } = new URL(baseUrl, globalThis.location?.href);
  const own = page === base;
  const trusted = new Set([base, page, ...origins]);
  const name = `doorward ${base}`;
  const channel = globalThis.BroadcastChannel && new BroadcastChannel(name);
  const hidden = () => globalThis.document?.visibilityState === 'hidden';
  const life = new AbortController();
  const listeners = new Set();
  // undefined: not known.
  let user;
  let token = null;
  // One clock may be wrong, the other stands still in sleep.
  let ticks, wall, lasts;
  let lead = 0;
  // For the cookie of another origin.
  let csrf;
  // Key and proof of a refresh without an answer yet: with them its cookie, perhaps spent, is no theft.
  let pending;
  // What began before a sign-in or sign-out is dropped after it.
  let epoch = 0;
  let refreshing = null;
  let queue = Promise.resolve();
  let timer;

  const left = () => (token ? Math.max(0, lasts - Math.max(performance.now() - ticks, Date.now() - wall) / 1000) : 0);

  function lasting(seconds) {
    [ticks, wall, lasts] = [performance.now(), Date.now(), seconds];
  }

  // Other tabs and the next load go on with it.
  function remember(value) {
    pending = value;
    try {
      value ? localStorage.setItem(name, value) : localStorage.removeItem(name);
    } catch {}
  }

  function recall() {
    try {
      pending = localStorage.getItem(name) ?? pending;
    } catch {}
    return pending?.split(' ') ?? [];
  }

  function alone(work) {
    const locks = globalThis.navigator?.locks;
    if (locks) return locks.request(name, work);
    const done = queue.then(work);
    queue = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  function go(path, { bearer, json, key, ...init } = {}) {
    const headers = new Headers(init.headers);
    if (key) headers.set('Idempotency-Key', key);
    if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
    if (json) headers.set('Content-Type', 'application/json');
    const late = new AbortController();
    setTimeout(() => late.abort(), ANSWER_WITHIN).unref?.();
    return fetch(base + path, {
      credentials: 'include',
      signal: late.signal,
      body: json && JSON.stringify(json),
      ...init,
      headers,
    }).catch(lost);
  }

  function proof() {
    for (const kind of own ? ['__Host-doorward-csrf', `doorward-csrf-${port || 80}`, 'doorward-csrf-\\d+'] : []) {
      const found = RegExp(`(?:^|; )${kind}=([^;]+)`).exec(document.cookie);
      if (found) return found[1];
    }
  }

  async function post(path, { bearer, key, sent = csrf, member }) {
    sent = proof() ?? sent;
    for (let tries = 1, asked; ; tries++) {
      try {
        // A 401 is the post's to say.
        if (!sent)
          sent = csrf = await go('/api/auth/csrf', { key })
            .then(read('csrfToken'))
            .then((body) => body.csrfToken, unless401);
        const headers = {};
        if (sent) headers['X-CSRF-Token'] = sent;
        if (key) remember(`${key} ${sent ?? ''}`);
        // keepalive: the cookie must reach the jar if the page goes away.
        return await go(path, { method: 'POST', bearer, key, keepalive: true, headers }).then(read(member));
      } catch (error) {
        if (tries >= TRIES || !/^(CSRF_FAILED|REFRESH_CONFLICT|INVALID_REQUEST)$/.test(error.code)) throw error;
        await new Promise((done) => setTimeout(done, (error.retryAfter ?? 0.1) * 1000 * (1 + Math.random() / 2)));
        // A neighbour wrote into our jar? Ask once.
        const ask = !asked && error.code === 'CSRF_FAILED';
        asked ||= ask;
        sent = ask ? '' : proof();
      }
    }
  }

  function unless401(error) {
    if (error.status !== 401) throw error;
  }

  function become(next, reason) {
    user = next;
    for (const listener of [...listeners]) listener(user, reason);
  }

  function take(tokens) {
    remember();
    token = tokens.accessToken;
    csrf = tokens.csrfToken;
    lasting(tokens.expiresIn);
    lead = Math.min(LEAD, tokens.expiresIn / 2);
    plan(Math.max(0, tokens.expiresIn - lead * (1 - Math.random() / 8)));
  }

  function plan(seconds) {
    clearTimeout(timer);
    if (life.signal.aborted) return;
    timer = setTimeout(() => hidden() || renew(), seconds * 1000);
    timer.unref?.();
  }

  function over(reason) {
    epoch++;
    token = null;
    csrf = undefined;
    remember();
    clearTimeout(timer);
    if (user !== null) become(null, reason);
  }

  const refresh = () => (refreshing ??= alone(rotate).finally(() => (refreshing = null)));
  const renew = () => refresh().catch((error) => plan(error.retryAfter ?? 5));

  async function rotate() {
    const before = epoch;
    const [key = crypto.getRandomValues(new Uint32Array(4)).join('-'), sent] = recall();
    try {
      const tokens = await post('/api/auth/refresh', { key, sent, member: 'accessToken' });
      if (epoch !== before) return remember();
      take(tokens);
      const { sub, role, permissions } = JSON.parse(
        atob(tokens.accessToken.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')),
      );
      if (user?.id !== sub) {
        const next = await go('/api/users/me', { bearer: token }).then(read('id'));
        if (epoch === before) become(next, 'signed-in');
      } else if (user && (user.role !== role || `${user.permissions}` !== `${permissions}`)) {
        become({ ...user, role, permissions }, 'changed');
      }
    } catch (error) {
      // Only the server's own word ends a session.
      if (error.code === 'UNEXPECTED' || !(error.status === 401 || (/^40[03]$/.test(error.status) && !left())))
        throw error;
      if (epoch === before) over(error.code);
    }
  }

  async function start() {
    if (own && !proof()) return over();
    try {
      await refresh();
    } catch (error) {
      plan(error.retryAfter ?? 5);
      if (user === undefined) become(undefined, error.code);
    }
  }

  async function fresh(patient) {
    await ready;
    if (user === undefined || (user && !left())) await refresh();
    else if (user && left() < lead) await (patient ? renew() : void renew());
    return token;
  }

  async function authorized(send) {
    let used = await fresh();
    const who = user?.id;
    let response = await send(used);
    const refused = async () =>
      response.status === 401 &&
      (
        await response
          .clone()
          .json()
          .catch(() => 0)
      )?.error !== 'INVALID_CREDENTIALS';
    if (used && (await refused())) {
      if (token === used) await refresh();
      if (token && token !== used) {
        if (user?.id !== who)
          throw new DoorwardError(401, { error: 'USER_CHANGED', message: 'Somebody else is signed in now' });
        response = await send((used = token));
      }
    }
    const seconds = response.headers.get('X-Token-Expires-In');
    if (seconds && used && used === token) {
      // Whole seconds, rounded down.
      if (+seconds + 1 < left()) lasting(+seconds + 1);
      if (+seconds < lead) renew();
    }
    return response;
  }

  async function authFetch(input, init) {
    const request = new Request(input, init);
    if (!trusted.has(new URL(request.url).origin))
      throw new TypeError(`No token for ${request.url}: list its origin in origins`);
    return authorized((bearer) => {
      const sent = request.clone();
      if (bearer) sent.headers.set('Authorization', `Bearer ${bearer}`);
      return fetch(sent);
    });
  }

  const call = (method, path, json) => authorized((bearer) => go(path, { method, bearer, json })).then(read());

  async function enter(path, json) {
    const tokens = await alone(() => go(path, { method: 'POST', json, key: recall()[0] }).then(read('accessToken')));
    epoch++;
    take(tokens);
    become(tokens.user, 'signed-in');
    channel?.postMessage('in');
    return tokens.user;
  }

  async function logout() {
    await alone(() => {
      const [key, sent] = recall();
      return post('/api/auth/logout', { bearer: token, key, sent, member: 'message' });
    });
    over('signed-out');
    channel?.postMessage('out');
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data === 'out') over('signed-out');
      // One under way may have the old cookie.
      else
        Promise.resolve(refreshing)
          .catch(() => {})
          .then(renew);
    };
    channel.unref?.();
  }
  // After a pause; persisted: somebody else may be signed in.
  for (const type of ['visibilitychange', 'resume', 'online', 'pageshow']) {
    globalThis.addEventListener?.(
      type,
      ({ persisted }) => hidden() || ((persisted || (user !== null && left() <= lead)) && renew()),
      { capture: true, signal: life.signal },
    );
  }

  const ready = start();

  return {
    ready,
    get user() {
      return user;
    },
    get expiresIn() {
      return left();
    },
    token: () => fresh(true),
    refresh,
    fetch: authFetch,
    call,
    register: (form) => enter('/api/auth/register', form),
    setup: (form) => enter('/api/auth/setup', form),
    login: (form) => enter('/api/auth/login', form),
    logout,
    async logoutAll() {
      await call('POST', '/api/auth/logout-all');
      await logout();
    },
    async changePassword(form) {
      take(
        await authorized((bearer) =>
          alone(() => go('/api/auth/password', { method: 'POST', bearer, json: form })),
        ).then(read('accessToken')),
      );
      epoch++;
      channel?.postMessage('in');
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      life.abort();
      clearTimeout(timer);
      channel?.close();
    },
  };
}
