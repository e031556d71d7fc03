// How it works: the live token, what goes over the wire, and a theft, for real.

import { auth, calls, may, shorten, traced, watchers } from './auth.js';
import { card, clock, deed, explain, field, form, h, moment, span } from './ui.js';

const CLAIMS = {
  alg: 'how it is signed; the key decides, never the token',
  kid: 'which key signed it',
  typ: 'an access token and nothing else',
  iss: 'who issued it',
  aud: 'whom it is for',
  sub: 'who you are',
  iat: 'issued',
  exp: 'good until',
  nbf: 'not before',
  jti: 'this token, so that it alone can be revoked',
  sid: 'your session, so that it alone can be ended',
  ver: 'counts up when everything of yours is revoked',
  role: 'your role',
  permissions: 'what it permits',
};

const decode = (part) =>
  JSON.parse(
    new TextDecoder().decode(Uint8Array.from(atob(part.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))),
  );

const table = (title, claims) =>
  h(
    'table',
    null,
    h('caption', null, title),
    h(
      'tbody',
      null,
      Object.entries(claims).map(([name, value]) =>
        h(
          'tr',
          null,
          h('th', { scope: 'row' }, name),
          h(
            'td',
            null,
            h('span.mono', null, Array.isArray(value) ? value.join(', ') : String(value)),
            /^(iat|exp)$/.test(name) && [' ', moment(value * 1000)],
            h('span.why', null, CLAIMS[name] ?? ''),
          ),
        ),
      ),
    ),
  );

/** The token, its countdown and what it says. */
function liveToken(life) {
  const place = h('div');
  const left = h('output.left', { 'aria-live': 'off' });
  const bar = h('progress.beam', { max: 1, value: 0, 'aria-label': 'What is left of the access token' });
  let shown;
  async function show() {
    const token = await auth.token().catch(() => null);
    if (!token || token === shown) return;
    shown = token;
    const [header, claims] = token.split('.').slice(0, 2).map(decode);
    bar.max = claims.exp - claims.iat;
    place.replaceChildren(
      h(
        'p.token.mono',
        { 'aria-label': 'The access token, shortened' },
        ...token.split('.').map((part, i) => h(`span.part${i}`, null, `${i ? '.' : ''}${shorten(part)}`)),
      ),
      h('div.pair', null, table('Header', header), table('Claims', claims)),
    );
  }
  const tick = () => {
    const seconds = auth.expiresIn;
    bar.value = seconds;
    left.textContent = seconds > 0 ? `${span(seconds)} left` : 'expired; the next call renews it';
  };
  tick();
  show();
  const timer = setInterval(() => {
    tick();
    show();
  }, 1000);
  life.addEventListener('abort', () => clearInterval(timer));
  return card(
    'Your access token, live',
    'It lives in this page’s memory alone: not in storage, not in a cookie. It is renewed when less than a minute is left.',
    h(
      'div.row.spread',
      null,
      left,
      deed({
        label: 'Renew now',
        run: async () => {
          await auth.refresh();
          tick();
          await show();
        },
      }),
    ),
    bar,
    place,
  );
}

const FATES = {
  SET: [
    'Issued',
    'You signed in. The server set the refresh token as an httpOnly cookie, so no script on this page can read it. The database keeps only a keyed hash of it.',
  ],
  ROTATED: [
    'Rotated',
    'The refresh token was traded for a new one and is now dead. Were it ever presented again, that would prove a copy exists.',
  ],
  REFRESH_CONFLICT: [
    'Lost a race',
    'Another tab refreshed at the same moment. Nothing is revoked: this tab waits and uses the new cookie.',
  ],
  CSRF_FAILED: [
    'Not accepted',
    'The proof did not fit the cookie, as when another tab refreshed in between. This tab reads the new proof and tries again.',
  ],
  OUT: ['Revoked', 'You signed out. The session is ended in the database, and the cookie was cleared.'],
  NETWORK: ['Unknown', 'No answer came. That is no sign-out: the next try will tell.'],
};

