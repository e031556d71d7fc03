// API keys: one's own, and those of service accounts.

import { auth, signedInUser } from './auth.js';
import { actionButton, asyncSection, card, field, form, h, relativeTime, shownOnce } from './ui.js';

/**
 * @typedef {{ id: string, name: string, start: string, permissions: string[], createdAt: string,
 *   expiresAt: string | null, lastUsedAt: string | null }} ApiKey
 */

const LIFETIMES = [
  ['30d', 'for a month'],
  ['90d', 'for three months'],
  ['365d', 'for a year'],
];

/**
 * Asks for the password of who is signed in.
 * @returns {Promise<boolean>} whether they gave it
 */
function passwordDialog() {
  return new Promise((resolve) => {
    const { email } = signedInUser();
    const password = field('Password', {
      type: 'password',
      name: 'password',
      autocomplete: 'current-password',
      required: true,
      autofocus: true,
    });
    let isGiven = false;
    const cancel = h('button.plain', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const entry = form({
      fields: [password],
      label: 'Go on',
      busy: 'Checking…',
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
      h('h2', { id: 'again' }, 'Is it you?'),
      h('p', null, `What you make here outlives this sign-in. Give the password of ${email} again.`),
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
  if (!keys.length) return h('p.empty', null, 'No keys.');
  const expiry = (/** @type {ApiKey} */ { expiresAt }) =>
    expiresAt ? [Date.parse(expiresAt) < Date.now() ? 'ended ' : 'ends ', relativeTime(expiresAt)] : ['never ends'];
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
          h('p.title', null, key.name, ' ', h('span.tag.mono', null, `${key.start}…`)),
          h('p.sub', null, 'may ', h('span.mono', null, key.permissions.join(', '))),
          h(
            'p.sub',
            null,
            key.lastUsedAt ? ['used ', relativeTime(key.lastUsedAt)] : 'never used',
            ' · made ',
            relativeTime(key.createdAt),
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
 * The keys at a path, and a form that makes one.
 * @param {string} path
 * @param {string | undefined} user the service account whose keys these are, or nothing for one's own
 * @param {string[]} suggested permissions
 */
function keysAt(path, user, suggested) {
  const section = asyncSection(
    () => auth.call('GET', path),
    (/** @type {{ keys: ApiKey[] }} */ { keys }) => keyRows(keys, revokeButton),
    'Looking for keys…',
  );
  /** @param {ApiKey} key */
  function revokeButton({ id, name }) {
    return actionButton({
      label: 'Revoke',
      name: `Revoke the key ${name}`,
      ask: {
        title: `Revoke the key ${name}?`,
        text: 'Whatever uses it is refused from the very next request on.',
        action: 'Revoke',
      },
      run: async () => {
        await auth.call('DELETE', `${path}/${id}`);
        await section.reload();
      },
      done: 'The key is revoked.',
    });
  }
  const created = h('div', { 'aria-live': 'polite' });
  const name = field('Name', { name: 'name', required: true, maxlength: 64, autocomplete: 'off' }, 'What will use it?');
  const permissions = field(
    'May do',
    { name: 'permissions', required: true, autocomplete: 'off', spellcheck: 'false' },
    `With commas between${suggested.length ? `, of ${suggested.join(', ')}` : ''}. It may never do more than its owner may at that time.`,
  );
  const expiresIn = h(
    'select',
    { 'aria-label': 'How long it is good' },
    LIFETIMES.map(([value, text]) => h('option', { value, selected: value === '90d' }, text)),
  );
  const make = form({
    fields: [name, permissions],
    label: 'Make a key',
    busy: 'Making…',
    kind: 'plain',
    before: [expiresIn],
    action: async (values) => {
      const { secret } = await callFresh('POST', '/api/keys', {
        name: values.name,
        permissions: values.permissions.split(/[\s,]+/).filter(Boolean),
        expiresIn: expiresIn.value,
        ...(user && { user }),
      });
      name.input.value = '';
      const advice = 'It goes into an Authorization header: Bearer, a blank, and the key.';
      created.replaceChildren(shownOnce('The key, shown this once', secret, advice, () => created.replaceChildren()));
      await section.reload();
    },
  });
  return [section.element, make, created];
}

export function ownKeys() {
  const { permissions } = signedInUser();
  const suggested = permissions.filter((permission) => !permission.includes('*'));
  return card('API keys', 'For scripts, in place of your password.', keysAt('/api/keys', undefined, suggested));
}

/**
 * The keys of a user, for admins. Only those of service accounts are made here.
 * @param {{ id: string, kind: string }} user
 */
export function userKeys({ id, kind }) {
  const path = `/api/users/${id}/keys`;
  const [list, ...making] = keysAt(path, id, []);
  return h('div.nested', null, list, kind === 'service' ? making : null);
}
