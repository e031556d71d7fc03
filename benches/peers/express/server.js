'use strict';
// The login server of the JWT tutorials: a short access token, a refresh token
// in an httpOnly cookie, roles, tokenVersion, bcrypt. TUNED=0 is how it is
// usually written; TUNED=1 changes only what its own documentation offers.

const TUNED = process.env.TUNED === '1';
if (TUNED) process.env.NODE_ENV = 'production';

const cluster = require('cluster');
const crypto = require('crypto');
const os = require('os');
const bcrypt = require('bcrypt');
const cookieParser = require('cookie-parser');
const express = require('express');
const jwt = require('jsonwebtoken');

const PORT = Number(process.env.PORT || 3000);
const BCRYPT_COST = Number(process.env.BCRYPT_COST || 12);
const STORE = process.env.STORE || 'postgres';
const WEEK = 7 * 24 * 60 * 60 * 1000;

if (!['postgres', 'map'].includes(STORE)) throw new Error(`STORE=${STORE}: postgres or map`);

// One process per core this process may use. A Map lives in one process, so
// STORE=map always has one.
const WORKERS = STORE === 'map' ? 1 : Number(process.env.WORKERS || os.availableParallelism());

const randomSecret = () => crypto.randomBytes(48).toString('base64');
const sha256 = (text) => crypto.createHash('sha256').update(text).digest('hex');

