//! The command line: one file per noun. Commands that need the data directory ask a running server
//! through its control socket, or open the directory themselves if none runs; the output is the same.

mod api_key;
mod audit;
mod backup;
mod check;
mod config;
mod control;
mod gate;
mod healthcheck;
mod key;
mod output;
mod process;
mod progress;
pub mod proxy_config;
mod serve;
mod session;
mod token;
mod user;

use crate::{
    config::{Environment, Flags, OperatorSecrets, load},
    failure::Failure,
};
use clap::{Parser, Subcommand};
use control::Request;

/// Login for everything on one box, in one file.
#[derive(Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// Machine-readable output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Users: add, list, show, role, password, disable, enable, verify, unlock, delete
    #[command(subcommand)]
    User(user::Command),
    /// Sessions: list, revoke
    #[command(subcommand)]
    Session(session::Command),
    /// API keys: add, list, revoke
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// Service accounts: add
    #[command(subcommand)]
    Service(api_key::ServiceCommand),
    /// Keys: list, rotate
    #[command(subcommand)]
    Key(key::Command),
    /// What happened: sign-ins, changes, refusals
    Audit(audit::Args),
    /// Back up everything into one file, beside a running server or a stopped one; verify
    Backup(backup::Args),
    /// Put a backup in the place of a data directory
    Restore(backup::RestoreArgs),
    /// Read the whole database and report everything that is wrong with it
    Check,
    /// Make a new link for the first admin
    SetupLink,
    /// Settings: check, show
    #[command(subcommand)]
    Config(config::Command),
    /// Tokens: inspect
    #[command(subcommand)]
    Token(token::Command),
    /// Apps behind the gate: explain, check
    #[command(subcommand)]
    Gate(gate::Command),
    /// Print the configuration of a proxy in front of an app
    ProxyConfig(proxy_config::Args),
    /// Ask a running server whether it is well
    Healthcheck(healthcheck::Args),
    /// Move the clock of a server with `insecure_dev` set, for tests
    #[command(hide = true)]
    Clock {
        /// By how many seconds
        #[arg(allow_hyphen_values = true)]
        seconds: i64,
        /// As if so much time had really passed
        #[arg(long)]
        slept: bool,
    },
}

/// Runs a command.
///
/// # Errors
/// Why the command failed, for the person at the terminal, with an exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // All files this process creates, sled's too, are readable by their owner only (STO-11).
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    process::harden();
    process::raise_fd_limit();
    let Cli { flags, json, command } = cli;
    // This command needs no settings, so it must work even if they are invalid.
    let command = match command.unwrap_or(Command::Serve) {
        Command::Token(command) => return token::run(&command, json),
        other => other,
    };
    let environment = Environment::of_process();
    let loaded = load(&flags, &environment)?;
    let secrets = OperatorSecrets::read(&environment, loaded.settings.tokens.algorithm)?;
    let send = |request| control::dispatch(&loaded, &secrets, request);
    match command {
        Command::Serve => serve::serve(loaded, &secrets),
        Command::User(command) => user::run(command, json, send),
        Command::Session(command) => session::run(command, json, send),
        Command::ApiKey(command) => api_key::run(command, json, send),
        Command::Service(command) => api_key::run_service(command, json, send),
        Command::Key(command) => key::run(&command, json, send),
        Command::Audit(args) => audit::run(args, json, send, |request| control::ask(&loaded, &request)),
        Command::Backup(args) => backup::run(args, json, &loaded, &secrets),
        Command::Restore(args) => backup::restore(&args, json, &loaded, &secrets),
        Command::SetupLink => {
            let shown = |answer: &_| format!("{}\ngood once, until {}", output::text(answer, "link"), output::text(answer, "expiresAt"));
            output::print(json, &send(Request::SetupLink)?, shown)
        }
        Command::Check => check::run(&send(Request::Check)?, json),
        Command::Config(command) => config::run(&command, &loaded, &secrets, json),
        Command::Token(_) => unreachable!("carried out above"),
        Command::ProxyConfig(args) => proxy_config::run(&args, json, |app| gate::target(&loaded.settings, app)),
        Command::Gate(command) => gate::run(command, &loaded.settings, json, send),
        Command::Healthcheck(args) => healthcheck::run(&args, &loaded.settings, json),
        Command::Clock { seconds, slept } => send(Request::Clock { seconds, slept }).map(drop),
    }
}
