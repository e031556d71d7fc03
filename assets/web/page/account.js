// Signed in: who am I, where am I signed in, my password, the way out.

import { ownApps } from './apps.js';
import { ownEvents } from './audit.js';
import { auth, signedInUser } from './auth.js';
import { h, verbatim } from './dom.js';
import { fill, t } from './i18n.js';
import { ownKeys } from './keys.js';
import {
  actionButton,
  asyncSection,
  card,
  deviceName,
  exactTime,
  field,
  form,
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
  if (!sessions.length) return h('p.empty', null, t('sessions.none'));
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
          h(
            'p.title',
            null,
            deviceName(session.userAgent),
            ' ',
            session.current && h('span.tag', null, t('sessions.thisOne')),
          ),
          h(
            'p.sub',
            null,
            fill('sessions.facts', {
              ip: h('span.mono', null, session.ip),
              seen: relativeTime(session.lastSeenAt),
              begun: relativeTime(session.createdAt),
              end: relativeTime(session.expiresAt),
            }),
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
    t('sessions.waiting'),
  );
  /** @param {Session} session */
  function signOutButton({ id, userAgent, ip }) {
    const device = t('sessions.device', { device: deviceName(userAgent), ip });
    return actionButton({
      label: t('sessions.signOut'),
      name: t('sessions.signOutDevice', { device }),
      ask: {
        title: t('sessions.signOutAsk'),
        text: t('sessions.signOutText', { device }),
        action: t('sessions.signOutAction'),
      },
      run: async () => {
        await auth.call('DELETE', `/api/auth/sessions/${id}`);
        await section.reload();
      },
      done: t('sessions.signedOut'),
    });
  }
  return section;
}

/** @param {() => void} afterwards */
function passwordForm(afterwards) {
  const current = field(t('account.currentPassword'), {
    type: 'password',
    name: 'currentPassword',
    autocomplete: 'current-password',
    required: true,
  });
  const next = newPasswordField(t('account.newPassword'), 'newPassword');
  const element = form({
    fields: [current, next],
    label: t('account.changePassword'),
    busy: t('account.changing'),
    kind: 'plain',
    action: async () => {
      await auth.changePassword({ currentPassword: current.input.value, newPassword: next.input.value });
      element.reset();
      // A reset is no input to the field's own listeners.
      next.input.dispatchEvent(new Event('input'));
      toast(t('account.changed'));
      afterwards();
    },
  });
  return element;
}

/**
 * @param {string} term
 * @param {import('./dom.js').Children} facts
 */
const fact = (term, facts) => h('div', null, h('dt', null, term), h('dd', null, facts));

export function account() {
  const { email, emailVerified, role, permissions, createdAt, id } = signedInUser();
  const sessions = ownSessions();
  const granted = permissions.length ? verbatim(permissions.join(', ')) : t('account.nothing');
  const mayDo = permissions.includes('*') ? t('account.everything') : granted;
  return [
    h('h1', null, t('account.title')),
    card(
      t('account.who'),
      null,
      h(
        'dl.facts',
        null,
        fact(t('label.email'), [
          verbatim(email),
          ' ',
          h('span.tag', null, t(emailVerified ? 'account.verified' : 'account.unverified')),
        ]),
        fact(t('account.role'), h('span.tag', null, verbatim(role))),
        fact(t('account.may'), mayDo),
        fact(t('account.since'), exactTime(createdAt)),
        fact(t('account.id'), h('span.mono', null, id)),
      ),
    ),
    ownApps(),
    card(t('sessions.title'), t('sessions.lead'), sessions.element),
    ownKeys(),
    ownEvents(),
    card(t('label.password'), t('account.passwordLead'), passwordForm(sessions.reload)),
    card(
      t('account.leave'),
      null,
      h(
        'div.row',
        null,
        actionButton({ label: t('account.signOutHere'), run: () => auth.logout() }),
        actionButton({
          label: t('account.signOutEverywhere'),
          kind: 'danger',
          ask: {
            title: t('account.signOutEverywhereAsk'),
            text: t('account.signOutEverywhereText'),
            action: t('account.signOutEverywhere'),
          },
          run: () => auth.logoutAll(),
        }),
      ),
    ),
  ];
}
