// From an app behind the gate to the sign-in page and back, in a real browser: nobody is lost on the way, let in who may
// not, or sent around in circles.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect, removeShots, textsOf } from './look.mjs';
import { behindGate, newTab } from './proxy.mjs';
import { launch, PASSWORD, signIn } from './stage.mjs';

const english = textsOf('en');
let browser;
before(async () => {
  removeShots((name) => name.startsWith('gate-'));
  browser = await launch();
});
after(() => browser?.close());

function scene(name, options, play) {
  test(name, { timeout: 120_000 }, async () => {
    const stage = await behindGate(browser, options);
    try {
      await play(stage);
      assert.deepEqual(stage.context.trouble ?? [], [], 'no violation, no request elsewhere, no error');
    } catch (error) {
      for (const each of stage.context.pages())
        console.log(`# ${each.url()}: ${await each.innerText('body').catch(String)}`);
      console.log(stage.server.log().slice(-4000).replace(/^/gm, '# '));
      throw error;
    } finally {
      await stage.stop();
    }
  });
}

const heading = (page, name) => page.getByRole('heading', { name, exact: true, level: 1 }).waitFor();
const button = (page, key) => page.getByRole('button', { name: english[key], exact: true });

/** Fills in the form, in whatever language it is. */
async function fillIn(page, email, password = PASSWORD) {
  await page.locator('[name=email]').fill(email);
  await page.locator('[name=password]').fill(password);
  await page.locator('form button').click();
}

/** Waits until somebody is at an app, at this very address. */
async function arrived(page, address, user) {
  await page.waitForURL(address);
  assert.equal(page.url(), address);
  assert.equal(await page.locator('#user').innerText(), user);
}

scene('gate_5 one sign-in, two apps: to the query and the fragment, and back in the history', {}, async (stage) => {
  const { page, wiki, grafana } = stage;
  const address = `${wiki.url}/d/x?orgId=1&q=%26%2F+c#panel-3`;
  await page.goto(address);
  await heading(page, 'Sign in');
  assert.equal(await page.locator('.lead').innerText(), `You are on the way to wiki (${wiki.host}).`);
  assert.equal(await page.title(), 'Sign in · Doorward');
  await fillIn(page, 'ada@example.org', 'not the password');
  await page.getByRole('alert').getByText('E-mail or password is wrong').waitFor();
  await fillIn(page, 'ada@example.org');
  await arrived(page, address, 'ada@example.org');
  assert.deepEqual(wiki.reached.slice(0, 1), ['GET /d/x?orgId=1&q=%26%2F+c'], 'nothing reached the app before');
  stage.forms = 0;
  const link = { href: `${grafana.url}//two/../three?x#y` };
  await page.evaluate(
    ({ href }) => document.body.append(Object.assign(document.createElement('a'), { href, text: 'on' })),
    link,
  );
  await page.getByText('on', { exact: true }).click();
  await page.locator('h1', { hasText: 'grafana' }).waitFor();
  assert.equal(await page.locator('#user').innerText(), 'ada@example.org');
  assert.equal(new URL(page.url()).hash, '#y');
  assert.equal(stage.forms, 0, 'no form flashes by');
  // The way is not in the history.
  await page.goBack();
  await arrived(page, address, 'ada@example.org');
  await page.goBack();
  assert.equal(page.url(), 'about:blank');
});

scene('gate_6 tabs that wait at the form go on when one of them signs in', {}, async (stage) => {
  const { page, wiki, grafana } = stage;
  const tabs = [page, await newTab(stage), await newTab(stage)];
  const addresses = [`${wiki.url}/one#1`, `${wiki.url}/two?b#2`, `${grafana.url}/three#3`];
  await Promise.all(tabs.map((tab, i) => tab.goto(addresses[i])));
  for (const tab of tabs) await heading(tab, 'Sign in');
  await fillIn(page, 'ada@example.org');
  await Promise.all(tabs.map((tab, i) => arrived(tab, addresses[i], 'ada@example.org')));
});

