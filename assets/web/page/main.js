// Which view, and what is around it.

import { account } from './account.js';
import { users } from './admin.js';
import { auditTrail } from './audit.js';
import { auth, may } from './auth.js';
import { howItWorks } from './how-it-works.js';
import { invites } from './invites.js';
import { BROKEN_TOKEN, loginView } from './login.js';
import { h, verbatim } from './dom.js';
import { isLanguageLoaded, onLanguage, t } from './i18n.js';
import { footer } from './picker.js';
import { actionButton } from './ui.js';

/** @import { User } from '/doorward.js' */
/** @typedef {(viewClosed: AbortSignal) => Node[]} View */

/** @type {{ hash: string, title: string, show: View, isShown: () => boolean }[]} */
const VIEWS = [
  { hash: 'account', title: 'nav.account', show: account, isShown: () => true },
  { hash: 'how-it-works', title: 'nav.howItWorks', show: howItWorks, isShown: () => true },
  { hash: 'users', title: 'nav.users', show: users, isShown: () => may('users:read') },
  { hash: 'invitations', title: 'nav.invitations', show: invites, isShown: () => may('users:write') },
  { hash: 'events', title: 'nav.events', show: auditTrail, isShown: () => may('audit:read') },
];
/** @type {Record<string, string>} */
const LOGIN_TITLES = { setup: 'setup.page', register: 'register.submit', unreachable: 'unreachable.page' };

// Made once and early: made with each view, it would be missing when the server is.
const logo = h('img', { src: '/door.svg', alt: '', width: 28, height: 28 });
const app = /** @type {HTMLElement} */ (document.getElementById('app'));
/** Aborted when the view goes, for its timers and listeners. */
let viewClosed = new AbortController();
/** @type {string | symbol | undefined} */
let setupToken;
/** @type {string | undefined} */
let reason;
/** Whether it is known who is signed in, or that nobody can say. */
let isKnown = false;
/** @type {string | undefined} what the view that is shown depends on */
let renderedKey;

/** Takes a set-up link's token, which is a secret, out of the address bar and the history at once. */
function takeSetupToken() {
  const token = /^#setup=(.+)$/.exec(location.hash)?.[1];
  if (!token) return;
  try {
    setupToken = decodeURIComponent(token);
  } catch {
    // Cut or mangled on its way here.
    setupToken = BROKEN_TOKEN;
  }
  history.replaceState(null, '', '/');
}

const currentHash = () => location.hash.slice(1);

/**
 * @param {User} user
 * @param {(typeof VIEWS)[number]} view
 */
function layout(user, view) {
  const tabs = VIEWS.filter((each) => each.isShown()).map((each) =>
    h('a', { href: `#${each.hash}`, 'aria-current': each === view ? 'page' : undefined }, t(each.title)),
  );
  return [
    h(
      'header.top',
      null,
      h(
        'div.bar',
        null,
        h('a.brand', { href: '#account' }, logo, verbatim('Doorward')),
        h('nav', { 'aria-label': t('nav.main') }, tabs),
        h(
          'div.me',
          null,
          h('span', { title: user.email }, verbatim(user.email)),
          actionButton({ label: t('nav.signOut'), kind: 'quiet', run: () => auth.logout() }),
        ),
      ),
      h('div.daylight', { 'aria-hidden': 'true' }),
    ),
    h('main.page', { id: 'main', tabindex: '-1' }, view.show(viewClosed.signal)),
    footer(),
  ];
}

/** @param {User} user */
function showView(user) {
  const view = VIEWS.find((each) => each.hash === currentHash() && each.isShown()) ?? VIEWS[0];
  replaceView(`${user.id} ${user.role} ${user.permissions} ${view.hash}`, view.title, () => layout(user, view));
}

function showLogin() {
  const signedOutMode = auth.user === undefined ? 'unreachable' : currentHash() || 'sign-in';
  const mode = setupToken ? 'setup' : signedOutMode;
  const leaveSetup = () => {
    setupToken = undefined;
    renderedKey = '';
    render();
  };
  const linkTo = (/** @type {string} */ to, /** @type {string} */ text) =>
    h('a', { href: `#${to}`, onclick: setupToken && leaveSetup }, text);
  replaceView(mode, LOGIN_TITLES[mode] ?? 'login.title', () => [loginView({ mode, reason, setupToken, linkTo })]);
}

/**
 * Shows a view, unless it is there already: a renewed token must not empty a form that somebody is filling in.
 * @param {string} key
 * @param {string} title its key
 * @param {() => Node[]} make
 */
function replaceView(key, title, make) {
  if (key === renderedKey) return;
  const isFirst = renderedKey === undefined;
  renderedKey = key;
  viewClosed.abort();
  viewClosed = new AbortController();
  document.title = `${t(title)} · Doorward`;
  app.replaceChildren(h('a.skip', { href: '#main' }, t('skip')), ...make());
  scrollTo(0, 0);
  // Who navigates by keyboard or ear goes on from the new view.
  if (!isFirst) firstInput()?.focus({ preventScroll: true });
}

/** @returns {HTMLElement | null} */
const firstInput = () => app.querySelector('.gate input') ?? document.getElementById('main');

function render() {
  if (!isKnown || !isLanguageLoaded()) return;
  if (auth.user && !setupToken) showView(auth.user);
  else showLogin();
}

takeSetupToken();
addEventListener('hashchange', () => {
  takeSetupToken();
  // The link that skips to the content is no view.
  if (currentHash() !== 'main') render();
});
auth.onChange((user, why) => {
  if (user) setupToken = undefined;
  if (user === undefined) reason = why;
  if (user === null && renderedKey !== undefined && why) {
    reason = why;
    // The next one to sign in here starts at the account, not where the last one was.
    history.replaceState(null, '', '/');
  }
  render();
});
onLanguage(() => {
  const isChange = renderedKey !== undefined;
  if (isChange) renderedKey = '';
  document.getElementById('toast')?.replaceChildren();
  render();
  // Whoever has just chosen it goes on from there.
  if (isChange) document.getElementById('language')?.focus({ preventScroll: true });
});
await auth.ready;
isKnown = true;
render();

// The light through the door: what is left of the access token.
let longest = 1;
setInterval(() => {
  longest = Math.max(longest, auth.expiresIn);
  /** @type {HTMLElement | null} */
  const light = document.querySelector('.daylight');
  light?.style.setProperty('--left', String(auth.expiresIn / longest));
}, 1000);
