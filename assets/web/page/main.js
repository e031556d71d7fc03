// Which view, and what is around it.

import { account } from './account.js';
import { users, invites } from './admin.js';
import { auth, may } from './auth.js';
import { BROKEN, entrance } from './entrance.js';
import { inside } from './inside.js';
import { deed, h } from './ui.js';

const VIEWS = [
  { hash: 'account', title: 'Account', show: account, for: () => true },
  { hash: 'how-it-works', title: 'How it works', show: inside, for: () => true },
  { hash: 'users', title: 'Users', show: users, for: () => may('users:read') },
  { hash: 'invitations', title: 'Invitations', show: invites, for: () => may('users:write') },
];

// Made once, so that it is there when the server is not.
const mark = h('img', { src: '/door.svg', alt: '', width: 28, height: 28 });
const app = document.getElementById('app');
let life = new AbortController();
let setup;
let reason;
let drawn;

/** A set-up link's token: taken out of the address bar, and of the history, at once. */
function takeSetup() {
  const token = /^#setup=(.+)$/.exec(location.hash)?.[1];
  if (!token) return;
  try {
    setup = decodeURIComponent(token);
  } catch {
    // Cut or mangled on its way here.
    setup = BROKEN;
  }
  history.replaceState(null, '', '/');
}

const asked = () => location.hash.slice(1);

function chrome(view) {
  const tabs = VIEWS.filter((each) => each.for()).map((each) =>
    h('a', { href: `#${each.hash}`, 'aria-current': each === view ? 'page' : undefined }, each.title),
  );
  const beam = h('div.daylight', { 'aria-hidden': 'true' });
  return [
    h(
      'header.top',
      null,
      h(
        'div.bar',
        null,
        h('a.brand', { href: '#account' }, mark, 'Doorward'),
        h('nav', { 'aria-label': 'Main' }, tabs),
        h(
          'div.me',
          null,
          h('span', { title: auth.user.email }, auth.user.email),
          deed({ label: 'Sign out', kind: '.quiet', run: () => auth.logout() }),
        ),
      ),
      beam,
    ),
    h('main.page', { id: 'main', tabindex: '-1' }, view.show(life.signal)),
  ];
}

function draw(force) {
  const { user } = auth;
  const view = user && (VIEWS.find((each) => each.hash === asked() && each.for()) ?? VIEWS[0]);
  const mode = setup ? 'setup' : user === undefined ? 'unreachable' : asked() || 'sign-in';
  const key = user && !setup ? `${user.id} ${user.role} ${user.permissions} ${view.hash}` : mode;
  if (key === drawn && !force) return;
  const first = drawn === undefined;
  drawn = key;
  life.abort();
  life = new AbortController();
  if (user && !setup) {
    document.title = `${view.title} · Doorward`;
    app.replaceChildren(...chrome(view));
  } else {
    document.title = `${{ setup: 'Set up', register: 'Register', unreachable: 'A moment' }[mode] ?? 'Sign in'} · Doorward`;
    app.replaceChildren(
      entrance({
        mode,
        reason,
        setup,
        go: () => {
          setup = undefined;
          draw(true);
        },
      }),
    );
  }
  scrollTo(0, 0);
  // Who navigates by keyboard or ear goes on from the new view.
  if (!first) (app.querySelector('.gate input') ?? document.getElementById('main')).focus({ preventScroll: true });
}

takeSetup();
addEventListener('hashchange', () => {
  takeSetup();
  if (asked() !== 'main') draw();
});
auth.onChange((user, why) => {
  if (user) setup = undefined;
  if (user === undefined) reason = why;
  if (user === null && drawn !== undefined && why) {
    reason = why;
    history.replaceState(null, '', '/');
  }
  draw();
});
await auth.ready;
draw();
// The light through the door: what is left of the access token.
let longest = 1;
setInterval(() => {
  longest = Math.max(longest, auth.expiresIn);
  document.querySelector('.daylight')?.style.setProperty('--left', String(auth.expiresIn / longest));
}, 1000);
