// For admins: users, their sessions, keys and apps.

import { sessionRows } from './account.js';
import { listApps, userApps } from './apps.js';
import { auth, may, signedInUser } from './auth.js';
import { h, verbatim } from './dom.js';
import { errorText } from './errors.js';
import { fill, t } from './i18n.js';
import { callFresh, userKeys } from './keys.js';
import { pagedSection } from './paging.js';
import { actionButton, asyncSection, card, deviceName, exactTime, field, form, toast } from './ui.js';

/**
 * @typedef {{ id: string, email: string, emailVerified: boolean, role: string, disabled: boolean,
 *   kind: 'person' | 'service', createdAt: string }} UserRecord
 */

const PAGE_SIZE = 20;
const SEARCH_DELAY = 200;

/** @type {string[] | undefined} */
let knownRoles;
/** Whether there is anything behind the gate. */
let hasApps = false;

/**
 * The names of all roles, which are the configuration's. No endpoint lists them, but the refusal of a role that does not
 * exist does: so this asks for one that no configuration can have. If that says nothing, one's own role is all that is
 * known for sure; the refusal of any other choice tells what there is.
 * @returns {Promise<string[]>}
 */
export async function loadRoles() {
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
export const roleOptions = (roles, selected) =>
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
    'aria-label': t('users.verifiedOf', { email: user.email }),
  });
  box.addEventListener('change', async () => {
    const isVerified = box.checked;
    box.disabled = true;
    try {
      await auth.call('PATCH', `/api/users/${user.id}`, { emailVerified: isVerified });
      await reload();
      toast(t(isVerified ? 'users.nowVerified' : 'users.nowUnverified', { email: user.email }));
    } catch (error) {
      box.checked = user.emailVerified;
      toast(...errorText(error));
    }
    box.disabled = false;
  });
  return h('label.check', null, box, t('users.verified'));
}

/**
 * @param {UserRecord} user
 * @param {string[]} roles
 */
