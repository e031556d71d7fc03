//! What a process of ours sets up before it does anything.

use crate::{
    config::{LogLevel, Settings},
    failure::Failure,
    telemetry,
};

/// Takes as many file handles as the system gives: each connection is one (OPS-8).
pub fn raise_fd_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Keeps what is in memory out of core files and away from other processes of this user (OPS-4).
pub fn harden() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Neither is given everywhere; what remains is as safe as any other program.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Logs of a command go where a server's do, but only what is wrong.
pub fn log_warnings_only(settings: &Settings) {
    let mut log = settings.log.clone();
    log.level = LogLevel::Warn;
    telemetry::start(&log);
}

/// A runtime for one command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::new(format!("no runtime: {error}")))
}
