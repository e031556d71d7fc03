//! The server side of the control socket.

use super::{
    execute::execute,
    protocol::{CommandError, Request},
};
use crate::{app::App, data::DataDir, http::PublicOrigin};
use secrecy::SecretString;
use std::{
    fs::Permissions,
    io,
    os::unix::{fs::PermissionsExt, net::SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// The longest request that is read, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;

/// How long a backup waits for whoever reads it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of a backup is written at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// Warns, before anything is created, if the path of the control socket is longer than the system allows
/// for a socket.
pub fn warn_if_socket_path_too_long(data_dir: &Path) {
    let socket = DataDir::control_socket(&std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()));
    if SocketAddr::from_pathname(&socket).is_err() {
        tracing::warn!("{}: the path is too long for a socket: a shorter server.data_dir helps", socket.display());
    }
}

/// Opens the control socket of a data directory that this process has locked.
///
/// # Errors
/// The system's, such as on a file system without sockets.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = DataDir::control_socket(data_dir);
    // We hold the lock on the directory, so a socket that exists was left by a server that has ended.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Executes commands for as long as the server runs.
pub async fn serve(listener: UnixListener, app: Arc<App>, site: PublicOrigin) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (app, site) = (Arc::clone(&app), site.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, app, &site).await {
                        tracing::warn!(%error, "a command went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a command could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, app: Arc<App>, site: &PublicOrigin) -> io::Result<()> {
    let mut line = String::new();
    tokio::io::BufReader::new((&mut stream).take(MAX_REQUEST)).read_line(&mut line).await?;
    let outcome = match serde_json::from_str(&line) {
        Ok(Request::Backup) => return stream_backup(stream.into_std()?, app).await,
        Ok(request) => execute(&app, site, request).await,
        Err(_) => Err(CommandError("the server does not know this command: is it of the same release?".into())),
    };
    drop(SecretString::from(line));
    let mut answer = serde_json::to_vec(&outcome)?;
    answer.push(b'\n');
    stream.write_all(&answer).await
}

/// Writes a backup to whoever asked for one. A reader that stops reading ends it.
async fn stream_backup(stream: std::os::unix::net::UnixStream, app: Arc<App>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let write = move || app.write_backup(&mut std::io::BufWriter::with_capacity(BUFFER, stream));
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(summary)) => tracing::info!(rows = summary.rows(), "a backup was made by a command"),
        Ok(Err(failure)) => tracing::warn!("a backup by a command was not finished: {failure}"),
        Err(_) => {}
    }
    Ok(())
}
