//! Moments in milliseconds, and a wall clock that tests can move.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment: milliseconds since the Unix epoch, UTC. Shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment this many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment this many seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: a `NumericDate` (RFC 7519 §2).
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `span` later, or the last possible moment instead of an overflow.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The next whole second. Tokens carry their time in seconds, so a moment within a second cannot divide them.
    #[must_use]
    pub const fn next_second(self) -> Self {
        Self::from_secs(self.secs() + 1)
    }

    /// How long after `earlier` this is; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 cannot write years after 9999.
        let moment = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_999));
        humantime::format_rfc3339_millis(moment).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let moment = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(moment.into())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// The wall clock. Clones share one offset, which only a test build of the settings can move.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    slept_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::from(SystemTime::now());
        Timestamp(now.0.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed)))
    }

    /// How long the machine has been up, including while suspended. Setting the wall clock does not change it.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = Duration::new(up.tv_sec.try_into().unwrap_or(0), up.tv_nsec.try_into().unwrap_or(0));
        up + Duration::from_millis(self.slept_ms.load(Ordering::Relaxed).try_into().unwrap_or(0))
    }

    /// Simulates for this clock and all its clones that so many milliseconds have passed.
    pub fn sleep(&self, millis: i64) {
        self.shift(millis);
        self.slept_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sets this clock and all its clones forward or back by so many milliseconds.
    pub fn shift(&self, millis: i64) {
        self.offset_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The largest step ahead of the uptime that is believed at once. Smaller corrections of a clock are normal.
const MAX_STEP: Duration = Duration::from_secs(60);

/// How long a larger step ahead must last to be believed.
const STEP_BELIEVED_AFTER: Duration = Duration::from_secs(60 * 60);

/// The wall clock for actions that cannot be undone, such as sweeping. A clock that is far ahead for a short time
/// must not end sessions that have a week to live. A step ahead that lasts is believed, because a machine without a
/// clock battery may start in 1970.
#[derive(Debug)]
pub struct SteadyClock {
    clock: Clock,
    state: Mutex<SteadyState>,
}

#[derive(Debug)]
struct SteadyState {
    /// The last moment that was believed, and the uptime then.
    base: (Timestamp, Duration),
    /// The uptime when the wall clock was first seen far ahead.
    ahead_since: Option<Duration>,
}

impl SteadyClock {
    /// Starts from a moment that has surely passed, or from the clock's present one if that is earlier. If the clock is far
    /// ahead of it, it may have been set wrong before the start.
    #[must_use]
    pub fn since(clock: Clock, passed: Timestamp) -> Self {
        let base = (clock.now().min(passed), clock.uptime());
        Self { clock, state: Mutex::new(SteadyState { base, ahead_since: None }) }
    }

    /// The present moment, without a large step ahead that the clock has made recently.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state.lock().at(self.clock.now(), self.clock.uptime())
    }
}

impl SteadyState {
    fn at(&mut self, wall: Timestamp, uptime: Duration) -> Timestamp {
        let expected = self.base.0.plus(uptime.saturating_sub(self.base.1));
        let is_ahead = wall.since(expected) > MAX_STEP;
        let since = *self.ahead_since.get_or_insert(uptime);
        if is_ahead && uptime.saturating_sub(since) < STEP_BELIEVED_AFTER {
            return expected;
        }
        (self.base, self.ahead_since) = ((wall, uptime), None);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339_in_utc() {
        let moment = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.123Z");
        let json = serde_json::to_string(&moment).expect("a timestamp is JSON");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("and back"), moment);
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn ops_7_a_step_ahead_is_believed_once_it_lasts_and_the_uptime_always() {
        let clock = Clock::default();
        let steady = SteadyClock::since(clock.clone(), clock.now());
        let week = 7 * 86_400_000;
        let begun = clock.now();
        clock.shift(week);
        assert!(steady.now().since(begun) < MAX_STEP, "a moment ahead");
        clock.shift(-week);
        assert!(steady.now().since(begun) < MAX_STEP);
        clock.sleep(week);
        assert!(steady.now().since(begun) >= Duration::from_secs(7 * 86_400), "time that has passed");
        clock.shift(week);
        assert!(steady.now().since(begun) < Duration::from_secs(8 * 86_400));
        clock.sleep(3_700_000);
        assert_eq!(steady.now().secs(), clock.now().secs(), "it was set, and not for a moment");
        clock.shift(-week);
        assert_eq!(steady.now().secs(), clock.now().secs(), "back is believed at once");
    }

    #[test]
    fn clones_of_a_clock_move_together() {
        let clock = Clock::default();
        let twin = clock.clone();
        let before = twin.now();
        clock.shift(3_600_000);
        assert!(twin.now().since(before) >= Duration::from_secs(3600));
    }
}
