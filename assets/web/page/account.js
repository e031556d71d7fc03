// Signed in: who am I, where am I signed in, my password, the way out.

import { auth, signedInUser } from './auth.js';
import { ownKeys } from './keys.js';
import {
  actionButton,
  asyncSection,
  card,
  deviceName,
  field,
  form,
  h,
  newPasswordField,
  relativeTime,
  toast,
} from './ui.js';

/**
 * @typedef {{ id: string, current: boolean, userAgent: string | null, ip: string, createdAt: string,
 *   lastSeenAt: string, expiresAt: string }} Session
 */

/**
 * Rows of sessions, for their owner and for admins: this one first, then the latest.
 * @param {Session[]} sessions
 * @param {(session: Session) => Node} endButton
 */
export function sessionRows(sessions, endButton) {
  if (!sessions.length) return h('p.empty', null, 'Signed in nowhere.');
  const sorted = [...sessions].sort(
    (a, b) => Number(b.current) - Number(a.current) || Date.parse(b.lastSeenAt) - Date.parse(a.lastSeenAt),
  );
  return h(
    'ul.rows',
    null,
    sorted.map((session) =>
      h(
        'li',
        null,
        h(
          'div',
          null,
          h('p.title', null, deviceName(session.userAgent), ' ', session.current && h('span.tag', null, 'this one')),
          h(
            'p.sub',
            null,
            h('span.mono', null, session.ip),
            ' · seen ',
            relativeTime(session.lastSeenAt),
            ' · signed in ',
            relativeTime(session.createdAt),
            ' · ends ',
            relativeTime(session.expiresAt),
          ),
        ),
        // This one has the buttons for leaving.
        session.current ? null : endButton(session),
      ),
    ),
  );
}

function ownSessions() {
  const section = asyncSection(
    () => auth.call('GET', '/api/auth/sessions'),
    ({ sessions }) => sessionRows(sessions, signOutButton),
    'Looking for your sessions…',
  );
  /** @param {Session} session */
  function signOutButton({ id, userAgent, ip }) {
    const device = `${deviceName(userAgent)} at ${ip}`;
    return actionButton({
      label: 'Sign out',
      name: `Sign out ${device}`,
      ask: {
        title: 'Sign out this device?',
        text: `${device} is signed out at once and has to sign in again.`,
        action: 'Sign it out',
      },
      run: async () => {
        await auth.call('DELETE', `/api/auth/sessions/${id}`);
        await section.reload();
      },
      done: 'That device is signed out.',
    });
  }
  return section;
}

/** @param {() => void} afterwards */
function passwordForm(afterwards) {
  const current = field('Current password', {
    type: 'password',
    name: 'currentPassword',
    autocomplete: 'current-password',
    required: true,
  });
  const next = newPasswordField('New password', 'newPassword');
  const element = form({
    fields: [current, next],
    label: 'Change password',
    busy: 'Changing…',
    kind: 'plain',
    action: async () => {
      await auth.changePassword({ currentPassword: current.input.value, newPassword: next.input.value });
      element.reset();
      // A reset is no input to the field's own listeners.
      next.input.dispatchEvent(new Event('input'));
      toast('Your password is changed. All other devices are signed out.');
      afterwards();
    },
  });
  return element;
}

/**
 * @param {string} term
 * @param {import('./ui.js').Children} facts
 * @param {string} [tag]
 */
const fact = (term, facts, tag = 'dd') => h('div', null, h('dt', null, term), h(tag, null, facts));

export function account() {
  const { email, emailVerified, role, permissions, createdAt, id } = signedInUser();
  const sessions = ownSessions();
  const mayDo = permissions.includes('*') ? 'Everything' : permissions.join(', ') || 'Nothing in particular';
  return [
    h('h1', null, 'Your account'),
    card(
      'Who you are',
      null,
      h(
        'dl.facts',
        null,
        fact('E-mail', [email, ' ', h('span.tag', null, emailVerified ? 'verified' : 'not verified')]),
        fact('Role', h('span.tag', null, role)),
        fact('May', mayDo),
        fact('Here since', relativeTime(createdAt)),
        fact('Id', id, 'dd.mono'),
      ),
    ),
    card(
      'Where you are signed in',
      'Anything here that you do not know? Sign it out, then change your password.',
      sessions.element,
    ),
    ownKeys(),
    card('Password', 'Changing it signs out every other device.', passwordForm(sessions.reload)),
    card(
      'Leave',
      null,
      h(
        'div.row',
        null,
        actionButton({ label: 'Sign out here', run: () => auth.logout() }),
        actionButton({
          label: 'Sign out everywhere',
          kind: 'danger',
          ask: {
            title: 'Sign out everywhere?',
            text: 'Every device you are signed in on, this one too, is signed out at once. Each has to sign in again.',
            action: 'Sign out everywhere',
          },
          run: () => auth.logoutAll(),
        }),
      ),
    ),
  ];
}
