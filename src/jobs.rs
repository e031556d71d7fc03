//! What runs beside the requests, on a timer.

use crate::app::App;
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How often what has expired is swept (STO-15: within a minute).
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Runs all jobs, for ever.
pub async fn run(app: Arc<App>) {
    sweep(&app).await;
}

/// Sweeps what has expired: sessions, invitations, revocations, limits.
async fn sweep(app: &App) {
    let mut ticks = interval(SWEEP_EVERY);
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
