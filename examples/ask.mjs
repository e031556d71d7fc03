// A service with one page, GET /articles, for whoever Doorward says may read it.
//
// DOORWARD_URL=http://127.0.0.1:3000 PORT=8080 node examples/ask.mjs
import { createServer } from 'node:http';

const { DOORWARD_URL = 'http://127.0.0.1:3000', PERMISSION = 'articles:read', PORT = '8080' } = process.env;
const question = new URL('/api/auth/verify', DOORWARD_URL);
question.searchParams.set('permission', PERMISSION);

/** What Doorward answers to this caller. No redirect is followed: the token is for Doorward alone. */
async function ask(authorization) {
  const headers = authorization ? { authorization } : {};
  const answer = await fetch(question, { headers, redirect: 'error', signal: AbortSignal.timeout(5000) });
  return { status: answer.status, headers: answer.headers, body: await answer.text() };
}

async function articles(authorization) {
  const { status, headers, body } = await ask(authorization);
  if (status === 401 || status === 403) return [status, body, headers.get('www-authenticate')];
  const reader = headers.get('x-auth-user');
  if (status !== 200 || !reader) throw new Error('not a yes'); // 200 from what is not Doorward is none
  return [200, JSON.stringify({ articles: ['On doors'], reader })];
}

const server = createServer(async (request, response) => {
  const found = request.method === 'GET' && request.url === '/articles';
  const unavailable = [503, '{"error":"UNAVAILABLE"}'];
  const [status, body, challenge] = found
    ? await articles(request.headers.authorization).catch(() => unavailable)
    : [404, '{}'];
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    ...(challenge && { 'WWW-Authenticate': challenge }),
  });
  response.end(body);
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
