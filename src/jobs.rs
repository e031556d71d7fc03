//! Background jobs that run on a timer.

use crate::app::App;
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How often expired rows are deleted; STO-15 asks for within a minute.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Runs all jobs; never returns.
pub async fn run(app: Arc<App>) {
    sweep(&app).await;
}

/// Deletes expired sessions, invitations, deny-list entries and rate-limit buckets.
async fn sweep(app: &App) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.services().tidy();
        if let Err(error) = app.sessions().sweep().await {
            tracing::warn!(%error, "sweeping failed; it is tried again");
        }
        tracing::debug!("swept");
    }
}
