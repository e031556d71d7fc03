// Doorward as it is in use: over https, a real proxy in front on the configuration that is printed for it, two apps on two
// root domains, and a neighbour of theirs that nobody guards. The browser is told that all hosts are on this machine.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { freePort, launch, Server } from './stage.mjs';

export const LOGIN = 'https://login.example.org';
export const WIKI = 'https://wiki.example.org';
export const MEDIA = 'https://media.example.net';
export const SIBLING = 'https://sibling.example.org';

const EXAMPLES = join(import.meta.dirname, '../../examples/gate');
const SETTINGS = `
[server]
public_url = "${LOGIN}"
trusted_proxies = ["127.0.0.1/32"]

[[gate.app]]
name = "wiki"
origin = "${WIKI}"
roles = ["*"]

[[gate.app]]
name = "media"
origin = "${MEDIA}"
roles = ["*"]
`;

/** A page of an app, or of the neighbour: who it is told that its visitor is. It echoes what a websocket says. */
class Site {
  static async start(name) {
    const site = new Site();
    /** @type {string[]} what it was asked for, and by whom */
    site.reached = [];
    site.listener = createServer((request, response) => {
      const user = request.headers['remote-user'] || 'nobody';
      if (request.url !== '/favicon.ico') site.reached.push(`${request.method} ${request.url} ${user}`);
      request.resume();
      const kind = request.url.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8';
      response.writeHead(200, { 'content-type': kind, 'cache-control': 'no-store' });
      response.end(
        kind === 'text/javascript'
          ? '//'
          : `<!doctype html><html lang="en"><title>${name}</title><h1>${name}</h1><p id="user">${user}</p></html>`,
      );
    });
    site.listener.on('upgrade', (request, socket) => {
      site.reached.push(`websocket ${request.url} ${request.headers['remote-user']}`);
      echo(request, socket);
    });
    await new Promise((done) => site.listener.listen(0, '127.0.0.1', done));
    site.address = `127.0.0.1:${site.listener.address().port}`;
    return site;
  }

  /** Whether anything came through to a path that begins so. */
  has(path) {
    return this.reached.some((line) => line.split(' ')[1].startsWith(path));
  }

  stop() {
    this.listener.closeAllConnections();
    this.listener.close();
  }
}

/** RFC 6455, for texts of less than 126 bytes that come in one piece. */
function echo(request, socket) {
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.on('error', () => {});
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on('data', (frame) => {
    if ((frame[0] & 15) !== 1) return socket.end();
    const text = frame.subarray(6).map((byte, at) => byte ^ frame[2 + (at % 4)]);
    return socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  });
}

/** How each proxy is run on what is printed: its files, the command, and the line that says that it listens. */
const PROXIES = {
  nginx: {
    sign: 'using the "epoll" event method',
    write({ dir, port, printed, cert, key, server, sibling }) {
      const login = readFileSync(join(EXAMPLES, 'nginx/login.conf'), 'utf8')
        .replace('listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`)
        .replace('listen [::]:443 ssl;', '')
        .replace(/(ssl_certificate) .*/, `$1 ${cert};`)
        .replace(/(ssl_certificate_key) .*/, `$1 ${key};`)
        .replace('127.0.0.1:3000', `127.0.0.1:${server.port}`);
      const neighbour = login
        .replaceAll('login.example.org', 'sibling.example.org')
        .replace(`127.0.0.1:${server.port}`, sibling.address);
      printed.forEach((text, at) => writeFileSync(join(dir, `${at}.conf`), text));
      const own = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (what) => `${what}_temp_path ${dir}/${what};`,
      );
      const main = join(dir, 'main.conf');
      writeFileSync(
        main,
        `daemon off;\nmaster_process off;\npid ${dir}/pid;\nerror_log stderr notice;\nevents {}\n` +
          `http {\naccess_log off;\n${own.join('\n')}\ninclude ${dir}/0.conf;\ninclude ${dir}/1.conf;\n${login}${neighbour}}\n`,
      );
      return ['-p', dir, '-c', main];
    },
  },
  caddy: {
    sign: 'serving initial configuration',
    write({ dir, port, printed, cert, key, server, sibling }) {
      const login = readFileSync(join(EXAMPLES, 'caddy/login.Caddyfile'), 'utf8')
        .replace(`${LOGIN} {`, `${LOGIN}:${port} {\n\tbind 127.0.0.1\n\ttls ${cert} ${key}`)
        .replace('127.0.0.1:3000', `127.0.0.1:${server.port}`);
      const neighbour = login.replace(LOGIN, SIBLING).replace(`127.0.0.1:${server.port}`, sibling.address);
      const main = join(dir, 'main');
      writeFileSync(
        main,
        `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${[...printed, login, neighbour].join('\n')}`,
      );
      return ['run', '--adapter', 'caddyfile', '--config', main];
    },
  },
};

/** One certificate for every host. */
function certificate(dir) {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'cert.pem.key')];
  const names = [LOGIN, WIKI, MEDIA, SIBLING].map((origin) => `DNS:${new URL(origin).host}`).join();
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=apps', '-addext', `subjectAltName=${names}`, '-out', cert, '-keyout', key],
    ],
    { stdio: 'pipe' },
  );
  return { cert, key };
}

/** Runs a proxy until it listens. */
async function run(kind, dir, args) {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: dir };
  const child = spawn(kind, args, { cwd: dir, env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  await new Promise((up, down) => {
    child.once('error', down);
    child.once('exit', () => down(new Error(`${kind} does not start: ${log}`)));
    child.stderr.on('data', (data) => {
      log += data;
      if (log.includes(PROXIES[kind].sign)) up();
    });
  });
  return { child, log: () => log };
}

/** Everything that a visitor can meet, and a browser to meet it with. */
export async function house(kind) {
  const server = await Server.start([], SETTINGS);
  server.apps = [WIKI, MEDIA, SIBLING, LOGIN];
  for (const name of ['ada', 'eve']) server.user(`${name}@example.org`);
  const [wiki, media, sibling] = [await Site.start('wiki'), await Site.start('media'), await Site.start('sibling')];
  const [dir, port] = [join(server.dir, kind), await freePort()];
  mkdirSync(dir);
  const { cert, key } = certificate(dir);
  const to = ['--bind', `127.0.0.1:${port}`, '--tls-cert', cert, '--tls-key', key];
  const print = (app, { address }) =>
    server.command('proxy-config', kind, app, '--upstream', `http://${address}`, ...to);
  const printed = [print('wiki', wiki), print('media', media)];
  const proxy = await run(kind, dir, PROXIES[kind].write({ dir, port, printed, cert, key, server, sibling }));
  const browser = await launch([`--host-resolver-rules=MAP *:443 127.0.0.1:${port}`, '--ignore-certificate-errors']);
  const stop = async () => {
    await browser.close();
    proxy.child.kill('SIGKILL');
    await server.stop();
    for (const site of [wiki, media, sibling]) site.stop();
  };
  return { kind, server, wiki, media, sibling, proxy, browser, stop };
}