function createApp(store, secrets) {
  // jsonwebtoken 9 makes a key object of a string secret at each call.
  const secret = (s) => (TUNED ? crypto.createSecretKey(Buffer.from(s)) : s);
  const ACCESS_SECRET = secret(secrets.access);
  const REFRESH_SECRET = secret(secrets.refresh);

  const app = express();
  if (TUNED) {
    app.disable('x-powered-by');
    app.disable('etag');
  }
  app.use(express.json());
  app.use(cookieParser());

  const cookieOptions = {
    httpOnly: true,
    sameSite: 'strict',
    secure: process.env.NODE_ENV === 'production',
    path: '/api/auth',
  };

  const signAccess = (user) =>
    jwt.sign({ role: user.role, ver: user.tokenVersion }, ACCESS_SECRET, {
      subject: user.id,
      jwtid: crypto.randomUUID(),
      expiresIn: '15m',
    });

  const signRefresh = (userId, sid) =>
    jwt.sign({ sid }, REFRESH_SECRET, {
      subject: userId,
      jwtid: crypto.randomUUID(),
      expiresIn: '7d',
    });

  // undefined when the token is missing, forged or expired
  const verify = (token, key) => {
    try {
      return jwt.verify(token, key, { algorithms: ['HS256'] });
    } catch {
      return undefined;
    }
  };

  const setRefreshCookie = (res, token) =>
    res.cookie('refreshToken', token, { ...cookieOptions, maxAge: WEEK });

  const publicUser = (user) => ({ id: user.id, email: user.email, role: user.role });

  // Starts a session: its row holds the hash of the refresh token.
  async function startSession(res, user) {
    const sid = crypto.randomUUID();
    const refreshToken = signRefresh(user.id, sid);
    await store.createSession(sid, user.id, sha256(refreshToken), new Date(Date.now() + WEEK));
    setRefreshCookie(res, refreshToken);
    return { accessToken: signAccess(user), user: publicUser(user) };
  }

  function requireAuth(req, res, next) {
    const header = req.headers.authorization;
    if (!header || !header.startsWith('Bearer ')) {
      return res.status(401).json({ error: 'No token provided' });
    }
    const payload = verify(header.slice('Bearer '.length), ACCESS_SECRET);
    if (!payload) return res.status(401).json({ error: 'Invalid or expired token' });
    req.auth = payload;
    next();
  }

  // Express 4 does not catch what an async handler throws.
  const handle = (fn) => (req, res, next) => fn(req, res, next).catch(next);

  const credentials = (req) => {
    const { email, password } = req.body || {};
    if (typeof email !== 'string' || typeof password !== 'string' || !email || !password) {
      return undefined;
    }
    return { email: email.trim().toLowerCase(), password };
  };

  app.get('/health', (req, res) => res.json({ status: 'ok' }));

  app.post('/api/auth/register', handle(async (req, res) => {
    const input = credentials(req);
    if (!input) return res.status(400).json({ error: 'Email and password are required' });
    const hash = await bcrypt.hash(input.password, BCRYPT_COST);
    const user = await store.createUser(input.email, hash);
    if (!user) return res.status(409).json({ error: 'Email already in use' });
    res.status(201).json(await startSession(res, user));
  }));

  app.post('/api/auth/login', handle(async (req, res) => {
    const input = credentials(req);
    if (!input) return res.status(400).json({ error: 'Email and password are required' });
    const user = await store.findUserByEmail(input.email);
    if (!user || !(await bcrypt.compare(input.password, user.passwordHash))) {
      return res.status(401).json({ error: 'Invalid credentials' });
    }
    res.json(await startSession(res, user));
  }));

  app.post('/api/auth/refresh', handle(async (req, res) => {
    const token = req.cookies.refreshToken;
    if (!token) return res.status(401).json({ error: 'No refresh token' });
    const payload = verify(token, REFRESH_SECRET);
    if (!payload) return res.status(401).json({ error: 'Invalid or expired refresh token' });

    const next = signRefresh(payload.sub, payload.sid);
    const user = await store.rotateSession(
      payload.sid, sha256(token), sha256(next), new Date(Date.now() + WEEK));
    if (!user) {
      // A genuine token that is not the current one: somebody has used it before.
      await store.deleteSessionsOf(payload.sub);
      res.clearCookie('refreshToken', cookieOptions);
      return res.status(401).json({ error: 'Refresh token reuse detected' });
    }
    setRefreshCookie(res, next);
    res.json({ accessToken: signAccess(user) });
  }));

  app.post('/api/auth/logout', handle(async (req, res) => {
    const payload = verify(req.cookies.refreshToken, REFRESH_SECRET);
    if (payload) await store.deleteSession(payload.sid);
    res.clearCookie('refreshToken', cookieOptions);
    res.json({ message: 'Logged out' });
  }));

  // Reads the user, as the tutorials do.
  app.get('/api/users/me', requireAuth, handle(async (req, res) => {
    const user = await store.findUserById(req.auth.sub);
    if (!user) return res.status(401).json({ error: 'User not found' });
    if (user.tokenVersion !== req.auth.ver) return res.status(401).json({ error: 'Token revoked' });
    res.json(publicUser(user));
  }));

  // Trusts the signature alone.
  app.get('/api/auth/verify', requireAuth, (req, res) => {
    res.json({ sub: req.auth.sub, role: req.auth.role });
  });

  app.use((req, res) => res.status(404).json({ error: 'Not found' }));

  // eslint-disable-next-line no-unused-vars
  app.use((err, req, res, next) => {
    const status = err.status || 500;
    if (status >= 500) console.error(err);
    res.status(status).json({ error: status >= 500 ? 'Internal server error' : 'Bad request' });
  });

  return app;
}

function mapStore() {
  const users = new Map(); // id -> user
  const byEmail = new Map(); // email -> user
  const sessions = new Map(); // sid -> { userId, hash, expiresAt }
  const sessionsOf = new Map(); // user id -> Set of sid

  return {
    async init() {},
    async createUser(email, passwordHash) {
      if (byEmail.has(email)) return undefined;
      const user = { id: crypto.randomUUID(), email, passwordHash, role: 'user', tokenVersion: 0 };
      users.set(user.id, user);
      byEmail.set(email, user);
      sessionsOf.set(user.id, new Set());
      return user;
    },
    async findUserByEmail(email) {
      return byEmail.get(email);
    },
    async findUserById(id) {
      return users.get(id);
    },
    async createSession(sid, userId, hash, expiresAt) {
      sessions.set(sid, { userId, hash, expiresAt });
      sessionsOf.get(userId).add(sid);
    },
    async rotateSession(sid, oldHash, newHash, expiresAt) {
      const session = sessions.get(sid);
      if (!session || session.hash !== oldHash) return undefined;
      session.hash = newHash;
      session.expiresAt = expiresAt;
      return users.get(session.userId);
    },
    async deleteSession(sid) {
      const session = sessions.get(sid);
      if (!session) return;
      sessions.delete(sid);
      sessionsOf.get(session.userId).delete(sid);
    },
    async deleteSessionsOf(userId) {
      const sids = sessionsOf.get(userId);
      if (!sids) return;
      for (const sid of sids) sessions.delete(sid);
      sids.clear();
    },
  };
}

