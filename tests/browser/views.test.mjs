// Every view, clicked through; accessible, quiet, and photographed into shots/.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect, removeShots, SHOTS, textsOf } from './look.mjs';
import { launch, PASSWORD, Server, signIn, visitor } from './stage.mjs';

const OTHERS = ['de', 'fr', 'es', 'pt', 'ar'];

let browser;
before(async () => {
  removeShots((name) => !name.startsWith('gate-'));
  browser = await launch();
});
after(() => browser?.close());

/** Chromium runs a tester's eval only if the policy is set aside; the pages that are inspected are not those that are watched. */
const inspected = () => browser.newContext({ bypassCSP: true });

test('the views are accessible in every scheme and width', { timeout: 240_000 }, async () => {
  const server = await Server.start();
  const context = await inspected();
  const page = await context.newPage();
  try {
    await page.goto(server.setupLink());
    await page.getByRole('heading', { name: 'Welcome' }).waitFor();
    await inspect(page, 'set-up');
    await page.goto(`${server.url}/#sign-in`);
    await page.reload();
    await page.getByRole('button', { name: 'Sign in' }).click();
    await inspect(page, 'sign-in');
    await page.goto(`${server.url}/#register`);
    await page.getByLabel('Password', { exact: true }).fill('correct horse');
    await inspect(page, 'register');
    server.user('ada@example.org', 'admin');
    for (let i = 10; i < 35; i++) server.user(`person${i}@example.org`, i % 3 ? 'viewer' : 'editor');
    await signIn(page, server, 'ada@example.org');
    await inspect(page, 'account');
    await page.getByRole('button', { name: 'Sign out everywhere' }).click();
    await inspect(page, 'confirm');
    await page.getByRole('button', { name: 'Keep it as it is' }).click();
    await page.getByRole('link', { name: 'How it works' }).click();
    await page.getByRole('button', { name: /throw-away/ }).click();
    await page.getByText('was deleted again').waitFor();
    await page.getByRole('button', { name: 'Ask the server' }).click();
    await page.getByText('answered 200').waitFor();
    await page.locator('.calls summary').first().click();
    await inspect(page, 'how-it-works');
    await page.getByRole('link', { name: 'Users' }).click();
    await page.getByRole('button', { name: 'Sessions of ada@example.org' }).click();
    await inspect(page, 'users');
    await page.getByRole('searchbox').fill('nobody');
    await page.getByText('No address begins with').waitFor();
    await inspect(page, 'users-empty');
    await page.getByRole('link', { name: 'Invitations' }).click();
    await page.getByText('No open invitations').waitFor();
    await page.getByRole('button', { name: 'Make an invitation' }).click();
    await page.getByLabel('The code').waitFor();
    await inspect(page, 'invitations');
    await page.getByRole('link', { name: 'Events' }).click();
    await page.locator('.rows').getByText('Signed in').first().waitFor();
    await inspect(page, 'events');
    await server.kill();
    await page.getByRole('link', { name: 'Account' }).click();
    await page.getByText('cannot be reached').first().waitFor();
    await inspect(page, 'account-failed');
  } finally {
    await context.close();
    await server.stop();
  }
});

/** Another language has other words in the same colours: one look is enough for each width. */
const inspectTranslation = (page, name) =>
  inspect(page, name, [
    ['dark', 1280],
    ['light', 390],
  ]);

const choose = async (page, language) => {
  await page.locator('#language').selectOption(language);
  await page.locator(`html[lang="${language}"]`).waitFor();
};

