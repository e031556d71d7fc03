//! The control socket: commands on a running server, one JSON line each way, for its owner alone.
//!
//! A command is the same [`Request`] whether a server carries it out or the command itself does.

use super::{quiet, runtime};
use crate::{
    app::App,
    config::{Loaded, OperatorSecrets},
    data::{self, DataDir},
    domain::{Email, Password, Role, Session, SessionId, User, UserId},
    failure::Failure,
    http::PublicOrigin,
    service::{self, events::Actor},
};
use rustix::{net::sockopt::socket_peercred, process::geteuid};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs::Permissions,
    io::{self, BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{SocketAddr, UnixStream as BlockingStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// Longest request, in bytes.
const LIMIT: u64 = 64 * 1024;
/// How long a command waits for its server: hashing a password may queue.
const PATIENCE: Duration = Duration::from_secs(60);
/// Users fetched at a time for a list.
const PAGE: usize = 500;

/// A command that needs the data.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    UserAdd { email: String, role: Option<String>, password: Typed },
    UserList { query: String },
    UserShow { user: String },
    UserRole { user: String, role: String },
    UserPassword { user: String, password: Typed },
    UserDisabled { user: String, disabled: bool },
    UserVerified { user: String, verified: bool },
    UserUnlock { user: String },
    UserDelete { user: String },
    SessionList { user: String },
    SessionRevoke { session: Option<String>, user: Option<String> },
    Check,
    SetupLink,
    Clock { seconds: i64, slept: bool },
}

/// A password on its way from the terminal to the server, over a socket that only its owner can open.
#[derive(Clone, Deserialize)]
pub struct Typed(SecretString);

impl Typed {
    fn password(&self) -> Result<Password, Refusal> {
        Password::new(&self.0).map_err(|error| Refusal(format!("the password {error}")))
    }
}

impl From<String> for Typed {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Typed {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Serialize for Typed {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose_secret())
    }
}

/// Why a command was not carried out.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal(String);

impl From<service::Error> for Refusal {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::InvalidRole { allowed } => {
                let names: Vec<_> = allowed.iter().map(Role::as_str).collect();
                Self(format!("no such role; configured are: {}", names.join(", ")))
            }
            service::Error::NotFound => Self("there is no such user or session".into()),
            service::Error::EmailTaken => Self("there is a user with that address already".into()),
            service::Error::LastAdmin => Self("that would leave nobody to administer: make another admin first".into()),
            other => Self(other.to_string()),
        }
    }
}

/// Carries a command out: through the server that runs on the data directory, or here.
///
/// # Errors
/// Why it was not carried out, for the person at the terminal.
pub fn ask(loaded: &Loaded, secrets: &OperatorSecrets, request: Request) -> Result<Value, Failure> {
    let settings = &loaded.settings;
    let data_dir = &settings.server.data_dir;
    data::act_as_owner(data_dir, loaded.found())?;
    if DataDir::is_new(data_dir) && !matches!(request, Request::UserAdd { .. } | Request::SetupLink) {
        return Err(Failure::data(format!(
            "{}: {}: start doorward there, or name another with --data-dir",
            data_dir.display(),
            if data_dir.exists() { "nothing is kept there yet" } else { "there is no data directory yet" }
        )));
    }
    let socket = DataDir::control_socket(data_dir);
    match BlockingStream::connect(&socket) {
        Ok(stream) => {
            require_ours(&stream, &socket)?;
            over(&stream, &request).map_err(|error| Failure::new(format!("{}: {error}", socket.display())))?
        }
        // Nobody listens: a server that was killed leaves its socket behind. Or nobody can: the path
        // is too long.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput) => {
            quiet(settings);
            runtime()?.block_on(async {
                let app = App::open(settings, secrets).await?;
                let site = PublicOrigin::new(settings, settings.server.listen);
                let outcome = carry_out(&app, &site, request).await;
                Ok::<_, Failure>(outcome)
            })?
        }
        Err(error) => return Err(Failure::new(format!("{}: {error}", socket.display()))),
    }
    .map_err(|Refusal(why)| Failure::new(why))
}

/// Passwords are sent over it: whoever listens must be who we are, as the kernel knows it. That the socket lies
/// in our directory does not say so, if others could write there.
fn require_ours(stream: &BlockingStream, socket: &Path) -> Result<(), Failure> {
    let server = socket_peercred(stream).map_err(|error| Failure::new(format!("{}: {error}", socket.display())))?.uid;
    if server == geteuid() {
        return Ok(());
    }
    let listener = data::User::with_id(server.as_raw());
    Err(Failure::config(format!("{}: {listener} listens there, and not this user's server: nothing was sent", socket.display())))
}

fn over(stream: &BlockingStream, request: &Request) -> io::Result<Result<Value, Refusal>> {
    stream.set_read_timeout(Some(PATIENCE))?;
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

/// Says before anything is made that a data directory's path leaves no room for the control socket:
/// the system's limit for the path of a socket.
pub fn warn_of_length(data_dir: &Path) {
    let socket = DataDir::control_socket(&std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()));
    if SocketAddr::from_pathname(&socket).is_err() {
        tracing::warn!("{}: the path is too long for a socket: a shorter server.data_dir helps", socket.display());
    }
}

/// Opens the control socket of a data directory that is ours.
///
/// # Errors
/// When the system says no: not every file system has sockets.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = DataDir::control_socket(data_dir);
    // The directory is locked: whatever lies there was left by a server that is gone.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Carries out commands for as long as the server runs.
