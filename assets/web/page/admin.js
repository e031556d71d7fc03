// For admins: users, their sessions, and invitations.

import { sessionRows } from './account.js';
import { auth, may, signedInUser } from './auth.js';
import { callFresh, userKeys } from './keys.js';
import {
  actionButton,
  asyncSection,
  card,
  deviceName,
  errorText,
  field,
  form,
  h,
  relativeTime,
  shownOnce,
  toast,
} from './ui.js';

/**
 * @typedef {{ id: string, email: string, emailVerified: boolean, role: string, disabled: boolean,
 *   kind: 'person' | 'service', createdAt: string }} UserRecord
 */
/**
 * @typedef {{ id: string, role: string, email: string | null, createdAt: string, expiresAt: string }} Invite
 */

const PAGE_SIZE = 20;
const SEARCH_DELAY = 200;

/** @type {string[] | undefined} */
let knownRoles;

/**
 * The names of all roles, which are the configuration's. No endpoint lists them, but the refusal of a role that does not
 * exist does: so this asks for one that no configuration can have. If that says nothing, one's own role is all that is
 * known for sure; the refusal of any other choice tells what there is.
 * @returns {Promise<string[]>}
 */
async function loadRoles() {
  if (knownRoles || !may('users:write')) return knownRoles ?? [];
  const { id, role } = signedInUser();
  try {
    await auth.call('PATCH', `/api/users/${id}/role`, { role: '?' });
  } catch (error) {
    knownRoles = /must be one of: (.+)/.exec(error.fields?.[0]?.message)?.[1].split(', ');
  }
  return knownRoles ?? [role];
}

/**
 * @param {string[]} roles
 * @param {string} [selected]
 */
const roleOptions = (roles, selected) =>
  roles.map((role) => h('option', { value: role, selected: role === selected }, role));

/**
 * Whether the address counts as theirs: services behind the server hear only of addresses that do.
 * @param {UserRecord} user
 * @param {() => Promise<void>} reload
 */
function verifiedCheckbox(user, reload) {
  const box = h('input', {
    type: 'checkbox',
    checked: user.emailVerified,
    'aria-label': `Address of ${user.email} is verified`,
  });
  box.addEventListener('change', async () => {
    const isVerified = box.checked;
    box.disabled = true;
    try {
      await auth.call('PATCH', `/api/users/${user.id}`, { emailVerified: isVerified });
      await reload();
      toast(`${user.email} is ${isVerified ? 'verified' : 'not verified'} now.`);
    } catch (error) {
      box.checked = user.emailVerified;
      toast(errorText(error));
    }
    box.disabled = false;
  });
  return h('label.check', null, box, 'Verified');
}

/**
 * @param {UserRecord} user
 * @param {string[]} roles
 */
function roleSelect(user, roles) {
  // The role of somebody whose role has left the configuration is still shown.
  const names = roles.includes(user.role) ? roles : [...roles, user.role];
  const select = h('select', { 'aria-label': `Role of ${user.email}` }, roleOptions(names, user.role));
  select.addEventListener('change', async () => {
    const role = select.value;
    select.disabled = true;
    try {
      await auth.call('PATCH', `/api/users/${user.id}/role`, { role });
      user.role = role;
      toast(`${user.email} is ${role} now, from their very next request on.`);
    } catch (error) {
      select.value = user.role;
      toast(errorText(error));
    }
    select.disabled = false;
    select.focus();
  });
  return select;
}

/** @param {UserRecord} user */
function userSessions(user) {
  const path = `/api/users/${user.id}/sessions`;
  /** @param {import('./account.js').Session} session */
  const endButton = ({ id, userAgent }) =>
    actionButton({
      label: 'End',
      name: `End ${deviceName(userAgent)} of ${user.email}`,
      ask: {
        title: 'End this session?',
        text: `${user.email} is signed out on ${deviceName(userAgent)} at once.`,
        action: 'End it',
      },
      run: async () => {
        await auth.call('DELETE', `${path}/${id}`);
        await section.reload();
      },
      done: 'The session is ended.',
    });
  /** @param {number} count */
  const endAllButton = (count) =>
    actionButton({
      label: 'End all',
      kind: 'danger',
      ask: {
        title: 'End all sessions?',
        text: `${user.email} is signed out on all ${count} devices at once.`,
        action: 'End all',
      },
      run: async () => {
        await auth.call('DELETE', path);
        await section.reload();
      },
      done: 'All their sessions are ended.',
    });
  const section = asyncSection(
    () => auth.call('GET', path),
    ({ sessions }) => {
      const rows = sessionRows(sessions, endButton);
      // One's own end on the account page, which warns that this one is among them.
      const hasEndAll = sessions.length > 1 && user.id !== signedInUser().id;
      return hasEndAll ? [rows, h('div.row', null, endAllButton(sessions.length))] : rows;
    },
  );
  return h('div.nested', null, section.element);
}

