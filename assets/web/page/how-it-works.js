// How it works: the live token, what goes over the wire, and a theft, for real.

import { decodeTokenPart } from '/doorward.js';
import { auth, callListeners, calls, may, shorten, signedInUser, tracedFetch } from './auth.js';
import { actionButton, card, clock, errorText, field, form, formatDuration, h, relativeTime } from './ui.js';

/** @import { Call } from './auth.js' */

/** @type {Record<string, string>} */
const CLAIM_MEANINGS = {
  alg: 'how it is signed; the key decides, never the token',
  kid: 'which key signed it',
  typ: 'an access token and nothing else',
  iss: 'who issued it',
  aud: 'whom it is for',
  sub: 'who you are',
  iat: 'issued',
  exp: 'good until',
  nbf: 'not before',
  jti: 'this token, so that it alone can be revoked',
  sid: 'your session, so that it alone can be ended',
  ver: 'counts up when everything of yours is revoked',
  role: 'your role',
  permissions: 'what it permits',
};

/**
 * @param {string} title
 * @param {Record<string, any>} claims
 */
function claimsTable(title, claims) {
  const rows = Object.entries(claims).map(([name, value]) =>
    h(
      'tr',
      null,
      h('th', { scope: 'row' }, name),
      h(
        'td',
        null,
        h('span.mono', null, Array.isArray(value) ? value.join(', ') : String(value)),
        /^(iat|exp)$/.test(name) && [' ', relativeTime(value * 1000)],
        h('span.why', null, CLAIM_MEANINGS[name] ?? ''),
      ),
    ),
  );
  return h('table', null, h('caption', null, title), h('tbody', null, rows));
}

/** @param {string} token */
const tokenParts = (token) =>
  token.split('.').map((part, i) => h('span', { class: `part${i}` }, `${i ? '.' : ''}${shorten(part)}`));

/**
 * The token, its countdown and what it says.
 * @param {AbortSignal} viewClosed
 */
function liveToken(viewClosed) {
  const content = h('div');
  const countdown = h('output.left', { 'aria-live': 'off' });
  const bar = h('progress.beam', { max: 1, value: 0, 'aria-label': 'What is left of the access token' });
  /** @type {string | undefined} */
  let shownToken;
  async function showToken() {
    const token = await auth.token().catch(() => null);
    if (!token || token === shownToken) return;
    shownToken = token;
    const [header, claims] = token.split('.').slice(0, 2).map(decodeTokenPart);
    bar.max = claims.exp - claims.iat;
    content.replaceChildren(
      h('p.token.mono', { 'aria-label': 'The access token, shortened' }, tokenParts(token)),
      h('div.pair', null, claimsTable('Header', header), claimsTable('Claims', claims)),
    );
  }
  function update() {
    const seconds = auth.expiresIn;
    bar.value = seconds;
    countdown.textContent = seconds > 0 ? `${formatDuration(seconds)} left` : 'expired; the next call renews it';
    return showToken();
  }
  update();
  const timer = setInterval(update, 1000);
  viewClosed.addEventListener('abort', () => clearInterval(timer));
  const renew = actionButton({
    label: 'Renew now',
    run: async () => {
      await auth.refresh();
      await update();
    },
  });
  return card(
    'Your access token, live',
    'It lives in this page’s memory alone: not in storage, not in a cookie. It is renewed when less than a minute is left.',
    h('div.row.spread', null, countdown, renew),
    bar,
    content,
  );
}

/** @typedef {{ title: string, why: string }} TokenEvent */

/** @satisfies {Record<string, TokenEvent>} */
const EVENTS = {
  ISSUED: {
    title: 'Issued',
    why: 'You signed in. The server set the refresh token as an httpOnly cookie, so no script on this page can read it. The database keeps only a keyed hash of it.',
  },
  ROTATED: {
    title: 'Rotated',
    why: 'The refresh token was traded for a new one and is now dead. Were it ever presented again, that would prove a copy exists.',
  },
  REVOKED: {
    title: 'Revoked',
    why: 'You signed out. The session is ended in the database, and the cookie was cleared.',
  },
};

/** @type {Record<string, TokenEvent>} */
const FAILED_REFRESHES = {
  REFRESH_CONFLICT: {
    title: 'Lost a race',
    why: 'Another tab refreshed at the same moment. Nothing is revoked: this tab waits and uses the new cookie.',
  },
  CSRF_FAILED: {
    title: 'Not accepted',
    why: 'The proof did not fit the cookie, as when another tab refreshed in between. This tab reads the new proof and tries again.',
  },
  NETWORK: { title: 'Unknown', why: 'No answer came. That is no sign-out: the next try will tell.' },
};

/**
 * What a call did to this page's refresh token.
 * @param {Call} call
 * @returns {TokenEvent | null} null if nothing
 */
