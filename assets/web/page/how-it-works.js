// How it works: the live token, what goes over the wire, and a theft, for real.

import { decodeTokenPart } from '/doorward.js';
import { auth, callListeners, calls, may, NOT_JSON, shorten, signedInUser, tracedFetch } from './auth.js';
import { h, verbatim } from './dom.js';
import { errorText } from './errors.js';
import { fill, formatDuration, formatUnit, has, t } from './i18n.js';
import { actionButton, card, clock, field, form, relativeTime } from './ui.js';

/** @import { Call } from './auth.js' */

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
        h('span.why', null, has(`claim.${name}`) && t(`claim.${name}`)),
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
  const bar = h('progress.beam', { max: 1, value: 0, 'aria-label': t('token.bar') });
  /** @type {string | undefined} */
  let shownToken;
  async function showToken() {
    const token = await auth.token().catch(() => null);
    if (!token || token === shownToken) return;
    shownToken = token;
    const [header, claims] = token.split('.').slice(0, 2).map(decodeTokenPart);
    bar.max = claims.exp - claims.iat;
    content.replaceChildren(
      h('p.token.mono', { 'aria-label': t('token.shortened') }, tokenParts(token)),
      h('div.pair', null, claimsTable(t('token.header'), header), claimsTable(t('token.claims'), claims)),
    );
  }
  function update() {
    const seconds = auth.expiresIn;
    bar.value = seconds;
    countdown.textContent = seconds > 0 ? t('token.left', { duration: formatDuration(seconds) }) : t('token.expired');
    return showToken();
  }
  update();
  const timer = setInterval(update, 1000);
  viewClosed.addEventListener('abort', () => clearInterval(timer));
  const renew = actionButton({
    label: t('token.renew'),
    run: async () => {
      await auth.refresh();
      await update();
    },
  });
  return card(t('token.title'), t('token.lead'), h('div.row.spread', null, countdown, renew), bar, content);
}

/** @typedef {{ title: string, why: string, values?: Record<string, string> }} TokenEvent keys of both */

/** @satisfies {Record<string, TokenEvent>} */
const EVENTS = {
  ISSUED: { title: 'story.issued', why: 'story.issuedWhy' },
  ROTATED: { title: 'story.rotated', why: 'story.rotatedWhy' },
  REVOKED: { title: 'story.revoked', why: 'story.revokedWhy' },
};

/** @type {Record<string, TokenEvent>} */
const FAILED_REFRESHES = {
  REFRESH_CONFLICT: { title: 'story.conflict', why: 'story.conflictWhy' },
  CSRF_FAILED: { title: 'story.csrf', why: 'story.csrfWhy' },
  NETWORK: { title: 'story.network', why: 'story.networkWhy' },
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
      return FAILED_REFRESHES[error] ?? { title: 'story.refused', why: 'story.refusedWhy', values: { code: error } };
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
      return [
        h('li', null, h('p.title', null, t(event.title), ' ', when), h('p.sub', null, t(event.why, event.values))),
      ];
    });
    list.replaceChildren(...(rows.length ? rows.slice(0, 5) : [h('li.empty', null, t('story.none'))]));
  }
  show();
  callListeners.add(show);
  viewClosed.addEventListener('abort', () => callListeners.delete(show));
  return card(t('story.title'), null, list);
}

/**
 * @param {[string, string][]} headers
 * @param {string | symbol} body
 */
function message(headers, body) {
  const text = body === NOT_JSON ? t('calls.notJson') : body;
  return [headers.map(([name, value]) => `${name}: ${value}`).join('\n'), text].filter(Boolean).join('\n\n');
}

/** @param {Call} call */
function callRow(call) {
  const isGood = call.status > 0 && call.status < 400;
  const outcome = call.error ? `${call.status || ''} ${call.error}` : String(call.status);
  const sent = message(call.requestHeaders, call.requestBody) || t('calls.onlyAddress');
  const received = message(call.responseHeaders, call.responseBody) || t('calls.noBody');
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
        h('span', { class: `status ${isGood ? 'good' : 'bad'}` }, verbatim(outcome)),
        h('small', null, formatUnit(call.millis, 'millisecond')),
      ),
    ),
    h(
      'div.pair',
      null,
      h('div', null, h('h3', null, t('calls.sent')), h('pre', { tabindex: '0' }, sent)),
      h('div', null, h('h3', null, t('calls.received')), h('pre', { tabindex: '0' }, received)),
    ),
  );
}

const MAX_ROWS = 20;

/** @param {AbortSignal} viewClosed */
function callLog(viewClosed) {
  const list = h('div.calls');
  const empty = h('p.empty', null, t('calls.none'));
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
  return card(t('calls.title'), t('calls.lead'), list);
}