function roleSelect(user, roles) {
  // The role of somebody whose role has left the configuration is still shown.
  const names = roles.includes(user.role) ? roles : [...roles, user.role];
  const select = h('select', { 'aria-label': t('users.roleOf', { email: user.email }) }, roleOptions(names, user.role));
  select.addEventListener('change', async () => {
    const role = select.value;
    select.disabled = true;
    try {
      await auth.call('PATCH', `/api/users/${user.id}/role`, { role });
      user.role = role;
      toast(t('users.nowRole', { email: user.email, role }));
    } catch (error) {
      select.value = user.role;
      toast(...errorText(error));
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
      label: t('users.endSession'),
      name: t('users.endSessionOf', { device: deviceName(userAgent), email: user.email }),
      ask: {
        title: t('users.endSessionAsk'),
        text: t('users.endSessionText', { device: deviceName(userAgent), email: user.email }),
        action: t('users.endSessionAction'),
      },
      run: async () => {
        await auth.call('DELETE', `${path}/${id}`);
        await section.reload();
      },
      done: t('users.sessionEnded'),
    });
  /** @param {number} count */
  const endAllButton = (count) =>
    actionButton({
      label: t('users.endAll'),
      kind: 'danger',
      ask: {
        title: t('users.endAllAsk'),
        text: t('users.endAllText', { email: user.email, count }),
        action: t('users.endAll'),
      },
      run: async () => {
        await auth.call('DELETE', path);
        await section.reload();
      },
      done: t('users.allEnded'),
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
    ...(isService
      ? []
      : [unfoldButton(t('users.sessions'), t('users.sessionsOf', { email: user.email }), userSessions)]),
    unfoldButton(t('users.keys'), t('users.keysOf', { email: user.email }), () => userKeys(user)),
    ...(hasApps
      ? [unfoldButton(t('users.apps'), t('users.appsOf', { email: user.email }), () => userApps(user.id))]
      : []),
  ];
  /**
   * @param {string} label
   * @param {string} name
   * @param {(user: UserRecord) => Node} show
   */
  function unfoldButton(label, name, show) {
    const button = h('button.plain', { type: 'button', 'aria-expanded': 'false', 'aria-label': name }, label);
    button.addEventListener('click', () => {
      const isOpen = button.getAttribute('aria-expanded') === 'true';
      for (const each of unfoldButtons) each.setAttribute('aria-expanded', String(each === button && !isOpen));
      unfolded.replaceChildren(...(isOpen ? [] : [show(user)]));
    });
    return button;
  }
  const disableButton = actionButton({
    label: t(user.disabled ? 'users.enable' : 'users.disable'),
    name: t(user.disabled ? 'users.enableName' : 'users.disableName', { email: user.email }),
    ask: user.disabled
      ? undefined
      : {
          title: t('users.disableAsk', { email: user.email }),
          text: t('users.disableText'),
          action: t('users.disable'),
        },
    run: async () => {
      await auth.call('PATCH', path, { disabled: !user.disabled });
      await reload();
    },
    done: t(user.disabled ? 'users.enabled' : 'users.nowDisabled', { email: user.email }),
  });
  const consequence = t('users.deleteText');
  const deleteButton = actionButton({
    label: t('users.delete'),
    kind: 'danger',
    name: t('users.deleteName', { email: user.email }),
    ask: {
      title: t('users.deleteAsk', { email: user.email }),
      text: isMe ? [consequence, t('users.deleteSelf')] : consequence,
      action: t('users.deleteAction'),
    },
    run: async () => {
      await auth.call('DELETE', path);
      await reload();
    },
    done: t('users.deleted', { email: user.email }),
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
        verbatim(user.email),
        ' ',
        user.id === signedInUser().id && h('span.tag', null, t('users.you')),
        user.kind === 'service' && h('span.tag', null, t('users.service')),
        user.disabled && h('span.tag.off', null, t('users.disabled')),
        user.kind !== 'service' && !user.emailVerified && h('span.tag.off', null, t('users.addressUnverified')),
      ),
      h('p.sub', null, fill('users.since', { when: exactTime(user.createdAt) })),
    ),
    may('users:write') ? userActions(user, roles, reload) : h('div'),
  );

export function users() {
  const search = h('input', {
    type: 'search',
    'aria-label': t('users.search'),
    placeholder: t('users.searchHint'),
    autocomplete: 'off',
    spellcheck: 'false',
  });
  /**
   * @param {string | null} cursor
   * @returns {Promise<{ users: UserRecord[], nextCursor?: string | null, roles: string[] }>}
   */
  async function load(cursor) {
    const query = `limit=${PAGE_SIZE}&query=${encodeURIComponent(search.value)}${cursor ? `&cursor=${cursor}` : ''}`;
    const [page, roles, apps] = await Promise.all([auth.call('GET', `/api/users?${query}`), loadRoles(), listApps()]);
    hasApps = apps.length > 0;
    return { ...page, roles };
  }
  const list = pagedSection(
    load,
    ({ users, roles }, reload) => {
      if (users.length) {
        return h(
          'ul.rows',
          null,
          users.map((user) => userRow(user, roles, reload)),
        );
      }
      return h('p.empty', null, search.value ? t('users.noneFound', { query: search.value }) : t('users.none'));
    },
    t('users.waiting'),
  );
  /** @type {number | undefined} */
  let timer;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(list.restart, SEARCH_DELAY);
  });
  return [
    h('h1', null, t('nav.users')),
    card(t('users.everybody'), t('users.lead'), search, list.element),
    may('users:write') && card(t('service.title'), t('service.lead'), serviceForm(list.reload)),
  ].filter((part) => part !== false);
}

/** @param {() => Promise<void>} reload */
function serviceForm(reload) {
  const role = h('select', { 'aria-label': t('service.role') }, h('option', { value: '' }, t('role.default')));
  loadRoles().then((roles) => role.append(...roleOptions(roles)));
  const name = field(
    t('label.name'),
    { name: 'name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false', dir: 'ltr' },
    t('service.nameHint'),
  );
  const element = form({
    fields: [name],
    label: t('service.add'),
    busy: t('service.adding'),
    kind: 'plain',
    before: [role],
    action: async (values) => {
      await callFresh('POST', '/api/services', { name: values.name, ...(role.value && { role: role.value }) });
      element.reset();
      toast(t('service.added', { name: values.name }));
      await reload();
    },
  });
  return element;
}