function describeEvent({ path, status, error = '', isDemo }) {
  if (isDemo) return null;
  switch (path.replace('/api/auth/', '')) {
    case 'refresh':
      if (status === 200) return EVENTS.ROTATED;
      return FAILED_REFRESHES[error] ?? { title: 'Refused', why: `The server said ${error}.` };
    case 'login':
    case 'register':
    case 'setup':
    case 'password':
      return status > 0 && status < 300 ? EVENTS.ISSUED : null;
    case 'logout':
      return status === 200 ? EVENTS.REVOKED : null;
    default:
      return null;
  }
}

/** @param {AbortSignal} viewClosed */
function refreshHistory(viewClosed) {
  const list = h('ol.story');
  function show() {
    const rows = calls.flatMap((call) => {
      const event = describeEvent(call);
      if (!event) return [];
      const when = h('small', null, relativeTime(call.at + clock.skew));
      return [h('li', null, h('p.title', null, event.title, ' ', when), h('p.sub', null, event.why))];
    });
    list.replaceChildren(...(rows.length ? rows.slice(0, 5) : [h('li.empty', null, 'Nothing yet.')]));
  }
  show();
  callListeners.add(show);
  viewClosed.addEventListener('abort', () => callListeners.delete(show));
  return card('What happened to your refresh token', null, list);
}

/**
 * @param {[string, string][]} headers
 * @param {string} body
 */
const message = (headers, body) =>
  [headers.map(([name, value]) => `${name}: ${value}`).join('\n'), body].filter(Boolean).join('\n\n');

/** @param {Call} call */
function callRow(call) {
  const isGood = call.status > 0 && call.status < 400;
  const outcome = call.error ? `${call.status || ''} ${call.error}` : String(call.status);
  const sent = message(call.requestHeaders, call.requestBody) || '(nothing but the address)';
  const received = message(call.responseHeaders, call.responseBody) || '(no body)';
  return h(
    'details',
    null,
    h(
      'summary',
      null,
      h('span.mono', null, `${call.method} ${call.path}`),
      h(
        'span.row',
        null,
        h('span', { class: `status ${isGood ? 'good' : 'bad'}` }, outcome),
        h('small', null, `${call.millis} ms`),
      ),
    ),
    h(
      'div.pair',
      null,
      h('div', null, h('h3', null, 'Sent'), h('pre', { tabindex: '0' }, sent)),
      h('div', null, h('h3', null, 'Received'), h('pre', { tabindex: '0' }, received)),
    ),
  );
}

const MAX_ROWS = 20;

/** @param {AbortSignal} viewClosed */
function callLog(viewClosed) {
  const list = h('div.calls');
  const empty = h('p.empty', null, 'Nothing was sent yet.');
  // Rows are added one by one, so that those somebody has opened stay open.
  /** @param {Call} call */
  const add = (call) => {
    empty.remove();
    list.prepend(callRow(call));
    while (list.childElementCount > MAX_ROWS) list.lastElementChild?.remove();
  };
  if (!calls.length) list.append(empty);
  for (const call of calls.slice(0, MAX_ROWS).reverse()) add(call);
  callListeners.add(add);
  viewClosed.addEventListener('abort', () => callListeners.delete(add));
  return card('The last calls', 'What this page sent and received, secrets shortened.', list);
}

function tryAccess() {
  const verdict = h('p.verdict', { role: 'status' });
  /**
   * @param {boolean} isLetIn
   * @param {string} text
   */
  const show = (isLetIn, text) => {
    verdict.className = `verdict ${isLetIn ? 'good' : 'bad'}`;
    verdict.textContent = text;
  };
  const question = field(
    'Role or permission',
    { name: 'question', required: true, autocomplete: 'off', spellcheck: 'false', value: 'articles:write' },
    'A name such as editor asks for a role, one with a colon such as articles:write for a permission.',
  );
  const element = form({
    fields: [question],
    label: 'Ask the server',
    busy: 'Asking…',
    kind: 'plain',
    action: async ({ question }) => {
      const name = question.trim();
      const parameter = name.includes(':') ? 'permission' : 'role';
      try {
        await auth.call('GET', `/api/auth/verify?${parameter}=${encodeURIComponent(name)}`);
        show(true, `Yes. GET /api/auth/verify?${parameter}=${name} answered 200.`);
      } catch (error) {
        if (error.status !== 403) throw error;
        show(false, `No: 403 ${error.code}. ${error.message}.`);
      }
    },
  });
  return card('Would you be let in?', 'What a service behind Doorward asks before it answers you.', element, verdict);
}

/**
 * A request as a script elsewhere would make it: without cookies, so that this page's own session is not touched.
 * @param {string} path
 * @param {unknown} json
 * @returns {Promise<Record<string, any>>} the status and what the body has
 */
async function requestWithoutCookies(path, json) {
  const response = await tracedFetch(path, {
    method: 'POST',
    credentials: 'omit',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(json),
  });
  calls[0].isDemo = true;
  return { status: response.status, ...(await response.json()) };
}

/** @param {number} bytes */
const randomHex = (bytes) =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {{ error?: string, message?: string, retryAfter?: number }} refusal */
const refusalError = ({ error, message, retryAfter }) => Object.assign(new Error(message), { code: error, retryAfter });

