// What views are made of. Text goes in as text: there is no markup from data anywhere.

/** An element: properties that start with `on` are listeners, children are nodes or text. */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === false || value === undefined || value === null) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value' || key === 'checked') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let ids = 0;

/** A labelled input with room for a hint and an error that screen readers hear. */
export function field(label, props, hint) {
  const id = `f${++ids}`;
  const input = h('input', { id, 'aria-describedby': `${id}h ${id}e`, ...props });
  const error = h('p.error', { id: `${id}e` });
  const hints = h('p.hint', { id: `${id}h` }, hint);
  const element = h('div.field', null, h('label', { for: id }, label), input, hints, error);
  const refuse = (message) => {
    error.textContent = message ?? '';
    if (message) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  };
  input.addEventListener('input', () => refuse());
  return { element, input, refuse, hints };
}

/** A password field that says how good the password is, and can show it. */
export function newPassword(label, name) {
  const made = field(label, {
    type: 'password',
    name,
    autocomplete: 'new-password',
    required: true,
    minlength: 8,
    maxlength: 1024,
  });
  const bar = h('progress', { max: 4, value: 0, 'aria-hidden': 'true' });
  const word = h('span', null, 'At least 8 characters. A few unrelated words are best.');
  made.hints.append(bar, word);
  made.input.addEventListener('input', () => {
    const [score, text] = strength(made.input.value);
    bar.value = score;
    bar.dataset.score = score;
    word.textContent = text;
  });
  return made;
}

/** A hint, not a judge: the server has the last word. */
function strength(password) {
  const length = [...password].length;
  if (!length) return [0, 'At least 8 characters. A few unrelated words are best.'];
  if (length < 8) return [1, `${8 - length} more ${8 - length === 1 ? 'character' : 'characters'} to go.`];
  const unlike = new Set(password.toLowerCase()).size;
  if (unlike < 5 || /^(?:password|qwerty|letmein|welcome|12345)/i.test(password)) return [1, 'Easy to guess.'];
  if (length < 12 || unlike < 7) return [2, 'Fair. Longer is stronger.'];
  if (length < 16) return [3, 'Good.'];
  return [4, 'Strong.'];
}

/** Runs a form's deed: busy while it runs, errors beside their fields. */
export function form({ fields = [], action, label, busy, before = [], kind = '' }) {
  const problem = h('p.problem', { role: 'alert' });
  const button = h(`button${kind || '.primary'}`, { type: 'submit' }, label);
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
    for (const each of fields) each.refuse();
    const wrong = fields.find(({ input }) => !input.checkValidity());
    if (wrong) {
      wrong.refuse(wrong.input.validationMessage);
      wrong.input.focus();
      return;
    }
    button.disabled = true;
    button.textContent = busy ?? `${label}…`;
    try {
      await action(Object.fromEntries(fields.map(({ input }) => [input.name, input.value])));
    } catch (error) {
      const named = (error.fields ?? []).map((each) => [
        fields.find(({ input }) => input.name === each.field),
        each.message,
      ]);
      for (const [each, message] of named) each?.refuse(`${each.element.firstChild.textContent} ${message}`);
      const first = named.find(([each]) => each)?.[0];
      if (first) first.input.focus();
      else problem.textContent = explain(error);
    } finally {
      button.disabled = false;
      button.textContent = label;
    }
  });
  return element;
}

/** What went wrong, for people. */
export function explain(error) {
  if (error.code === 'NETWORK') return 'The server cannot be reached. Check the connection and try again.';
  if (error.retryAfter) return `${error.message}. Try again in ${span(error.retryAfter)}.`;
  return `${error.message ?? error}.`.replace(/\.\.$/, '.');
}

/** Says something in passing; screen readers hear it too. */
export function say(text) {
  const place = document.getElementById('says');
  place.textContent = text;
  place.classList.add('on');
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove('on'), 5000);
}

/** Asks before something that cannot be undone. Resolves to whether to go on. */
export function confirm({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'ask' },
      h('h2', { id: 'ask' }, title),
      [text].flat().map((line) => h('p', null, line)),
      h(
        'div.row.end',
        null,
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

/** A button that asks first, runs, and shows that it runs. */
export function deed({ label, kind = '.plain', name, ask, run, done }) {
  const button = h(`button${kind}`, { type: 'button', 'aria-label': name }, label);
  button.addEventListener('click', async () => {
    if (button.disabled || (ask && !(await confirm(ask)))) return;
    button.disabled = true;
    try {
      await run();
      if (done) say(done);
    } catch (error) {
      say(explain(error));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** A part of a page that is fetched: it says that it is coming, that it failed, or shows what came. */
export function fetched(load, show, waiting = 'Loading…') {
  const place = h('div', { 'aria-busy': 'true' }, h('p.waiting', null, waiting));
  place.reload = async () => {
    place.setAttribute('aria-busy', 'true');
    try {
      place.replaceChildren(...[show(await load())].flat());
    } catch (error) {
      place.replaceChildren(
        h(
          'div.failed',
          null,
          h('p', null, explain(error)),
          h('button.plain', { type: 'button', onclick: place.reload }, 'Try again'),
        ),
      );
    }
    place.removeAttribute('aria-busy');
  };
  place.reload();
  return place;
}

export const card = (title, lead, ...children) =>
  h('section.card', null, h('header', null, h('h2', null, title), lead && h('p', null, lead)), children);

/** 75 → "1 min 15 s". */
export function span(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ''}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The server's time, as far as this machine's clock is from it. */
export const clock = { skew: 0 };

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const absolute = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

/** A moment as people say it, with the exact one behind it. */
export function moment(iso) {
  const at = new Date(iso);
  const seconds = (at - Date.now() - clock.skew) / 1000;
  const steps = [
    [60, 'second', 1],
    [3600, 'minute', 60],
    [86400, 'hour', 3600],
    [86400 * 45, 'day', 86400],
    [Infinity, 'month', 86400 * 30],
  ];
  const [, unit, size] = steps.find(([limit]) => Math.abs(seconds) < limit);
  const text = Math.abs(seconds) < 45 ? 'just now' : relative.format(Math.round(seconds / size), unit);
  return h('time', { datetime: at.toISOString(), title: absolute.format(at) }, text);
}

/** "Chrome on Linux", as far as a browser admits what it is. */
export function device(agent) {
  if (!agent) return 'Unknown device';
  const browser = [
    ['Edg/', 'Edge'],
    ['OPR/', 'Opera'],
    ['Firefox/', 'Firefox'],
    ['HeadlessChrome/', 'Chrome'],
    ['Chrome/', 'Chrome'],
    ['Safari/', 'Safari'],
    ['curl/', 'curl'],
  ].find(([mark]) => agent.includes(mark))?.[1];
  const system = [
    ['Android', 'Android'],
    ['iPhone', 'iPhone'],
    ['iPad', 'iPad'],
    ['Windows', 'Windows'],
    ['Mac OS', 'macOS'],
    ['CrOS', 'ChromeOS'],
    ['Linux', 'Linux'],
  ].find(([mark]) => agent.includes(mark))?.[1];
  if (!browser) return agent.split(/[ /]/)[0] || 'Unknown device';
  return system ? `${browser} on ${system}` : browser;
}