scene('gate_13 who may not enter is told what is missing, tries again, or is somebody else', {}, async (stage) => {
  const { page, server, wiki, grafana } = stage;
  const address = `${grafana.url}/d?x=1#f`;
  await page.goto(address);
  await fillIn(page, 'eve@example.org');
  await heading(page, 'You may not enter here');
  await page.getByText('grafana does not let you in as eve@example.org. It takes the role editor or admin.').waitFor();
  await page.getByRole('link', { name: 'Your account', exact: true }).waitFor();
  await button(page, 'retry').click();
  await page.getByText(english['gate.denied.still']).waitFor();
  await button(page, 'gate.denied.other').click();
  await heading(page, 'Sign in');
  await page.getByText(`You are signed out. You are on the way to grafana (${grafana.host}).`).waitFor();
  await fillIn(page, 'ada@example.org');
  await arrived(page, address, 'ada@example.org');

  // A part of an app: its page leads here, and nothing goes on by itself.
  await page.goto(`${wiki.url}/admin?a=b`);
  await page.getByRole('link', { name: english['gate.denied.action'] }).click();
  await page.getByText('wiki does not let you in as ada@example.org. It takes the role admin.').waitFor();
  assert.ok(page.url().startsWith(`${server.url}/gate/denied?request=`));
  server.command('user', 'role', 'ada@example.org', 'admin');
  await page.reload();
  await heading(page, 'The door is open');
  assert.ok(page.url().startsWith(`${server.url}/gate/denied?request=`), 'who was refused is not sent around');
  await button(page, 'again.submit').click();
  await arrived(page, `${wiki.url}/admin?a=b`, 'ada@example.org');
});

scene('an invited person registers on the way, and their address is vouched for', {}, async (stage) => {
  const { page, server, wiki } = stage;
  server.user('root@example.org', 'admin');
  const boss = await browser.newContext();
  const bosses = await boss.newPage();
  await signIn(bosses, server, 'root@example.org');
  const { code } = await bosses.evaluate(() =>
    import('/page/auth.js').then(({ auth }) => auth.call('POST', '/api/invites', {})),
  );
  await boss.close();
  const address = `${wiki.url}/new#begin`;
  await page.goto(address);
  await page.getByText('Have you been invited?').waitFor();
  await page.getByRole('button', { name: 'Make an account' }).click();
  await heading(page, 'Make an account');
  assert.equal(new URL(page.url()).hash, '#begin', 'the fragment is the app’s');
  await page.locator('[name=invite]').fill(code);
  await fillIn(page, 'new@example.org');
  await page.getByText(english['gate.needs.verifiedAddress']).waitFor();
  server.command('user', 'verify', 'new@example.org');
  await button(page, 'retry').click();
  await arrived(page, address, 'new@example.org');
});

scene('gate_26 the page for signing out asks first, and then every app is closed', {}, async (stage) => {
  const { page, server, wiki, grafana } = stage;
  await page.goto(`${wiki.url}/`);
  await fillIn(page, 'ada@example.org');
  await arrived(page, `${wiki.url}/`, 'ada@example.org');
  await page.goto(`${grafana.url}/`);
  await arrived(page, `${grafana.url}/`, 'ada@example.org');
  const elsewhere = await newTab(stage);
  await elsewhere.goto(`${wiki.url}/.doorward/sign-out`);
  await heading(elsewhere, 'Sign out?');
  assert.equal(elsewhere.url(), `${server.url}/gate/sign-out`);
  await elsewhere.getByText('You are signed in as ada@example.org.').waitFor();
  for (const app of [wiki, grafana]) {
    await page.goto(`${app.url}/still`);
    await arrived(page, `${app.url}/still`, 'ada@example.org');
  }
  const before = [wiki.reached.length, grafana.reached.length];
  await button(elsewhere, 'nav.signOut').click();
  await heading(elsewhere, 'You are signed out');
  await elsewhere.getByRole('link', { name: 'Sign in' }).waitFor();
  for (const app of [wiki, grafana]) {
    await page.goto(`${app.url}/after`);
    await heading(page, 'Sign in');
  }
  assert.deepEqual([wiki.reached.length, grafana.reached.length], before, 'nothing reached them any more');
  await elsewhere.reload();
  await heading(elsewhere, 'You are signed out');
});

