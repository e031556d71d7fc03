//! Doorward: login for everything on one box, in one file.
//!
//! One binary with its database, its keys and its page inside. It registers users, logs them
//! in, hands out short-lived access tokens (JWT) and rotating refresh tokens, notices stolen ones,
//! checks roles and permissions, revokes everything at once when told to, and throttles attackers
//! without locking owners out.
//!
//! # The map, in reading order
//! | module | what it is |
//! |---|---|
//! | [`domain`] | the words of the trade as types: parsed once, then trusted; no I/O |
//! | [`store`] | what is remembered, as operations, each one atomic and durable transition; `store/rotation.rs` is the heart |
//! | [`store::engine`] | the boundary beneath: ordered bytes; sled behind it, with one writer thread |
//! | [`service`] | the use cases, a file each: login, registration, password change, refresh, users, invites; no HTTP |
//! | [`service::denylist`] | which access tokens are void although they have not expired; [`service::revocations`] tells others |
//! | [`domain::gate`], [`service::gate`] | the apps behind the gate, who may enter them, and the way in; asked in `http/gate/` |
//! | [`http`] | the API: [`http::routes`] is the table; guards, bodies, cookies, errors, answers; [`http::language`] chooses the page's |
//! | [`server`] | the accept loop: connections, TLS, where their requests begin, time-outs, drain |
//! | [`app`], [`jobs`] | the composition root: opens the data, builds the services; what runs on a timer |
//! | [`data`], [`keyring`] | the data directory: whose it is; keys and database, made and opened together |
//! | [`config`] | settings: flag > environment > file > default |
//! | [`cli`] | the command line, and the control socket to a running server |
//! | [`telemetry`], [`failure`] | logs and metrics; why the program ends, with exit codes |
//!
//! ```text
//! main -> cli -> config               http ---> service ---> store ---> engine ---> sled
//!          \--> app --> server --> http           |            |
//!                                    domain <-----+------------+     no arrow points up
//! ```
//!
//! # The way of a login
//! [`server`] takes the connection, `http/pipeline.rs` refuses what is no plain request, the table picks
//! `POST /api/auth/login`, the body filter parses it, `http/auth.rs` checks where it comes from and asks
//! [`service::accounts::Accounts::login`]. That charges the throttle, compares the password on the
//! hashing threads (the same work whether the user exists or not), and asks the store to begin a
//! session. The store's transaction is queued to the writer, which runs it with others as one group, flushes,
//! syncs, tells memory, writes the log's line, and answers. Then tokens are issued and cookies set.
//!
//! # The way of a refresh
//! `service/sessions/refresh.rs` is the protocol. A refresh token says its session and generation under a tag,
//! so it is known to be genuine before anything is read. The store compares its generation with the
//! session's: equal, it rotates (only then a limit is asked: no limit stands before evidence); one behind with
//! the `Idempotency-Key` it was replaced with, or within its grace, the same child is given again; behind
//! because it lost a race, 409; behind for any other reason, it was stolen, and everything it could reach is
//! revoked before the answer. A token that comes along with a login or a logout is looked at in the same way.
//!
//! # The way of any other request
//! The bearer's signature and claims are checked, then the deny list in memory is asked whether it was revoked:
//! no disk, no lock held across an await. Who they are and what they may do is then read from their record, not
//! from the token.
//!
//! # The way of a question to the gate
//! A proxy asks `/gate/forward` (or `/gate/nginx`) before each request to an app. That is taken before any other check, for it
//! comes with the app's method, query and body. `http/gate/question.rs` reads the three headers that the proxy has set,
//! `http/gate/verdict.rs` decides by the rules of [`domain::gate`], whose pass or key it is by [`service::gate`], in memory;
//! `http/gate/answer.rs` answers in the proxy's style. Nobody is sent to the sign-in page and back by `http/gate/entry.rs`:
//! a nonce, a sealed request, a code, a pass.
//!
//! # Glossary
//! | word | meaning |
//! |---|---|
//! | session | one login on one device; a family of refresh tokens, of which one is good (`sid`) |
//! | generation | how often a session's refresh token was replaced; each token says its own |
//! | rotation | a refresh token is replaced by the next generation, at every refresh |
//! | reuse | an older generation is presented and nothing excuses it: taken for theft |
//! | lost race, conflict | the token's rotation by another request was not durable yet when it arrived: 409 |
//! | conflict window | how long after a rotation a browser with a CSRF token is still taken for a lost race |
//! | child | the refresh token that replaces another |
//! | retry key | the `Idempotency-Key` of a refresh: sent again with it, the same child is given again |
//! | grace | a time in which that needs no key; none by default |
//! | transport | how a session's refresh token travels: in a cookie or in the body; never changes |
//! | token version | a number of the user in every access token (`ver`); raised, those from before are void |
//! | epoch | counts how often everything of a user was ended at once; what they handed out before is void |
//! | deny list, not before | what was revoked and could still live; the moment before which everything is void |
//! | service account, API key | a user without a password; what acts for its owner, for some of what they may do |
//! | app, gate | a program behind a proxy that asks Doorward first; what answers the proxy |
//! | question | what a proxy asks: may this request, of this visitor, go through to that app? |
//! | pass | what a browser carries to one app: its session, under a tag; void like an access token |
//! | entry request, code, nonce | the sealed wish to enter an app; what it is answered with; what binds both to one browser |
//! | feed, cursor | what tells verifiers of revocations; how far one has read it |
//! | device token | lets nobody in; whoever has it has login tries of their own, which strangers cannot use up |
//! | caller, address prefix | who asks for a hash; the /32 of IPv4 or /64 of IPv6 that limits count as one |
//! | decoy | a row that is nobody's, read when there is none, so that finding nobody takes as long |
//! | keyring | the file with the keys, made at the first start; a ring of them for each purpose |
//! | next, current, retired | a key of a ring: published and not used yet; used for what is new; only verifies what was |
//! | catalogue | the texts of the pages in one language |
//! | set-up link | by which the first admin is made: good once, for an hour |
//! | engine, storage | what keeps ordered bytes; where they are kept and how that is opened |
//! | transaction, work | one atomic and durable change, as the store and as the engine know it |
//! | group | the works that are made durable with one sync |
//! | view | a look at what is committed; in `http/`, what a client is shown of a record (`SessionView`) |
//! | event, record | what a transaction tells memory once it is durable; what it writes into the log |
//! | marker | a number that only grows, in the database and beside it: by it a rollback is noticed |
//!
//! # Invariants
//! * **I1** One place names each dependency: sled `store/engine/sled/`, bincode `store/record.rs`,
//!   scrypt `service/passwords.rs`, jsonwebtoken `service/keys.rs`, aws-lc-rs `keyring/pair.rs`, governor
//!   `service/throttle/bucket.rs`, prometheus `telemetry/metrics/`, rust-embed `http/assets.rs`, rustls and its part of
//!   aws-lc-rs `server/tls/`, warp `http/`.
//! * **I2** Only `http/error.rs` chooses the status of a refusal.
//! * **I3** Domain types are neither what is sent nor what is stored: each edge has its own serde types.
//! * **I4** A transaction's code changes nothing but the transaction. Time, ids, randomness and what memory knows are its
//!   arguments: an engine may run it twice.
//! * **I5** A secret lives in a type that prints as `[REDACTED]` and is wiped when dropped.
//! * **I6** No `unwrap` outside tests; an `expect` states why it cannot fail.
//! * **I7** What an operation of the store returns is durable: there is no way to hold the value earlier.
//! * **I8** No arrow points up, and no file reaches itself through others.
//!
//! `tests/it/layering` holds what of this a text can show. Rule ids in comments and tests (`REF-3`,
//! `STO-1` …) are those of `docs/security.md`; decisions that somebody will ask about are in `docs/adr`.

pub mod app;
pub mod cli;
pub mod config;
pub mod data;
pub mod domain;
pub mod failure;
pub mod http;
pub mod jobs;
pub mod keyring;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
