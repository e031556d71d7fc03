// The one client of this page, and a record of what it sent and received.

import { createDoorward } from '/doorward.js';
import { clock } from './ui.js';

/**
 * @typedef {object} Call
 * @property {number} at
 * @property {string} method
 * @property {string} path
 * @property {number} status 0 while there is no answer
 * @property {string} [error] the server's code, or NETWORK
 * @property {[string, string][]} requestHeaders
 * @property {[string, string][]} responseHeaders
 * @property {string | symbol} requestBody
 * @property {string | symbol} responseBody
 * @property {number} millis
 * @property {boolean} [isDemo] made by the theft demo, so nothing that happened to this page's own session
 */

const MAX_CALLS = 40;
/** @type {Call[]} the latest first */
export const calls = [];
/** @type {Set<(call: Call) => void>} */
export const callListeners = new Set();

const SECRETS =
  /^(?:accessToken|refreshToken|csrfToken|password|currentPassword|newPassword|token|secret|code|invite)$/;

/**
 * A secret, short enough to be of no use and long enough to be told from another.
 * @param {string} secret
 */
export const shorten = (secret) => (secret.length > 24 ? `${secret.slice(0, 8)}…${secret.slice(-4)}` : '…');

/** Stands for a body that cannot be shown without its secrets, as nobody knows where they are in it. */
export const NOT_JSON = Symbol('not-json');

/** @param {string} text */
function redactJson(text) {
  const redact = (/** @type {string} */ key, /** @type {unknown} */ value) => {
    if (!SECRETS.test(key) || typeof value !== 'string') return value;
    // Even the ends of a password are too much of it.
    return /assword/.test(key) ? '•••' : shorten(value);
  };
  try {
    return JSON.stringify(JSON.parse(text, redact), null, 2);
  } catch {
    return text ? NOT_JSON : '';
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function redactHeader(name, value) {
  if (name === 'content-type') return value;
  return name === 'authorization' ? `Bearer ${shorten(value.slice('Bearer '.length))}` : shorten(value);
}

const REQUEST_HEADERS = ['authorization', 'x-csrf-token', 'idempotency-key', 'content-type'];
const RESPONSE_HEADERS = ['x-token-expires-in', 'retry-after', 'www-authenticate', 'ratelimit', 'x-request-id'];

/**
 * `fetch` that also notes the call, with its secrets shortened.
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 */
export async function tracedFetch(input, init) {
  const request = new Request(input, init);
  const { pathname, search } = new URL(request.url);
  /** @type {Call} */
  const call = {
    at: Date.now(),
    method: request.method,
    path: pathname + search,
    status: 0,
    requestHeaders: [],
    responseHeaders: [],
    requestBody: redactJson(typeof init?.body === 'string' ? init.body : ''),
    responseBody: '',
    millis: 0,
  };
  for (const name of REQUEST_HEADERS) {
    const value = request.headers.get(name);
    if (value) call.requestHeaders.push([name, redactHeader(name, value)]);
  }
  const begun = performance.now();
  try {
    const response = await fetch(request);
    call.status = response.status;
    noteClockSkew(response);
    for (const name of RESPONSE_HEADERS) {
      const value = response.headers.get(name);
      if (value) call.responseHeaders.push([name, value]);
    }
    const text = await response.clone().text();
    call.responseBody = redactJson(text);
    try {
      call.error = JSON.parse(text).error;
    } catch {}
    return response;
  } catch (error) {
    call.error = 'NETWORK';
    throw error;
  } finally {
    call.millis = Math.round(performance.now() - begun);
    calls.unshift(call);
    calls.length = Math.min(calls.length, MAX_CALLS);
    for (const listener of callListeners) listener(call);
  }
}

/** @param {Response} response */
function noteClockSkew(response) {
  const skew = Date.parse(response.headers.get('date') ?? '') - Date.now();
  // A few seconds are the way here and the rounding of the header, no wrong clock.
  if (Number.isFinite(skew)) clock.skew = Math.abs(skew) > 5000 ? skew : 0;
}

export const auth = createDoorward({ fetch: tracedFetch });

/** Who is signed in, for views that are shown to nobody else. */
export function signedInUser() {
  if (!auth.user) throw new Error('nobody is signed in');
  return auth.user;
}

/**
 * Whether to show what needs this permission. The one place here that knows how the server reads `*` and `users:*`. It
 * only hides buttons that would be refused: what somebody may do is decided by the server, at every request.
 * @param {string} permission
 */
export const may = (permission) =>
  (auth.user?.permissions ?? []).some(
    (granted) =>
      granted === '*' ||
      granted === permission ||
      (granted.endsWith(':*') && permission.startsWith(granted.slice(0, -1))),
  );