scene('gate_21 a request that is no good leads nowhere, and one that was is begun again', {}, async (stage) => {
  const { page, server, wiki } = stage;
  const markup = encodeURIComponent('<img src=x onerror=alert(1)>https://evil.example/');
  for (const wrong of ['?request=nonsense', `?request=${markup}&to=${markup}#${markup}`, '']) {
    for (const path of ['sign-in', 'denied']) {
      await page.goto('about:blank');
      await page.goto(`${server.url}/gate/${path}${wrong}`);
      await heading(page, 'This way in is not good any more');
      await page.getByText(english['gate.expired.return']).waitFor();
      assert.equal(await page.locator('img, form').count(), 0);
      assert.ok(!(await page.innerText('body')).includes('evil'));
    }
  }
  await page.goto(`${wiki.url}/x#y`);
  await heading(page, 'Sign in');
  server.advance(601);
  await fillIn(page, 'ada@example.org');
  await heading(page, 'This way in is not good any more');
  await page.getByRole('link', { name: 'Begin again' }).click();
  await arrived(page, `${wiki.url}/`, 'ada@example.org');
});

scene('what would lead elsewhere is not followed', {}, async ({ page, context, server, wiki }) => {
  for (const elsewhere of [
    'javascript:document.title="ran"',
    'https://evil.example/',
    `${wiki.url}.evil.example/`,
    `${wiki.url}@evil.example/`,
    '/gate/sign-out',
    7,
  ]) {
    await context.route('**/api/gate/enter', (route) => route.fulfill({ json: { location: elsewhere } }));
    await page.goto(`${wiki.url}/`);
    if (
      await page
        .locator('form')
        .or(page.locator('h1'))
        .first()
        .waitFor()
        .then(() => page.locator('form').count())
    )
      await fillIn(page, 'ada@example.org');
    await heading(page, english['gate.failed']);
    assert.ok(page.url().startsWith(`${server.url}/gate/sign-in?`), String(elsewhere));
    assert.notEqual(await page.title(), 'ran');
    await context.unroute('**/api/gate/enter');
  }
  await button(page, 'retry').click();
  await arrived(page, `${wiki.url}/`, 'ada@example.org');
});

scene('without the account page the way is the same', { settings: ['page.enabled=false'] }, async (stage) => {
  const { page, server, wiki, grafana } = stage;
  assert.equal((await fetch(server.url)).status, 404);
  await page.goto(`${wiki.url}/a?b#c`);
  await fillIn(page, 'eve@example.org');
  await arrived(page, `${wiki.url}/a?b#c`, 'eve@example.org');
  await page.goto(`${grafana.url}/`);
  await heading(page, 'You may not enter here');
  const gone = page.waitForResponse((response) => response.request().method() === 'HEAD').catch(() => {});
  await page.reload();
  await gone;
  await heading(page, 'You may not enter here');
  assert.equal(await page.getByRole('link').count(), 0, 'no link to what is not there');
  await page.goto(`${server.url}/gate/sign-out`);
  await button(page, 'nav.signOut').click();
  await heading(page, 'You are signed out');
  assert.equal(await page.getByRole('link').count(), 0);
});

for (const [locale, language, direction] of [
  ['de-CH', 'de', 'ltr'],
  ['ar', 'ar', 'rtl'],
]) {
  scene(`the gate’s page speaks ${language}, as the browser asks`, { locale }, async ({ page, grafana }) => {
    const texts = textsOf(language);
    await page.goto(`${grafana.url}/`);
    await heading(page, texts['login.title']);
    assert.equal(await page.locator('html').getAttribute('dir'), direction);
    await fillIn(page, 'eve@example.org');
    await heading(page, texts['gate.denied.title']);
    const said = await page.locator('.lead').innerText();
    for (const part of ['grafana', 'eve@example.org', 'editor']) assert.ok(said.includes(part), said);
    await page.locator('#language').selectOption('fr');
    await heading(page, textsOf('fr')['gate.denied.title']);
  });
}

const PHONE = [
  ['light', 390],
  ['dark', 390],
];

