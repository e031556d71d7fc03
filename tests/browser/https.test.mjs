// Over https, behind real proxies on the configuration that is printed for them, in a real browser: one sign-in for apps on
// two root domains, and a neighbouring page that can do nothing with it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { house, LOGIN, MEDIA, SIBLING, WIKI } from './house.mjs';
import { textsOf } from './look.mjs';
import { PASSWORD, visitor } from './stage.mjs';

const english = textsOf('en');
const PASS = '__Host-doorward-pass';
const ADA = 'ada@example.org';

const heading = (page, name) => page.getByRole('heading', { name, exact: true, level: 1 }).waitFor();
const passes = async (context) => (await context.cookies()).filter(({ name }) => name === PASS);

async function fillIn(page, email) {
  await page.locator('[name=email]').fill(email);
  await page.locator('[name=password]').fill(PASSWORD);
  await page.locator('form button').click();
}

/** Waits until somebody is at an app, at this very address. */
async function arrived(page, address, user = ADA) {
  await page.waitForURL(address);
  assert.equal(page.url(), address);
  assert.equal(await page.locator('#user').innerText(), user);
}

async function enter(page, address, email = ADA) {
  await page.goto(address);
  await fillIn(page, email);
  await arrived(page, address, email);
}

/** What a script of the page gets: the status of an answer, and whether it was sent elsewhere. */
const ask = (page, address, options = {}) =>
  page.evaluate(
    ([url, more]) =>
      fetch(url, more).then(
        ({ status, redirected, type }) => ({ status, redirected, type }),
        (error) => ({ error: error.name }),
      ),
    [address, options],
  );

/** What a websocket of the page hears of its own word; it stays open. */
const talk = (page, address) =>
  page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => socket.send('hello');
        socket.onmessage = ({ data }) => resolve(data);
        globalThis.again = (word) =>
          new Promise((heard) => {
            socket.onmessage = ({ data }) => heard(data);
            socket.send(word);
          });
        socket.onerror = () => resolve('refused');
      }),
    address.replace('https:', 'wss:'),
  );

/** Puts an element into the page, and waits for what it says of itself. */
const put = (page, name, values, event) =>
  page.evaluate(
    ([tag, given, wanted]) =>
      new Promise((resolve) => {
        const element = Object.assign(document.createElement(tag), given);
        if (wanted) for (const each of wanted) element.addEventListener(each, () => resolve(each));
        document.body.append(element);
        if (!wanted) resolve(undefined);
      }),
    [name, values, event],
  );

/** Sends a form as the page's visitor would by a click, and waits for the answer. */
async function send(page, action) {
  await put(page, 'form', { method: 'post', action });
  const answer = page.waitForResponse((response) => response.request().method() === 'POST');
  const landed = page.waitForEvent('load');
  await page.evaluate(() => document.forms[0].submit());
  await landed;
  return (await answer).status();
}