function fate(call) {
  const path = call.path.replace('/api/auth/', '');
  if (call.theft) return null;
  if (path === 'refresh')
    return call.status === 200 ? FATES.ROTATED : (FATES[call.error] ?? ['Refused', `The server said ${call.error}.`]);
  if (['login', 'register', 'setup', 'password'].includes(path) && call.status < 300) return FATES.SET;
  if (path === 'logout' && call.status === 200) return FATES.OUT;
  return null;
}

function refreshStory(life) {
  const list = h('ol.story');
  const show = () => {
    const events = calls
      .map((call) => [call, fate(call)])
      .filter(([, told]) => told)
      .slice(0, 5);
    list.replaceChildren(
      ...(events.length
        ? events.map(([call, [title, why]]) =>
            h(
              'li',
              null,
              h('p.title', null, title, ' ', h('small', null, moment(call.at + clock.skew))),
              h('p.sub', null, why),
            ),
          )
        : [h('li.empty', null, 'Nothing yet.')]),
    );
  };
  show();
  watchers.add(show);
  life.addEventListener('abort', () => watchers.delete(show));
  return card('What happened to your refresh token', null, list);
}

const lines = (pairs) => pairs.map(([name, value]) => `${name}: ${value}`).join('\n');

function callLog(life) {
  const list = h('div.calls');
  const empty = h('p.empty', null, 'Nothing was sent yet.');
  const row = (call) =>
    h(
      'details',
      null,
      h(
        'summary',
        null,
        h('span.mono', null, `${call.method} ${call.path}`),
        h(
          'span.row',
          null,
          h(
            `span.status${call.status < 400 && call.status ? '.good' : '.bad'}`,
            null,
            call.error ? `${call.status || ''} ${call.error}` : `${call.status}`,
          ),
          h('small', null, `${call.millis} ms`),
        ),
      ),
      h(
        'div.pair',
        null,
        h(
          'div',
          null,
          h('h3', null, 'Sent'),
          h(
            'pre',
            { tabindex: '0' },
            [lines(call.sent), call.asked].filter(Boolean).join('\n\n') || '(nothing but the address)',
          ),
        ),
        h(
          'div',
          null,
          h('h3', null, 'Received'),
          h('pre', { tabindex: '0' }, [lines(call.got), call.answered].filter(Boolean).join('\n\n') || '(no body)'),
        ),
      ),
    );
  const add = (call) => {
    empty.remove();
    list.prepend(row(call));
    while (list.childElementCount > 20) list.lastChild.remove();
  };
  if (!calls.length) list.append(empty);
  for (const call of [...calls].reverse().slice(-20)) add(call);
  watchers.add(add);
  life.addEventListener('abort', () => watchers.delete(add));
  return card('The last calls', 'What this page sent and received, secrets shortened.', list);
}

function tryAccess() {
  const out = h('p.verdict', { role: 'status' });
  const ask = field(
    'Role or permission',
    { name: 'what', required: true, autocomplete: 'off', spellcheck: 'false', value: 'articles:write' },
    'A name such as editor asks for a role, one with a colon such as articles:write for a permission.',
  );
  const element = form({
    fields: [ask],
    label: 'Ask the server',
    busy: 'Asking…',
    kind: '.plain',
    action: async ({ what }) => {
      try {
        const kind = what.includes(':') ? 'permission' : 'role';
        await auth.call('GET', `/api/auth/verify?${kind}=${encodeURIComponent(what.trim())}`);
        out.className = 'verdict good';
        out.textContent = `Yes. GET /api/auth/verify?${kind}=${what.trim()} answered 200.`;
      } catch (error) {
        if (error.status !== 403) throw error;
        out.className = 'verdict bad';
        out.textContent = `No: 403 ${error.code}. ${error.message}.`;
      }
    },
  });
  return card('Would you be let in?', 'What a service behind Doorward asks before it answers you.', element, out);
}

/** A request as a script elsewhere would make it: no cookies go along, so this page's own session is not touched. */
async function elsewhere(path, json) {
  const response = await traced(path, {
    method: 'POST',
    credentials: 'omit',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(json),
  });
  calls[0].theft = true;
  return { status: response.status, ...(await response.json()) };
}

