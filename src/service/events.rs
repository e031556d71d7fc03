//! Events in the log: one line for each, with who did it and to whom (LOG-3). The store records an event in the
//! transaction that it is of; its line is written once that is durable. What has no transaction is noted there
//! ([`Store::note`](crate::store::Store::note)): its line is written at once.

use crate::{
    domain::{AddressPrefix, ApiKey, By, Event, Kind, SessionId, User},
    store::{Authority, CommitEvent, Observer},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The person who causes an event.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// An operator, who runs commands on this machine.
    Operator,
    /// A user who is logged in, the session they act in, and the address prefix they act from.
    User(&'a User, SessionId, AddressPrefix),
    /// An API key, the owner it acts for, and the address prefix it acts from.
    ApiKey(&'a User, &'a ApiKey, AddressPrefix),
}

impl<'a> Actor<'a> {
    /// The user on whose behalf this is done; none for an operator.
    pub const fn user(&self) -> Option<&'a User> {
        match self {
            Self::Operator => None,
            Self::User(user, ..) | Self::ApiKey(user, ..) => Some(user),
        }
    }

    /// An event that this actor causes; the caller adds the rest of its fields.
    pub fn event(&self, kind: Kind) -> Event {
        match self {
            Self::Operator => Event::new(kind, By::Operator),
            Self::User(user, _, from) => Event::new(kind, By::User(user.id)).from(*from),
            Self::ApiKey(user, key, from) => Event::new(kind, By::User(user.id)).from(*from).key(key.id.to_string()),
        }
    }

    /// What entitles this actor to a change when it is made.
    pub const fn authority(&self) -> Authority {
        match self {
            Self::Operator => Authority::Operator,
            Self::User(user, session, _) => Authority::Session { user: user.id, version: user.token_version, session: *session },
            Self::ApiKey(owner, key, _) => Authority::ApiKey { owner: owner.id, version: owner.token_version, key: key.id },
        }
    }
}

/// Writes the line of each event that the store has recorded.
#[derive(Debug)]
pub struct EventLog;

impl Observer for EventLog {
    fn committed(&self, _: CommitEvent) {}

    fn recorded(&self, event: &Event) {
        write(event);
    }
}

/// How often each kind of event happened, in the order of [`Kind::ALL`]. The log is the process's, and so are these.
static COUNTS: [AtomicU64; Kind::ALL.len()] = [const { AtomicU64::new(0) }; Kind::ALL.len()];

/// How often each kind of event has happened since the start, those that were only summed up in the log too.
pub fn counts() -> impl Iterator<Item = (Kind, u64)> {
    Kind::ALL.iter().zip(&COUNTS).map(|(kind, count)| (*kind, count.load(Relaxed)))
}

fn count(kind: Kind) {
    COUNTS[kind as usize].fetch_add(1, Relaxed);
}

/// Writes an event's line. Every event is written here.
fn write(event: &Event) {
    // Those that are only summed up were counted one by one.
    if event.more.is_none() {
        count(event.kind);
    }
    let Event { kind, actor, target, account, session, invite, role, key, app, why, request, path, origin, more, from } = event;
    let origin = origin.as_ref();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                event = kind.as_str(),
                %actor,
                target = target.map(display),
                account,
                session = session.map(display),
                invite = invite.map(display),
                role = role.as_ref().map(display),
                key,
                app,
                why = why.as_deref(),
                request,
                path,
                origin = origin.map(|origin| origin.seen.as_str()),
                site = origin.map(|origin| origin.own.as_str()),
                see = origin.map(|origin| origin.see.as_ref()),
                more,
                from = from.map(display),
            )
        };
    }
    if kind.is_alarm() { line!(warn) } else { line!(info) }
}

/// Lets a warning through once a minute, for what may happen very often.
#[derive(Debug, Default)]
pub struct OncePerMinute(Mutex<Option<Instant>>);

