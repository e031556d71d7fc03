// For admins: users, their sessions, and invitations.

import { sessionRows } from './account.js';
import { auth, may } from './auth.js';
import { card, deed, device, explain, fetched, field, form, h, moment, say } from './ui.js';

/** Names to offer. The server knows which there are, and says so when one is not. */
const ROLES = ['viewer', 'editor', 'admin'];
const PAGE = 20;

function roles(current, name) {
  const names = ROLES.includes(current) || !current ? ROLES : [...ROLES, current];
  const select = h(
    'select',
    { 'aria-label': name },
    names.map((role) => h('option', { value: role, selected: role === current }, role)),
  );
  select.value = current;
  return select;
}

/** Whether the address counts as theirs: services behind the server hear of addresses that do. */
function verified(user, again) {
  const box = h('input', {
    type: 'checkbox',
    checked: user.emailVerified,
    'aria-label': `Address of ${user.email} is verified`,
  });
  box.addEventListener('change', async () => {
    const wanted = box.checked;
    box.disabled = true;
    try {
      await auth.call('PATCH', `/api/users/${user.id}`, { emailVerified: wanted });
      await again();
      say(`${user.email} is ${wanted ? 'verified' : 'not verified'} now.`);
    } catch (error) {
      box.checked = user.emailVerified;
      say(explain(error));
    }
    box.disabled = false;
  });
  return h('label.check', null, box, 'Verified');
}

function userRow(user, again) {
  const me = user.id === auth.user.id;
  const path = `/api/users/${user.id}`;
  const place = h('div');
  const role = roles(user.role, `Role of ${user.email}`);
  role.disabled = !may('users:write');
  role.addEventListener('change', async () => {
    role.disabled = true;
    try {
      await auth.call('PATCH', `${path}/role`, { role: role.value });
      user.role = role.value;
      say(`${user.email} is ${role.value} now, from their very next request on.`);
    } catch (error) {
      role.value = user.role;
      say(explain(error));
    }
    role.disabled = false;
    role.focus();
  });
  const showSessions = h(
    'button.plain',
    { type: 'button', 'aria-expanded': 'false', 'aria-label': `Sessions of ${user.email}` },
    'Sessions',
  );
  showSessions.addEventListener('click', () => {
    const open = showSessions.getAttribute('aria-expanded') === 'true';
    showSessions.setAttribute('aria-expanded', String(!open));
    if (open) return place.replaceChildren();
    const list = fetched(
      () => auth.call('GET', `${path}/sessions`),
      ({ sessions }) => [
        sessionRows(sessions, (session) =>
          deed({
            label: 'End',
            name: `End ${device(session.userAgent)} of ${user.email}`,
            ask: {
              title: 'End this session?',
              text: `${user.email} is signed out on ${device(session.userAgent)} at once.`,
              action: 'End it',
            },
            run: async () => {
              await auth.call('DELETE', `${path}/sessions/${session.id}`);
              await list.reload();
            },
            done: 'The session is ended.',
          }),
        ),
        sessions.length > 1 && !me
          ? h(
              'div.row',
              null,
              deed({
                label: 'End all',
                kind: '.danger',
                ask: {
                  title: 'End all sessions?',
                  text: `${user.email} is signed out on all ${sessions.length} devices at once.`,
                  action: 'End all',
                },
                run: async () => {
                  await auth.call('DELETE', `${path}/sessions`);
                  await list.reload();
                },
                done: 'All their sessions are ended.',
              }),
            )
          : '',
      ],
    );
    place.replaceChildren(h('div.nested', null, list));
  });
  return h(
    'li.user',
    null,
    h(
      'div',
      null,
      h(
        'p.title',
        null,
        user.email,
        ' ',
        me && h('span.tag', null, 'you'),
        user.disabled && h('span.tag.off', null, 'disabled'),
        user.emailVerified || h('span.tag.off', null, 'address not verified'),
      ),
      h('p.sub', null, 'here since ', moment(user.createdAt)),
    ),
    may('users:write') &&
      h(
        'div.row',
        null,
        role,
        verified(user, again),
        showSessions,
        deed({
          label: user.disabled ? 'Enable' : 'Disable',
          name: `${user.disabled ? 'Enable' : 'Disable'} ${user.email}`,
          ask: user.disabled
            ? undefined
            : {
                title: `Disable ${user.email}?`,
                text: 'They are signed out everywhere at once and cannot sign in until enabled again. Nothing is deleted.',
                action: 'Disable',
              },
          run: async () => {
            await auth.call('PATCH', path, { disabled: !user.disabled });
            await again();
          },
          done: user.disabled ? `${user.email} may sign in again.` : `${user.email} is disabled.`,
        }),
        deed({
          label: 'Delete',
          kind: '.danger',
          name: `Delete ${user.email}`,
          ask: {
            title: `Delete ${user.email}?`,
            text: [
              'The account and all its sessions are gone at once, for good. The address may register again, as somebody new.',
              me ? 'This is your own account.' : '',
            ].filter(Boolean),
            action: 'Delete for good',
          },
          run: async () => {
            await auth.call('DELETE', path);
            await again();
          },
          done: `${user.email} is deleted.`,
        }),
      ),
    place,
  );
}

