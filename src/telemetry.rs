//! Structured logs on stderr, without secrets (LOG-1), and metrics. Dependencies log at `warn` or above, whatever
//! `log.level` says: we cannot guarantee that their debug output contains no secrets.

#[cfg(not(feature = "metrics"))]
mod absent;
mod levels;
#[cfg(feature = "metrics")]
mod metrics;

#[cfg(not(feature = "metrics"))]
pub use absent::{Connected, Metrics};
pub use levels::Levels;
#[cfg(feature = "metrics")]
pub use metrics::{Connected, Metrics};

use crate::{
    config::{Log, LogFormat, LogLevel},
    store::engine::sled::OPENING_THREAD,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. A second call in a process changes nothing.
pub fn start(settings: &Log) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("doorward", level);
    // A log that cannot be written must not stop the server (LOG-4).
    let layer = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let registry = tracing_subscriber::registry();
    let started = match settings.format {
        LogFormat::Text => registry.with(layer.with_target(false).with_ansi(false).with_filter(filter)).try_init(),
        // In our events, the field `target` is the user an event is about; tracing would write the module there.
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_target(false).with_filter(filter)).try_init(),
    };
    drop(started);
    // Logs a panic as one line. Its message is left out: it may contain a secret.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        if thread.name() != Some(OPENING_THREAD) {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, thread = thread.name().unwrap_or_default(), "a bug: a panic was caught");
        }
    }));
}
