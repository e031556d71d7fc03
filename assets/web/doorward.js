// Sign-in for any page. Reference: docs/client.md. Declared types: doorward.d.ts, which tests/browser/types.ts holds to
// this file in both directions. build.rs leaves out comment lines when it packs this, so they cost a visitor nothing.

/** @import { Options, Reason, User } from './doorward.d.ts' */
/** @typedef {{ accessToken: string, csrfToken?: string, expiresIn: number, user: User }} Tokens */
/** @typedef {RequestInit & { bearer?: string | null, json?: any, key?: string }} Call */

export class DoorwardError extends Error {
  /**
   * @param {number} status
   * @param {{ error: string, message?: string, retryAfter?: number }} body
   * @param {unknown} [cause]
   */
  constructor(status, { error, message, ...details }, cause) {
    super(message ?? error, { cause });
    Object.assign(this, details);
    this.name = /** @type {const} */ ('DoorwardError');
    this.code = error;
    this.status = status;
  }
}

const REQUEST_TIMEOUT = 30e3;
// How many seconds before its end a token is renewed; half the life of one that lives shorter than twice this.
const RENEWAL_LEAD = 60;
const MAX_TRIES = 5;

/**
 * Reads one of a token's first two parts. `atob` gives bytes, and claims are UTF-8: hence the decoder.
 * @param {string} part
 */
export function decodeTokenPart(part) {
  const bytes = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))));
}

/**
 * @param {unknown} cause
 * @returns {never}
 */
function throwNetworkError(cause) {
  throw new DoorwardError(0, { error: 'NETWORK', message: 'The server cannot be reached' }, cause);
}

/**
 * What turns a response into its JSON, or into an error. What a proxy or a hotel's portal answers must not count as the
 * server's word: a success needs `member` in it, a refusal needs a `requestId`.
 * @param {string} [member]
 * @returns {(response: Response) => Promise<any>}
 */
const readJson = (member) => async (response) => {
  const { status, ok } = response;
  const text = await response.text().catch(throwNetworkError);
  /** @type {any} */
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {}
  if (status === 204 || (ok && (member ? body?.[member] : text && body))) return body;
  if (ok || !body?.error || !body.requestId) body = { error: 'UNEXPECTED', message: `Unexpected answer (${status})` };
  throw new DoorwardError(status, body);
};

/**
 * Whether a response says that the access token is no good. A wrong password is a 401, too, and says nothing of it; nor
 * does the wish for a newer sign-in.
 * @param {Response} response
 */
async function isTokenRefused(response) {
  if (response.status !== 401) return false;
  const body = await response
    .clone()
    .json()
    .catch(() => null);
  return !/^(INVALID_CREDENTIALS|STEP_UP_REQUIRED)$/.test(body?.error);
}

/**
 * Under Node a timer or channel keeps the process alive; one of ours should not.
 * @param {any} handle
 */
const unref = (handle) => handle.unref?.();