function postgresStore() {
  const { Pool } = require('pg');
  const pool = new Pool({ connectionString: process.env.DATABASE_URL });
  pool.on('error', (err) => console.error('postgres:', err.message));

  // A named statement is parsed and planned once per connection.
  const query = (name, text, values) =>
    pool.query(TUNED ? { name, text, values } : { text, values });

  const USER = `u.id, u.email, u.password_hash AS "passwordHash", u.role, u.token_version AS "tokenVersion"`;

  return {
    async init() {
      await pool.query(`
        CREATE TABLE IF NOT EXISTS users (
          id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
          email text NOT NULL UNIQUE,
          password_hash text NOT NULL,
          role text NOT NULL DEFAULT 'user',
          token_version integer NOT NULL DEFAULT 0,
          created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE IF NOT EXISTS sessions (
          id uuid PRIMARY KEY,
          user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          hash text NOT NULL,
          expires_at timestamptz NOT NULL
        );
        CREATE INDEX IF NOT EXISTS sessions_user_id ON sessions (user_id);
      `);
    },
    async createUser(email, passwordHash) {
      const { rows } = await query('create-user',
        `INSERT INTO users AS u (email, password_hash) VALUES ($1, $2)
         ON CONFLICT (email) DO NOTHING RETURNING ${USER}`, [email, passwordHash]);
      return rows[0];
    },
    async findUserByEmail(email) {
      const { rows } = await query('user-by-email',
        `SELECT ${USER} FROM users u WHERE u.email = $1`, [email]);
      return rows[0];
    },
    async findUserById(id) {
      const { rows } = await query('user-by-id',
        `SELECT ${USER} FROM users u WHERE u.id = $1`, [id]);
      return rows[0];
    },
    async createSession(sid, userId, hash, expiresAt) {
      await query('create-session',
        'INSERT INTO sessions (id, user_id, hash, expires_at) VALUES ($1, $2, $3, $4)',
        [sid, userId, hash, expiresAt]);
    },
    // Swaps the hash and reads the user in one statement; no row: not the current token.
    async rotateSession(sid, oldHash, newHash, expiresAt) {
      const { rows } = await query('rotate-session',
        `UPDATE sessions s SET hash = $3, expires_at = $4 FROM users u
         WHERE s.id = $1 AND s.hash = $2 AND u.id = s.user_id RETURNING ${USER}`,
        [sid, oldHash, newHash, expiresAt]);
      return rows[0];
    },
    async deleteSession(sid) {
      await query('delete-session', 'DELETE FROM sessions WHERE id = $1', [sid]);
    },
    async deleteSessionsOf(userId) {
      await query('delete-sessions-of', 'DELETE FROM sessions WHERE user_id = $1', [userId]);
    },
  };
}

async function main() {
  const store = STORE === 'map' ? mapStore() : postgresStore();
  // Made at start; the workers of one cluster share them.
  const secrets = {
    access: process.env.ACCESS_TOKEN_SECRET || randomSecret(),
    refresh: process.env.REFRESH_TOKEN_SECRET || randomSecret(),
  };

  if (cluster.isPrimary) {
    await store.init();
    if (WORKERS > 1) {
      for (let i = 0; i < WORKERS; i++) {
        cluster.fork({
          ACCESS_TOKEN_SECRET: secrets.access,
          REFRESH_TOKEN_SECRET: secrets.refresh,
        });
      }
      cluster.on('exit', (worker, code, signal) => {
        console.error(`worker ${worker.process.pid} ended (${signal || code})`);
        process.exit(1);
      });
      return;
    }
  }
  createApp(store, secrets).listen(PORT, '127.0.0.1');
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
