// API keys: one's own, and those of service accounts.

import { listApps } from './apps.js';
import { auth, signedInUser } from './auth.js';
import { h, named, verbatim } from './dom.js';
import { fill, t } from './i18n.js';
import { actionButton, asyncSection, card, field, form, relativeTime, shownOnce } from './ui.js';

/**
 * @typedef {{ id: string, name: string, start: string, permissions: string[], apps: string[], createdAt: string,
 *   expiresAt: string | null, lastUsedAt: string | null }} ApiKey
 */

const LIFETIMES = [
  ['30d', 'keys.month'],
  ['90d', 'keys.threeMonths'],
  ['365d', 'keys.year'],
];

/**
 * Asks for the password of who is signed in.
 * @returns {Promise<boolean>} whether they gave it
 */
function passwordDialog() {
  return new Promise((resolve) => {
    const { email } = signedInUser();
    const password = field(t('label.password'), {
      type: 'password',
      name: 'password',
      autocomplete: 'current-password',
      required: true,
      autofocus: true,
    });
    let isGiven = false;
    const cancel = h('button.plain', { type: 'button', onclick: () => dialog.close() }, t('again.cancel'));
    const entry = form({
      fields: [password],
      label: t('again.submit'),
      busy: t('again.busy'),
      before: [cancel],
      action: async (values) => {
        await auth.login({ email, password: values.password });
        isGiven = true;
        dialog.close();
      },
    });
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'again' },
      h('h2', { id: 'again' }, t('again.title')),
      h('p', null, fill('again.text', { email: verbatim(email) })),
      entry,
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(isGiven);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A call that needs a sign-in of a few minutes ago: if it was longer ago, the password is asked for.
 * @param {string} method
 * @param {string} path
 * @param {object} body
 */
export async function callFresh(method, path, body) {
  try {
    return await auth.call(method, path, body);
  } catch (/** @type {any} */ error) {
    if (error.code !== 'STEP_UP_REQUIRED' || !(await passwordDialog())) throw error;
    return auth.call(method, path, body);
  }
}

/**
 * @param {ApiKey[]} keys
 * @param {(key: ApiKey) => Node} revokeButton
 */
function keyRows(keys, revokeButton) {
  if (!keys.length) return h('p.empty', null, t('keys.none'));
  const expiry = (/** @type {ApiKey} */ { expiresAt }) => {
    if (!expiresAt) return [t('keys.neverEnds')];
    const isOver = Date.parse(expiresAt) < Date.now();
    return fill(isOver ? 'keys.ended' : 'keys.ends', { when: relativeTime(expiresAt) });
  };
  /** @param {ApiKey} key */
  const powers = ({ permissions, apps }) => [
    permissions.length > 0 && fill('keys.may', { permissions: h('span.mono', null, permissions.join(', ')) }),
    permissions.length > 0 && apps.length > 0 && ' · ',
    apps.length > 0 && fill('keys.opens', { apps: h('span.mono', null, apps.join(', ')) }),
  ];
  return h(
    'ul.rows',
    null,
    keys.map((key) =>
      h(
        'li',
        null,
        h(
          'div',
          null,
          h('p.title', null, named(key.name), ' ', h('span.tag.mono', null, `${key.start}…`)),
          h('p.sub', null, ...powers(key)),
          h(
            'p.sub',
            null,
            key.lastUsedAt ? fill('keys.used', { when: relativeTime(key.lastUsedAt) }) : t('keys.neverUsed'),
            ' · ',
            fill('keys.made', { when: relativeTime(key.createdAt) }),
            ' · ',
            expiry(key),
          ),
        ),
        revokeButton(key),
      ),
    ),
  );
}

/**
 * A choice among the apps that a key may open; nothing is shown if there are none.
 * @param {string | undefined} user whose key it is, or nothing for one's own
 * @param {() => void} onChange
 */
function appChoice(user, onChange) {
  const element = h('fieldset.field', { 'aria-describedby': 'keys-apps', hidden: true });
  /** @type {HTMLInputElement[]} */
  let boxes = [];
  element.addEventListener('change', onChange);
  const load = async () => {
    const open = (await listApps(user)).filter((app) => app.mayEnter && app.takesKeys);
    boxes = open.map(({ name }) => h('input', { type: 'checkbox', value: name }));
    element.replaceChildren(
      h('legend', null, t('keys.apps')),
      ...boxes.map((box) => h('label.check', null, box, verbatim(box.value))),
      h('p.hint', { id: 'keys-apps' }, t('keys.appsHint')),
    );
    element.hidden = !open.length;
  };
  // Without the list a key is made for permissions alone.
  load().catch(() => {});
  return {
    element,
    chosen: () => boxes.filter((box) => box.checked).map((box) => box.value),
    clear: () => {
      for (const box of boxes) box.checked = false;
      onChange();
    },
  };
}

/**
 * The keys at a path, and how they are loaded again.
 * @param {string} path
 */
function keyList(path) {
  const section = asyncSection(
    () => auth.call('GET', path),
    (/** @type {{ keys: ApiKey[] }} */ { keys }) => keyRows(keys, revokeButton),
    t('keys.waiting'),
  );
  /** @param {ApiKey} key */
  function revokeButton({ id, name }) {
    return actionButton({
      label: t('keys.revoke'),
      name: t('keys.revokeName', { name }),
      ask: {
        title: t('keys.revokeAsk', { name }),
        text: t('keys.revokeText'),
        action: t('keys.revoke'),
      },
      run: async () => {
        await auth.call('DELETE', `${path}/${id}`);
        await section.reload();
      },
      done: t('keys.revoked'),
    });
  }
  return section;
}

/**
 * The keys at a path, and a form that makes one.
 * @param {string} path
 * @param {string | undefined} user the service account whose keys these are, or nothing for one's own
 * @param {string[]} suggested permissions
 */
function keysAt(path, user, suggested) {
  const section = keyList(path);
  const created = h('div', { 'aria-live': 'polite' });
  const name = field(
    t('label.name'),
    { name: 'name', required: true, maxlength: 64, autocomplete: 'off', dir: 'auto' },
    t('keys.nameHint'),
  );
  const permissions = field(
    t('keys.permissions'),
    { name: 'permissions', required: true, autocomplete: 'off', spellcheck: 'false', dir: 'ltr' },
    suggested.length ? t('keys.permissionsHintOf', { permissions: suggested.join(', ') }) : t('keys.permissionsHint'),
  );
  const apps = appChoice(user, () => {
    permissions.input.required = !apps.chosen().length;
    permissions.showError();
  });
  const expiresIn = h(
    'select',
    { 'aria-label': t('keys.lifetime') },
    LIFETIMES.map(([value, text]) => h('option', { value, selected: value === '90d' }, t(text))),
  );
  const make = form({
    fields: [name, permissions],
    label: t('keys.make'),
    busy: t('keys.making'),
    kind: 'plain',
    more: [apps.element],
    before: [expiresIn],
    action: async (values) => {
      const opened = apps.chosen();
      const permitted = values.permissions.split(/[\s,]+/).filter(Boolean);
      const { secret } = await callFresh('POST', '/api/keys', {
        name: values.name,
        permissions: permitted,
        ...(opened.length && { apps: opened }),
        expiresIn: expiresIn.value,
        ...(user && { user }),
      });
      name.input.value = '';
      apps.clear();
      const advice = [
        permitted.length && t('keys.advice', { header: 'Bearer' }),
        opened.length && t('keys.appsAdvice', { header: 'X-Doorward-Key' }),
      ];
      const shown = advice.filter(Boolean).join(' ');
      created.replaceChildren(shownOnce(t('keys.secret'), secret, shown, () => created.replaceChildren()));
      await section.reload();
    },
  });
  return [section.element, make, created];
}

export function ownKeys() {
  const { permissions } = signedInUser();
  const suggested = permissions.filter((permission) => !permission.includes('*'));
  return card(t('keys.title'), t('keys.lead'), keysAt('/api/keys', undefined, suggested));
}

/**
 * The keys of a user, for admins. Only those of service accounts are made here.
 * @param {{ id: string, kind: string }} user
 */
export function userKeys({ id, kind }) {
  const path = `/api/users/${id}/keys`;
  return h('div.nested', null, kind === 'service' ? keysAt(path, id, []) : keyList(path).element);
}
