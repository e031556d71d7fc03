// The real binary and real Chromium, for the tests beside this file.

import { chromium } from 'playwright-core';
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = process.env.DOORWARD_BIN ?? join(import.meta.dirname, '../../target/debug/doorward');
export const PASSWORD = 'correct horse battery';

/** Cheap hashing and room for many tries. */
const DEV = [
  'insecure_dev=true',
  'passwords.scrypt_log_n=4',
  'passwords.scrypt_p=1',
  'limits.login_failures=100',
  'limits.register_burst=1000000',
  'limits.refresh_per_minute=1000000',
];

/** A port that is ours to listen on twice: a restarted server must be found where it was. */
export const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

export class Server {
  /** @param {string} [file] the settings file, for what no single setting can say */
  static async start(settings = [], file = '') {
    const server = new Server();
    /** @type {string[]} origins that its visitors go to as well */
    server.apps = [];
    server.dir = mkdtempSync(join(tmpdir(), 'doorward-'));
    if (file) writeFileSync(join(server.dir, 'config.toml'), file);
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.arguments = [
      '--listen',
      `127.0.0.1:${server.port}`,
      ...[...DEV, ...settings].flatMap((setting) => ['--set', setting]),
    ];
    await server.run();
    return server;
  }

  /** Starts the binary on its data, which outlives it. */
  async run() {
    this.child = spawn(BINARY, this.arguments, { cwd: this.dir, env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stderr.on('data', (data) => appendFileSync(join(this.dir, 'log'), data));
    const lines = createInterface({ input: this.child.stdout });
    const up = await Promise.race([
      new Promise((done) => lines.once('line', done)),
      new Promise((done) => this.child.once('exit', done)),
    ]);
    if (typeof up !== 'string') throw new Error(`no start: ${this.log()}`);
  }

  async kill(signal = 'SIGKILL') {
    if (this.child.exitCode !== null || this.child.signalCode) return;
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.kill(signal);
    await gone;
  }

  async stop() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  log() {
    return readFileSync(join(this.dir, 'log'), 'utf8');
  }

  command(...args) {
    // A command that reads no password closes its stdin before it is written.
    const input = args[0] === 'user' && args[1] === 'add' ? PASSWORD : undefined;
    return execFileSync(BINARY, [...this.arguments, ...args], { cwd: this.dir, env: {}, input, encoding: 'utf8' });
  }

  user(email, role = 'viewer') {
    this.command('user', 'add', email, '--role', role);
  }

  setupLink() {
    return this.url + '/' + /#setup=\S+/.exec(this.command('setup-link'))[0];
  }

  /** Moves the server's clock. */
  advance(seconds) {
    this.command('clock', String(seconds));
  }
}

export const launch = (more = []) =>
  chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  });

/** A browser profile whose pages note what must never happen: policy violations, calls elsewhere, errors. */
export async function visitor(browser, server, options = {}) {
  const context = await browser.newContext(options);
  const trouble = [];
  context.trouble = trouble;
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== 'data:' && origin !== server.url && !server.apps.includes(origin))
      trouble.push(`request to ${request.url()}`);
  });
  context.on('weberror', (error) => trouble.push(`error: ${error.error()}`));
  context.on('console', (message) => {
    if (/Content Security Policy|TrustedScript|TrustedHTML/i.test(message.text())) trouble.push(message.text());
  });
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) =>
      console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  return context;
}

export async function signIn(page, server, email, password = PASSWORD) {
  await page.goto(`${server.url}/#sign-in`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Your account', exact: true }).waitFor();
}
