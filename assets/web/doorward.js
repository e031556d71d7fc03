// Sign-in for any page. Reference: docs/client.md; types: doorward.d.ts.
// @ts-check

/** What was refused, by `code`: the server's `error`, or NETWORK, UNEXPECTED, USER_CHANGED. */
export class DoorwardError extends Error {
  /** @param {number} status @param {any} body @param {unknown} [cause] */
  constructor(status, body, cause) {
    const { error, message, ...details } = body;
    super(message ?? error, { cause });
    Object.assign(this, details, { name: 'DoorwardError', code: error, status });
  }
}

const ANSWER_WITHIN = 30e3;
/** Renew when less than this is left, in seconds; half the life of a token that lives shorter. */
const LEAD = 60;
const TRIES = 5;

const sleep = (/** @type {number} */ ms) => new Promise((done) => setTimeout(done, ms));

/** @param {Response} response */
async function read(response) {
  const text = await response.text();
  let body;
  try {
    body = text ? JSON.parse(text) : {};
  } catch {}
  if (response.ok && body) return body;
  // A proxy's page is no word of ours.
  if (!body?.error) body = { error: 'UNEXPECTED', message: `Unexpected answer (${response.status})` };
  throw new DoorwardError(response.status, body);
}

/** @param {import('./doorward.js').Options} [options] @returns {import('./doorward.js').Doorward} */
export function createDoorward({ baseUrl = import.meta.url, origins = [], fetch = (input, init) => globalThis.fetch(input, init) } = {}) {
  const page = globalThis.location?.origin;
  const base = new URL(baseUrl, globalThis.location?.href).origin;
  const own = page === base;
  const trusted = new Set([base, page, ...origins]);
  const name = `doorward ${base}`;
  const channel = globalThis.BroadcastChannel && new BroadcastChannel(name);
  const hidden = () => globalThis.document?.visibilityState === 'hidden';
  const life = new AbortController();
  const listeners = new Set();
  /** undefined: not known yet; null: nobody. @type {import('./doorward.js').User | null | undefined} */
  let user;
  /** Here and nowhere else. @type {string | null} */
  let token = null;
  // performance.now(): the clock on the wall may be wrong.
  let deadline = 0;
  let lead = 0;
  /** For the cookie of another origin, which this page cannot read. @type {string | undefined} */
  let csrf;
  /** Counts sign-ins and sign-outs: what began before one is dropped after it. */
  let epoch = 0;
  /** @type {Promise<void> | null} */
  let refreshing = null;
  let queue = Promise.resolve();
  /** @type {any} */
  let timer;

  const left = () => (token ? Math.max(0, (deadline - performance.now()) / 1000) : 0);

  /** What changes the cookies happens one at a time: in all tabs where there are locks, else in this one.
   * @param {() => Promise<any>} work @returns {Promise<any>} */
  function alone(work) {
    const locks = globalThis.navigator?.locks;
    if (locks) return locks.request(name, work);
    const done = queue.then(work);
    queue = done.then(() => {}, () => {});
    return done;
  }

  /** @param {string} path @param {any} [options] */
  async function go(path, { bearer, json, ...init } = {}) {
    const headers = new Headers(init.headers);
    if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
    if (json) headers.set('Content-Type', 'application/json');
    try {
      const signal = AbortSignal.timeout(ANSWER_WITHIN);
      return await fetch(base + path, { credentials: 'include', signal, body: json && JSON.stringify(json), ...init, headers });
    } catch (cause) {
      throw new DoorwardError(0, { error: 'NETWORK', message: 'The server cannot be reached' }, cause);
    }
  }

  function proof() {
    const kept = own && document.cookie;
    return kept ? (/(?:^|; )__Host-csrfToken=([^;]+)/.exec(kept) ?? /(?:^|; )csrfToken=([^;]+)/.exec(kept))?.[1] : undefined;
  }

  /** Posts what goes by the cookie, with the CSRF token that fits it. */
  async function post(path, bearer) {
    for (let tries = 1; ; tries++) {
      try {
        let sent = proof() ?? csrf;
        // A 401: no session to make one for. The post below will say so.
        if (!sent) sent = csrf = await go('/api/auth/csrf').then(read).then((body) => body.csrfToken, unless401);
        // keepalive: the answer's cookie must reach the jar even if the page goes away meanwhile.
        return await go(path, { method: 'POST', bearer, keepalive: true, headers: sent ? { 'X-CSRF-Token': sent } : {} }).then(read);
      } catch (error) {
        csrf = undefined;
        // Another tab refreshed: the jar has new cookies now or in a moment.
        if (tries >= TRIES || !/^(CSRF_FAILED|REFRESH_CONFLICT)$/.test(error.code)) throw error;
        await sleep((error.retryAfter ?? 0.1) * 1000 * (1 + Math.random() / 2));
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
    if (!tokens.accessToken) throw new DoorwardError(0, { error: 'UNEXPECTED', message: 'No token in the answer' });
    token = tokens.accessToken;
    csrf = tokens.csrfToken;
    deadline = performance.now() + tokens.expiresIn * 1000;
    lead = Math.min(LEAD, tokens.expiresIn / 2);
    plan(Math.max(0, tokens.expiresIn - lead * (1 - Math.random() / 8)));
  }

  /** Refreshes in so many seconds, if somebody is looking then. */
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
    clearTimeout(timer);
    if (user !== null) become(null, reason);
  }

  const refresh = () => (refreshing ??= alone(rotate).finally(() => (refreshing = null)));
  /** In the background: what fails now is tried again. */
  const renew = () => refresh().catch((error) => plan(error.retryAfter ?? 5));

  async function rotate() {
    const before = epoch;
    try {
      const tokens = await post('/api/auth/refresh');
      if (epoch !== before) return;
      take(tokens);
      const { sub, role, permissions } = JSON.parse(atob(tokens.accessToken.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
      if (user?.id !== sub) {
        const next = await go('/api/users/me', { bearer: token }).then(read);
        if (epoch === before) become(next, 'signed-in');
      } else if (user && (user.role !== role || `${user.permissions}` !== `${permissions}`)) {
        become({ ...user, role, permissions }, 'changed');
      }
    } catch (error) {
      // Only the server's own word ends a session.
      if (error.status !== 401 || error.code === 'UNEXPECTED') throw error;
      if (epoch === before) over(error.code);
    }
  }

  async function start() {
    // No cookie, no session.
    if (own && !proof()) return over();
    try {
      await refresh();
    } catch (error) {
      plan(error.retryAfter ?? 5);
      if (user === undefined) become(undefined, error.code);
    }
  }

  /** The access token, renewed if it has to be; null for nobody. */
  async function fresh() {
    await ready;
    if (user === undefined || (user && !left())) await refresh();
    else if (user && left() < lead) renew();
    return token;
  }

  /** @param {(bearer: string | null) => Promise<Response>} send */
  async function authorized(send) {
    let used = await fresh();
    const who = user?.id;
    let response = await send(used);
    const refused = async () => response.status === 401 && (await response.clone().json().catch(() => 0))?.error !== 'INVALID_CREDENTIALS';
    if (used && (await refused())) {
      if (token === used) await refresh();
      if (token && token !== used) {
        // What one user asked for is not done in another's name.
        if (user?.id !== who) throw new DoorwardError(401, { error: 'USER_CHANGED', message: 'Somebody else is signed in now' });
        response = await send((used = token));
      }
    }
    const seconds = response.headers.get('X-Token-Expires-In');
    if (seconds && used && used === token) {
      // Whole seconds, rounded down.
      deadline = Math.min(deadline, performance.now() + (+seconds + 1) * 1000);
      if (+seconds < lead) renew();
    }
    return response;
  }

  async function authFetch(input, init) {
    const request = new Request(input, init);
    if (!trusted.has(new URL(request.url).origin)) throw new TypeError(`No token for ${request.url}: list its origin in origins`);
    return authorized((bearer) => {
      const sent = request.clone();
      if (bearer) sent.headers.set('Authorization', `Bearer ${bearer}`);
      return fetch(sent);
    });
  }

  const call = (method, path, json) => authorized((bearer) => go(path, { method, bearer, json })).then(read);

  async function enter(path, json) {
    const tokens = await alone(() => go(path, { method: 'POST', json }).then(read));
    epoch++;
    take(tokens);
    become(tokens.user, 'signed-in');
    channel?.postMessage('in');
    return tokens.user;
  }

  async function logout() {
    await alone(() => post('/api/auth/logout', token));
    over('signed-out');
    channel?.postMessage('out');
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data === 'out') over('signed-out');
      // One under way may have left with the old cookie.
      else Promise.resolve(refreshing).catch(() => {}).then(renew);
    };
    /** @type {any} */ (channel).unref?.();
  }
  const on = (type, act) => globalThis.addEventListener?.(type, act, life);
  on('visibilitychange', () => hidden() || (user !== null && left() <= lead && renew()));
  on('online', () => user !== null && left() <= lead && renew());
  // Back from the back-forward cache.
  on('pageshow', (event) => event.persisted && renew());

  const ready = start();

  return {
    ready,
    get user() {
      return user;
    },
    get expiresIn() {
      return left();
    },
    token: fresh,
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
      const path = '/api/auth/password';
      take(await authorized((bearer) => alone(() => go(path, { method: 'POST', bearer, json: form }))).then(read));
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