for (const kind of ['nginx', 'caddy']) {
  describe(`behind ${kind}`, () => {
    let here;
    before(async () => {
      here = await house(kind);
    });
    after(() => here?.stop());

    /** A scene with a new browser profile. Whatever the apps' hosts answer, none of our own pages' headers is in it. */
    function scene(name, play) {
      test(name, { timeout: 60_000 }, async () => {
        const contexts = [];
        const newVisitor = async () => {
          const context = await visitor(here.browser, here.server);
          contexts.push(context);
          context.setDefaultTimeout(15_000);
          context.asked = [];
          context.on('request', (request) => context.asked.push(request.url()));
          context.on('response', (response) => {
            const origin = new URL(response.url()).origin;
            const headers = Object.keys(response.headers());
            const ours = /^(strict-transport-security|cross-origin-|content-security-policy|clear-site-data)/;
            if ([WIKI, MEDIA].includes(origin))
              context.trouble.push(
                ...headers.filter((each) => ours.test(each)).map((each) => `${response.url()}: ${each}`),
              );
          });
          return { context, page: await context.newPage() };
        };
        try {
          await play({ ...here, ...(await newVisitor()), newVisitor });
          for (const { trouble } of contexts)
            assert.deepEqual(trouble, [], 'no violation, no header of ours, no error');
        } catch (error) {
          for (const page of contexts.flatMap((context) => context.pages()))
            console.log(`# ${page.url()}: ${await page.innerText('body').catch(String)}`);
          console.log(`${here.server.log().slice(-3000)}\n${here.proxy.log().slice(-3000)}`.replace(/^/gm, '# '));
          throw error;
        } finally {
          for (const context of contexts) await context.close();
        }
      });
    }

    scene(
      'gate_5 one sign-in, two root domains: to the query and the fragment',
      async ({ page, wiki, media, context }) => {
        const way = '//d/./x?orgId=1&q=%26%2F+c';
        await page.goto(`${WIKI}${way}#panel-3`);
        await heading(page, english['login.title']);
        assert.equal(new URL(page.url()).origin, LOGIN);
        assert.deepEqual(wiki.reached, [], 'nothing reached the app before');
        await fillIn(page, ADA);
        await page.locator('#user').waitFor();
        const arrivedAt = new URL(page.url());
        assert.equal(arrivedAt.origin + arrivedAt.hash, `${WIKI}#panel-3`);
        // Chromium itself takes the dot away.
        assert.deepEqual(wiki.reached, [`GET ${way.replace('/./', '/')} ${ADA}`]);

        await page.goto(`${MEDIA}/watch?v=1#t=5`);
        await arrived(page, `${MEDIA}/watch?v=1#t=5`);
        assert.deepEqual(media.reached, [`GET /watch?v=1 ${ADA}`]);
        for (const cookie of await passes(context)) {
          const { secure, httpOnly, sameSite, path } = cookie;
          assert.deepEqual([secure, httpOnly, sameSite, path], [true, true, 'Lax', '/']);
        }
        assert.deepEqual((await passes(context)).map(({ domain }) => domain).sort(), [
          'media.example.net',
          'wiki.example.org',
        ]);
        assert.deepEqual(await ask(page, '/api'), { status: 200, redirected: false, type: 'basic' });
        assert.deepEqual(await ask(page, '/api', { method: 'PUT' }), { status: 200, redirected: false, type: 'basic' });
        assert.equal(await talk(page, `${MEDIA}/live`), 'hello');
        assert.ok(media.reached.includes(`websocket /live ${ADA}`));
        await page.evaluate(() => navigator.serviceWorker.register('/sw.js').then(() => {}));
        assert.ok(media.reached.includes(`GET /sw.js ${ADA}`));
        const answer = await page.goto(`${LOGIN}/`);
        assert.match(answer.headers()['strict-transport-security'], /max-age=\d{7}/);
      },
    );

    scene('gate_24 gate_25 a neighbour writes nothing and opens no websocket', async ({ page, wiki, sibling }) => {
      await enter(page, `${WIKI}/own`);
      await page.goto(`${SIBLING}/`);
      assert.equal(await talk(page, `${WIKI}/attack/socket`), 'refused');
      for (const method of ['POST', 'GET']) {
        const options = { method, mode: 'no-cors', credentials: 'include', ...(method === 'POST' && { body: 'x=1' }) };
        assert.equal((await ask(page, `${WIKI}/${method === 'GET' ? 'read' : 'attack'}`, options)).type, 'opaque');
      }
      assert.ok(wiki.reached.includes(`GET /read ${ADA}`), 'the pass was there: what only reads is not refused');
      assert.equal((await ask(page, `${WIKI}/attack`, { method: 'PUT', credentials: 'include' })).error, 'TypeError');
      assert.equal(await send(page, `${WIKI}/attack`), 403);
      assert.ok(!wiki.has('/attack'), wiki.reached.join('\n'));
      // The other root domain has no pass of the wiki's at all.
      await page.goto(`${MEDIA}/own`);
      await arrived(page, `${MEDIA}/own`);
      assert.equal(await talk(page, `${WIKI}/attack/socket`), 'refused');
      const options = { method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x=1' };
      assert.equal((await ask(page, `${WIKI}/attack`, options)).type, 'opaque');
      assert.ok([302, 303].includes(await send(page, `${WIKI}/attack`)));
      await arrived(page, `${WIKI}/`);
      assert.ok(!wiki.has('/attack'), wiki.reached.join('\n'));
      assert.ok(sibling.reached.every((line) => line.endsWith('nobody')));
    });

    scene('gate_8 a neighbour plants no pass', async ({ page, context, wiki, newVisitor }) => {
      const { page: eves, context: hers } = await newVisitor();
      await enter(eves, `${WIKI}/`, 'eve@example.org');
      const [{ value }] = await passes(hers);
      const plant = async (spellings) => {
        await page.goto(`${SIBLING}/`);
        await page.evaluate(
          ([names, pass]) => {
            for (const name of names)
              for (const path of ['/', '/own'])
                document.cookie = `${name}=${pass}; Domain=example.org; Path=${path}; Secure`;
            // To read them waits until they are written.
            return document.cookie;
          },
          [spellings, value],
        );
      };
      const bare = PASS.replace('__Host-', '');
      const others = [bare, `__Secure-${bare}`, `__%48ost-${bare}`, `\u2000${PASS}`, `"${PASS}"`];
      await plant([PASS, PASS.toLowerCase(), ` ${PASS}`, `=${PASS}`, `${PASS}\u00a0`, ...others]);
      const planted = (await context.cookies(WIKI)).map(({ name }) => name);
      assert.deepEqual([...new Set(planted)].sort(), others.sort());
      await page.goto(`${WIKI}/own`);
      await heading(page, english['login.title']);
      await fillIn(page, ADA);
      await arrived(page, `${WIKI}/own`);
      // Some proxies would make two cookies of this one. Who is not clear is let in as nobody.
      await plant([`x, ${PASS}`]);
      assert.equal((await page.goto(`${WIKI}/own`)).status(), 403);
      await context.clearCookies({ name: `x, ${PASS}` });
      await page.goto(`${WIKI}/own`);
      await arrived(page, `${WIKI}/own`);
      assert.equal(wiki.reached.filter((line) => line.startsWith('GET /own eve')).length, 0);
    });

    scene(
      'gate_2 a frame of somebody signed out leads out of it, and nowhere by itself',
      async ({ page, context, wiki }) => {
        await enter(page, `${MEDIA}/own`);
        for (const outer of [`${SIBLING}/`, `${MEDIA}/own`]) {
          await page.goto(outer);
          const [before, reached] = [context.asked.length, wiki.reached.length];
          const answer = page.waitForResponse(`${WIKI}/framed`);
          await put(page, 'iframe', { src: `${WIKI}/framed` }, ['load']);
          assert.equal((await answer).status(), 401);
          assert.deepEqual(context.asked.slice(before), [`${WIKI}/framed`]);
          assert.equal(wiki.reached.length, reached);
          const link = page.frameLocator('iframe').getByRole('link', { name: english['gate.frame.action'] });
          // nginx drops what the gate says with a 401.
          if (kind === 'nginx') {
            assert.match(await page.frameLocator('iframe').locator('body').innerText(), /SIGN_IN_REQUIRED/);
            continue;
          }
          assert.equal(await link.getAttribute('target'), '_top');
          await link.click();
          await arrived(page, `${WIKI}/`);
          assert.equal(page.frames().length, 1);
          await context.clearCookies({ name: PASS, domain: 'wiki.example.org' });
        }
        // A frame on a neighbour has the pass, as it is the same site; elsewhere it has none.
        await page.goto(`${WIKI}/own`);
        await arrived(page, `${WIKI}/own`);
        for (const [outer, status] of [
          [SIBLING, 200],
          [MEDIA, 401],
        ]) {
          await page.goto(`${outer}/`);
          const answer = page.waitForResponse(`${WIKI}/framed`);
          await put(page, 'iframe', { src: `${WIKI}/framed` }, ['load']);
          assert.equal((await answer).status(), status, outer);
        }
      },
    );

    scene('gate_2 a link from elsewhere brings the pass along; without one it is fetched silently', async (stage) => {
      const { page, context, wiki } = stage;
      await enter(page, `${WIKI}/own`);
      await page.goto(`${MEDIA}/own`);
      await arrived(page, `${MEDIA}/own`);
      await put(page, 'a', { href: `${WIKI}/linked?x=1#y`, textContent: 'on' });
      const before = context.asked.length;
      await page.getByText('on', { exact: true }).click();
      await arrived(page, `${WIKI}/linked?x=1#y`);
      assert.deepEqual(context.asked.slice(before), [`${WIKI}/linked?x=1`]);

      const reached = wiki.reached.length;
      await context.clearCookies({ name: PASS });
      for (const options of [{}, { method: 'POST' }, { headers: { accept: 'text/html' } }])
        assert.deepEqual(await ask(page, '/api', options), { status: 401, redirected: false, type: 'basic' });
      assert.equal(await talk(page, `${WIKI}/live`), 'refused');
      assert.equal(await put(page, 'img', { src: '/image' }, ['load', 'error']), 'error');
      assert.equal(wiki.reached.length, reached, 'signed out, nothing reaches the app');
      await page.reload();
      await arrived(page, `${WIKI}/linked?x=1#y`);
      assert.equal((await ask(page, '/api')).status, 200);
    });

    scene(
      'gate_26 gate_9 signing out ends both apps at once, and no neighbour does it',
      async ({ page, context, wiki, media }) => {
        await enter(page, `${WIKI}/own`);
        const other = await context.newPage();
        await other.goto(`${MEDIA}/own`);
        await arrived(other, `${MEDIA}/own`);
        await other.goto(`${SIBLING}/`);
        for (const src of [`${WIKI}/.doorward/sign-out`, `${LOGIN}/gate/sign-out`])
          await put(other, 'img', { src }, ['load', 'error']);
        const blocked = context.waitForEvent('console', (message) => message.text().includes("frame-ancestors 'none'"));
        await put(other, 'iframe', { src: `${WIKI}/.doorward/sign-out` });
        await blocked;
        assert.equal(context.trouble.splice(0).length, 1, 'that it was blocked');
        for (const path of ['logout', 'logout-all', 'refresh']) {
          const options = { method: 'POST', mode: 'no-cors', credentials: 'include' };
          await ask(other, `${LOGIN}/api/auth/${path}`, options);
        }
        await send(other, `${LOGIN}/api/auth/logout`);
        await page.goto(`${WIKI}/still`);
        await arrived(page, `${WIKI}/still`);
        // The session goes on, too: it gives a new pass.
        await context.clearCookies({ name: PASS });
        for (const [tab, origin] of [
          [page, WIKI],
          [other, MEDIA],
        ]) {
          await tab.goto(`${origin}/still`);
          await arrived(tab, `${origin}/still`);
          assert.equal(await talk(tab, `${origin}/live`), 'hello');
        }
        const leaving = await context.newPage();
        await leaving.goto(`${WIKI}/.doorward/sign-out`);
        assert.equal(leaving.url(), `${LOGIN}/gate/sign-out`);
        const reached = [wiki.reached.length, media.reached.length];
        await leaving.getByRole('button', { name: english['nav.signOut'], exact: true }).click();
        await heading(leaving, 'You are signed out');
        assert.equal((await passes(context)).length, 2, 'the browser still has what is worth nothing now');
        for (const [tab, origin] of [
          [page, WIKI],
          [other, MEDIA],
        ]) {
          assert.equal((await ask(tab, '/api')).status, 401);
          assert.equal(await talk(tab, `${origin}/live`), 'refused');
          await tab.reload();
          await heading(tab, english['login.title']);
        }
        assert.deepEqual([wiki.reached.length, media.reached.length], reached, 'nothing reached them any more');
      },
    );

    scene('gate_22 what leads one browser in leads no other in, and no page uses it', async (stage) => {
      const { page, context, wiki, newVisitor } = stage;
      /** Signs in, and stops before the last step; returns its address. */
      const lastStep = async (tab, address, email) => {
        await tab.route('**/.doorward/done?*', (route) => route.fulfill({ body: 'stopped' }));
        await tab.goto(address);
        await fillIn(tab, email);
        await tab.waitForURL('**/.doorward/done?*');
        await tab.unroute('**/.doorward/done?*');
        return tab.url();
      };
      const { page: eves } = await newVisitor();
      const lure = await lastStep(eves, `${WIKI}/lure`, 'eve@example.org');
      const answer = await page.goto(lure);
      assert.equal(answer.status(), 400);
      await heading(page, english['gate.expired.title']);
      assert.deepEqual(await passes(context), []);
      // Nor one that is on the way itself.
      await page.goto(`${WIKI}/own`);
      await heading(page, english['login.title']);
      await page.goto(lure);
      await heading(page, english['login.title']);
      assert.deepEqual(await passes(context), []);

      // Its own step counts once it is followed, and not for a picture or a frame.
      const own = await lastStep(page, `${WIKI}/own`, ADA);
      const other = await context.newPage();
      await other.goto(`${SIBLING}/`);
      assert.equal(await put(other, 'img', { src: own }, ['load', 'error']), 'error');
      await put(other, 'iframe', { src: own }, ['load']);
      await ask(other, own, { mode: 'no-cors', credentials: 'include' });
      assert.deepEqual(await passes(context), []);
      await page.goto(own);
      await arrived(page, `${WIKI}/own`);
      await page.goto(lure);
      await arrived(page, `${WIKI}/lure`);
      assert.ok(wiki.reached.every((line) => !line.startsWith('GET /lure eve')));
    });
  });
}
