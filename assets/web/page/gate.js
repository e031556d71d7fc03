// The gate's page, where browsers arrive that an app has sent here: sign in and go on, be told what is missing, sign out.
// It is one file at three addresses. Nothing of its address is shown or followed but what the server makes of it.

import { auth } from './auth.js';
import { h, verbatim } from './dom.js';
import { errorText } from './errors.js';
import { fill, formatChoice, isLanguageLoaded, onLanguage, t } from './i18n.js';
import { doorway, loginView } from './login.js';
import { actionButton, toast } from './ui.js';

/** @import { User } from '/doorward.js' */
/** @import { Children } from './dom.js' */
/** @typedef {{ name: string, origin: string }} App */

/** How long somebody waits before they are told what for, in milliseconds. */
const PATIENCE = 600;
const FETCH_TIMEOUT = 10e3;
const MAX_PAUSE = 8e3;
/** @type {Record<string, string>} what is said to who has no account, by who may make one */
const NEWCOMERS = { open: 'login.new', invite: 'gate.invited' };

const isSignOut = location.pathname === '/gate/sign-out';
const request = new URLSearchParams(location.search).get('request') ?? '';
// Browsers keep a fragment over redirections: it is the app's, and goes on to it.
const fragment = location.hash;
const root = /** @type {HTMLElement} */ (document.getElementById('app'));

/** @type {App | null | undefined} undefined while nobody knows, null if the request is no good */
let app;
let registration = '';
let mode = 'sign-in';
/** @type {string | undefined} */
let reason;
/** Whether it is known who is signed in, or that nobody can say. */
let isKnown = false;
// Who was refused would be sent around in circles. Who has signed in here wants to go on.
let goesOn = location.pathname === '/gate/sign-in';
/** @type {string | undefined} the id of the user whose way was asked for */
let asked;
/** @type {{ key: string, title: string, make: () => Node } | undefined} */
let shown;
/** @type {number | undefined} */
let patience;
/** @type {Promise<boolean> | undefined} */
let hasAccountPage;

/**
 * Shows a view, unless it is there already: a renewed token must not empty a form that somebody is filling in.
 * @param {string} key
 * @param {string} title its key
 * @param {() => Node} make
 */
function show(key, title, make) {
  clearTimeout(patience);
  if (shown?.key === key) return;
  const isFirst = !shown;
  shown = { key, title, make };
  draw();
  if (!isFirst) firstInput()?.focus({ preventScroll: true });
}

function draw() {
  if (!shown || !isLanguageLoaded()) return;
  document.title = `${t(shown.title)} · Doorward`;
  root.replaceChildren(shown.make());
}

/** @returns {HTMLElement | null} */
const firstInput = () => root.querySelector('form input') ?? document.getElementById('main');

/** A link to the account page, where there is one. */
function accountLink(text = t('account.title')) {
  const place = h('p.aside', { hidden: true }, h('a', { href: '/' }, text));
  hasAccountPage ??= fetch('/', { method: 'HEAD' }).then(
    ({ ok }) => ok,
    () => false,
  );
  hasAccountPage.then((isThere) => (place.hidden = !isThere));
  return place;
}

/** @param {Pick<App, 'origin'>} app */
const hostOf = ({ origin }) => new URL(origin).host;

/** @param {App | null | undefined} app */
function showLogin(app) {
  const linkTo = (/** @type {string} */ to, /** @type {string} */ text) => {
    const onclick = () => {
      mode = to;
      update();
    };
    return h('button.link', { type: 'button', onclick }, text);
  };
  const newcomer = NEWCOMERS[registration] ?? null;
  const lead = () => (app ? fill('gate.way', { app: verbatim(app.name), host: verbatim(hostOf(app)) }) : undefined);
  const title = mode === 'register' ? 'register.submit' : 'login.title';
  show(mode, title, () => loginView({ mode, reason, lead: lead(), newcomer, linkTo }));
}

function showUnreachable() {
  const linkTo = () => h('span', null);
  show(`unreachable ${reason}`, 'unreachable.page', () => loginView({ mode: 'unreachable', reason, linkTo }));
}

/** @param {App} app */
function showGoing(app) {
  const link = () => h('a', { href: `${app.origin}/` }, verbatim(app.name));
  show('going', 'unreachable.page', () =>
    doorway([h('h1', null, t('unreachable.moment')), h('p.lead', null, fill('gate.going', { app: link() }))]),
  );
}

function showExpired() {
  const known = app;
  show('expired', 'gate.expired.title', () =>
    doorway([
      h('h1', null, t('gate.expired.title')),
      h('p.lead', null, t('gate.expired.text')),
      known
        ? h('p', null, h('a', { href: `${known.origin}/` }, t('gate.expired.action')))
        : h('p', null, t('gate.expired.return')),
      accountLink(),
    ]),
  );
}

/** @param {any} refusal */
function whatIsMissing({ requiredRoles, requiredPermission, requiresVerifiedAddress }) {
  if (requiredRoles) return t('gate.needs.role', { roles: formatChoice(requiredRoles) });
  if (requiredPermission) return t('gate.needs.permission', { permission: requiredPermission });
  return requiresVerifiedAddress ? t('gate.needs.verifiedAddress') : '';
}

/**
 * @param {User} user
 * @param {App} app
 * @param {any} refusal
 */
