//! Process-wide set-up, done before anything else.

use crate::{
    config::{LogLevel, Settings},
    failure::Failure,
    telemetry,
};
use std::net::SocketAddr;

/// Raises the limit on open files to the most that the system allows: each connection is one (OPS-8).
pub fn raise_fd_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Disables core files and keeps other processes of the same user from reading our memory (OPS-4).
pub fn harden() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Not every system supports both. Without them we are as protected as any other program.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Starts logging for a command: like a server's logs, but only warnings and errors.
pub fn log_warnings_only(settings: &Settings) {
    let mut log = settings.log.clone();
    log.level = LogLevel::Warn;
    telemetry::start(&log);
}

/// Builds the async runtime of a command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::new(format!("no runtime: {error}")))
}

/// The address to connect to: loopback if the server listens on all addresses.
#[must_use]
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