impl OncePerMinute {
    /// Nothing was let through yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether a minute has passed since this was true last.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(60));
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// How long refusals of one kind from one prefix are counted before their number is logged.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// The most pairs of kind and prefix that are counted separately. Per kind all further prefixes share one count.
const MAX_SOURCES: usize = 10_000;

/// Counts of refusals, which anybody can cause as fast as they can send. The first of a kind from a prefix has a
/// line of its own; those of the next minute are counted and logged as one number. So nobody can flood the log, and
/// it still shows how many there were.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<(Kind, Option<AddressPrefix>), Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    more: u64,
}

impl Refusals {
    /// Counts a refusal. True if it is the first, which the caller logs in a line of its own.
    pub fn is_first(&self, kind: Kind, from: AddressPrefix) -> bool {
        let mut counts = self.0.lock();
        let is_full = counts.len() >= MAX_SOURCES && !counts.contains_key(&(kind, Some(from)));
        let mut is_first = false;
        let count = counts.entry((kind, (!is_full).then_some(from))).or_insert_with(|| {
            is_first = true;
            Count { since: Instant::now(), more: 0 }
        });
        count.more += u64::from(!is_first);
        if !is_first {
            self::count(kind);
        }
        is_first
    }

    /// Takes the counts that are a minute old, as events, and starts anew.
    pub fn take_counts(&self) -> Vec<Event> {
        self.take_counts_older_than(SUMMARY_INTERVAL)
    }

    fn take_counts_older_than(&self, age: Duration) -> Vec<Event> {
        let mut sums = Vec::new();
        self.0.lock().retain(|(kind, from), count| {
            if count.since.elapsed() < age {
                return true;
            }
            if count.more > 0 {
                sums.push(Event { from: *from, ..Event::new(*kind, By::Anyone).more(count.more) });
            }
            false
        });
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_3_refusals_from_one_place_are_one_line_and_a_sum() {
        let refusals = Refusals::default();
        let (here, there) = (AddressPrefix::V6(1), AddressPrefix::V6(2));
        assert!(refusals.is_first(Kind::CsrfFailed, here));
        assert!((0..5000).all(|_| !refusals.is_first(Kind::CsrfFailed, here)));
        assert!(refusals.is_first(Kind::CsrfFailed, there), "another place");
        assert!(refusals.is_first(Kind::RateLimited, here), "another kind");
        assert_eq!(refusals.take_counts(), [], "not yet");
        let sum = Event::new(Kind::CsrfFailed, By::Anyone).more(5000).from(here);
        assert_eq!(refusals.take_counts_older_than(Duration::ZERO), [sum]);
        assert!(refusals.is_first(Kind::CsrfFailed, here), "news again");
    }

    #[test]
    fn every_event_counts_whether_it_has_a_line_of_its_own_or_not() {
        let of = |wanted| counts().find_map(|(kind, count)| (kind == wanted).then_some(count)).expect("every kind");
        let refusals = Refusals::default();
        // No other test of this process writes one of this kind.
        let before = of(Kind::VerifyMistaken);
        for _ in 0..5 {
            if refusals.is_first(Kind::VerifyMistaken, AddressPrefix::V6(1)) {
                write(&Event::new(Kind::VerifyMistaken, By::Anyone));
            }
        }
        assert_eq!(of(Kind::VerifyMistaken) - before, 5);
        assert!(Kind::ALL.iter().enumerate().all(|(number, kind)| *kind as usize == number));
    }

    #[test]
    fn log_3_refusals_from_everywhere_share_one_line() {
        let refusals = Refusals::default();
        let news = (0..2 * MAX_SOURCES as u64).filter(|n| refusals.is_first(Kind::CsrfFailed, AddressPrefix::V6(*n))).count();
        assert_eq!(news, MAX_SOURCES + 1);
        assert_eq!(refusals.0.lock().len(), MAX_SOURCES + 1);
    }
}
