// The one client of this page, and a record of what it sent and received.

import { createDoorward } from '/doorward.js';
import { clock } from './ui.js';

const KEPT = 40;
export const calls = [];
export const watchers = new Set();

const SECRET = /^(?:accessToken|refreshToken|csrfToken|password|currentPassword|newPassword|token|code|invite)$/;

/** A secret, short enough to be of no use and long enough to be told from another. */
export const shorten = (secret) => (secret.length > 24 ? `${secret.slice(0, 8)}…${secret.slice(-4)}` : '…');

function tidy(text) {
  try {
    return JSON.stringify(
      JSON.parse(text, (key, value) =>
        SECRET.test(key) && typeof value === 'string' ? (/assword/.test(key) ? '•••' : shorten(value)) : value,
      ),
      null,
      2,
    );
  } catch {
    return text ? '(not JSON)' : '';
  }
}

const ASKED = ['authorization', 'x-csrf-token', 'idempotency-key', 'content-type'];
const SAID = ['x-token-expires-in', 'retry-after', 'www-authenticate', 'ratelimit', 'x-request-id'];

/** fetch, with its secrets shortened into the record. */
export async function traced(input, init) {
  const request = new Request(input, init);
  const body = request.method === 'GET' || typeof init?.body !== 'string' ? '' : init.body;
  const call = {
    at: Date.now(),
    method: request.method,
    path: new URL(request.url).pathname + new URL(request.url).search,
    status: 0,
    sent: [],
    got: [],
    asked: tidy(body),
    answered: '',
    millis: 0,
  };
  for (const name of ASKED) {
    const value = request.headers.get(name);
    if (value)
      call.sent.push([
        name,
        name === 'content-type'
          ? value
          : name === 'authorization'
            ? `Bearer ${shorten(value.slice(7))}`
            : shorten(value),
      ]);
  }
  const begun = performance.now();
  try {
    const response = await fetch(request);
    call.status = response.status;
    const skew = Date.parse(response.headers.get('date')) - Date.now();
    // A second or two is the way here.
    if (Number.isFinite(skew)) clock.skew = Math.abs(skew) > 5000 ? skew : 0;
    for (const name of SAID) if (response.headers.get(name)) call.got.push([name, response.headers.get(name)]);
    const text = await response.clone().text();
    call.answered = tidy(text);
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
    calls.length = Math.min(calls.length, KEPT);
    for (const watcher of watchers) watcher(call);
  }
}

export const auth = createDoorward({ fetch: traced });

/** Whether the person may do something: `*` and `users:*` as the server understands them. */
export const may = (permission) =>
  (auth.user?.permissions ?? []).some(
    (have) => have === '*' || have === permission || (have.endsWith(':*') && permission.startsWith(have.slice(0, -1))),
  );
