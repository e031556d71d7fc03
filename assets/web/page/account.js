// Signed in: who am I, where am I signed in, my password, the way out.

import { auth } from './auth.js';
import { card, deed, device, fetched, field, form, h, moment, newPassword, say } from './ui.js';

/** Rows of sessions, for their owner and for admins. */
export function sessionRows(sessions, end) {
  if (!sessions.length) return h('p.empty', null, 'Signed in nowhere.');
  const sorted = [...sessions].sort((a, b) => b.current - a.current || new Date(b.lastSeenAt) - new Date(a.lastSeenAt));
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
          h('p.title', null, device(session.userAgent), ' ', session.current && h('span.tag', null, 'this one')),
          h(
            'p.sub',
            null,
            h('span.mono', null, session.ip),
            ' · seen ',
            moment(session.lastSeenAt),
            ' · signed in ',
            moment(session.createdAt),
            ' · ends ',
            moment(session.expiresAt),
          ),
        ),
        session.current ? null : end(session),
      ),
    ),
  );
}

export function account() {
  const { email, emailVerified, role, permissions, createdAt, id } = auth.user;
  const sessions = fetched(
    () => auth.call('GET', '/api/auth/sessions'),
    (body) =>
      sessionRows(body.sessions, (session) =>
        deed({
          label: 'Sign out',
          name: `Sign out ${device(session.userAgent)} at ${session.ip}`,
          ask: {
            title: 'Sign out this device?',
            text: `${device(session.userAgent)} at ${session.ip} is signed out at once and has to sign in again.`,
            action: 'Sign it out',
          },
          run: async () => {
            await auth.call('DELETE', `/api/auth/sessions/${session.id}`);
            await sessions.reload();
          },
          done: 'That device is signed out.',
        }),
      ),
    'Looking for your sessions…',
  );

  const current = field('Current password', {
    type: 'password',
    name: 'currentPassword',
    autocomplete: 'current-password',
    required: true,
  });
  const next = newPassword('New password', 'newPassword');
  const change = form({
    fields: [current, next],
    label: 'Change password',
    busy: 'Changing…',
    kind: '.plain',
    action: async (values) => {
      await auth.changePassword(values);
      change.reset();
      next.input.dispatchEvent(new Event('input'));
      say('Your password is changed. All other devices are signed out.');
      sessions.reload();
    },
  });

  return [
    h('h1', null, 'Your account'),
    card(
      'Who you are',
      null,
      h(
        'dl.facts',
        null,
        h(
          'div',
          null,
          h('dt', null, 'E-mail'),
          h('dd', null, email, ' ', h('span.tag', null, emailVerified ? 'verified' : 'not verified')),
        ),
        h('div', null, h('dt', null, 'Role'), h('dd', null, h('span.tag', null, role))),
        h(
          'div',
          null,
          h('dt', null, 'May'),
          h('dd', null, permissions.includes('*') ? 'Everything' : permissions.join(', ') || 'Nothing in particular'),
        ),
        h('div', null, h('dt', null, 'Here since'), h('dd', null, moment(createdAt))),
        h('div', null, h('dt', null, 'Id'), h('dd.mono', null, id)),
      ),
    ),
    card(
      'Where you are signed in',
      'Anything here that you do not know? Sign it out, then change your password.',
      sessions,
    ),
    card('Password', 'Changing it signs out every other device.', change),
    card(
      'Leave',
      null,
      h(
        'div.row',
        null,
        deed({ label: 'Sign out here', kind: '.plain', run: () => auth.logout() }),
        deed({
          label: 'Sign out everywhere',
          kind: '.danger',
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
