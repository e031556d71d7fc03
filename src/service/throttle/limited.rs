//! The answer of a limit that was reached.

use std::time::Duration;

/// The most keys one limit remembers (LIM-8).
pub(super) const MAX_KEYS: usize = 100_000;

/// A limit was reached: which one, and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The name of the limit.
    pub policy: &'static str,
    /// How many tries it allows …
    pub quota: u32,
    /// … in this time.
    pub window: Duration,
    /// When to try again; at least a second.
    pub retry_after: Duration,
}

/// A wait in whole seconds, as `Retry-After` needs it: rounded up, and at least one.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
}