/**
 * What can be done with a user, and where their sessions unfold.
 * @param {UserRecord} user
 * @param {string[]} roles
 * @param {() => Promise<void>} reload
 */
function userActions(user, roles, reload) {
  const path = `/api/users/${user.id}`;
  const isMe = user.id === signedInUser().id;
  const unfolded = h('div');
  const isService = user.kind === 'service';
  const unfoldButtons = [
    ...(isService ? [] : [unfoldButton('Sessions', userSessions)]),
    unfoldButton('Keys', () => userKeys(user)),
  ];
  /**
   * @param {string} label
   * @param {(user: UserRecord) => Node} show
   */
  function unfoldButton(label, show) {
    const button = h(
      'button.plain',
      { type: 'button', 'aria-expanded': 'false', 'aria-label': `${label} of ${user.email}` },
      label,
    );
    button.addEventListener('click', () => {
      const isOpen = button.getAttribute('aria-expanded') === 'true';
      for (const each of unfoldButtons) each.setAttribute('aria-expanded', String(each === button && !isOpen));
      unfolded.replaceChildren(...(isOpen ? [] : [show(user)]));
    });
    return button;
  }
  const disableButton = actionButton({
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
      await reload();
    },
    done: user.disabled ? `${user.email} may sign in again.` : `${user.email} is disabled.`,
  });
  const consequence =
    'The account and all its sessions are gone at once, for good. The address may register again, as somebody new.';
  const deleteButton = actionButton({
    label: 'Delete',
    kind: 'danger',
    name: `Delete ${user.email}`,
    ask: {
      title: `Delete ${user.email}?`,
      text: isMe ? [consequence, 'This is your own account.'] : consequence,
      action: 'Delete for good',
    },
    run: async () => {
      await auth.call('DELETE', path);
      await reload();
    },
    done: `${user.email} is deleted.`,
  });
  return [
    h(
      'div.row',
      null,
      roleSelect(user, roles),
      !isService && verifiedCheckbox(user, reload),
      unfoldButtons,
      disableButton,
      deleteButton,
    ),
    unfolded,
  ];
}

/**
 * @param {UserRecord} user
 * @param {string[]} roles
 * @param {() => Promise<void>} reload
 */
const userRow = (user, roles, reload) =>
  h(
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
        user.id === signedInUser().id && h('span.tag', null, 'you'),
        user.kind === 'service' && h('span.tag', null, 'service'),
        user.disabled && h('span.tag.off', null, 'disabled'),
        user.kind !== 'service' && !user.emailVerified && h('span.tag.off', null, 'address not verified'),
      ),
      h('p.sub', null, 'here since ', relativeTime(user.createdAt)),
    ),
    may('users:write') ? userActions(user, roles, reload) : h('div'),
  );

export function users() {
  const search = h('input', {
    type: 'search',
    'aria-label': 'Search by the beginning of the address',
    placeholder: 'Address begins with…',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  // The server gives a cursor for the next page alone: the way back is what was gone through.
  /** @type {(string | null)[]} */
  let visited = [];
  /** @type {string | null} */
  let cursor = null;
  /** @returns {Promise<{ users: UserRecord[], nextCursor?: string | null, roles: string[] }>} */
  async function load() {
    const query = `limit=${PAGE_SIZE}&query=${encodeURIComponent(search.value)}${cursor ? `&cursor=${cursor}` : ''}`;
    const [page, roles] = await Promise.all([auth.call('GET', `/api/users?${query}`), loadRoles()]);
    return { ...page, roles };
  }
  /** @param {string | null | undefined} nextCursor */
  const pager = (nextCursor) => {
    const back = () => {
      cursor = visited.pop() ?? null;
      list.reload();
    };
    const next = () => {
      visited.push(cursor);
      cursor = nextCursor ?? null;
      list.reload();
    };
    return h(
      'nav.row.spread',
      { 'aria-label': 'Pages' },
      h('button.plain', { type: 'button', disabled: !visited.length, onclick: back }, 'Back'),
      h('span.sub', null, `Page ${visited.length + 1}`),
      h('button.plain', { type: 'button', disabled: !nextCursor, onclick: next }, 'Next'),
    );
  };
  const list = asyncSection(
    load,
    ({ users, nextCursor, roles }, reload) => {
      const nobody = search.value ? `No address begins with “${search.value}”.` : 'Nobody here.';
      const rows = users.length
        ? h(
            'ul.rows',
            null,
            users.map((user) => userRow(user, roles, reload)),
          )
        : h('p.empty', null, nobody);
      return visited.length || nextCursor ? [rows, pager(nextCursor)] : rows;
    },
    'Looking for users…',
  );
  /** @type {number | undefined} */
  let timer;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      visited = [];
      cursor = null;
      list.reload();
    }, SEARCH_DELAY);
  });
  return [
    h('h1', null, 'Users'),
    card('Everybody', 'Changes count from the very next request on.', search, list.element),
    may('users:write') &&
      card('A service account', 'It cannot sign in, and acts by its API keys alone.', serviceForm(list.reload)),
  ].filter((part) => part !== false);
}