export function users() {
  const search = h('input', {
    type: 'search',
    'aria-label': 'Search by the beginning of the address',
    placeholder: 'Address begins with…',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  let before = [];
  let cursor = null;
  const list = fetched(
    () =>
      auth.call(
        'GET',
        `/api/users?limit=${PAGE}&query=${encodeURIComponent(search.value)}${cursor ? `&cursor=${cursor}` : ''}`,
      ),
    ({ users, nextCursor }) => [
      users.length
        ? h(
            'ul.rows',
            null,
            users.map((user) => userRow(user, list.reload)),
          )
        : h('p.empty', null, search.value ? `No address begins with “${search.value}”.` : 'Nobody here.'),
      before.length || nextCursor
        ? h(
            'nav.row.spread',
            { 'aria-label': 'Pages' },
            h(
              'button.plain',
              {
                type: 'button',
                disabled: !before.length,
                onclick: () => {
                  cursor = before.pop();
                  list.reload();
                },
              },
              'Back',
            ),
            h('span.sub', null, `Page ${before.length + 1}`),
            h(
              'button.plain',
              {
                type: 'button',
                disabled: !nextCursor,
                onclick: () => {
                  before.push(cursor);
                  cursor = nextCursor;
                  list.reload();
                },
              },
              'Next',
            ),
          )
        : '',
    ],
    'Looking for users…',
  );
  let timer;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      before = [];
      cursor = null;
      list.reload();
    }, 200);
  });
  return [h('h1', null, 'Users'), card('Everybody', 'Changes count from the very next request on.', search, list)];
}

export function invites() {
  const fresh = h('div', { 'aria-live': 'polite' });
  const list = fetched(
    () => auth.call('GET', '/api/invites'),
    ({ invites }) =>
      invites.length
        ? h(
            'ul.rows',
            null,
            invites.map((invite) =>
              h(
                'li',
                null,
                h(
                  'div',
                  null,
                  h('p.title', null, 'Invitation ', h('span.tag', null, invite.role)),
                  h(
                    'p.sub',
                    null,
                    invite.email && `for ${invite.email} · `,
                    'made ',
                    moment(invite.createdAt),
                    ' · ends ',
                    moment(invite.expiresAt),
                  ),
                ),
                deed({
                  label: 'Withdraw',
                  name: `Withdraw the invitation for ${invite.role}, ${invite.id}`,
                  ask: {
                    title: 'Withdraw this invitation?',
                    text: 'Its code stops working at once. Who used it already keeps their account.',
                    action: 'Withdraw',
                  },
                  run: async () => {
                    await auth.call('DELETE', `/api/invites/${invite.id}`);
                    await list.reload();
                  },
                  done: 'The invitation is withdrawn.',
                }),
              ),
            ),
          )
        : h('p.empty', null, 'No open invitations.'),
    'Looking for invitations…',
  );
  const role = roles('viewer', 'Role of who comes');
  const life = h(
    'select',
    { 'aria-label': 'How long it is good' },
    [
      ['1d', 'one day'],
      ['7d', 'one week'],
      ['30d', 'one month'],
    ].map(([value, text]) => h('option', { value, selected: value === '7d' }, text)),
  );
  const bound = field(
    'For this address alone',
    { type: 'email', name: 'email', autocomplete: 'off', maxlength: 254, inputmode: 'email' },
    'Leave it empty for whoever has the code. An address you name counts as verified.',
  );
  const make = form({
    fields: [bound],
    label: 'Make an invitation',
    busy: 'Making…',
    before: [role, life],
    action: async ({ email }) => {
      const { code } = await auth.call('POST', '/api/invites', {
        role: role.value,
        expiresIn: life.value,
        ...(email && { email }),
      });
      bound.input.value = '';
      const shown = field(
        'The code, shown this once',
        { value: code, readonly: true },
        email
          ? `Only ${email} may register with it, once.`
          : 'Pass it on by a way you trust: whoever has it may register once.',
      );
      shown.input.classList.add('mono');
      fresh.replaceChildren(
        h(
          'div.once',
          null,
          shown.element,
          h(
            'div.row',
            null,
            h(
              'button.plain',
              {
                type: 'button',
                onclick: async () => {
                  shown.input.select();
                  await navigator.clipboard?.writeText(code).then(
                    () => say('Copied.'),
                    () => say('Press Ctrl+C to copy.'),
                  );
                },
              },
              'Copy',
            ),
            h('button.plain', { type: 'button', onclick: () => fresh.replaceChildren() }, 'I have it'),
          ),
        ),
      );
      await list.reload();
    },
  });
  make.classList.add('wide');
  return [
    h('h1', null, 'Invitations'),
    card('Ask somebody in', 'A code lets one person register, with the role you choose.', make, fresh),
    card('Open invitations', null, list),
  ];
}