test('every view is accessible in every language, and as wide as the screen', { timeout: 240_000 }, async () => {
  const server = await Server.start();
  const context = await inspected();
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  try {
    server.user('ada@example.org', 'admin');
    for (let i = 10; i < 35; i++) server.user(`person${i}@example.org`, i % 3 ? 'viewer' : 'editor');
    server.command('service', 'add', 'backup');
    await page.goto(`${server.url}/#register`);
    for (const language of OTHERS) {
      const texts = textsOf(language);
      await choose(page, language);
      await page.getByRole('heading', { name: texts['login.makeAccount'] }).waitFor();
      await page.getByLabel(texts['label.email']).fill('not an address');
      await page.locator('form button').click();
      await page.getByText(texts['invalid.email']).waitFor();
      await inspectTranslation(page, `register-${language}`);
    }
    await choose(page, 'en');
    await signIn(page, server, 'ada@example.org');
    for (const language of OTHERS) {
      const texts = textsOf(language);
      await choose(page, language);
      for (const [hash, title] of [
        ['account', 'account.title'],
        ['how-it-works', 'nav.howItWorks'],
        ['users', 'nav.users'],
        ['invitations', 'nav.invitations'],
      ]) {
        await page.evaluate((to) => (location.hash = to), hash);
        await page.getByRole('heading', { name: texts[title], exact: true, level: 1 }).waitFor();
        assert.equal(await page.title(), `${texts[hash === 'account' ? 'nav.account' : title]} · Doorward`);
        if (hash === 'users')
          await page
            .getByRole('button', { name: texts['users.sessionsOf'].split('{')[0].trim() })
            .first()
            .click();
        await inspectTranslation(page, `${hash}-${language}`);
      }
      await page.evaluate(() => (location.hash = 'account'));
      await page.getByRole('button', { name: texts['account.signOutEverywhere'] }).click();
      await inspectTranslation(page, `confirm-${language}`);
      await page.getByRole('button', { name: texts['confirm.keep'] }).click();
    }
  } finally {
    await context.close();
    await server.stop();
  }
});

/** A page in a browser of this language, and the catalogues it asks for. */
async function speaking(server, locale) {
  const context = await visitor(browser, server, { locale });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const asked = [];
  page.on('request', (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith('/lang/')) asked.push(pathname);
  });
  return { context, page, asked };
}

test(
  'the browser’s language is taken, then the setting’s, and the visitor’s own choice stays',
  { timeout: 90_000 },
  async () => {
    const server = await Server.start();
    const fixed = await Server.start(['page.language=fr']);
    const swiss = await speaking(server, 'de-CH');
    try {
      const { page, asked, context } = swiss;
      server.user('ada@example.org', 'admin');
      await page.goto(server.url);
      await page.getByRole('heading', { name: 'Anmelden' }).waitFor();
      assert.deepEqual(asked, ['/lang/auto.json'], 'one catalogue');
      assert.equal(await page.locator('html').getAttribute('dir'), 'ltr');
      await page.goto(fixed.url);
      await page.getByRole('heading', { name: 'Se connecter' }).waitFor();
      context.trouble.length = 0;

      await page.goto(server.url);
      await choose(page, 'ar');
      await page.getByRole('heading', { name: 'تسجيل الدخول' }).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.id), 'language', 'who chose goes on from there');
      assert.equal(await page.locator('html').getAttribute('dir'), 'rtl');
      assert.equal(await page.locator('[name=email]').evaluate((input) => getComputedStyle(input).direction), 'ltr');
      asked.length = 0;
      await page.reload();
      await page.getByRole('heading', { name: 'تسجيل الدخول' }).waitFor();
      assert.deepEqual(asked, ['/lang/ar.json'], 'one catalogue, the chosen one');
      await page.locator('[name=email]').fill('ada@example.org');
      await page.locator('[name=password]').fill(PASSWORD);
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'حسابك', exact: true }).waitFor();
      const nav = await page
        .locator('nav a')
        .evaluateAll((links) => links.map((link) => link.getBoundingClientRect().x));
      assert.deepEqual(
        nav,
        [...nav].sort((a, b) => b - a),
        'from right to left',
      );
      await page.getByRole('link', { name: 'المستخدمون' }).click();
      await page.getByRole('heading', { name: 'المستخدمون' }).waitFor();
      await choose(page, 'de');
      await page.getByRole('heading', { name: 'Nutzer', exact: true }).waitFor();
      await page
        .getByText(/^hier seit \d\d?\.\d\d?\.20\d\d, \d\d?:\d\d$/)
        .first()
        .waitFor();
      assert.deepEqual(context.trouble, []);
    } finally {
      await swiss.context.close();
      await server.stop();
      await fixed.stop();
    }
  },
);

