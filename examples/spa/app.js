// Doorward's address; it is in the content policy of index.html, too.
import { createDoorward } from 'http://127.0.0.1:3000/doorward.js';

const auth = createDoorward();
const at = (id) => document.getElementById(id);
const say = (text) => (at('status').textContent = text);

async function show(user, reason) {
  at('entrance').hidden = user !== null;
  at('inside').hidden = !user;
  at('sessions').replaceChildren();
  if (user === undefined) return say('Doorward cannot be reached.');
  if (user === null)
    return say(reason && reason !== 'signed-out' ? `Please sign in again (${reason}).` : 'Nobody is signed in.');
  say(`Hello ${user.email}, you are ${user.role}.`);
  const { sessions } = await auth.call('GET', '/api/auth/sessions');
  const line = ({ createdAt, current, userAgent }) => `${createdAt}${current ? ', this one' : ''}: ${userAgent}`;
  at('sessions').replaceChildren(
    ...sessions.map((session) => Object.assign(document.createElement('li'), { textContent: line(session) })),
  );
}

/** Does it, and says so when it is refused: a DoorwardError has a message for people and a code for programs. */
const attempt = (work) => work().catch((error) => say(error.message));

at('entrance').addEventListener('submit', (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(event.target));
  const how = event.submitter?.value === 'register' ? auth.register : auth.login;
  attempt(async () => {
    await how({ email, password });
    event.target.reset();
  });
});
at('leave').addEventListener('click', () => attempt(() => auth.logout()));

await auth.ready;
await attempt(() => show(auth.user));
auth.onChange((user, reason) => attempt(() => show(user, reason)));
