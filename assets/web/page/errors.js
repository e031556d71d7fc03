// What went wrong, in the visitor's language. The API says it in English, with a code.

import { h } from './dom.js';
import { fill, formatDuration, has, t } from './i18n.js';

/** What makes a new set-up link. */
export const SETUP_COMMAND = 'doorward setup-link';

/**
 * What the server says more exactly than by a code, and the key for it. A test holds that the server still says it so.
 * @type {[RegExp, string][]}
 */
const MESSAGES = [
  [/^must be an e-mail address such as name@example.com$/, 'invalid.email'],
  [/^must have only ASCII letters, digits and . _ \+ - and the like before the @$/, 'invalid.emailLetters'],
  [/^must be at most 254 characters, with at most 64 before the @$/, 'invalid.emailLong'],
  [/^the address is reserved for service accounts$/, 'invalid.emailReserved'],
  [/^must have at least (?<count>\d+) characters$/, 'invalid.short'],
  [/^must be at most 1024 bytes long$/, 'invalid.passwordLong'],
  [/^is one of the most common passwords$/, 'invalid.passwordCommon'],
  [/^is too close to the e-mail address or the name of this service$/, 'invalid.passwordGuessable'],
  [/^is the one in use$/, 'invalid.passwordInUse'],
  [/^must be 1 to 64 lower-case letters, digits, - and _, with a letter or digit first$/, 'invalid.serviceName'],
  [/^must be 1 to 64 characters in one line$/, 'invalid.keyName'],
  [/^must be 1 to 32 permissions, or none if there are apps$/, 'invalid.permissionCount'],
  [/^a permission is written resource:action in lower case, such as articles:write$/, 'invalid.permissionForm'],
  [
    /^the role (?<role>\S+) does not grant (?<permission>\S+); it grants (?<granted>nothing)$/,
    'invalid.permissionGrantsNothing',
  ],
  [
    /^the role (?<role>\S+) does not grant (?<permission>\S+); it grants (?<granted>.+)$/,
    'invalid.permissionNotGranted',
  ],
  [
    /^no role in \[roles\] names (?<permission>\S+), and Doorward does not ask for it: is it misspelt\?$/,
    'invalid.permissionUnknown',
  ],
  [/^is one that no role in \[roles\] names$/, 'invalid.question'],
  [/^names a role that is not in \[roles\]$/, 'invalid.question'],
  [/^must be role names with commas between them$/, 'invalid.question'],
  [/^must be one permission, such as articles:read$/, 'invalid.question'],
  [/^must be one of: (?<roles>.+)$/, 'invalid.role'],
  [/^The current password is wrong$/, 'error.currentPassword'],
  [/^The role grants more than your own$/, 'error.roleBeyondReach'],
  [/^There is a service account of this name$/, 'error.serviceTaken'],
];

/**
 * What the server said, if it is among what it says more exactly.
 * @param {string} [message]
 */
function translated(message = '') {
  for (const [pattern, key] of MESSAGES) {
    const found = pattern.exec(message);
    if (!found) continue;
    const { count, ...values } = found.groups ?? {};
    return t(key, { ...values, ...(count && { count: Number(count) }) });
  }
  return undefined;
}

/** @param {any} error */
function explained({ code, status = 0, message, fields, requiredPermission, requiredRoles, requiresVerifiedAddress }) {
  if (requiresVerifiedAddress) return t('gate.needs.verifiedAddress');
  if (requiredPermission) return t('error.needsPermission', { permission: requiredPermission });
  if (requiredRoles) return t('error.needsRole', { roles: requiredRoles.join(', ') });
  return (
    translated(fields?.[0]?.message) ??
    translated(message) ??
    (has(`error.${code}`) ? t(`error.${code}`, { status: String(status), command: SETUP_COMMAND }) : undefined)
  );
}

/** @param {unknown} text */
const inEnglish = (text) => h('span', { lang: 'en', dir: 'ltr' }, String(text));

/**
 * What went wrong, for people. What the page has no words for is shown as the server said it.
 * @param {any} error
 * @returns {(string | Node)[]}
 */
export function errorText(error) {
  const message = explained(error) ?? inEnglish(error.message ?? error);
  if (!error.retryAfter) return [message];
  return fill('error.retryAfter', { message, duration: formatDuration(error.retryAfter) });
}

/**
 * What is wrong with a field, by the server.
 * @param {string} label of the field
 * @param {string} message
 * @returns {(string | Node)[]}
 */
export function refusalText(label, message) {
  const known = translated(message);
  return known ? [known] : [label, ' ', inEnglish(message)];
}

/**
 * What is wrong with a field, by what the page knows itself. Browsers say it too, in a language of their own.
 * @param {HTMLInputElement} input
 */
export function invalidText({ validity, minLength }) {
  if (validity.valueMissing) return t('invalid.missing');
  if (validity.typeMismatch) return t('invalid.email');
  return validity.tooShort ? t('invalid.short', { count: minLength }) : t('invalid.form');
}