function tryAccess() {
  const verdict = h('p.verdict', { role: 'status' });
  /**
   * @param {boolean} isLetIn
   * @param {(string | Node)[]} text
   */
  const show = (isLetIn, text) => {
    verdict.className = `verdict ${isLetIn ? 'good' : 'bad'}`;
    verdict.replaceChildren(...text);
  };
  const question = field(
    t('ask.question'),
    { name: 'question', required: true, autocomplete: 'off', spellcheck: 'false', dir: 'ltr', value: 'articles:write' },
    t('ask.questionHint', { role: 'editor', permission: 'articles:write' }),
  );
  const element = form({
    fields: [question],
    label: t('ask.submit'),
    busy: t('ask.busy'),
    kind: 'plain',
    action: async ({ question }) => {
      const name = question.trim();
      const parameter = name.includes(':') ? 'permission' : 'role';
      try {
        await auth.call('GET', `/api/auth/verify?${parameter}=${encodeURIComponent(name)}`);
        const request = h('span.mono', null, `GET /api/auth/verify?${parameter}=${name}`);
        show(true, fill('ask.yes', { request, status: '200' }));
      } catch (error) {
        if (error.status !== 403) throw error;
        const reason = h('span', null, errorText(error));
        show(false, fill('ask.no', { status: verbatim(`403 ${error.code}`), reason }));
      }
    },
  });
  return card(t('ask.title'), t('ask.lead'), element, verdict);
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
 * @param {(title: string, text: import('./dom.js').Children, isBad?: boolean) => void} addStep
 */
async function replayTheft(signIn, addStep) {
  const first = await signIn();
  if (!first.refreshToken) throw refusalError(first);
  const stolen = shorten(first.refreshToken);
  addStep(t('theft.signsIn'), t('theft.signsInText', { token: stolen }));
  const second = await requestWithoutCookies('/api/auth/refresh', { refreshToken: first.refreshToken });
  if (!second.refreshToken) throw refusalError(second);
  addStep(t('theft.refreshes'), t('theft.refreshesText', { old: stolen, new: shorten(second.refreshToken) }));
  const replay = await requestWithoutCookies('/api/auth/refresh', { refreshToken: first.refreshToken });
  if (replay.status === 200) {
    addStep(t('theft.replays', { answer: '200' }), t('theft.graceText', { setting: 'sessions.refresh_grace' }));
    // Nothing was revoked, so the phone's session would stay.
    await requestWithoutCookies('/api/auth/logout', { refreshToken: second.refreshToken });
    return;
  }
  addStep(t('theft.replays', { answer: `${replay.status} ${replay.error}` }), t('theft.replaysText'), true);
  const owner = await requestWithoutCookies('/api/auth/refresh', { refreshToken: second.refreshToken });
  addStep(t('theft.owner', { answer: `${owner.status} ${owner.error ?? ''}` }), t('theft.ownerText'), true);
}

function theftDemo() {
  const steps = h('ol.story', { 'aria-live': 'polite' });
  /**
   * @param {string} title
   * @param {import('./dom.js').Children} text
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
      const text = isClosed ? t('theft.closed') : errorText(error);
      addStep(t('theft.stuck'), text, true);
    }
    if (!robbed) return;
    // The API lets nobody delete their own account, so only an admin can clear this one away.
    if (may('users:write')) {
      await auth.call('DELETE', `/api/users/${robbed.id}`);
      addStep(t('theft.admin'), t('theft.adminText', { email: robbed.email }));
    } else {
      addStep(t('theft.stays'), t('theft.staysText', { email: robbed.email }));
    }
  }
  const withNewAccount = actionButton({
    label: t('theft.play'),
    kind: 'primary',
    run: playWithNewAccount,
  });

  const password = field(
    t('theft.password'),
    { type: 'password', name: 'password', autocomplete: 'current-password', required: true },
    t('theft.passwordHint'),
  );
  const withOwnAccount = form({
    fields: [password],
    label: t('theft.playOwn'),
    busy: t('theft.busy'),
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
    t('theft.title'),
    t('theft.lead'),
    h(
      'p',
      null,
      fill(may('users:write') ? 'theft.textAdmin' : 'theft.text', { name: verbatim('theft-…@demo.example.com') }),
    ),
    h('div.row', null, withNewAccount),
    steps,
    h('details', null, h('summary', null, t('theft.own')), withOwnAccount),
  );
}

/** @param {AbortSignal} viewClosed */
export const howItWorks = (viewClosed) => [
  h('h1', null, t('nav.howItWorks')),
  h('p.lead', null, t('how.lead')),
  liveToken(viewClosed),
  refreshHistory(viewClosed),
  theftDemo(),
  tryAccess(),
  callLog(viewClosed),
];