/**
 * The theft, step by step, with tokens of its own.
 * @param {() => Promise<Record<string, any>>} signIn
 * @param {(title: string, text: string, isBad?: boolean) => void} addStep
 */
async function replayTheft(signIn, addStep) {
  const first = await signIn();
  if (!first.refreshToken) throw refusalError(first);
  addStep('A phone signs in', `It keeps the refresh token ${shorten(first.refreshToken)}. A thief copies it.`);
  const second = await requestWithoutCookies('/api/auth/refresh', { refreshToken: first.refreshToken });
  if (!second.refreshToken) throw refusalError(second);
  addStep(
    'The phone refreshes',
    `${shorten(first.refreshToken)} is traded for ${shorten(second.refreshToken)}; the copy is now worthless.`,
  );
  const replay = await requestWithoutCookies('/api/auth/refresh', { refreshToken: first.refreshToken });
  if (replay.status === 200) {
    addStep(
      'The thief replays the copy: 200',
      'This server has a grace period (sessions.refresh_grace), so an immediate repeat gets the same answer again and no second session.',
    );
    // Nothing was revoked, so the phone's session would stay.
    await requestWithoutCookies('/api/auth/logout', { refreshToken: second.refreshToken });
    return;
  }
  addStep(
    `The thief replays the copy: ${replay.status} ${replay.error}`,
    'A token that was traded in came back, so two parties hold it. The server cannot know which is the thief, so both are out.',
    true,
  );
  const owner = await requestWithoutCookies('/api/auth/refresh', { refreshToken: second.refreshToken });
  addStep(
    `The phone tries its own token: ${owner.status} ${owner.error ?? ''}`,
    'Revoked too: whoever was robbed signs in again, the thief cannot.',
    true,
  );
}

function theftDemo() {
  const steps = h('ol.story', { 'aria-live': 'polite' });
  /**
   * @param {string} title
   * @param {string} text
   */
  const addStep = (title, text, isBad = false) =>
    steps.append(h('li', { class: isBad && 'bad' }, h('p.title', null, title), h('p.sub', null, text)));

  async function playWithNewAccount() {
    steps.replaceChildren();
    /** @type {{ id: string, email: string } | undefined} */
    let robbed;
    try {
      await replayTheft(async () => {
        const email = `theft-${randomHex(4)}@demo.example.com`;
        const form = { email, password: randomHex(12), tokenTransport: 'body' };
        const answer = await requestWithoutCookies('/api/auth/register', form);
        robbed = answer.user;
        return answer;
      }, addStep);
    } catch (error) {
      const isClosed = error.code === 'REGISTRATION_CLOSED';
      const text = isClosed ? 'Nobody may register here. Use your own account below.' : errorText(error);
      addStep('It could not go on', text, true);
    }
    if (!robbed) return;
    // The API lets nobody delete their own account, so only an admin can clear this one away.
    if (may('users:write')) {
      await auth.call('DELETE', `/api/users/${robbed.id}`);
      addStep('You are an admin', `So the throw-away account ${robbed.email} was deleted again.`);
    } else {
      addStep('The account stays', `Nobody can sign in to ${robbed.email}, and an admin can delete it.`);
    }
  }
  const withNewAccount = actionButton({
    label: 'Play it with a throw-away account',
    kind: 'primary',
    run: playWithNewAccount,
  });

  const password = field(
    'Your password',
    { type: 'password', name: 'password', autocomplete: 'current-password', required: true },
    'This really signs you out, on every device and here: that is what a replay costs.',
  );
  const withOwnAccount = form({
    fields: [password],
    label: 'Play it with my account',
    busy: 'Stealing…',
    kind: 'danger',
    action: async ({ password }) => {
      steps.replaceChildren();
      const { email } = signedInUser();
      await replayTheft(
        () => requestWithoutCookies('/api/auth/login', { email, password, tokenTransport: 'body' }),
        addStep,
      );
    },
  });
  return card(
    'What if a refresh token is stolen?',
    'Really done, against this server, with tokens that travel in bodies as they do for apps and scripts.',
    h(
      'p',
      null,
      'The throw-away account is a real one, named theft-…@demo.example.com. Your own session is not touched. ',
      may('users:write') ? 'It is deleted afterwards.' : 'It stays until an admin deletes it.',
    ),
    h('div.row', null, withNewAccount),
    steps,
    h('details', null, h('summary', null, 'Use my own account instead'), withOwnAccount),
  );
}

/** @param {AbortSignal} viewClosed */
export const howItWorks = (viewClosed) => [
  h('h1', null, 'How it works'),
  h(
    'p.lead',
    null,
    'Two tokens keep you in. A short-lived one opens doors; a long-lived one, used once and traded in, gets the next.',
  ),
  liveToken(viewClosed),
  refreshHistory(viewClosed),
  theftDemo(),
  tryAccess(),
  callLog(viewClosed),
];
