//! The control socket: commands on a running server, one JSON line each way, for its owner alone.
//!
//! A command is the same [`Request`] whether a server carries it out or the command itself does.

mod client;
mod execute;
mod protocol;
mod server;

pub use client::dispatch;
pub use execute::setup_link;
pub use protocol::{PlainPassword, Request};
pub use server::{listen, serve, warn_of_length};