test(
  'what goes wrong is told in the visitor’s language, and what has no words there in English',
  { timeout: 60_000 },
  async () => {
    const server = await Server.start();
    const { context, page } = await speaking(server, 'ar');
    try {
      const texts = textsOf('ar');
      server.user('bob@example.org');
      await page.goto(server.url);
      const enter = async (email, password) => {
        await page.locator('[name=email]').fill(email);
        await page.locator('[name=password]').fill(password);
        await page.locator('form button').click();
      };
      await enter('bob@example.org', 'not the password');
      await page.getByRole('alert').getByText(texts['error.INVALID_CREDENTIALS']).waitFor();
      await context.route('**/api/auth/login', (route) =>
        route.fulfill({ status: 418, json: { error: 'NEW_CODE', message: 'I am new here', requestId: 'x' } }),
      );
      await enter('bob@example.org', PASSWORD);
      await page.getByRole('alert').locator('[lang=en][dir=ltr]').getByText('I am new here').waitFor();
      await page.goto(`${server.url}/#register`);
      await page.getByRole('heading', { name: texts['login.makeAccount'] }).waitFor();
      await enter('new@example.org', 'short');
      await page
        .locator('.error')
        .getByText(texts['invalid.short'].few.replace('{count}', new Intl.NumberFormat('ar').format(8)))
        .waitFor();
      await enter('new@example.org', 'password1234');
      await page.locator('.error').getByText(texts['invalid.passwordCommon']).waitFor();
      await enter('bob@example.org', PASSWORD);
      await page.getByRole('alert').getByText(texts['error.EMAIL_TAKEN']).waitFor();
      assert.deepEqual(context.trouble, []);
    } finally {
      await context.close();
      await server.stop();
    }
  },
);

async function watched(name, settings, play) {
  test(name, { timeout: 90_000 }, async () => {
    const server = await Server.start(settings);
    const context = await visitor(browser, server);
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    try {
      await play({ server, context, page });
      assert.deepEqual(context.trouble, [], 'HDR-2: no violation, no request elsewhere, no error');
    } finally {
      await context.close();
      await server.stop();
    }
  });
}

test(
  'those who watch see: an inline script, a request elsewhere, markup from text, a picture without words',
  { timeout: 60_000 },
  async () => {
    const server = await Server.start();
    const context = await visitor(browser, server);
    try {
      const page = await context.newPage();
      await page.goto(server.url);
      await page.getByRole('heading', { name: 'Sign in' }).waitFor();
      const blocked = await page.evaluate(async () => {
        const script = document.createElement('script');
        const results = [];
        try {
          script.textContent = 'globalThis.ran = 1';
          document.head.append(script);
        } catch (error) {
          results.push(error.name);
        }
        try {
          document.body.innerHTML = '<p>markup</p>';
        } catch (error) {
          results.push(error.name);
        }
        await fetch('http://127.0.0.1:9/').catch((error) => results.push(error.name));
        return [...results, typeof globalThis.ran];
      });
      assert.deepEqual(blocked, ['TypeError', 'TypeError', 'TypeError', 'undefined']);
      assert.ok(
        context.trouble.some((each) => /connect-src/.test(each)),
        context.trouble.join(),
      );
      assert.ok(
        context.trouble.some((each) => /[Tt]rusted/.test(each)),
        context.trouble.join(),
      );
      const loose = await inspected();
      const other = await loose.newPage();
      await other.goto(server.url);
      await other.getByRole('heading', { name: 'Sign in' }).waitFor();
      await other.evaluate(() => document.querySelector('main').append(document.createElement('img')));
      await assert.rejects(inspect(other, 'spoiled'), /image-alt/);
      rmSync(join(SHOTS, 'spoiled-light.png'));
      await loose.close();
    } finally {
      await context.close();
      await server.stop();
    }
  },
);

