// A stand-in for a reverse proxy in front of an app: it asks the gate before it answers, as real ones do. And a server with
// two of them in front.

import { createServer, request as ask } from 'node:http';
import { Server, visitor } from './stage.mjs';

/** What of a visitor's request the gate is told as it is. */
const HANDED_ON = [
  ...['cookie', 'accept', 'accept-language', 'origin', 'user-agent', 'x-doorward-key'],
  ...['sec-fetch-mode', 'sec-fetch-dest', 'sec-fetch-site', 'sec-fetch-user'],
];
const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

export class Proxy {
  /** Listens, so that its origin is known; it answers once it has a server to ask. */
  static async start(name) {
    const proxy = new Proxy();
    proxy.name = name;
    /** @type {string[]} what the app has been asked for */
    proxy.reached = [];
    proxy.listener = createServer((request, response) => proxy.answer(request, response));
    await new Promise((done) => proxy.listener.listen(0, '127.0.0.1', done));
    proxy.host = `localhost:${proxy.listener.address().port}`;
    proxy.url = `http://${proxy.host}`;
    return proxy;
  }

  stop() {
    this.listener.closeAllConnections();
    this.listener.close();
  }

  /** Asks the gate about a request. */
  question({ method, url, headers }) {
    const told = Object.fromEntries(HANDED_ON.flatMap((name) => (headers[name] ? [[name, headers[name]]] : [])));
    const about = { 'x-forwarded-method': method, 'x-forwarded-host': this.host, 'x-forwarded-uri': url };
    return new Promise((resolve, reject) => {
      const question = ask(`${this.server.url}/gate/forward`, { headers: { ...told, ...about } }, resolve);
      question.on('error', reject).end();
    });
  }

  async answer(request, response) {
    const verdict = await this.question(request).catch(() => null);
    if (!verdict) return response.writeHead(502).end();
    if (verdict.statusCode !== 200) {
      response.writeHead(verdict.statusCode, verdict.headers);
      return verdict.pipe(response);
    }
    verdict.resume();
    this.reached.push(`${request.method} ${request.url}`);
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    const user = verdict.headers['remote-user'] || 'nobody';
    return response.end(
      `<!doctype html><html lang="en"><title>${this.name}</title><main><h1>${this.name}</h1><p id="user">${escape(user)}</p></main></html>`,
    );
  }
}

const appsFile = (wiki, grafana) => `
[registration]
mode = "invite"

[[gate.app]]
name = "wiki"
origin = "${wiki.url}"
roles = ["*"]
[[gate.app.path]]
prefix = "/admin"
roles = ["admin"]

[[gate.app]]
name = "grafana"
origin = "${grafana.url}"
roles = ["editor", "admin"]
keys = false
`;

/** A server with two apps behind it, ada who may enter both, eve who may enter one, and a browser. */
export async function behindGate(browser, { settings = [], locale, isInspected = false }) {
  const [wiki, grafana] = [await Proxy.start('wiki'), await Proxy.start('grafana')];
  const server = await Server.start(settings, appsFile(wiki, grafana));
  server.apps = [wiki.url, grafana.url];
  for (const proxy of [wiki, grafana]) proxy.server = server;
  server.user('ada@example.org', 'editor');
  server.user('eve@example.org', 'viewer');
  // Chromium runs a tester's eval only if the policy is set aside: views that are inspected are not those that are watched.
  const context = isInspected
    ? await browser.newContext({ bypassCSP: true })
    : await visitor(browser, server, { locale });
  const stage = { server, wiki, grafana, context, forms: 0 };
  await context.exposeBinding('noteForm', () => void stage.forms++);
  await context.addInitScript(() => {
    new MutationObserver(() => document.querySelector('form') && globalThis.noteForm()).observe(document, {
      childList: true,
      subtree: true,
    });
  });
  stage.page = await newTab(stage);
  stage.stop = async () => {
    await context.close();
    await server.stop();
    for (const proxy of [wiki, grafana]) proxy.stop();
  };
  return stage;
}

export async function newTab({ context }) {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  return page;
}