pub async fn serve(listener: UnixListener, app: Arc<App>, site: PublicOrigin) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (app, site) = (Arc::clone(&app), site.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &app, &site).await {
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

async fn answer(stream: UnixStream, app: &App, site: &PublicOrigin) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(LIMIT)).read_line(&mut line).await?;
    let outcome = match serde_json::from_str(&line) {
        Ok(request) => carry_out(app, site, request).await,
        Err(_) => Err(Refusal("the server does not know this command: is it of the same release?".into())),
    };
    drop(SecretString::from(line));
    let mut answer = serde_json::to_vec(&outcome)?;
    answer.push(b'\n');
    writer.write_all(&answer).await
}

async fn carry_out(app: &App, site: &PublicOrigin, request: Request) -> Result<Value, Refusal> {
    let accounts = app.accounts();
    match request {
        Request::UserAdd { email, role, password } => {
            let email = email.parse().map_err(|error| Refusal(format!("the address {error}")))?;
            let role = role.as_deref().map(role_named).transpose()?;
            Ok(user_view(&accounts.add(email, password.password()?, role).await?))
        }
        Request::UserList { query } => list(app, &query).await,
        Request::UserShow { user } => Ok(user_view(&*find(app, &user).await?)),
        Request::UserRole { user, role } => {
            Ok(user_view(&accounts.set_role(Actor::Operator, find(app, &user).await?.id, role_named(&role)?).await?))
        }
        Request::UserPassword { user, password } => {
            Ok(user_view(&accounts.reset_password(find(app, &user).await?.id, password.password()?).await?))
        }
        Request::UserDisabled { user, disabled } => {
            Ok(user_view(&accounts.set_disabled(Actor::Operator, find(app, &user).await?.id, disabled).await?))
        }
        Request::UserVerified { user, verified } => {
            Ok(user_view(&accounts.set_email_verified(Actor::Operator, find(app, &user).await?.id, verified).await?))
        }
        Request::UserUnlock { user } => Ok(user_view(&accounts.unlock(&find(app, &user).await?.email).await?)),
        Request::UserDelete { user } => Ok(user_view(&accounts.delete(Actor::Operator, find(app, &user).await?.id).await?)),
        Request::SessionList { user } => Ok(app.sessions().list(find(app, &user).await?.id).await?.iter().map(session_view).collect()),
        Request::SessionRevoke { session: Some(id), .. } => {
            let id: SessionId = id.parse().map_err(|error| Refusal(format!("the session's id: {error}")))?;
            app.sessions().revoke(Actor::Operator, id, None).await?;
            Ok(json!({ "revoked": id }))
        }
        Request::SessionRevoke { session: None, user } => {
            let user = find(app, &user.unwrap_or_default()).await?;
            app.sessions().end_all(Actor::Operator, user.id).await?;
            Ok(json!({ "revoked": user.id }))
        }
        Request::Check => {
            let report = app.check().await.map_err(|error| Refusal(error.to_string()))?;
            serde_json::to_value(report).map_err(|error| Refusal(error.to_string()))
        }
        Request::SetupLink => match accounts.open_setup().await? {
            Some((token, expires_at)) => Ok(json!({ "link": setup_link(site, &token), "expiresAt": expires_at })),
            None => Err(Refusal("there is an admin already; `doorward user password` lets one in who forgot".into())),
        },
        Request::Clock { seconds, slept } if app.move_clock(seconds, slept) => Ok(Value::Null),
        Request::Clock { .. } => Err(Refusal("the clock moves only with insecure_dev = true".into())),
    }
}

/// The link that makes the first admin. The token is behind the `#`: browsers do not send that.
pub fn setup_link(site: &PublicOrigin, token: &SecretString) -> String {
    format!("{}/#setup={}", site.url, token.expose_secret())
}

async fn list(app: &App, query: &str) -> Result<Value, Refusal> {
    let prefix = query.trim().to_lowercase();
    let (mut all, mut after): (Vec<Value>, Option<Email>) = (Vec::new(), None);
    loop {
        let (users, more) = app.accounts().users(&prefix, after.as_ref(), PAGE).await?;
        all.extend(users.iter().map(user_view));
        after = users.last().map(|user| user.email.clone());
        if !more {
            return Ok(all.into());
        }
    }
}

async fn find(app: &App, name: &str) -> Result<Arc<User>, Refusal> {
    if let Ok(id) = name.parse::<UserId>() {
        return Ok(app.accounts().user(id).await?);
    }
    let email: Email = name.parse().map_err(|_| Refusal(format!("{name:?} is neither an e-mail address nor an id")))?;
    Ok(app.accounts().user_by_email(&email).await?.into())
}

fn role_named(name: &str) -> Result<Role, Refusal> {
    name.parse().map_err(|error| Refusal(format!("{name:?}: {error}")))
}

fn user_view(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "emailVerified": user.email_verified,
        "role": user.role,
        "disabled": user.disabled,
        "createdAt": user.created_at,
    })
}

fn session_view(session: &Session) -> Value {
    json!({
        "id": session.id,
        "createdAt": session.created_at,
        "lastSeenAt": session.refreshed_at,
        "expiresAt": session.expires_at,
        "ip": session.client.ip,
        "userAgent": session.client.user_agent,
    })
}