function showDenied(user, app, refusal) {
  const key = `denied ${user.id} ${JSON.stringify(refusal)}`;
  if (shown?.key === key) toast(t('gate.denied.still'));
  show(key, 'gate.denied.title', () =>
    doorway([
      h('h1', null, t('gate.denied.title')),
      h(
        'p.lead',
        null,
        fill('gate.denied.as', { app: verbatim(app.name), email: verbatim(user.email) }),
        ' ',
        whatIsMissing(refusal),
      ),
      h('p', null, t('gate.denied.ask')),
      h('div.row', null, retryButton(user, app), otherUserButton()),
      accountLink(),
    ]),
  );
}

/**
 * Who was refused and may enter now, or may enter but not by the way they came.
 * @param {User} user
 * @param {App} app
 */
function showAllowed(user, app) {
  show(`allowed ${user.id}`, 'gate.allowed.title', () =>
    doorway([
      h('h1', null, t('gate.allowed.title')),
      h('p.lead', null, fill('gate.allowed.text', { app: verbatim(app.name), email: verbatim(user.email) })),
      h('div.row', null, retryButton(user, app, t('again.submit')), otherUserButton()),
      accountLink(),
    ]),
  );
}

/**
 * @param {User} user
 * @param {App} app
 * @param {any} error
 */
function showFailed(user, app, error) {
  show(`failed ${user.id} ${error.code}`, 'gate.failed', () =>
    doorway([
      h('h1', null, t('gate.failed')),
      h('p.lead', null, errorText(error)),
      h('div.row', null, retryButton(user, app)),
    ]),
  );
}

/**
 * @param {User} user
 * @param {App} app
 */
const retryButton = (user, app, label = t('retry')) =>
  actionButton({ label, kind: 'primary', run: () => enter(user, app, true) });

const otherUserButton = () => actionButton({ label: t('gate.denied.other'), run: () => auth.logout() });

/** @param {User} user */
function showSignOut({ id, email }) {
  show(`sign-out ${id}`, 'gate.signOut.title', () =>
    doorway([
      h('h1', null, t('gate.signOut.title')),
      h('p.lead', null, fill('gate.signOut.text', { email: verbatim(email) })),
      h('div.row', null, actionButton({ label: t('nav.signOut'), kind: 'primary', run: () => auth.logout() })),
      accountLink(),
    ]),
  );
}

function showSignedOut() {
  show('signed-out', 'gate.signedOut.title', () =>
    doorway([
      h('h1', null, t('gate.signedOut.title')),
      h('p.lead', null, t('gate.signedOut.text')),
      accountLink(t('login.title')),
    ]),
  );
}

/** Asks which app the request is for, until there is an answer. Nobody has to be signed in for that. */
async function learnApp() {
  for (let pause = 250; ; pause = Math.min(2 * pause, MAX_PAUSE)) {
    try {
      const address = `/api/gate/request?request=${encodeURIComponent(request)}`;
      const response = await fetch(address, { signal: AbortSignal.timeout(FETCH_TIMEOUT) });
      const body = await response.json();
      // A hotel's portal answers in its own way.
      const isRefused = response.status === 400 && body.requestId;
      if (isRefused || typeof body.app?.origin === 'string') {
        app = isRefused ? null : body.app;
        registration = body.registration;
        return;
      }
    } catch {}
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Asks for the way into the app, and goes it.
 * @param {User} user
 * @param {App} app
 * @param {boolean} follows whether to go
 */
async function enter(user, app, follows) {
  asked = user.id;
  clearTimeout(patience);
  if (follows) patience = setTimeout(() => showGoing(app), PATIENCE);
  try {
    const { location: way } = await auth.call('POST', '/api/gate/enter', { request });
    // For somebody else it is asked anew.
    if (auth.user?.id !== user.id) return;
    const isWay = typeof way === 'string' && /^https?:/.test(way) && way.startsWith(`${app.origin}/`);
    if (!isWay) showFailed(user, app, { code: 'UNEXPECTED', status: 200 });
    else if (follows) location.replace(way + fragment);
    else showAllowed(user, app);
  } catch (error) {
    if (auth.user?.id !== user.id) return;
    if (error.code === 'ENTRY_EXPIRED') showExpired();
    else if (error.code === 'FORBIDDEN' && error.app) showDenied(user, app, missingIn(error));
    else showFailed(user, app, error);
  }
}

/** @param {any} error */
const missingIn = ({ requiredRoles, requiredPermission, requiresVerifiedAddress }) => ({
  requiredRoles,
  requiredPermission,
  requiresVerifiedAddress,
});

/** Shows what fits who is signed in, or lets them go on. */
function update() {
  const { user } = auth;
  if (!isKnown) return;
  if (user === undefined) showUnreachable();
  else if (isSignOut) user ? showSignOut(user) : showSignedOut();
  else if (app === null) showExpired();
  else if (app && !user) showLogin(app);
  else if (app && user && asked !== user.id) enter(user, app, goesOn);
}

auth.onChange((user, why) => {
  if (!user) {
    reason = why;
    mode = 'sign-in';
  }
  if (user === null) {
    asked = undefined;
    goesOn = true;
  }
  update();
});
onLanguage(() => {
  const isChange = Boolean(root.querySelector('#language'));
  document.getElementById('toast')?.replaceChildren();
  draw();
  // Whoever has just chosen it goes on from there.
  if (isChange) document.getElementById('language')?.focus({ preventScroll: true });
});
if (!isSignOut) learnApp().then(update);
await auth.ready;
isKnown = true;
update();
