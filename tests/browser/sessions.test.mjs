// Nobody is signed out who should not be, and everybody is who should.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createServer } from 'node:http';
import { launch, PASSWORD, Server, signIn, visitor } from './stage.mjs';

const TABS = Number(process.env.TABS ?? 8);
const ROUNDS = Number(process.env.ROUNDS ?? 60);
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

function scene(name, settings, play) {
  test(name, { timeout: 120_000 }, async () => {
    const server = await Server.start(settings);
    server.user('bob@example.org');
    const context = await visitor(browser, server);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    try {
      await play({ server, context, page });
      assert.deepEqual(context.trouble, []);
    } catch (error) {
      for (const each of context.pages()) console.log(`# shown: ${await each.innerText('main').catch(String)}`);
      console.log(server.log().replace(/^/gm, '# '));
      throw error;
    } finally {
      await context.close();
      await server.stop();
    }
  });
}

const client = (page) => page.evaluateHandle(() => import('/page/auth.js').then(({ auth }) => auth));
const me = (page) =>
  page.evaluate(() =>
    import('/page/auth.js')
      .then(({ auth }) => auth.call('GET', '/api/users/me'))
      .then(
        (user) => user.email,
        (error) => error.code,
      ),
  );

/** Many tabs refresh at once, round after round, and call the API with tokens that live two seconds. */
async function crowd({ server, context, page }, { locks }) {
  if (!locks)
    await context.addInitScript(() => Object.defineProperty(Navigator.prototype, 'locks', { value: undefined }));
  await signIn(page, server, 'bob@example.org');
  const tabs = [page];
  while (tabs.length < TABS) tabs.push(await context.newPage());
  await Promise.all(tabs.slice(1).map((tab) => tab.goto(server.url)));
  for (const tab of tabs) await tab.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  const begun = performance.now();
  const counts = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(
        async (rounds) => {
          const { auth, callListeners } = await import('/page/auth.js');
          const count = { refreshed: 0, conflicts: 0, proofs: 0, signedOut: [], failed: 0 };
          auth.onChange((user, reason) => user ?? count.signedOut.push(reason));
          callListeners.add((call) => {
            if (call.path !== '/api/auth/refresh') return;
            if (call.status === 200) count.refreshed++;
            if (call.status === 409) count.conflicts++;
            if (call.status === 403) count.proofs++;
          });
          for (let round = 0; round < rounds; round++) {
            try {
              await auth.refresh();
              await auth.call('GET', '/api/users/me');
            } catch {
              count.failed++;
            }
          }
          return { ...count, user: auth.user?.email };
        },
        locks ? ROUNDS : Math.ceil(ROUNDS / 10),
      ),
    ),
  );
  const sum = (name) => counts.reduce((total, each) => total + each[name], 0);
  console.log(
    `# ${TABS} tabs: ${sum('refreshed')} refreshes, ${sum('conflicts')} conflicts, ${sum('proofs')} stale proofs in ${Math.round(performance.now() - begun)} ms`,
  );
  assert.deepEqual(
    counts.flatMap((each) => each.signedOut),
    [],
    'nobody is signed out',
  );
  for (const each of counts) assert.equal(each.user, 'bob@example.org');
  if (locks) assert.equal(sum('failed'), 0);
  for (const tab of tabs) assert.equal(await me(tab), 'bob@example.org');
  // All at once from nothing, as after a browser's restart.
  await Promise.all(tabs.map((tab) => tab.reload()));
  for (const tab of tabs) await tab.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  assert.ok(!server.log().includes('refresh_reuse'));
  return sum('refreshed');
}

for (const [mode, grace] of [
  ['strict', '0s'],
  ['grace', '10s'],
]) {
  const settings = ['tokens.access_ttl=2s', `sessions.refresh_grace=${grace}`];
  scene(`ref_3 ${TABS} tabs refresh at once, ${mode} mode: nobody is signed out`, settings, async (stage) => {
    // A tab's first may be a renewal that was under way before anybody counted.
    assert.ok((await crowd(stage, { locks: true })) >= TABS * (ROUNDS - 1));
  });
  scene(`ref_3 ${TABS} tabs without Web Locks, ${mode} mode: nobody is signed out`, settings, (stage) =>
    crowd(stage, { locks: false }),
  );
}

