// What the views are made of.

import { h } from './dom.js';
import { errorText, invalidText, refusalText } from './errors.js';
import { formatDate, formatRelative, t } from './i18n.js';

/** @import { Children } from './dom.js' */
/** @typedef {ReturnType<typeof field>} Field */
/** @typedef {{ title: string, text: string | string[], action: string }} Question */

let fieldCount = 0;

/**
 * A labelled input with room for a hint and an error that screen readers hear.
 * @param {string} label
 * @param {Record<string, any>} props of the input
 * @param {string} [hintText]
 */
export function field(label, props, hintText) {
  const id = `f${++fieldCount}`;
  const input = h('input', { id, 'aria-describedby': `${id}h ${id}e`, ...props });
  const error = h('p.error', { id: `${id}e` });
  const hint = h('p.hint', { id: `${id}h` }, hintText);
  const element = h('div.field', null, h('label', { for: id }, label), input, hint, error);
  /** @param {...(Node | string)} message nothing: the error is gone */
  const showError = (...message) => {
    error.replaceChildren(...message);
    if (message.length) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  };
  input.addEventListener('input', () => showError());
  return { label, element, input, showError, hint };
}

/**
 * A password field that says how good the password is.
 * @param {string} label
 * @param {string} name
 */
export function newPasswordField(label, name) {
  const made = field(label, {
    type: 'password',
    name,
    autocomplete: 'new-password',
    required: true,
    minlength: 8,
    maxlength: 1024,
  });
  const bar = h('progress', { max: 4, value: 0, 'aria-hidden': 'true' });
  const verdict = h('span', null, passwordStrength('').text);
  made.hint.append(bar, verdict);
  made.input.addEventListener('input', () => {
    const { score, text } = passwordStrength(made.input.value);
    bar.value = score;
    bar.dataset.score = String(score);
    verdict.textContent = text;
  });
  return made;
}

/**
 * A hint, not a judge: the server has the last word.
 * @param {string} password
 */
function passwordStrength(password) {
  const { length } = [...password];
  if (!length) return { score: 0, text: t('password.empty') };
  const missing = 8 - length;
  if (missing > 0) return { score: 1, text: t('password.missing', { count: missing }) };
  const distinct = new Set(password.toLowerCase()).size;
  if (distinct < 5 || /^(?:password|qwerty|letmein|welcome|12345)/i.test(password)) {
    return { score: 1, text: t('password.easy') };
  }
  if (length < 12 || distinct < 7) return { score: 2, text: t('password.fair') };
  if (length < 16) return { score: 3, text: t('password.good') };
  return { score: 4, text: t('password.strong') };
}

/**
 * A form that is busy while its action runs, and shows errors beside the fields they are about.
 * @param {object} options
 * @param {Field[]} options.fields
 * @param {(values: Record<string, string>) => unknown} options.action
 * @param {string} options.label of the button
 * @param {string} options.busy what the button says while the action runs
 * @param {Node[]} [options.more] below the fields
 * @param {Node[]} [options.before] the button, in its row
 * @param {string} [options.kind] classes of the button
 */
export function form({ fields, action, label, busy, more = [], before = [], kind = 'primary' }) {
  const problem = h('p.problem', { role: 'alert' });
  const button = h('button', { type: 'submit', class: kind }, label);
  const element = h(
    'form',
    { novalidate: true },
    fields.map((each) => each.element),
    more,
    problem,
    h('div.row', null, before, button),
  );
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    problem.textContent = '';
    for (const each of fields) each.showError();
    const invalid = fields.find(({ input }) => !input.checkValidity());
    if (invalid) {
      invalid.showError(invalidText(invalid.input));
      invalid.input.focus();
      return;
    }
    button.disabled = true;
    button.textContent = busy;
    try {
      await action(Object.fromEntries(fields.map(({ input }) => [input.name, input.value])));
    } catch (error) {
      showRefusal(error);
    } finally {
      button.disabled = false;
      button.textContent = label;
    }
  });

  /** @param {any} error */
  function showRefusal(error) {
    let first;
    for (const { field: name, message } of error.fields ?? []) {
      const refused = fields.find(({ input }) => input.name === name);
      refused?.showError(...refusalText(refused.label, message));
      first ??= refused;
    }
    if (first) first.input.focus();
    else problem.replaceChildren(...errorText(error));
  }

  return element;
}

/** @type {number | undefined} */
let toastTimer;

/**
 * Says something for some seconds; screen readers hear it too.
 * @param {...(Node | string)} text
 */
export function toast(...text) {
  const place = /** @type {HTMLElement} */ (document.getElementById('toast'));
  place.replaceChildren(...text);
  place.classList.add('on');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.classList.remove('on'), 5000);
}

/**
 * Asks before something that cannot be undone.
 * @param {Question} question
 * @returns {Promise<boolean>} whether to go on
 */