/** @param {Options} options */
export function createDoorward({
  baseUrl = import.meta.url,
  origins = [],
  fetch = (input, init) => globalThis.fetch(input, init),
} = {}) {
  // There is no location under Node, in tests and on servers.
  const pageOrigin = globalThis.location?.origin;
  const { origin: base, port } = new URL(baseUrl, globalThis.location?.href);
  const isSameOrigin = pageOrigin === base;
  const trustedOrigins = new Set([base, pageOrigin, ...origins]);
  const locks = globalThis.navigator?.locks;
  const storage = () => (locks ? localStorage : sessionStorage);
  // Of the lock, of the channel and of the pending refresh, each for one server.
  const name = `doorward ${base}`;
  const channel = globalThis.BroadcastChannel && new BroadcastChannel(name);
  const isHidden = () => globalThis.document?.visibilityState === 'hidden';
  const closed = new AbortController();
  /** @type {Set<(user: User | null | undefined, reason?: Reason) => void>} */
  const listeners = new Set();
  /** @type {User | null | undefined} undefined while nobody knows */
  let user;
  /** @type {string | null} */
  let token = null;
  // When the token came, by two clocks: the wall's may be set wrong or be put back, the other stands still in sleep.
  let receivedTicks = 0;
  let receivedWall = 0;
  let lifetime = 0;
  let lead = 0;
  /** @type {string | undefined} the proof that came with the tokens, for pages that cannot read the other origin's cookie */
  let csrf;
  /**
   * Key and proof of a refresh that has no answer yet. Its cookie may be spent already, and sending that again without
   * the key would look like theft.
   * @type {string | undefined}
   */
  let pending;
  // Counts sign-ins and sign-outs: the answer to what began before one is dropped after it.
  let epoch = 0;
  /** @type {Promise<void> | null} */
  let refreshing = null;
  /** @type {Promise<unknown>} */
  let queue = Promise.resolve();
  /** @type {any} a number in browsers, an object under Node */
  let timer;

  function secondsLeft() {
    const passed = Math.max(performance.now() - receivedTicks, Date.now() - receivedWall) / 1000;
    return token ? Math.max(0, lifetime - passed) : 0;
  }

  /** @param {number} seconds */
  function setLifetime(seconds) {
    receivedTicks = performance.now();
    receivedWall = Date.now();
    lifetime = seconds;
  }

  /**
   * In storage, so that other tabs and the next load go on with it. A page without storage has it in memory alone. Where
   * there are no locks it is this tab's own: another tab that sent it meanwhile would be given the same cookie again, and
   * could put it back into the jar after the next refresh has replaced it.
   * @param {string} [value]
   */
  function savePending(value) {
    pending = value;
    try {
      value ? storage().setItem(name, value) : storage().removeItem(name);
    } catch {}
  }

  function loadPending() {
    try {
      pending = storage().getItem(name) ?? pending;
    } catch {}
    return pending?.split(' ') ?? [];
  }

  /**
   * Runs what changes the cookies, one at a time: in all tabs where there are Web Locks, in this one elsewhere.
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  function withLock(work) {
    if (locks) return locks.request(name, work);
    const done = queue.then(work);
    queue = done.catch(() => {});
    return done;
  }

  /**
   * @param {string} path
   * @param {Call} [call]
   */
  function request(path, { bearer, json, key, ...init } = {}) {
    const headers = new Headers(init.headers);
    if (key) headers.set('Idempotency-Key', key);
    if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
    if (json) headers.set('Content-Type', 'application/json');
    // Some browsers that have all the rest lack AbortSignal.timeout.
    const timeout = new AbortController();
    unref(setTimeout(() => timeout.abort(), REQUEST_TIMEOUT));
    return fetch(base + path, {
      credentials: 'include',
      signal: timeout.signal,
      body: json && JSON.stringify(json),
      ...init,
      headers,
    }).catch(throwNetworkError);
  }

  /** The proof in the cookie of this page's own server, under the first of the names it may have. */
  function csrfCookie() {
    // Behind a dev server the page's port is not the server's, so at last any port will do.
    const names = ['__Host-doorward-csrf', `doorward-csrf-${port || 80}`, 'doorward-csrf-\\d+'];
    for (const each of isSameOrigin ? names : []) {
      const found = RegExp(`(?:^|; )${each}=([^;]+)`).exec(document.cookie);
      if (found) return found[1];
    }
  }

  /**
   * Posts what the cookie alone would do, with the proof that the request comes from an allowed page.
   * @param {string} path
   * @param {{ bearer?: string | null, key?: string, proof?: string, member: string }} call
   */
  async function post(path, { bearer, key, proof = csrf, member }) {
    proof = csrfCookie() ?? proof;
    let hasAsked = false;
    for (let tries = 1; ; tries++) {
      try {
        if (!proof) proof = csrf = await fetchProof(key);
        /** @type {Record<string, string>} */
        const headers = {};
        if (proof) headers['X-CSRF-Token'] = proof;
        if (key) savePending(`${key} ${proof ?? ''}`);
        // keepalive: the new cookie must reach the jar even if the page goes away meanwhile.
        return await request(path, { method: 'POST', bearer, key, keepalive: true, headers }).then(readJson(member));
      } catch (error) {
        if (tries >= MAX_TRIES || !/^(CSRF_FAILED|REFRESH_CONFLICT|INVALID_REQUEST)$/.test(error.code)) throw error;
        // Tabs that lost the same race must not all come back at the same moment.
        const wait = (error.retryAfter ?? 0.1) * (1 + Math.random() / 2);
        await new Promise((done) => setTimeout(done, wait * 1000));
        // A neighbouring host may have written into our jar: then the server knows better than the cookie. Asked once.
        const isProofRefused = error.code === 'CSRF_FAILED';
        proof = isProofRefused && !hasAsked ? '' : csrfCookie();
        hasAsked ||= isProofRefused;
      }
    }
  }

  /**
   * @param {string} [key]
   * @returns {Promise<string | undefined>} nothing for a 401: the post that follows gets it too, and says what it means
   */
  const fetchProof = (key) =>
    request('/api/auth/csrf', { key })
      .then(readJson('csrfToken'))
      .then(
        (body) => body.csrfToken,
        (error) => {
          if (error.status !== 401) throw error;
        },
      );

  /**
   * @param {User | null | undefined} next
   * @param {Reason} [reason]
   */
  function setUser(next, reason) {
    user = next;
    for (const listener of [...listeners]) listener(user, reason);
  }

  /** @param {Tokens} tokens */
  function acceptTokens({ accessToken, csrfToken, expiresIn }) {
    savePending();
    token = accessToken;
    csrf = csrfToken;
    setLifetime(expiresIn);
    lead = Math.min(RENEWAL_LEAD, expiresIn / 2);
    // A little earlier in some tabs than in others, so that they do not all wait for one lock.
    scheduleRenewal(Math.max(0, expiresIn - lead * (1 - Math.random() / 8)));
  }

  /** @param {number} seconds */
  function scheduleRenewal(seconds) {
    clearTimeout(timer);
    if (closed.signal.aborted) return;
    // A hidden page renews when it is looked at again.
    timer = setTimeout(() => isHidden() || renew(), seconds * 1000);
    unref(timer);
  }

  /** @param {Reason} [reason] */
  function endSession(reason) {
    epoch++;
    token = null;
    csrf = undefined;
    savePending();
    clearTimeout(timer);
    if (user !== null) setUser(null, reason);
  }

  const refresh = () => (refreshing ??= withLock(rotate).finally(() => (refreshing = null)));
  /** A refresh nobody waits for: what fails is tried again. */
  const renew = () => refresh().catch((error) => scheduleRenewal(error.retryAfter ?? 5));

  async function rotate() {
    const before = epoch;
    const [key = crypto.getRandomValues(new Uint32Array(4)).join('-'), proof] = loadPending();
    /** @type {Tokens} */
    let tokens;
    try {
      tokens = await post('/api/auth/refresh', { key, proof, member: 'accessToken' });
    } catch (error) {
      // Only the server's own word on the session ends it.
      const isRefused = error.status === 401 || (/^40[03]$/.test(error.status) && !secondsLeft());
      if (error.code === 'UNEXPECTED' || !isRefused) throw error;
      if (epoch === before) endSession(error.code);
      return;
    }
    if (epoch !== before) return savePending();
    acceptTokens(tokens);
    const { sub, role, permissions } = decodeTokenPart(tokens.accessToken.split('.')[1]);
    if (user?.id !== sub) {
      // A refusal here says nothing of the session: the token may have expired on the way, in a machine's sleep.
      const me = request('/api/users/me', { bearer: token }).then(readJson('id'));
      const next = await me.catch((error) => {
        // Nor is this token used while nobody knows whose it is.
        if (epoch === before) token = null;
        throw error;
      });
      if (epoch === before) setUser(next, 'signed-in');
    } else if (user && (user.role !== role || `${user.permissions}` !== `${permissions}`)) {
      setUser({ ...user, role, permissions }, 'changed');
    }
  }

  async function start() {
    // The server sets this cookie with the refresh token's own: where it is missing there is nothing to refresh.
    if (isSameOrigin && !csrfCookie()) return endSession();
    try {
      await refresh();
    } catch (error) {
      scheduleRenewal(error.retryAfter ?? 5);
      if (user === undefined) setUser(undefined, error.code);
    }
  }

  /** @param {boolean} [waits] for a renewal that is due though the token is still good */
  async function freshToken(waits) {
    await ready;
    if (user === undefined || (user && !secondsLeft())) await refresh();
    else if (user && secondsLeft() < lead) await (waits ? renew() : void renew());
    return token;
  }

  /** @param {(bearer: string | null) => Promise<Response>} send */
  async function authorized(send) {
    let used = await freshToken();
    const who = user?.id;
    let response = await send(used);
    if (used && (await isTokenRefused(response))) {
      if (token === used) await refresh();
      if (token && token !== used) {
        if (user?.id !== who) {
          throw new DoorwardError(401, { error: 'USER_CHANGED', message: 'Somebody else is signed in now' });
        }
        response = await send((used = token));
      }
    }
    const seconds = response.headers.get('X-Token-Expires-In');
    if (seconds && used && used === token) {
      // The server sends whole seconds, rounded down.
      if (+seconds + 1 < secondsLeft()) setLifetime(+seconds + 1);
      if (+seconds < lead) renew();
    }
    return response;
  }

  /**
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   */
  async function authFetch(input, init) {
    const original = new Request(input, init);
    if (!trustedOrigins.has(new URL(original.url).origin)) {
      throw new TypeError(`No token for ${original.url}: list its origin in origins`);
    }
    return authorized((bearer) => {
      // A clone each time: the second try needs the body again.
      const sent = original.clone();
      if (bearer) sent.headers.set('Authorization', `Bearer ${bearer}`);
      return fetch(sent);
    });
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   */
  const call = (method, path, json) => authorized((bearer) => request(path, { method, bearer, json })).then(readJson());

  /**
   * @param {string} path
   * @param {unknown} json
   * @returns {Promise<User>}
   */
  async function signIn(path, json) {
    /** @type {Tokens} */
    const tokens = await withLock(() =>
      request(path, { method: 'POST', json, key: loadPending()[0] }).then(readJson('accessToken')),
    );
    epoch++;
    acceptTokens(tokens);
    setUser(tokens.user, 'signed-in');
    channel?.postMessage('in');
    return tokens.user;
  }

  async function logout() {
    await withLock(() => {
      const [key, proof] = loadPending();
      return post('/api/auth/logout', { bearer: token, key, proof, member: 'message' });
    });
    endSession('signed-out');
    channel?.postMessage('out');
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data === 'out') endSession('signed-out');
      // A refresh that is under way may have been sent with the old cookie: look again after it.
      else Promise.resolve(refreshing).then(renew, renew);
    };
    unref(channel);
  }
  // Timers stand still in sleep. A page from the back-forward cache may even find somebody else signed in.
  for (const type of ['visibilitychange', 'resume', 'online', 'pageshow']) {
    const lookAgain = (/** @type {any} */ { persisted }) => {
      if (!isHidden() && (persisted || (user !== null && secondsLeft() <= lead))) renew();
    };
    globalThis.addEventListener?.(type, lookAgain, { capture: true, signal: closed.signal });
  }

  const ready = start();

  return {
    ready,
    get user() {
      return user;
    },
    get expiresIn() {
      return secondsLeft();
    },
    token: () => freshToken(true),
    refresh,
    fetch: authFetch,
    call,
    /** @param {{ email: string, password: string, invite?: string }} form */
    register: (form) => signIn('/api/auth/register', form),
    /** @param {{ token: string, email: string, password: string }} form */
    setup: (form) => signIn('/api/auth/setup', form),
    /** @param {{ email: string, password: string }} form */
    login: (form) => signIn('/api/auth/login', form),
    logout,
    async logoutAll() {
      await call('POST', '/api/auth/logout-all');
      await logout();
    },
    /** @param {{ currentPassword: string, newPassword: string }} form */
    async changePassword(form) {
      const response = await authorized((bearer) =>
        withLock(() => request('/api/auth/password', { method: 'POST', bearer, json: form })),
      );
      acceptTokens(await readJson('accessToken')(response));
      epoch++;
      channel?.postMessage('in');
    },
    /** @param {(user: User | null | undefined, reason?: Reason) => void} listener */
    onChange(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    close() {
      closed.abort();
      clearTimeout(timer);
      channel?.close();
    },
  };
}