scene(
  'tabs that reload in the middle of refreshes stay signed in',
  ['tokens.access_ttl=1s'],
  async ({ server, context, page }) => {
    await signIn(page, server, 'bob@example.org');
    const tabs = [page, await context.newPage(), await context.newPage()];
    for (let round = 0; round < 12; round++) {
      await Promise.all(tabs.map((tab) => tab.goto(`${server.url}/`, { waitUntil: 'commit' })));
      // Leave while the refresh of this load is on its way.
      await Promise.all(tabs.map((tab) => tab.waitForRequest(/auth\/refresh/, { timeout: 3000 }).catch(() => {})));
    }
    for (const tab of tabs) {
      await tab.goto(server.url);
      await tab.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
    }
    assert.ok(!server.log().includes('refresh_reuse'));
  },
);

scene('a token that expires is renewed by itself', ['tokens.access_ttl=1s'], async ({ server, page }) => {
  await signIn(page, server, 'bob@example.org');
  const renewed = page.waitForResponse(/auth\/refresh/);
  assert.equal((await renewed).status(), 200);
  assert.equal(await me(page), 'bob@example.org');
});

scene('signing out and in reaches the other tabs', [], async ({ server, context, page }) => {
  await signIn(page, server, 'bob@example.org');
  const other = await context.newPage();
  await other.goto(server.url);
  await other.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await other.getByText('You are signed out').waitFor();
  await signIn(page, server, 'bob@example.org');
  await other.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
});

scene(
  'another user in another tab: what was asked for is not done in their name',
  [],
  async ({ server, context, page }) => {
    server.user('eve@example.org');
    await signIn(page, server, 'bob@example.org');
    const auth = await client(page);
    // A tab that heard nothing of the other's sign-in.
    await page.evaluate(() => (BroadcastChannel.prototype.postMessage = () => {}));
    const other = await context.newPage();
    await other.addInitScript(() => (BroadcastChannel.prototype.postMessage = () => {}));
    await other.goto(server.url);
    await other.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
    await other.evaluate(
      (password) => import('/page/auth.js').then(({ auth }) => auth.login({ email: 'eve@example.org', password })),
      PASSWORD,
    );
    assert.equal(
      await auth.evaluate((auth) =>
        auth.call('GET', '/api/users/me').then(
          (user) => user.email,
          (error) => error.code,
        ),
      ),
      'USER_CHANGED',
    );
    await page.getByText('eve@example.org').first().waitFor();
  },
);

scene('offline is no sign-out, at work or at load', ['tokens.access_ttl=2s'], async ({ server, context, page }) => {
  await signIn(page, server, 'bob@example.org');
  await context.setOffline(true);
  assert.equal(await me(page), 'NETWORK');
  assert.equal(await (await client(page)).evaluate((auth) => auth.user.email), 'bob@example.org');
  await context.setOffline(false);
  assert.equal(await me(page), 'bob@example.org');
  // The page comes from the server; the API does not answer.
  await context.route('**/api/**', (route) => route.abort('connectionfailed'));
  await page.reload();
  await page.getByRole('heading', { name: 'Nobody answers' }).waitFor();
  await context.unroute('**/api/**');
  await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
});

scene('a busy or broken server is no sign-out', [], async ({ server, context, page }) => {
  await signIn(page, server, 'bob@example.org');
  for (const [status, body] of [
    [503, '{"error":"OVERLOADED","message":"Too much"}'],
    [429, '{"error":"RATE_LIMITED","message":"Wait"}'],
    [502, '<h1>Bad gateway</h1>'],
    [401, '<h1>Sign in to the hotel</h1>'],
    [200, '<h1>Welcome to the hotel</h1>'],
  ]) {
    await context.route('**/api/auth/refresh', (route) => route.fulfill({ status, body }));
    const code = await (
      await client(page)
    ).evaluate((auth) =>
      auth.refresh().then(
        () => 'none',
        (error) => error.code,
      ),
    );
    assert.ok(['OVERLOADED', 'RATE_LIMITED', 'UNEXPECTED'].includes(code), `${status}: ${code}`);
    assert.equal(await (await client(page)).evaluate((auth) => auth.user.email), 'bob@example.org');
    await context.unroute('**/api/auth/refresh');
  }
  assert.equal(await me(page), 'bob@example.org');
});

scene(
  'ref_6 the server is killed and started again in mid-session',
  ['tokens.access_ttl=2s'],
  async ({ server, page }) => {
    await signIn(page, server, 'bob@example.org');
    await server.kill();
    assert.equal(await me(page), 'NETWORK');
    await server.run();
    assert.equal(await me(page), 'bob@example.org');
    await page.reload();
    await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  },
);

scene('ref_9 a session that expired says so', [], async ({ server, page }) => {
  await signIn(page, server, 'bob@example.org');
  server.advance(8 * 24 * 3600);
  await me(page);
  await page.getByText('You were away for a long time').waitFor();
});

