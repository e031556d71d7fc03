// For admins: invitations.

import { loadRoles, roleOptions } from './admin.js';
import { auth } from './auth.js';
import { h, verbatim } from './dom.js';
import { fill, t } from './i18n.js';
import { actionButton, asyncSection, card, field, form, relativeTime, shownOnce } from './ui.js';

/**
 * @typedef {{ id: string, role: string, email: string | null, createdAt: string, expiresAt: string }} Invite
 */

/**
 * @param {Invite} invite
 * @param {() => Promise<void>} reload
 */
const inviteRow = (invite, reload) =>
  h(
    'li',
    null,
    h(
      'div',
      null,
      h('p.title', null, t('invites.one'), ' ', h('span.tag', null, verbatim(invite.role))),
      h(
        'p.sub',
        null,
        invite.email && [...fill('invites.for', { email: verbatim(invite.email) }), ' · '],
        fill('invites.made', { when: relativeTime(invite.createdAt) }),
        ' · ',
        fill('invites.ends', { when: relativeTime(invite.expiresAt) }),
      ),
    ),
    actionButton({
      label: t('invites.withdraw'),
      name: t('invites.withdrawName', { role: invite.role, id: invite.id }),
      ask: {
        title: t('invites.withdrawAsk'),
        text: t('invites.withdrawText'),
        action: t('invites.withdraw'),
      },
      run: async () => {
        await auth.call('DELETE', `/api/invites/${invite.id}`);
        await reload();
      },
      done: t('invites.withdrawn'),
    }),
  );

export function invites() {
  const created = h('div', { 'aria-live': 'polite' });
  const list = asyncSection(
    () => auth.call('GET', '/api/invites'),
    (/** @type {{ invites: Invite[] }} */ { invites }, reload) =>
      invites.length
        ? h(
            'ul.rows',
            null,
            invites.map((invite) => inviteRow(invite, reload)),
          )
        : h('p.empty', null, t('invites.none')),
    t('invites.waiting'),
  );
  // Which role is the default one is the configuration's, and the server's to fill in.
  const role = h('select', { 'aria-label': t('invites.role') }, h('option', { value: '' }, t('role.default')));
  loadRoles().then((roles) => role.append(...roleOptions(roles)));
  const lifetimes = [
    ['1d', 'invites.day'],
    ['7d', 'invites.week'],
    ['30d', 'invites.month'],
  ];
  const expiresIn = h(
    'select',
    { 'aria-label': t('invites.lifetime') },
    lifetimes.map(([value, text]) => h('option', { value, selected: value === '7d' }, t(text))),
  );
  const recipient = field(
    t('invites.recipient'),
    { type: 'email', name: 'email', autocomplete: 'off', maxlength: 254, inputmode: 'email', dir: 'ltr' },
    t('invites.recipientHint'),
  );
  const create = form({
    fields: [recipient],
    label: t('invites.submit'),
    busy: t('invites.making'),
    before: [role, expiresIn],
    action: async ({ email }) => {
      const advice = email ? t('invites.adviceBound', { email }) : t('invites.advice');
      const { code } = await auth.call('POST', '/api/invites', {
        expiresIn: expiresIn.value,
        ...(role.value && { role: role.value }),
        ...(email && { email }),
      });
      recipient.input.value = '';
      created.replaceChildren(shownOnce(t('invites.code'), code, advice, () => created.replaceChildren()));
      await list.reload();
    },
  });
  create.classList.add('wide');
  return [
    h('h1', null, t('nav.invitations')),
    card(t('invites.make'), t('invites.makeLead'), create, created),
    card(t('invites.open'), null, list.element),
  ];
}
