// A stand-in for a reverse proxy in front of an app: it asks the gate before it answers, as real ones do.

import { createServer, request as ask } from 'node:http';

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