scene('a session that was revoked says so', [], async ({ server, page }) => {
  await signIn(page, server, 'bob@example.org');
  const sessions = JSON.parse(server.command('session', 'list', 'bob@example.org', '--json'));
  server.command('session', 'revoke', sessions[0].id);
  await me(page);
  await page.getByText('This session was ended').waitFor();
});

for (const hours of [-1, 1]) {
  scene(
    `a client whose clock is off by ${hours} h neither renews at once nor too late`,
    ['tokens.access_ttl=4s'],
    async ({ server, context, page }) => {
      await context.addInitScript((off) => {
        const { now } = Date;
        Date.now = () => now() + off * 3600e3;
      }, hours);
      await signIn(page, server, 'bob@example.org');
      const count = await page.evaluate(async () => {
        const { auth, callListeners } = await import('/page/auth.js');
        const seen = [];
        callListeners.add((call) => seen.push(`${call.path} ${call.status}`));
        const end = performance.now() + 9000;
        while (performance.now() < end) {
          await auth.call('GET', '/api/users/me');
          await new Promise((done) => setTimeout(done, 100));
        }
        return {
          refreshes: seen.filter((each) => each === '/api/auth/refresh 200').length,
          refused: seen.filter((each) => each.endsWith('401')).length,
        };
      });
      assert.ok(count.refreshes >= 2 && count.refreshes <= 6, `${count.refreshes} refreshes in nine seconds`);
      assert.equal(count.refused, 0);
    },
  );
}

scene(
  'ref_4 a reply lost in flight is healed in grace mode',
  ['sessions.refresh_grace=10s'],
  async ({ server, context, page }) => {
    await signIn(page, server, 'bob@example.org');
    const jar = await context.cookies(`${server.url}/api/auth/refresh`);
    let lost = 0;
    await context.route('**/api/auth/refresh', async (route) => {
      if (lost++) return route.continue();
      // The server rotates; its answer never arrives.
      const headers = {
        ...(await route.request().allHeaders()),
        cookie: jar.map(({ name, value }) => `${name}=${value}`).join('; '),
      };
      const answer = await fetch(route.request().url(), {
        method: 'POST',
        headers: Object.fromEntries(
          Object.entries(headers).filter(
            ([name]) => !name.startsWith(':') && !/^(host|connection|content-length)$/.test(name),
          ),
        ),
      });
      assert.equal(answer.status, 200);
      await route.abort('connectionreset');
    });
    const auth = await client(page);
    assert.equal(
      await auth.evaluate((auth) =>
        auth.refresh().then(
          () => 'fine',
          (error) => error.code,
        ),
      ),
      'NETWORK',
    );
    assert.equal(await auth.evaluate((auth) => auth.refresh().then(() => auth.user.email)), 'bob@example.org');
    assert.equal(await me(page), 'bob@example.org');
  },
);

test('cok_12 a page of another origin signs in through the module', { timeout: 60_000 }, async () => {
  const html = (await import('node:fs')).readFileSync(new URL('./elsewhere.html', import.meta.url), 'utf8');
  let login;
  const app = createServer((_, response) =>
    response.setHeader('Content-Type', 'text/html').end(html.replaceAll('LOGIN', login.url)),
  );
  await new Promise((done) => app.listen(0, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${app.address().port}`;
  login = await Server.start([`cors.allowed_origins=["${origin}"]`, 'tokens.access_ttl=2s', 'page.enabled=false']);
  login.user('bob@example.org');
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    assert.equal((await page.goto(login.url)).status(), 404, 'the page is off, the module is not');
    await page.goto(origin);
    assert.equal(
      await page.evaluate(
        async (password) =>
          (await globalThis.auth).login({ email: 'bob@example.org', password }).then((user) => user.email),
        PASSWORD,
      ),
      'bob@example.org',
    );
    await page.reload();
    const other = await context.newPage();
    await other.goto(origin);
    for (const tab of [page, other, page]) {
      assert.equal(
        await tab.evaluate(async () => {
          const auth = await globalThis.auth;
          await auth.refresh();
          return (await auth.call('GET', '/api/users/me')).email;
        }),
        'bob@example.org',
      );
    }
    assert.equal(
      await page.evaluate(async () =>
        (await globalThis.auth).fetch('https://evil.example/').catch((error) => error.name),
      ),
      'TypeError',
    );
    await page.evaluate(async () => (await globalThis.auth).logout());
    await page.reload();
    assert.equal(await page.evaluate(async () => (await globalThis.auth).user), null);
  } finally {
    await context.close();
    await login.stop();
    app.close();
  }
});
