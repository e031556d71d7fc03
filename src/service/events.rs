//! What happened, for whoever reads the log: one line an event, with who did it and to whom (LOG-3). The store
//! records the event of a verb in the verb's transaction; the line is written once that is durable.

use crate::{
    domain::{AddressPrefix, By, Event, Kind, User},
    store::{CommitEvent, Observer},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Who does something.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// Whoever can run commands on this machine.
    Operator,
    /// Somebody signed in, from there.
    User(&'a User, AddressPrefix),
}

impl Actor<'_> {
    /// The beginning of an event that this actor causes.
    pub const fn did(&self, kind: Kind) -> Event {
        match self {
            Self::Operator => Event::new(kind, By::Operator),
            Self::User(user, from) => Event::new(kind, By::User(user.id)).from(*from),
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

/// Writes an event's line. Every event passes here.
pub fn write(event: &Event) {
    let Event { kind, actor, target, account, session, invite, role, why, request, path, origin, from } = event;
    let see = origin.is_some().then_some("server.public_url, cors.allowed_origins");
    let (seen, site) = origin.as_ref().map(|(seen, site)| (seen.as_str(), site.as_str())).unzip();
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
                why,
                request,
                path,
                origin = seen,
                site,
                see,
                from = from.map(display),
            )
        };
    }
    if kind.is_alarm() { line!(warn) } else { line!(info) }
}

/// How long refusals of one kind from one place are summed before they are told.
const SUMMED: Duration = Duration::from_secs(60);

/// Places whose refusals are summed at once; all beyond share one line.
const PLACES: usize = 10_000;

/// Refusals, which anybody can cause as fast as they can send: the first of a kind from a prefix has a
/// line of its own, those of the next minute are summed. So the log cannot be flooded, and says all the
/// same how much there was.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<(Kind, Option<AddressPrefix>), Sum>>);

#[derive(Debug)]
struct Sum {
    since: Instant,
    more: u64,
}

impl Refusals {
    /// Counts a refusal. Whether it has a line of its own.
    pub fn is_news(&self, kind: Kind, from: AddressPrefix) -> bool {
        let mut sums = self.0.lock();
        let is_full = sums.len() >= PLACES && !sums.contains_key(&(kind, Some(from)));
        let mut is_news = false;
        let sum = sums.entry((kind, (!is_full).then_some(from))).or_insert_with(|| {
            is_news = true;
            Sum { since: Instant::now(), more: 0 }
        });
        sum.more += u64::from(!is_news);
        is_news
    }

    /// Tells what was summed for long enough.
    pub fn tell(&self) {
        self.tell_older_than(SUMMED);
    }

    fn tell_older_than(&self, age: Duration) -> u64 {
        let mut told = 0;
        self.0.lock().retain(|(kind, from), sum| {
            if sum.since.elapsed() < age {
                return true;
            }
            if sum.more > 0 {
                told += sum.more;
                tracing::info!(event = kind.as_str(), actor = %By::Anyone, more = sum.more, from = from.map(display), "and so many more within a minute");
            }
            false
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_3_refusals_from_one_place_are_one_line_and_a_sum() {
        let refusals = Refusals::default();
        let (here, there) = (AddressPrefix::V6(1), AddressPrefix::V6(2));
        assert!(refusals.is_news(Kind::CsrfFailed, here));
        assert!((0..5000).all(|_| !refusals.is_news(Kind::CsrfFailed, here)));
        assert!(refusals.is_news(Kind::CsrfFailed, there), "another place");
        assert!(refusals.is_news(Kind::RateLimited, here), "another kind");
        assert_eq!(refusals.tell_older_than(SUMMED), 0, "not yet");
        assert_eq!(refusals.tell_older_than(Duration::ZERO), 5000);
        assert!(refusals.is_news(Kind::CsrfFailed, here), "news again");
    }

    #[test]
    fn log_3_refusals_from_everywhere_share_one_line() {
        let refusals = Refusals::default();
        let news = (0..2 * PLACES as u64).filter(|n| refusals.is_news(Kind::CsrfFailed, AddressPrefix::V6(*n))).count();
        assert_eq!(news, PLACES + 1);
        assert_eq!(refusals.0.lock().len(), PLACES + 1);
    }
}
