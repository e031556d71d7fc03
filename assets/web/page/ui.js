// What the views are made of. Text goes in as text: there is no markup from data anywhere.

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {Child | readonly Child[] | readonly (readonly Child[])[]} Children */
/**
 * @template {string} T
 * @typedef {T extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[T]
 *   : T extends `${infer Name extends keyof HTMLElementTagNameMap}.${string}` ? HTMLElementTagNameMap[Name]
 *   : HTMLElement} ElementOf
 */
/** @typedef {ReturnType<typeof field>} Field */
/** @typedef {{ title: string, text: string | string[], action: string }} Question */

/**
 * An element. The tag may carry classes, as `p.sub`; properties that start with `on` are listeners.
 * @template {string} T
 * @param {T} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Children} children
 * @returns {ElementOf<T>}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split('.');
  /** @type {any} */
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === false || value === undefined || value === null) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value' || key === 'checked') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  const isShown = (/** @type {unknown} */ child) => child !== null && child !== undefined && child !== false;
  element.append(...children.flat(2).filter(isShown));
  return element;
}

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
  /** @param {string} [message] nothing: the error is gone */
  const showError = (message) => {
    error.textContent = message ?? '';
    if (message) input.setAttribute('aria-invalid', 'true');
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
  if (!length) return { score: 0, text: 'At least 8 characters. A few unrelated words are best.' };
  const missing = 8 - length;
  if (missing > 0) return { score: 1, text: `${missing} more ${missing === 1 ? 'character' : 'characters'} to go.` };
  const distinct = new Set(password.toLowerCase()).size;
  if (distinct < 5 || /^(?:password|qwerty|letmein|welcome|12345)/i.test(password)) {
    return { score: 1, text: 'Easy to guess.' };
  }
  if (length < 12 || distinct < 7) return { score: 2, text: 'Fair. Longer is stronger.' };
  if (length < 16) return { score: 3, text: 'Good.' };
  return { score: 4, text: 'Strong.' };
}

/**
 * A form that is busy while its action runs, and shows errors beside the fields they are about.
 * @param {object} options
 * @param {Field[]} options.fields
 * @param {(values: Record<string, string>) => unknown} options.action
 * @param {string} options.label of the button
 * @param {string} options.busy what the button says while the action runs
 * @param {Node[]} [options.before] the button, in its row
 * @param {string} [options.kind] classes of the button
 */
export function form({ fields, action, label, busy, before = [], kind = 'primary' }) {
  const problem = h('p.problem', { role: 'alert' });
  const button = h('button', { type: 'submit', class: kind }, label);
  const element = h(
    'form',
    { novalidate: true },
    fields.map((each) => each.element),
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
      invalid.showError(invalid.input.validationMessage);
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
      refused?.showError(`${refused.label} ${message}`);
      first ??= refused;
    }
    if (first) first.input.focus();
    else problem.textContent = errorText(error);
  }

  return element;
}

/**
 * What went wrong, for people.
 * @param {any} error
 * @returns {string}
 */
export function errorText(error) {
  if (error.code === 'NETWORK') return 'The server cannot be reached. Check the connection and try again.';
  if (error.retryAfter) return `${error.message}. Try again in ${formatDuration(error.retryAfter)}.`;
  return `${error.message ?? error}.`.replace(/\.\.$/, '.');
}

/** @type {number | undefined} */
let toastTimer;

/**
 * Says something for some seconds; screen readers hear it too.
 * @param {string} text
 */
export function toast(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById('toast'));
  place.textContent = text;
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
        h('button.plain', { type: 'button', autofocus: true, onclick: () => dialog.close() }, 'Keep it as it is'),
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
      toast(errorText(error));
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
  const shown = field(label, { value: secret, readonly: true, class: 'mono' }, advice);
  const copy = async () => {
    shown.input.select();
    // Browsers have no clipboard for pages over http, and may refuse it elsewhere.
    await navigator.clipboard?.writeText(secret).then(
      () => toast('Copied.'),
      () => toast('Press Ctrl+C to copy.'),
    );
  };
  return h(
    'div.once',
    null,
    shown.element,
    h(
      'div.row',
      null,
      h('button.plain', { type: 'button', onclick: copy }, 'Copy'),
      h('button.plain', { type: 'button', onclick: dismiss }, 'I have it'),
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
export function asyncSection(load, show, waiting = 'Loading…') {
  const element = h('div', { 'aria-busy': 'true' }, h('p.waiting', null, waiting));
  const reload = async () => {
    element.setAttribute('aria-busy', 'true');
    try {
      element.replaceChildren(...[show(await load(), reload)].flat());
    } catch (error) {
      const retry = h('button.plain', { type: 'button', onclick: reload }, 'Try again');
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

/**
 * 75 → "1 min 15 s".
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ''}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The server's time less this machine's, in milliseconds. */
export const clock = { skew: 0 };

const relativeFormat = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const absoluteFormat = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** @type {{ below: number, unit: Intl.RelativeTimeFormatUnit, size: number }[]} */
const TIME_UNITS = [
  { below: MINUTE, unit: 'second', size: 1 },
  { below: HOUR, unit: 'minute', size: MINUTE },
  { below: DAY, unit: 'hour', size: HOUR },
  { below: 45 * DAY, unit: 'day', size: DAY },
  { below: Infinity, unit: 'month', size: 30 * DAY },
];

/**
 * A moment as people say it, with the exact one behind it.
 * @param {string | number} when
 */
export function relativeTime(when) {
  const at = new Date(when);
  const seconds = (at.getTime() - Date.now() - clock.skew) / 1000;
  const { unit, size } = TIME_UNITS.find(({ below }) => Math.abs(seconds) < below) ?? TIME_UNITS[0];
  const text = Math.abs(seconds) < 45 ? 'just now' : relativeFormat.format(Math.round(seconds / size), unit);
  return h('time', { datetime: at.toISOString(), title: absoluteFormat.format(at) }, text);
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
  if (!userAgent) return 'Unknown device';
  const [, browser] = BROWSERS.find(([mark]) => userAgent.includes(mark)) ?? [];
  const [, system] = SYSTEMS.find(([mark]) => userAgent.includes(mark)) ?? [];
  if (!browser) return userAgent.split(/[ /]/)[0] || 'Unknown device';
  return system ? `${browser} on ${system}` : browser;
}
