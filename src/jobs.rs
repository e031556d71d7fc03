//! Background jobs that run on a timer.

use crate::{app::App, service::events::OncePerMinute};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often expired rows are deleted and keys rotated; STO-15 asks for within a minute.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// How often users and sessions are counted for the metrics, at most.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);
/// How many times as long as a count took it is waited for the next: a million rows are not to keep a core busy.
const COUNT_REST: u32 = 100;

/// How long events are collected for one transaction.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);

/// Runs all jobs; never returns.
pub async fn run(app: Arc<App>) {
    tokio::join!(sweep(&app), count(&app), write_noted(&app));
}

/// Counts users and sessions, where something is measured.
async fn count(app: &App) {
    let Some(metrics) = app.metrics() else { return };
    loop {
        let begun = Instant::now();
        match app.count().await {
            Ok(counts) => metrics.counted(counts),
            Err(error) => tracing::warn!(%error, "users and sessions are not counted; it is tried again"),
        }
        tokio::time::sleep(COUNT_INTERVAL.max(begun.elapsed() * COUNT_REST)).await;
    }
}

/// Writes the events that are not of a transaction, together and at most four times a second, however many there are.
async fn write_noted(app: &App) {
    static WARNING: OncePerMinute = OncePerMinute::new();
    loop {
        app.audit().noted().await;
        if let Err(error) = app.audit().write_noted().await
            && WARNING.is_due()
        {
            tracing::warn!(%error, "events cannot be written and are missing in the audit trail");
        }
        tokio::time::sleep(WRITE_INTERVAL).await;
    }
}

/// Deletes expired sessions, invitations, deny-list entries and rate-limit buckets, and rotates the keys that are due.
async fn sweep(app: &Arc<App>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.time_passed() => {}
        }
        app.services().tidy();
        let keys = Arc::clone(app.keys());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || keys.settle()).await {
            tracing::warn!(%error, "keys are not rotated; it is tried again");
        }
        if let Err(error) = app.api_keys().sweep().await {
            tracing::warn!(%error, "sweeping API keys failed; it is tried again");
        }
        if let Err(error) = app.sessions().sweep().await {
            tracing::warn!(%error, "sweeping failed; it is tried again");
        }
        let by_the_clock = Arc::clone(app);
        // Not waited for: it may take long, and whatever it is piped through may hang.
        drop(tokio::task::spawn_blocking(move || by_the_clock.back_up_if_due()));
        if let Err(error) = app.audit().sweep().await {
            tracing::warn!(%error, "sweeping the audit trail failed; it is tried again");
        }
        tracing::debug!("swept");
    }
}