/** @param {() => Promise<void>} reload */
function serviceForm(reload) {
  const role = h('select', { 'aria-label': 'Role of the service' }, h('option', { value: '' }, 'default role'));
  loadRoles().then((roles) => role.append(...roleOptions(roles)));
  const name = field(
    'Name',
    { name: 'name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false' },
    'Lower-case letters, digits, - and _.',
  );
  const element = form({
    fields: [name],
    label: 'Add a service',
    busy: 'Adding…',
    kind: 'plain',
    before: [role],
    action: async (values) => {
      await callFresh('POST', '/api/services', { name: values.name, ...(role.value && { role: role.value }) });
      element.reset();
      toast(`${values.name} is added. Its keys are made beside it, in the list.`);
      await reload();
    },
  });
  return element;
}

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
      h('p.title', null, 'Invitation ', h('span.tag', null, invite.role)),
      h(
        'p.sub',
        null,
        invite.email && `for ${invite.email} · `,
        'made ',
        relativeTime(invite.createdAt),
        ' · ends ',
        relativeTime(invite.expiresAt),
      ),
    ),
    actionButton({
      label: 'Withdraw',
      name: `Withdraw the invitation for ${invite.role}, ${invite.id}`,
      ask: {
        title: 'Withdraw this invitation?',
        text: 'Its code stops working at once. Who used it already keeps their account.',
        action: 'Withdraw',
      },
      run: async () => {
        await auth.call('DELETE', `/api/invites/${invite.id}`);
        await reload();
      },
      done: 'The invitation is withdrawn.',
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
        : h('p.empty', null, 'No open invitations.'),
    'Looking for invitations…',
  );
  // Which role is the default one is the configuration's, and the server's to fill in.
  const role = h('select', { 'aria-label': 'Role of who comes' }, h('option', { value: '' }, 'default role'));
  loadRoles().then((roles) => role.append(...roleOptions(roles)));
  const lifetimes = [
    ['1d', 'one day'],
    ['7d', 'one week'],
    ['30d', 'one month'],
  ];
  const expiresIn = h(
    'select',
    { 'aria-label': 'How long it is good' },
    lifetimes.map(([value, text]) => h('option', { value, selected: value === '7d' }, text)),
  );
  const recipient = field(
    'For this address alone',
    { type: 'email', name: 'email', autocomplete: 'off', maxlength: 254, inputmode: 'email' },
    'Leave it empty for whoever has the code. An address you name counts as verified.',
  );
  const create = form({
    fields: [recipient],
    label: 'Make an invitation',
    busy: 'Making…',
    before: [role, expiresIn],
    action: async ({ email }) => {
      const advice = email
        ? `Only ${email} may register with it, once.`
        : 'Pass it on by a way you trust: whoever has it may register once.';
      const { code } = await auth.call('POST', '/api/invites', {
        expiresIn: expiresIn.value,
        ...(role.value && { role: role.value }),
        ...(email && { email }),
      });
      recipient.input.value = '';
      created.replaceChildren(shownOnce('The code, shown this once', code, advice, () => created.replaceChildren()));
      await list.reload();
    },
  });
  create.classList.add('wide');
  return [
    h('h1', null, 'Invitations'),
    card('Ask somebody in', 'A code lets one person register, with the role you choose.', create, created),
    card('Open invitations', null, list.element),
  ];
}
