// Signed out: sign in, register, or make the first admin.

import { auth } from './auth.js';
import { drawing, h, verbatim } from './dom.js';
import { SETUP_COMMAND } from './errors.js';
import { fill, t } from './i18n.js';
import { footer } from './picker.js';
import { field, form, newPasswordField } from './ui.js';

/** The one picture: a door, and the light behind it. */
function doorPicture() {
  const svg = drawing('0 0 480 720', [
    ['floor', 'M0 560H480V720H0z'],
    ['spill', 'M236 560H318L430 720H176z'],
    ['frame', 'M150 196H330V560H150z'],
    ['light', 'M160 206H320V560H160z'],
    ['leaf', 'M160 206L240 176V596L160 560z'],
    ['panel', 'M174 232L226 213V366L174 364z'],
    ['panel', 'M174 392L226 397V560L174 537z'],
    ['knob', 'M230 384a5 5 0 1 0 0.01 0z'],
  ]);
  svg.setAttribute('preserveAspectRatio', 'xMidYMax slice');
  return h('div.scene', { 'aria-hidden': 'true' }, svg);
}

const emailField = () =>
  field(t('label.email'), {
    type: 'email',
    name: 'email',
    autocomplete: 'username',
    required: true,
    maxlength: 254,
    inputmode: 'email',
    dir: 'ltr',
  });

/** @type {Record<string, string>} by the client's reason */
const SIGN_OUT_MESSAGES = {
  'signed-out': 'signedOut.here',
  TOKEN_REVOKED: 'signedOut.ended',
  REFRESH_TOKEN_EXPIRED: 'signedOut.expired',
  TOKEN_REUSE_DETECTED: 'signedOut.reused',
  INVALID_REFRESH_TOKEN: 'signedOut.invalid',
  CSRF_FAILED: 'signedOut.foreignCookie',
  INVALID_REQUEST: 'signedOut.foreignCookie',
  MISSING_REFRESH_TOKEN: 'signedOut.missing',
};

/** @type {Record<string, string>} by the code of what was answered instead of who is signed in */
const UNREACHABLE_MESSAGES = {
  NETWORK: 'unreachable.network',
  UNEXPECTED: 'unreachable.unexpected',
  RATE_LIMITED: 'unreachable.limited',
  OVERLOADED: 'unreachable.overloaded',
  STORAGE_UNAVAILABLE: 'unreachable.storage',
};

/** Stands for a set-up token that cannot be read. */
export const BROKEN_TOKEN = Symbol('broken');

/**
 * @typedef {object} State
 * @property {string} mode
 * @property {string} [reason] of the sign-out, or why nobody knows who is signed in
 * @property {string | symbol} [setupToken]
 * @property {(mode: string, text: string) => Node} linkTo another mode
 * @property {(string | Node)[]} [lead] what one signs in for
 * @property {string | null} [newcomer] the key of what is said to who has no account; null: nothing
 */

/** @param {State} state */
function signIn({ reason = '', lead, newcomer = 'login.new', linkTo }) {
  const farewell = SIGN_OUT_MESSAGES[reason];
  const password = field(t('label.password'), {
    type: 'password',
    name: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  return [
    h('h1', null, t('login.title')),
    h('p.lead', null, farewell && [t(farewell), ' '], lead ?? (!farewell && t('login.lead'))),
    form({
      fields: [emailField(), password],
      label: t('login.title'),
      busy: t('login.busy'),
      action: ({ email, password }) => auth.login({ email, password }),
    }),
    newcomer && h('p.aside', null, fill(newcomer, { link: linkTo('register', t('login.makeAccount')) })),
  ];
}

/** @param {State} state */
function register({ linkTo }) {
  const invitation = field(
    t('label.invitation'),
    { name: 'invite', autocomplete: 'off', spellcheck: 'false', dir: 'ltr' },
    t('hint.invitation'),
  );
  return [
    h('h1', null, t('login.makeAccount')),
    h('p.lead', null, t('register.lead')),
    form({
      fields: [emailField(), newPasswordField(t('label.password'), 'password'), invitation],
      label: t('register.submit'),
      busy: t('register.busy'),
      action: ({ email, password, invite }) =>
        auth.register({ email, password, ...(invite.trim() && { invite: invite.trim() }) }),
    }),
    h('p.aside', null, fill('register.known', { link: linkTo('sign-in', t('login.title')) })),
  ];
}

/**
 * @param {string} token
 * @param {State} state
 */
function setUp(token, { linkTo }) {
  return [
    h('h1', null, t('setup.title')),
    h('p.lead', null, t('setup.lead')),
    form({
      fields: [emailField(), newPasswordField(t('label.password'), 'password')],
      label: t('setup.submit'),
      busy: t('setup.busy'),
      action: ({ email, password }) => auth.setup({ token, email, password }),
    }),
    h('p.aside', null, fill('setup.once', { link: linkTo('sign-in', t('setup.signIn')) })),
  ];
}

/** @param {State} state */
const brokenLink = ({ linkTo }) => [
  h('h1', null, t('setup.broken')),
  h('p.lead', null, fill('setup.brokenWhy', { command: h('code', null, SETUP_COMMAND) })),
  h('p.aside', null, linkTo('sign-in', t('setup.signIn'))),
];

/** @param {State} state */
const unreachable = ({ reason = '' }) => [
  h('h1', null, t(reason === 'NETWORK' ? 'unreachable.nobody' : 'unreachable.moment')),
  h(
    'p.lead',
    null,
    t(UNREACHABLE_MESSAGES[reason] ?? 'unreachable.other', { code: reason }),
    ' ',
    t('unreachable.calm'),
  ),
  h('button.plain', { type: 'button', onclick: () => auth.refresh().catch(() => {}) }, t('unreachable.now')),
];

/**
 * What is shown at the door: the picture, and beside it what is asked or told.
 * @param {import('./dom.js').Children} content
 */
export const doorway = (content) =>
  h(
    'div.login',
    null,
    doorPicture(),
    h(
      'div.side',
      null,
      h('main.gate', { id: 'main', tabindex: '-1' }, h('p.brand', null, verbatim('Doorward')), content),
      footer(),
    ),
  );

/** @param {State} state */
export function loginView(state) {
  const { mode, setupToken } = state;
  const content = () => {
    if (typeof setupToken === 'string') return setUp(setupToken, state);
    if (setupToken === BROKEN_TOKEN) return brokenLink(state);
    if (mode === 'unreachable') return unreachable(state);
    return mode === 'register' ? register(state) : signIn(state);
  };
  return doorway(content());
}