function confirmDialog({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'ask' },
      h('h2', { id: 'ask' }, title),
      [text].flat().map((line) => h('p', null, line)),
      h(
        'div.row.end',
        null,
        // The harmless answer has the focus, so that Enter alone destroys nothing.
        h('button.plain', { type: 'button', autofocus: true, onclick: () => dialog.close() }, t('confirm.keep')),
        h('button.danger', { type: 'button', onclick: () => dialog.close('yes') }, action),
      ),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A button that asks first if told to, and cannot be pressed again while it runs.
 * @param {object} options
 * @param {string} options.label
 * @param {string} [options.kind] its classes
 * @param {string} [options.name] for screen readers, where several buttons have the same label
 * @param {Question} [options.ask]
 * @param {() => unknown} options.run
 * @param {string} [options.done] what to say afterwards
 */
export function actionButton({ label, kind = 'plain', name, ask, run, done }) {
  const button = h('button', { type: 'button', class: kind, 'aria-label': name }, label);
  button.addEventListener('click', async () => {
    if (button.disabled || (ask && !(await confirmDialog(ask)))) return;
    button.disabled = true;
    try {
      await run();
      if (done) toast(done);
    } catch (error) {
      toast(...errorText(error));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/**
 * A secret that the server says this once, with a button that copies it.
 * @param {string} label
 * @param {string} secret
 * @param {string} advice
 * @param {() => void} dismiss
 */
export function shownOnce(label, secret, advice, dismiss) {
  const shown = field(label, { value: secret, readonly: true, class: 'mono', dir: 'ltr' }, advice);
  const copy = async () => {
    shown.input.select();
    // Browsers have no clipboard for pages over http, and may refuse it elsewhere.
    await navigator.clipboard?.writeText(secret).then(
      () => toast(t('copy.done')),
      () => toast(t('copy.press')),
    );
  };
  return h(
    'div.once',
    null,
    shown.element,
    h(
      'div.row',
      null,
      h('button.plain', { type: 'button', onclick: copy }, t('copy.label')),
      h('button.plain', { type: 'button', onclick: dismiss }, t('copy.dismiss')),
    ),
  );
}

/**
 * A part of the page that is loaded: it says that it is coming, that it failed, or shows what came.
 * @template T
 * @param {() => Promise<T>} load
 * @param {(loaded: T, reload: () => Promise<void>) => Node | Node[]} show
 * @param {string} [waiting]
 */
export function asyncSection(load, show, waiting = t('waiting')) {
  const element = h('div', { 'aria-busy': 'true' }, h('p.waiting', null, waiting));
  const reload = async () => {
    element.setAttribute('aria-busy', 'true');
    try {
      element.replaceChildren(...[show(await load(), reload)].flat());
    } catch (error) {
      const retry = h('button.plain', { type: 'button', onclick: reload }, t('retry'));
      element.replaceChildren(h('div.failed', null, h('p', null, errorText(error)), retry));
    }
    element.removeAttribute('aria-busy');
  };
  reload();
  return { element, reload };
}

/**
 * @param {string} title
 * @param {string | null} lead
 * @param {...Children} children
 */
export const card = (title, lead, ...children) =>
  h('section.card', null, h('header', null, h('h2', null, title), lead && h('p', null, lead)), ...children);

/** The server's time less this machine's, in milliseconds. */
export const clock = { skew: 0 };

/**
 * A moment as people say it, with the exact one behind it.
 * @param {string | number} when
 */
export function relativeTime(when) {
  const at = new Date(when);
  const seconds = (at.getTime() - Date.now() - clock.skew) / 1000;
  return h('time', { datetime: at.toISOString(), title: formatDate(at) }, formatRelative(seconds));
}

/**
 * The moment itself, for what is to be read as a date: "here since".
 * @param {string | number} when
 */
export function exactTime(when) {
  const at = new Date(when);
  return h('time', { datetime: at.toISOString() }, formatDate(at));
}

// In this order: most browsers also claim to be Safari, and some of the others to be Chrome.
const BROWSERS = [
  ['Edg/', 'Edge'],
  ['OPR/', 'Opera'],
  ['Firefox/', 'Firefox'],
  ['HeadlessChrome/', 'Chrome'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
  ['curl/', 'curl'],
];
// Android says Linux too, and an iPhone Mac OS.
const SYSTEMS = [
  ['Android', 'Android'],
  ['iPhone', 'iPhone'],
  ['iPad', 'iPad'],
  ['Windows', 'Windows'],
  ['Mac OS', 'macOS'],
  ['CrOS', 'ChromeOS'],
  ['Linux', 'Linux'],
];

/**
 * "Chrome on Linux", as far as a browser admits what it is.
 * @param {string | null | undefined} userAgent
 */
export function deviceName(userAgent) {
  if (!userAgent) return t('device.unknown');
  const [, browser] = BROWSERS.find(([mark]) => userAgent.includes(mark)) ?? [];
  const [, system] = SYSTEMS.find(([mark]) => userAgent.includes(mark)) ?? [];
  if (!browser) return userAgent.split(/[ /]/)[0] || t('device.unknown');
  return system ? t('device.on', { browser, system }) : browser;
}