const random = (bytes) =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function theft() {
  const steps = h('ol.story', { 'aria-live': 'polite' });
  const tell = (title, text, kind = '') =>
    steps.append(h(`li${kind}`, null, h('p.title', null, title), h('p.sub', null, text)));
  let robbed;
  async function play(begin) {
    steps.replaceChildren();
    const first = await begin();
    robbed = first.user;
    if (!first.refreshToken)
      throw Object.assign(new Error(first.message), { code: first.error, retryAfter: first.retryAfter });
    tell('A phone signs in', `It keeps the refresh token ${shorten(first.refreshToken)}. A thief copies it.`);
    const second = await elsewhere('/api/auth/refresh', { refreshToken: first.refreshToken });
    if (!second.refreshToken) throw new Error(second.message);
    tell(
      'The phone refreshes',
      `${shorten(first.refreshToken)} is traded for ${shorten(second.refreshToken)}; the copy is now worthless.`,
    );
    const replay = await elsewhere('/api/auth/refresh', { refreshToken: first.refreshToken });
    if (replay.status === 200) {
      tell(
        'The thief replays the copy: 200',
        'This server has a grace period (sessions.refresh_grace), so an immediate repeat gets the same answer again and no second session.',
      );
      return;
    }
    tell(
      `The thief replays the copy: ${replay.status} ${replay.error}`,
      'A token that was traded in came back, so two parties hold it. The server cannot know which is the thief, so both are out.',
      '.bad',
    );
    const owner = await elsewhere('/api/auth/refresh', { refreshToken: second.refreshToken });
    tell(
      `The phone tries its own token: ${owner.status} ${owner.error ?? ''}`,
      'Revoked too: whoever was robbed signs in again, the thief cannot.',
      '.bad',
    );
  }
  const visitor = deed({
    label: 'Play it with a throw-away account',
    kind: '.primary',
    run: async () => {
      try {
        await play(() =>
          elsewhere('/api/auth/register', {
            email: `theft-${random(4)}@demo.example.com`,
            password: random(12),
            tokenTransport: 'body',
          }),
        );
      } catch (error) {
        tell(
          'It could not go on',
          error.code === 'REGISTRATION_CLOSED'
            ? 'Nobody may register here. Use your own account below.'
            : explain(error),
          '.bad',
        );
      }
      if (!robbed || !may('users:write')) return;
      await auth.call('DELETE', `/api/users/${robbed.id}`);
      tell('You are an admin', `So the throw-away account ${robbed.email} was deleted again.`);
    },
  });
  const password = field(
    'Your password',
    { type: 'password', name: 'password', autocomplete: 'current-password', required: true },
    'This really signs you out, on every device and here: that is what a replay costs.',
  );
  const mine = form({
    fields: [password],
    label: 'Play it with my account',
    busy: 'Stealing…',
    kind: '.danger',
    action: async ({ password }) => {
      await play(() => elsewhere('/api/auth/login', { email: auth.user.email, password, tokenTransport: 'body' }));
    },
  });
  return card(
    'What if a refresh token is stolen?',
    'Really done, against this server, with tokens that travel in bodies as they do for apps and scripts.',
    h(
      'p',
      null,
      'The throw-away account is a real one, named theft-…@demo.example.com. Your own session is not touched. ',
      may('users:write') ? 'It is deleted afterwards.' : 'It stays until an admin deletes it.',
    ),
    h('div.row', null, visitor),
    steps,
    h('details', null, h('summary', null, 'Use my own account instead'), mine),
  );
}

/** @param {AbortSignal} life ends when the view does */
export const inside = (life) => [
  h('h1', null, 'How it works'),
  h(
    'p.lead',
    null,
    'Two tokens keep you in. A short-lived one opens doors; a long-lived one, used once and traded in, gets the next.',
  ),
  liveToken(life),
  refreshStory(life),
  theft(),
  tryAccess(),
  callLog(life),
];
