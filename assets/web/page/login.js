// Signed out: sign in, register, or make the first admin.

import { auth } from './auth.js';
import { field, form, h, newPasswordField } from './ui.js';

const SVG = 'http://www.w3.org/2000/svg';

/** The one picture: a door, and the light behind it. */
function doorPicture() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 480 720');
  svg.setAttribute('preserveAspectRatio', 'xMidYMax slice');
  for (const [name, d] of [
    ['floor', 'M0 560H480V720H0z'],
    ['spill', 'M236 560H318L430 720H176z'],
    ['frame', 'M150 196H330V560H150z'],
    ['light', 'M160 206H320V560H160z'],
    ['leaf', 'M160 206L240 176V596L160 560z'],
    ['panel', 'M174 232L226 213V366L174 364z'],
    ['panel', 'M174 392L226 397V560L174 537z'],
    ['knob', 'M230 384a5 5 0 1 0 0.01 0z'],
  ]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    path.setAttribute('class', name);
    svg.append(path);
  }
  return h('div.scene', { 'aria-hidden': 'true' }, svg);
}

const emailField = () =>
  field('E-mail', {
    type: 'email',
    name: 'email',
    autocomplete: 'username',
    required: true,
    maxlength: 254,
    inputmode: 'email',
  });

/** @type {Record<string, string>} by the client's reason */
const SIGN_OUT_MESSAGES = {
  'signed-out': 'You are signed out.',
  TOKEN_REVOKED: 'This session was ended. Sign in again to go on.',
  REFRESH_TOKEN_EXPIRED: 'You were away for a long time. Sign in again to go on.',
  TOKEN_REUSE_DETECTED:
    'A refresh token of yours was used twice, as a thief would. Everything was signed out to be safe.',
  INVALID_REFRESH_TOKEN: 'This session is no longer good. Sign in again to go on.',
  CSRF_FAILED: 'A cookie here belongs to somebody else. Sign in again to go on.',
  INVALID_REQUEST: 'A cookie here belongs to somebody else. Sign in again to go on.',
  MISSING_REFRESH_TOKEN: 'You were signed out. Sign in again to go on.',
};

/** @type {Record<string, string>} by the code of what was answered instead of who is signed in */
const UNREACHABLE_MESSAGES = {
  NETWORK: 'The server cannot be reached.',
  UNEXPECTED: 'Something else answers in the server’s place: a network that wants you to sign in, or a proxy.',
  RATE_LIMITED: 'The server was asked too often.',
  OVERLOADED: 'The server has too much to do right now.',
  STORAGE_UNAVAILABLE: 'The server cannot save anything right now.',
};

/** Stands for a set-up token that cannot be read. */
export const BROKEN_TOKEN = Symbol('broken');

/** @param {string} reason */
function signIn(reason) {
  const password = field('Password', {
    type: 'password',
    name: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  return [
    h('h1', null, 'Sign in'),
    h('p.lead', null, SIGN_OUT_MESSAGES[reason] ?? 'Good to see you at the door.'),
    form({
      fields: [emailField(), password],
      label: 'Sign in',
      busy: 'Signing in…',
      action: ({ email, password }) => auth.login({ email, password }),
    }),
    h('p.aside', null, 'New here? ', h('a', { href: '#register' }, 'Make an account')),
  ];
}

function register() {
  const invitation = field(
    'Invitation',
    { name: 'invite', autocomplete: 'off', spellcheck: 'false' },
    'Only if somebody gave you a code.',
  );
  return [
    h('h1', null, 'Make an account'),
    h('p.lead', null, 'An address and a password are all it takes.'),
    form({
      fields: [emailField(), newPasswordField('Password', 'password'), invitation],
      label: 'Register',
      busy: 'Registering…',
      action: ({ email, password, invite }) =>
        auth.register({ email, password, ...(invite.trim() && { invite: invite.trim() }) }),
    }),
    h('p.aside', null, 'Been here before? ', h('a', { href: '#sign-in' }, 'Sign in')),
  ];
}

/**
 * @param {string} token
 * @param {() => void} leaveSetup
 */
function setUp(token, leaveSetup) {
  return [
    h('h1', null, 'Welcome'),
    h('p.lead', null, 'Your server is running. Make its first admin: the one who lets others in.'),
    form({
      fields: [emailField(), newPasswordField('Password', 'password')],
      label: 'Make me the admin',
      busy: 'Setting up…',
      action: ({ email, password }) => auth.setup({ token, email, password }),
    }),
    h(
      'p.aside',
      null,
      'The link works once, for an hour. ',
      h('a', { href: '#sign-in', onclick: leaveSetup }, 'Sign in instead'),
    ),
  ];
}

/** @param {() => void} leaveSetup */
const brokenLink = (leaveSetup) => [
  h('h1', null, 'This link is broken'),
  h(
    'p.lead',
    null,
    'Part of it was lost on the way. Copy it once more from the server’s log, all of it, or make a new one with doorward setup-link.',
  ),
  h('p.aside', null, h('a', { href: '#sign-in', onclick: leaveSetup }, 'Sign in instead')),
];

/** @param {string} reason */
const unreachable = (reason) => [
  h('h1', null, reason === 'NETWORK' ? 'Nobody answers' : 'A moment, please'),
  h(
    'p.lead',
    null,
    UNREACHABLE_MESSAGES[reason] ?? `The server cannot say yet who you are (${reason}).`,
    ' You are not signed out: this page goes on by itself.',
  ),
  h('button.plain', { type: 'button', onclick: () => auth.refresh().catch(() => {}) }, 'Try now'),
];

/**
 * @param {object} state
 * @param {string} state.mode
 * @param {string} [state.reason] of the sign-out, or why nobody knows who is signed in
 * @param {string | symbol} [state.setupToken]
 * @param {() => void} state.leaveSetup
 */
export function loginView({ mode, reason = '', setupToken, leaveSetup }) {
  const content = () => {
    if (typeof setupToken === 'string') return setUp(setupToken, leaveSetup);
    if (setupToken === BROKEN_TOKEN) return brokenLink(leaveSetup);
    if (mode === 'unreachable') return unreachable(reason);
    return mode === 'register' ? register() : signIn(reason);
  };
  const main = h('main.gate', { id: 'main', tabindex: '-1' }, h('p.brand', null, 'Doorward'), content());
  return h('div.login', null, doorPicture(), main);
}
