//! The control socket: the server's owner runs commands on a running server, one JSON line each way.
//!
//! A command is the same [`Request`] whether a server executes it or the command's own process does.

mod api_keys;
mod audit;
mod client;
mod execute;
mod keys;
mod protocol;
mod server;

pub use client::{ask, dispatch, write_backup};
pub use execute::setup_link;
pub use protocol::{PlainPassword, Request};
pub use server::{listen, serve, warn_if_socket_path_too_long};
