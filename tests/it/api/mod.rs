//! The HTTP API, tested from outside on the real binary.

mod accounts;
mod admin;
mod api_keys;
mod authorization;
mod cookies;
mod cors;
mod csrf;
mod events;
mod feed;
mod http;
mod identity;
mod introspection;
mod invites;
mod key_commands;
mod languages;
mod lifetimes;
mod logout;
mod passwords;
mod races;
mod refresh;
mod retries;
mod revocation;
mod sessions;
mod stolen_keys;
mod tokens;
mod walk;
