//! Doorward: login for everything on one box, in one file.
//!
//! One static binary with its database, its keys and its page inside. It registers users, signs them
//! in, hands out short-lived access tokens (JWT) and rotating refresh tokens, notices stolen ones,
//! checks roles and permissions, revokes everything at once when told to, and throttles attackers
//! without locking owners out.
//!
//! # The map, in reading order
//! | module | what it is |
//! |---|---|
//! | [`domain`] | the words of the trade as types: parsed once, then trusted; no I/O |
//! | [`store`] | what is remembered, as verbs, each one atomic and durable transition; `store/rotation.rs` is the heart |
//! | [`store::engine`] | the boundary beneath: ordered bytes; `sled` behind it, with one writer thread |
//! | [`service`] | the use cases: accounts, sessions, tokens, passwords, revocation, throttle; no HTTP |
//! | [`service::events`] | what happened, with actor and target: every line of the log that tells of something |
//! | [`http`] | the API: [`http::routes`] is the table; guards, bodies, cookies, errors, answers |
//! | [`server`] | the accept loop: connections, where their requests begin, time-outs, drain |
//! | [`app`] | the composition root: opens the data, builds the services |
//! | [`data`], [`keyring`] | the data directory: whose it is; keys and database, made and opened together |
//! | [`config`] | settings: flag > environment > file > default |
//! | [`cli`] | the command line, and the control socket to a running server |
//! | [`allocator`] | memory given back after the start; the one place with `unsafe` |
//! | [`telemetry`], [`failure`] | logs; why the program ends, with exit codes |
//!
//! ```text
//! main -> cli -> config               http ---> service ---> store ---> engine ---> sled
//!          \--> app --> server --> http           |            |
//!                                    domain <-----+------------+     no arrow points up
//! ```
//!
//! # The way of a sign-in
//! [`server`] takes the connection, `http::service` refuses what is no plain request, the table picks
//! `POST /api/auth/login`, the body filter parses it, `http::auth` checks where it comes from and asks
//! [`service::accounts::Accounts::sign_in`]. That charges the throttle, compares the password on the
//! hashing threads (the same work whether the user exists or not), and asks the store to begin a
//! session. The store's verb is queued to the writer, which runs it with others as one group, flushes,
//! syncs, tells memory, and answers. Then tokens are issued and cookies set.
//!
//! # The way of a refresh
//! A refresh token says its session and generation under a tag, so it is known to be genuine before
//! anything is read. The store compares its generation with the session's: equal, it rotates (only then
//! a limit is asked: no limit stands before evidence); one behind with the `Idempotency-Key` it was
//! replaced with, or within its grace, the same child is given again; behind because it lost a race, 409;
//! behind for any other reason, it was stolen, and everything it could reach is revoked before the
//! answer. A token that comes along with a sign-in or a sign-out is looked at in the same way.
//!
//! # The way of any other request
//! The bearer's signature and claims are checked, then memory is asked whether it is revoked: no disk,
//! no lock held across an await. Who they are and what they may do is then read from their record, not
//! from the token.
//!
//! # Invariants
//! * **I1** One place names each dependency: sled `store/engine/sled/`, bincode `store/record.rs`,
//!   scrypt `service/passwords.rs`, jsonwebtoken `service/access_tokens.rs`, governor
//!   `service/throttle/bucket.rs`, rust-embed `http/assets.rs`, warp `http/`, libc `allocator.rs`.
//! * **I2** Only `http/error.rs` chooses the status of a refusal.
//! * **I3** Domain types are neither what is sent nor what is stored: each edge has its own serde types.
//! * **I4** Time, ids and randomness are arguments of a verb: an engine may run it twice.
//! * **I5** A secret lives in a type that prints as `[REDACTED]` and is wiped when dropped.
//! * **I6** No `unwrap` outside tests; an `expect` states why it cannot fail.
//! * **I7** What a store verb returns is durable: there is no way to hold the value earlier.
//! * **I8** No arrow points up.
//!
//! `tests/it/layering.rs` holds what of this a text can show. Rule ids in comments and tests (`REF-3`,
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
