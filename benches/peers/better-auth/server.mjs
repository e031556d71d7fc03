// Better Auth as its docs set it up: email + password, node:http, SQLite.
import { createServer } from "node:http";
import { join } from "node:path";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";
import Database from "better-sqlite3";

const { DATA, PORT, SECRET, SQLITE_JOURNAL } = process.env;

const database = new Database(join(DATA, "auth.db"));
if (SQLITE_JOURNAL) database.pragma(`journal_mode = ${SQLITE_JOURNAL}`);

const auth = betterAuth({
  baseURL: `http://127.0.0.1:${PORT}`,
  secret: SECRET,
  database,
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: "error" },
  plugins: [
    bearer(),
    // Without this option every get-session would also sign a JWT.
    jwt({ disableSettingJwtHeader: true }),
  ],
});

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const server = createServer(toNodeHandler(auth));
server.keepAliveTimeout = 75_000; // node's 5 s would cut the generator's idle connections
server.listen(Number(PORT), "127.0.0.1");