scene('every view of the gate is accessible, in light and dark on a phone', { isInspected: true }, async (stage) => {
  const { page, server, wiki, grafana, context } = stage;
  const views = async (name, languages = ['en', 'ar']) => {
    for (const language of languages) {
      await page.locator('#language').selectOption(language);
      await page.locator(`html[lang="${language}"]`).waitFor();
      await inspect(page, `gate-${name}-${language}`, PHONE);
    }
    await page.locator('#language').selectOption('en');
    await page.locator('html[lang="en"]').waitFor();
  };
  await page.goto(`${server.url}/gate/sign-in?request=x`);
  await heading(page, 'This way in is not good any more');
  await views('expired');
  await page.goto(`${grafana.url}/`);
  await heading(page, 'Sign in');
  await views('sign-in');
  await inspect(page, 'gate-sign-in', [['light', 1280]]);
  await button(page, 'login.makeAccount').click();
  await views('register');
  await button(page, 'login.title').first().click();
  await heading(page, 'Sign in');
  await fillIn(page, 'eve@example.org');
  await heading(page, 'You may not enter here');
  await views('denied', ['en', 'de', 'fr', 'es', 'pt', 'ar']);
  await page.goto(`${server.url}/gate/sign-out`);
  await heading(page, 'Sign out?');
  await views('sign-out');
  // A server that takes its time, and one that cannot.
  await context.route('**/api/gate/enter', () => {});
  await page.goto(`${wiki.url}/`);
  await page.getByText('On to wiki').waitFor();
  await views('going');
  // What is held back would go on.
  await page.goto('about:blank');
  await context.unroute('**/api/gate/enter');
  await context.route('**/api/gate/enter', (route) =>
    route.fulfill({ status: 503, json: { error: 'STORAGE_UNAVAILABLE', message: 'x', requestId: 'x' } }),
  );
  await page.goto(`${wiki.url}/`);
  await heading(page, english['gate.failed']);
  await views('failed');
  await page.goto(`${server.url}/gate/sign-out`);
  await button(page, 'nav.signOut').click();
  await heading(page, 'You are signed out');
  await views('signed-out');
});

scene(
  'one’s apps, those of others, and keys for apps are on the account page',
  { isInspected: true },
  async (stage) => {
    const { page, server, wiki, grafana } = stage;
    server.user('root@example.org', 'admin');
    await signIn(page, server, 'eve@example.org');
    const card = page.locator('section.card', { hasText: 'Your apps' });
    const row = (name) => card.locator('li', { hasText: name });
    await row('grafana').getByText('no access').waitFor();
    await row('grafana').getByText(`${grafana.host} · for the role editor or admin`).waitFor();
    await row('wiki').getByText('for everybody').waitFor();
    assert.deepEqual(await card.getByRole('link').evaluateAll((links) => links.map(({ href }) => href)), [
      `${wiki.url}/`,
    ]);

    const keys = page.locator('section.card', { hasText: 'API keys' });
    await keys.getByLabel('Name').fill('backup');
    await keys.getByRole('button', { name: 'Make a key' }).click();
    await keys.getByText('Please fill this in').waitFor();
    assert.deepEqual(await keys.getByRole('checkbox').evaluateAll((boxes) => boxes.map(({ value }) => value)), [
      'wiki',
    ]);
    await keys.getByLabel('wiki').check();
    await keys.getByRole('button', { name: 'Make a key' }).click();
    const key = await keys.getByLabel('The key, shown this once').inputValue();
    await keys.locator('.rows').getByText('opens wiki').waitFor();
    await keys.getByText('For an app it goes into the header X-Doorward-Key.').waitFor();
    assert.ok(!(await keys.getByLabel('wiki').isChecked()));
    assert.equal((await fetch(`${wiki.url}/export`, { headers: { 'x-doorward-key': key } })).status, 200);
    await inspect(page, 'gate-account', PHONE);
    await card.getByRole('link', { name: 'wiki' }).click();
    await arrived(page, `${wiki.url}/`, 'eve@example.org');

    await page.goto(`${server.url}/#account`);
    await page.getByRole('button', { name: 'Sign out', exact: true }).click();
    await signIn(page, server, 'root@example.org');
    await page.getByRole('link', { name: 'Users' }).click();
    await page.getByRole('button', { name: 'Apps of eve@example.org' }).click();
    const user = page.locator('li.user', { hasText: 'eve@example.org' });
    await user.locator('.nested li', { hasText: 'grafana' }).getByText('no access').waitFor();
    await user.locator('.nested li', { hasText: 'wiki' }).getByText('access', { exact: true }).waitFor();
    await inspect(page, 'gate-users', PHONE);
  },
);