await watched(
  'a set-up link makes the first admin and leaves the address bar at once',
  [],
  async ({ server, page }) => {
    const link = server.setupLink();
    await page.goto(link);
    await page.getByRole('heading', { name: 'Welcome' }).waitFor();
    assert.equal(page.url(), `${server.url}/`);
    assert.ok(
      !(await page.evaluate(() => performance.getEntriesByType('navigation')[0].name + history.length)).includes(
        'undefined',
      ),
    );
    await page.getByLabel('E-mail').fill('ada@example.org');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Make me the admin' }).click();
    await page.getByRole('link', { name: 'Users' }).waitFor();
    await page.getByRole('button', { name: 'Sign out', exact: true }).click();
    await page.getByText('You are signed out').waitFor();
    await page.goto(link);
    await page.getByLabel('E-mail').fill('eve@example.org');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Make me the admin' }).click();
    await page.getByRole('alert').getByText('not good any more').waitFor();
  },
);

await watched(
  'hdr_6 register, sign out, a wrong password, sign in; no token is in any storage',
  [],
  async ({ server, context, page }) => {
    await page.goto(server.url);
    await page.getByRole('link', { name: 'Make an account' }).click();
    await page.getByLabel('E-mail').fill('not an address');
    await page.getByLabel('Password', { exact: true }).fill('short');
    await page.getByRole('button', { name: 'Register' }).click();
    assert.equal(await page.getByLabel('E-mail').getAttribute('aria-invalid'), 'true');
    await page.getByLabel('E-mail').fill('bob@example.org');
    await page.getByLabel('Password', { exact: true }).fill('password1234');
    await page.getByRole('button', { name: 'Register' }).click();
    await page.locator('[aria-invalid]').waitFor();
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Register' }).click();
    await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();

    const token = await page.evaluate(() => import('/page/auth.js').then(({ auth }) => auth.token()));
    assert.equal(token.split('.').length, 3);
    const stored = await page.evaluate(async () =>
      JSON.stringify([
        { ...localStorage },
        { ...sessionStorage },
        await indexedDB.databases(),
        await caches.keys(),
        document.cookie,
        location.href,
        document.documentElement.outerHTML,
        history.state,
      ]),
    );
    assert.ok(!stored.includes(token) && !stored.includes(token.split('.')[2]), 'the access token is in memory alone');
    const cookies = await context.cookies(`${server.url}/api/auth/refresh`);
    const { port } = new URL(server.url);
    const refresh = cookies.find(({ name }) => name === `doorward-refresh-${port}`);
    assert.ok(refresh.httpOnly && refresh.sameSite === 'Strict' && refresh.path === '/api/auth');
    assert.ok(!stored.includes(refresh.value), 'no script reads the refresh token');
    assert.deepEqual(
      cookies.map(({ name }) => name).sort(),
      ['csrf', 'device', 'refresh'].map((kind) => `doorward-${kind}-${port}`),
    );

    await page.reload();
    await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
    await page.getByRole('button', { name: 'Sign out here' }).click();
    await page.getByText('You are signed out').waitFor();
    assert.deepEqual(
      (await context.cookies()).map(({ name }) => name),
      [`doorward-device-${port}`],
      'the device stays known, nothing else',
    );
    await page.getByLabel('E-mail').fill('bob@example.org');
    await page.getByLabel('Password', { exact: true }).fill('not the password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('E-mail or password is wrong').waitFor();
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  },
);

await watched(
  'another device is signed out, the password changes, everything is signed out',
  [],
  async ({ server, page }) => {
    server.user('bob@example.org');
    const elsewhere = await visitor(browser, server);
    const other = await elsewhere.newPage();
    await signIn(other, server, 'bob@example.org');
    await signIn(page, server, 'bob@example.org');
    await page.getByText('this one').waitFor();
    await page.getByRole('button', { name: /^Sign out Chrome/ }).click();
    await page.getByRole('button', { name: 'Sign it out' }).click();
    await page.getByText('That device is signed out').waitFor();
    await other.getByRole('link', { name: 'How it works' }).click();
    await other.getByRole('button', { name: 'Ask the server' }).click();
    await other.getByText('This session was ended').waitFor();
    await signIn(other, server, 'bob@example.org');

    await page.getByLabel('Current password').fill('wrong wrong wrong');
    await page.getByLabel('New password').fill('another horse battery');
    await page.getByRole('button', { name: 'Change password' }).click();
    await page.getByRole('alert').getByText('wrong').waitFor();
    await page.getByLabel('Current password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Change password' }).click();
    await page.getByText('Your password is changed').waitFor();
    await other.reload();
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    await signIn(other, server, 'bob@example.org', 'another horse battery');
    await page.getByRole('button', { name: 'Sign out everywhere' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out everywhere' }).click();
    await page.getByText('You are signed out').waitFor();
    await other.reload();
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    await elsewhere.close();
  },
);

await watched(
  'ref_1 a stolen token is replayed for real, and the real session goes on',
  [],
  async ({ server, page }) => {
    server.user('bob@example.org');
    await signIn(page, server, 'bob@example.org');
    await page.getByRole('link', { name: 'How it works' }).click();
    await page.getByText('good until').first().waitFor();
    await page.getByText(/\d+ (min|s).* left/).waitFor();
    await page.getByRole('button', { name: 'Renew now' }).click();
    await page.getByText('Rotated').first().waitFor();
    await page.getByRole('button', { name: /throw-away/ }).click();
    await page.getByText('The thief replays the copy: 401 TOKEN_REUSE_DETECTED').waitFor();
    await page.getByText('The phone tries its own token: 401 TOKEN_REVOKED').waitFor();
    await page.getByText('and an admin can delete it').waitFor();
    await page.getByRole('button', { name: 'Ask the server' }).click();
    await page.getByText('No: 403 FORBIDDEN').waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'How it works' }).waitFor();
    await page.getByText('Use my own account instead').click();
    await page.getByLabel('Your password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Play it with my account' }).click();
    await page.getByText('The thief replays the copy: 401').waitFor();
    await page.getByRole('link', { name: 'Account' }).click();
    await page.getByText('This session was ended').waitFor();
  },
);

