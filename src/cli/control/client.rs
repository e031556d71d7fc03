//! The client side of the control socket.

use super::{
    execute::execute,
    protocol::{CommandError, Request, parse_email, role_named},
};
use crate::{
    app::App,
    cli::process::{log_warnings_only, runtime},
    config::{Loaded, OperatorSecrets, Settings},
    data::{self, DataDir, Summary},
    failure::Failure,
    http::PublicOrigin,
    service::{self, passwords},
};
use rustix::{net::sockopt::socket_peercred, process::geteuid};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// How long a command waits for the server. A password to hash may have to queue.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a command to the server that runs on the data directory, or executes it in this process if none runs.
///
/// # Errors
/// Why the command failed, for the person at the terminal.
pub fn dispatch(loaded: &Loaded, secrets: &OperatorSecrets, request: Request) -> Result<Value, Failure> {
    let settings = &loaded.settings;
    let data_dir = &settings.server.data_dir;
    data::act_as_owner(data_dir, loaded.discovered_file())?;
    let is_new = DataDir::is_new(data_dir);
    if is_new {
        require_first(&request, settings)?;
    }
    match connect(settings)? {
        Some(stream) => send(&stream, &request).map_err(|error| failed(settings, &error))?,
        None => {
            log_warnings_only(settings);
            runtime()?.block_on(async {
                let app = App::open(settings, secrets).await?;
                let site = PublicOrigin::new(settings);
                if is_new {
                    // A note that cannot be written must not fail the command.
                    let _ = writeln!(io::stderr(), "doorward: a new installation: keys and database made in {}", data_dir.display());
                }
                let outcome = execute(&app, &site, request).await;
                app.audit().write_noted().await?;
                Ok::<_, Failure>(outcome)
            })?
        }
    }
    .map_err(|CommandError(why)| Failure::new(why))
}

/// Connects to the server that runs on the data directory; nothing if none runs.
fn connect(settings: &Settings) -> Result<Option<UnixStream>, Failure> {
    let socket = DataDir::control_socket(&settings.server.data_dir);
    match UnixStream::connect(&socket) {
        Ok(stream) => require_ours(&stream, &socket).map(|()| Some(stream)),
        // No server runs: there is no socket, a killed server left one behind, or the path is too long
        // for a socket.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(error) => Err(failed(settings, &error)),
    }
}

fn failed(settings: &Settings, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", DataDir::control_socket(&settings.server.data_dir).display()))
}

/// Writes a backup: by the server that runs on the data directory, or by this process if none runs.
///
/// # Errors
/// Why there is no backup. What was written then is none.
pub fn write_backup(loaded: &Loaded, secrets: &OperatorSecrets, out: &mut dyn Write) -> Result<Summary, Failure> {
    let settings = &loaded.settings;
    if DataDir::is_new(&settings.server.data_dir) {
        require_first(&Request::Backup, settings)?;
    }
    let Some(stream) = connect(settings)? else {
        log_warnings_only(settings);
        return runtime()?.block_on(async { App::open(settings, secrets).await?.write_backup(out) });
    };
    let mut writer = &stream;
    let line = serde_json::to_string(&Request::Backup).map_err(|error| Failure::new(error.to_string()))? + "\n";
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .and_then(|()| writer.write_all(line.as_bytes()))
        .map_err(|error| failed(settings, &error))?;
    data::copy_backup(stream, out)
}

/// Sends a command to the server that runs on the data directory.
///
/// # Errors
/// Why the command failed; also that no server runs.
pub fn ask(loaded: &Loaded, request: &Request) -> Result<Value, Failure> {
    let socket = DataDir::control_socket(&loaded.settings.server.data_dir);
    let failed = |error: io::Error| Failure::new(format!("{}: {error}: does the server run?", socket.display()));
    let stream = UnixStream::connect(&socket).map_err(failed)?;
    require_ours(&stream, &socket)?;
    send(&stream, request).map_err(failed)?.map_err(|CommandError(why)| Failure::new(why))
}

/// Refuses commands that a data directory without data has no answer to, and those that would fail once it was made. Only
/// adding a user makes a new installation.
fn require_first(request: &Request, settings: &Settings) -> Result<(), Failure> {
    let Request::UserAdd { email, role, password } = request else {
        let data_dir = &settings.server.data_dir;
        return Err(Failure::new(format!(
            "{}: {}: start doorward there, or name another with --data-dir",
            data_dir.display(),
            match (data_dir.is_dir(), data_dir.exists()) {
                (true, _) => "nothing is kept there yet",
                (false, true) => "that is no directory",
                (false, false) => "there is no data directory yet",
            }
        )));
    };
    let (email, password) = (parse_email(email), password.password());
    let role = role.as_deref().map(role_named).transpose();
    let refused = |CommandError(why)| Failure::new(why);
    let (email, password, role) = (email.map_err(refused)?, password.map_err(refused)?, role.map_err(refused)?);
    if role.is_some_and(|role| !settings.roles.contains(&role)) {
        let allowed = settings.roles.names().cloned().collect();
        return Err(refused(service::Error::InvalidRole { allowed }.into()));
    }
    passwords::check(&password, &email, settings.passwords.min_length).map_err(|why| Failure::new(format!("the password {why}")))
}

/// Checks that the process that listens on the socket runs as our own user, as the kernel reports it. Passwords are
/// sent over the socket, and its place in our directory proves nothing if others could write there.
fn require_ours(stream: &UnixStream, socket: &Path) -> Result<(), Failure> {
    let server = socket_peercred(stream).map_err(|error| Failure::new(format!("{}: {error}", socket.display())))?.uid;
    if server == geteuid() {
        return Ok(());
    }
    let listener = data::User::with_id(server.as_raw());
    Err(Failure::config(format!("{}: {listener} listens there, and not this user's server: nothing was sent", socket.display())))
}

fn send(stream: &UnixStream, request: &Request) -> io::Result<Result<Value, CommandError>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut writer = stream;
    let line = SecretString::from(serde_json::to_string(request)? + "\n");
    writer.write_all(line.expose_secret().as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("the server hung up: see its log"));
    }
    Ok(serde_json::from_str(&answer)?)
}
