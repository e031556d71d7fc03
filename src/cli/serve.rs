//! `doorward serve`

use super::{control, output, process::runtime};
use crate::{
    app::App,
    config::{Loaded, OperatorSecrets, Settings},
    data::act_as_owner,
    domain::{By, Event, Kind, Role},
    failure::Failure,
    http::{AppState, PublicOrigin},
    jobs,
    server::{self, Transport},
    service::passwords,
    telemetry,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// Serves until a signal stops the server.
pub fn serve(loaded: Loaded, secrets: &OperatorSecrets) -> Result<(), Failure> {
    // Checked before anything is created.
    if let Some(admin) = &secrets.first_admin {
        passwords::check(&admin.password, &admin.email, loaded.settings.passwords.min_length)
            .map_err(|weakness| Failure::config(format!("DOORWARD_ADMIN_PASSWORD: the password {weakness}")))?;
    }
    telemetry::start(&loaded.settings.log);
    let data_dir = &loaded.settings.server.data_dir;
    if let Some(owner) = act_as_owner(data_dir, loaded.discovered_file())? {
        tracing::info!("working as {owner}, to whom {} belongs", data_dir.display());
    }
    let runtime = runtime()?;
    let outcome = runtime.block_on(run(loaded, secrets));
    // A backup may wait for the program that it goes through. It is none then, and what is kept stays.
    runtime.shutdown_timeout(Duration::from_secs(10));
    outcome
}

async fn run(loaded: Loaded, secrets: &OperatorSecrets) -> Result<(), Failure> {
    warn_of_settings(&loaded, secrets);
    let mut settings = loaded.settings;
    // The handlers are installed before the start, so a signal during the start stops it too.
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    control::warn_if_socket_path_too_long(&settings.server.data_dir);
    ignore_other_signals()?;
    // Before the data: a start whose port is taken makes no installation.
    let listener = listen(&mut settings)?;
    let metrics = settings.metrics.listen.map(listen_for_metrics).transpose()?;
    let transport = Transport::of(&settings)?;
    let site = PublicOrigin::new(&settings);
    let app = Arc::new(App::open(&settings, secrets).await?);
    app.keys().follow_settings(!settings.gate.app.is_empty()).map_err(|error| Failure::io(error.to_string()))?;
    first_admin(&app, &site, secrets).await?;
    take_commands(&settings, &app, &site);
    app.audit().note(Event::new(Kind::Started, By::Server).why(concat!("release ", env!("CARGO_PKG_VERSION"))));
    work_beside(&app, metrics);
    let web = Arc::new(AppState { app: Arc::clone(&app), site });
    announce(transport.scheme(), &listener);
    let (stop, stopping) = oneshot::channel::<()>();
    let two_signals = async {
        stop_signal(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: finishing what is in flight");
        // This fails if the server has already ended by itself.
        let _ = stop.send(());
        stop_signal(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping at once");
    };
    tokio::select! {
        () = server::run(listener, transport, web, async { drop(stopping.await) }) => {}
        () = two_signals => {}
    }
    finish(&app, &settings).await;
    Ok(())
}

/// What is left to do at the end. Every change that was acknowledged is already durable; the rest of the queue is dropped with
/// the store.
async fn finish(app: &App, settings: &Settings) {
    app.audit().note(Event::new(Kind::Stopped, By::Server));
    if let Err(error) = app.audit().write_noted().await {
        tracing::warn!(%error, "the last events are missing in the audit trail");
    }
    // When keys were used is written by a job now and then, and once more here.
    if let Err(error) = app.api_keys().sweep().await {
        tracing::warn!(%error, "when API keys were used last is not known up to now");
    }
    let _ = std::fs::remove_file(crate::data::DataDir::control_socket(&settings.server.data_dir));
}

/// Logs warnings about settings that are valid but probably not meant.
fn warn_of_settings(loaded: &Loaded, secrets: &OperatorSecrets) {
    if !loaded.passed_over.is_empty() {
        tracing::info!("no settings, and passed over: {} (Kubernetes: enableServiceLinks: false)", loaded.passed_over.join(", "));
    }
    for warning in loaded.renamed.iter().chain(&loaded.settings.warnings()).chain(&secrets.warnings) {
        tracing::warn!("{warning}");
    }
}

/// Opens the listener at the configured address, and notes the port there if the system was to choose one.
fn listen(settings: &mut Settings) -> Result<TcpListener, Failure> {
    let listen = settings.server.listen;
    let listener = server::listen(listen).map_err(|error| {
        Failure::new(format!("{listen}: cannot be listened on: {error}: is another server running? --listen takes another address"))
    })?;
    settings.server.listen = listener.local_addr().map_err(|error| Failure::new(format!("{listen}: {error}")))?;
    Ok(listener)
}

/// Opens the listener that has metrics and nothing else.
fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::new(format!("metrics.listen: {address}: cannot be listened on: {error}: take another address"));
    let listener = server::listen(address).map_err(failed)?;
    tracing::info!("metrics are at http://{}/metrics", listener.local_addr().map_err(failed)?);
    Ok(listener)
}

/// Prints the one line on stdout. From the bind on, the system queues connections, so clients may connect as soon as
/// they read it. If stdout cannot be written, the server runs all the same.
fn announce(scheme: &str, listener: &TcpListener) {
    let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    if let Err(error) = output::write(&format!("listening on {scheme}://{address}")) {
        tracing::warn!(%error, "listening on {scheme}://{address}, which stdout does not take");
    }
}

/// Takes commands on the control socket.
fn take_commands(settings: &Settings, app: &Arc<App>, site: &PublicOrigin) {
    match control::listen(&settings.server.data_dir) {
        Ok(control) => drop(tokio::spawn(control::serve(control, Arc::clone(app), site.clone()))),
        Err(error) => tracing::warn!(%error, "no control socket: serving without, and commands work while the server is stopped"),
    }
}

/// Starts what goes on beside the server until the end: jobs, and the listener for metrics.
fn work_beside(app: &Arc<App>, metrics: Option<TcpListener>) {
    tokio::spawn(jobs::run(Arc::clone(app)));
    if let Some(listener) = metrics {
        tokio::spawn(server::run_metrics(listener, Arc::clone(app)));
    }
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ignores signals whose default is to end the process. Log rotation sends them, but there is no log file to reopen.
fn ignore_other_signals() -> Result<(), Failure> {
    tokio::spawn(note_ignored_signals([
        ("SIGHUP", signals(SignalKind::hangup())?),
        ("SIGUSR1", signals(SignalKind::user_defined1())?),
        ("SIGUSR2", signals(SignalKind::user_defined2())?),
    ]));
    Ok(())
}

/// Logs them.
async fn note_ignored_signals(signals: [(&'static str, Signal); 3]) {
    let each = signals.map(|(name, mut signal)| async move {
        while signal.recv().await.is_some() {
            tracing::info!("{name}: nothing to do; SIGTERM stops the server, a new start reads settings anew");
        }
    });
    futures_util::future::join_all(each).await;
}

fn signals(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(format!("signals: {error}")))
}

/// If there is no admin yet: creates the one that the environment names, or logs a set-up link.
async fn first_admin(app: &App, site: &PublicOrigin, secrets: &OperatorSecrets) -> Result<(), Failure> {
    let failed = |error: crate::service::Error| Failure::new(format!("the first admin: {error}"));
    if app.accounts().has_admin().await.map_err(failed)? {
        return Ok(());
    }
    if let Some(admin) = &secrets.first_admin {
        let is_empty = app.accounts().users("", None, 1).await.map_err(failed)?.0.is_empty();
        if is_empty {
            let user = app.accounts().add(admin.email.clone(), admin.password.clone(), Some(Role::admin())).await.map_err(failed)?;
            tracing::info!(user = %user.id, "made the first admin from DOORWARD_ADMIN_EMAIL");
            return Ok(());
        }
        tracing::warn!("DOORWARD_ADMIN_EMAIL is for an empty database and this one is not: use `doorward user role`");
    }
    match app.accounts().open_setup().await {
        Ok(Some((token, expires_at))) => {
            tracing::info!("nobody can administer yet: open {} before {expires_at}", control::setup_link(site, &token));
        }
        Ok(None) => {}
        // Serving goes on: users who are logged in must stay so even if the disk takes no writes (STO-5).
        Err(error) => tracing::warn!(%error, "nobody can administer yet, and no link can be made now: `doorward setup-link` makes one"),
    }
    Ok(())
}