await watched(
  'an admin searches, pages, gives roles, disables, deletes, ends sessions, invites',
  [],
  async ({ server, page }) => {
    server.user('ada@example.org', 'admin');
    for (let i = 10; i < 35; i++) server.user(`person${i}@example.org`);
    const elsewhere = await visitor(browser, server);
    const other = await elsewhere.newPage();
    await signIn(other, server, 'person11@example.org');
    await signIn(page, server, 'ada@example.org');
    await page.getByRole('link', { name: 'Users' }).click();
    await page.getByText('person10@example.org').waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('person34@example.org').waitFor();
    await page.getByRole('button', { name: 'Back' }).click();
    await page.getByText('person10@example.org').waitFor();
    await page.getByRole('searchbox').fill('person11');
    await page.getByText('person10@example.org').waitFor({ state: 'detached' });
    await page.getByLabel('Role of person11@example.org').selectOption('editor');
    await page.getByText('is editor now').waitFor();
    await page.getByRole('button', { name: 'Sessions of person11@example.org' }).click();
    await page.getByRole('button', { name: /^End Chrome/ }).click();
    await page.getByRole('button', { name: 'End it' }).click();
    await page.getByText('Signed in nowhere').waitFor();
    await other.reload();
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.getByRole('button', { name: 'Disable person11@example.org' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
    await page.getByRole('button', { name: 'Enable person11@example.org' }).waitFor();
    await page.getByRole('button', { name: 'Enable person11@example.org' }).click();
    await page.getByRole('button', { name: 'Delete person11@example.org' }).click();
    await page.getByRole('button', { name: 'Delete for good' }).click();
    await page.getByText('No address begins with').waitFor();
    await page.getByRole('searchbox').fill('ada');
    await page.getByLabel('Role of ada@example.org').selectOption('viewer');
    await page.getByText('Somebody must be left to administer').waitFor();
    assert.equal(await page.getByLabel('Role of ada@example.org').inputValue(), 'admin');

    await page.getByRole('link', { name: 'Invitations' }).click();
    await page.getByLabel('Role of who comes').selectOption('editor');
    await page.getByRole('button', { name: 'Make an invitation' }).click();
    const code = await page.getByLabel('The code').inputValue();
    await page.getByRole('button', { name: 'I have it' }).click();
    await other.goto(`${server.url}/#register`);
    await other.getByLabel('E-mail').fill('new@example.org');
    await other.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await other.getByLabel('Invitation').fill(code);
    await other.getByRole('button', { name: 'Register' }).click();
    await other.locator('dd .tag').getByText('editor').waitFor();
    await page.getByRole('button', { name: 'Make an invitation' }).click();
    await page
      .getByRole('button', { name: /^Withdraw/ })
      .first()
      .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Withdraw' }).click();
    await page.getByText('The invitation is withdrawn').waitFor();
    await elsewhere.close();
  },
);

await watched('keys are made, used and revoked, one’s own and a service’s', [], async ({ server, page }) => {
  const me = (key) => fetch(`${server.url}/api/users/me`, { headers: { authorization: `Bearer ${key}` } });
  server.user('ada@example.org', 'admin');
  await signIn(page, server, 'ada@example.org');
  // After a while a key needs the password again.
  server.advance(6 * 60);
  const card = page.locator('section.card', { hasText: 'API keys' });
  await card.getByText('No keys.').waitFor();
  await card.getByLabel('Name').fill('nightly');
  await card.getByLabel('May do').fill('articles:read');
  await card.getByRole('button', { name: 'Make a key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Password').fill('not the one');
  await dialog.getByRole('button', { name: 'Go on' }).click();
  await dialog.getByText('E-mail or password is wrong').waitFor();
  await dialog.getByLabel('Password').fill(PASSWORD);
  await dialog.getByRole('button', { name: 'Go on' }).click();
  const key = await card.getByLabel('The key, shown this once').inputValue();
  assert.match(key, /^dwk_[0-9A-Za-z]{49}$/);
  assert.equal((await (await me(key)).json()).email, 'ada@example.org');
  await card.getByRole('button', { name: 'I have it' }).click();
  assert.ok(!(await page.content()).includes(key), 'it is shown once');
  await page.getByText('nightly').waitFor();
  await card.getByRole('button', { name: 'Revoke the key nightly' }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await card.getByText('No keys.').waitFor();
  assert.equal((await me(key)).status, 401);

  await page.getByRole('link', { name: 'Users' }).click();
  const service = page.locator('section.card', { hasText: 'A service account' });
  await service.getByLabel('Name').fill('Backup');
  await service.getByRole('button', { name: 'Add a service' }).click();
  await service.getByText('must be 1 to 64 lower-case letters').waitFor();
  await service.getByLabel('Name').fill('backup');
  await service.getByRole('button', { name: 'Add a service' }).click();
  await page.getByRole('button', { name: 'Keys of backup@service.invalid' }).click();
  const row = page.locator('li.user', { hasText: 'backup@service.invalid' });
  await row.getByLabel('Name').fill('sync');
  await row.getByLabel('May do').fill('articles:write');
  await row.getByRole('button', { name: 'Make a key' }).click();
  await row.getByText('does not grant articles:write').waitFor();
  await row.getByLabel('May do').fill('articles:read');
  await row.getByRole('button', { name: 'Make a key' }).click();
  const synced = await row.getByLabel('The key, shown this once').inputValue();
  assert.equal((await (await me(synced)).json()).email, 'backup@service.invalid');
});

await watched(
  'every role of the configuration can be given, and no other',
  ['roles.auditor=["articles:read"]'],
  async (stage) => {
    const { server, page } = stage;
    server.user('ada@example.org', 'admin');
    server.user('bob@example.org');
    const offered = (select) => select.locator('option').allTextContents();
    await signIn(page, server, 'ada@example.org');
    await page.getByRole('link', { name: 'Users' }).click();
    const role = page.getByLabel('Role of bob@example.org');
    await role.waitFor();
    assert.deepEqual(await offered(role), ['admin', 'auditor', 'editor', 'viewer']);
    assert.equal(await role.inputValue(), 'viewer');
    await role.selectOption('auditor');
    await page.getByText('is auditor now').waitFor();
    assert.match(server.command('user', 'show', 'bob@example.org', '--json'), /"role": ?"auditor"/);
    const titles = await page.locator('.user .title').allTextContents();
    assert.deepEqual(
      titles,
      ['ada@example.org you', 'bob@example.org '],
      'nothing but the address and what is out of the ordinary',
    );

    await page.getByRole('link', { name: 'Invitations' }).click();
    const invited = page.getByLabel('Role of who comes');
    await invited.locator('option', { hasText: 'auditor' }).waitFor({ state: 'attached' });
    assert.deepEqual(await offered(invited), ['default role', 'admin', 'auditor', 'editor', 'viewer']);
    await page.getByRole('button', { name: 'Make an invitation' }).click();
    await page.locator('.rows .tag').getByText('viewer').waitFor();
  },
);

await watched('a catalogue that does not come is asked for until it does', [], async ({ server, context, page }) => {
  let isAway = true;
  await context.route('**/lang/**', (route) => (isAway ? route.abort('connectionrefused') : route.continue()));
  await page.goto(server.url);
  await page.locator('.opening').waitFor();
  await page.waitForTimeout(600);
  assert.equal(await page.locator('#app').innerText(), '', 'it says nothing in no language');
  isAway = false;
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
});

test('aud_3 what happened is shown to whom it concerns, and whoever may read all of it finds it', async () => {
  const server = await Server.start();
  const context = await visitor(browser, server);
  const page = await context.newPage();
  try {
    server.user('ada@example.org', 'admin');
    server.user('ben@example.org');
    await signIn(page, server, 'ben@example.org');
    server.command('user', 'role', 'ben@example.org', 'editor');
    await page.reload();
    const own = page.locator('section', { hasText: 'What happened to your account' });
    await own.getByText('The role was changed').waitFor();
    await own.getByText('an operator on the server').first().waitFor();
    assert.equal(await page.getByRole('link', { name: 'Events' }).count(), 0);
    await page.getByRole('button', { name: 'Sign out', exact: true }).first().click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await signIn(page, server, 'ada@example.org');
    await page.getByRole('link', { name: 'Events' }).focus();
    await page.keyboard.press('Enter');
    const rows = page.locator('.rows li');
    await rows.filter({ hasText: 'The server started' }).waitFor();
    await page.getByLabel('Event', { exact: true }).selectOption('role_changed');
    await page.getByLabel('User', { exact: true }).fill('BEN@example.org');
    await page.keyboard.press('Enter');
    await rows.filter({ hasText: 'The server started' }).waitFor({ state: 'detached' });
    await rows.filter({ hasText: 'account ben@example.org' }).filter({ hasText: 'editor' }).waitFor();
    assert.equal(await rows.count(), 1);
    await page.getByLabel('User', { exact: true }).fill('nobody@example.org');
    await page.keyboard.press('Enter');
    await page.getByText('There is no user with this address.').waitFor();
    await page.getByLabel('User', { exact: true }).fill('');
    await page.getByLabel('Network address').fill('192.0.2.1');
    await page.keyboard.press('Enter');
    await page.getByText('Nothing of that kind.').waitFor();
    assert.deepEqual(context.trouble, []);
  } finally {
    await context.close();
    await server.stop();
  }
});

test(
  'what the page says without JavaScript names addresses that exist, in every language',
  { timeout: 60_000 },
  async () => {
    const server = await Server.start();
    try {
      const html = await (await fetch(server.url)).text();
      const [, text] = /<noscript>(.*)<\/noscript>/s.exec(html);
      const links = [...text.matchAll(/href="([^"]+)"/g)].map(([, href]) => href);
      assert.deepEqual(links, ['/health']);
      for (const language of ['en', ...OTHERS]) {
        const { direction, noscript } = textsOf(language);
        assert.ok(text.includes(`<p class="lead" lang="${language}" dir="${direction}">${noscript}</p>`), language);
      }
      for (const link of links) assert.equal((await fetch(server.url + link)).status, 200);
    } finally {
      await server.stop();
    }
  },
);

await watched('the page is used with the keyboard alone', [], async ({ server, page }) => {
  server.user('bob@example.org');
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Tab');
  await page.keyboard.type('bob@example.org');
  await page.keyboard.press('Tab');
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.getByRole('button', { name: 'Sign out everywhere' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Keep it as it is');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Sign out everywhere');
});
