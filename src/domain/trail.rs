//! The audit trail: events as they are kept.

use super::{AddressPrefix, By, Event, Kind, SessionId, Timestamp, UserId};
use std::{fmt, str::FromStr};

/// The place of an event in the trail. Later events have greater ids: it is the time in milliseconds and a number within
/// the millisecond, but for events that were written after a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(u64);

/// How many bits number the events of a millisecond.
const NUMBER_BITS: u32 = 16;

impl EventId {
    /// The id of an event at this moment that comes after the one with the id `last`.
    #[must_use]
    pub fn after(last: Option<Self>, at: Timestamp) -> Self {
        let by_time = at.millis().saturating_mul(1 << NUMBER_BITS);
        Self(last.map_or(by_time, |last| by_time.max(last.0.saturating_add(1))))
    }

    /// The moment of its first bits: the event happened then or earlier.
    #[must_use]
    pub const fn latest(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> NUMBER_BITS)
    }

    /// The id before all events of this moment and later, but for those that were written after a later one.
    #[must_use]
    pub fn before(at: Timestamp) -> Self {
        Self::after(None, at).0.checked_sub(1).map_or_else(Self::default, Self)
    }

    /// The id so many ids later.
    #[must_use]
    pub const fn plus(self, ids: u64) -> Self {
        Self(self.0.saturating_add(ids))
    }

    /// The id as it stands in keys.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The text is no id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is 16 lower-case hex digits")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let is_plain = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidEventId)
    }
}

/// An event of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the trail.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Which events are asked for: those that meet every condition that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventQuery {
    /// Of one of these kinds; of any, if none is named.
    pub kinds: Vec<Kind>,
    /// About this user: done by them or to them.
    pub user: Option<UserId>,
    /// Done by this actor.
    pub actor: Option<By>,
    /// About this session.
    pub session: Option<SessionId>,
    /// From this address.
    pub from: Option<AddressPrefix>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Only what [`EventQuery::user`] may know: what was done to them, or what they did that is about nobody else.
    pub is_own: bool,
}

impl EventQuery {
    /// Whether an event meets every condition.
    #[must_use]
    pub fn matches(&self, Recorded { at, event, .. }: &Recorded) -> bool {
        let is_about = |user: UserId| if self.is_own { is_own(event, user) } else { event.users().any(|about| about == user) };
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.user.is_none_or(is_about)
            && self.actor.is_none_or(|actor| event.actor == actor)
            && self.session.is_none_or(|session| event.session == Some(session))
            && self.from.is_none_or(|from| event.from == Some(from))
            && self.since.is_none_or(|since| *at >= since)
            && self.until.is_none_or(|until| *at < until)
    }
}

/// Whether an event is a user's own affair.
fn is_own(event: &Event, user: UserId) -> bool {
    event.target.map_or(event.actor == By::User(user), |target| target == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_events_have_greater_ids_whatever_the_clock_says() {
        let at = Timestamp::from_millis;
        let first = EventId::after(None, at(1000));
        let second = EventId::after(Some(first), at(1000));
        let third = EventId::after(Some(second), at(900));
        assert!(first < second && second < third);
        assert_eq!((first.latest(), third.latest()), (at(1000), at(1000)));
        assert_eq!(EventId::after(Some(third), at(1001)).latest(), at(1001));
        assert_eq!(third.to_string().parse(), Ok(third));
        for wrong in ["", "1", "00000000000000FF", "0x00000000000001", "+000000000000001"] {
            assert_eq!(wrong.parse::<EventId>(), Err(InvalidEventId), "{wrong}");
        }
    }

    #[test]
    fn aud_3_a_users_own_events_are_about_nobody_else() {
        let (me, other) = (UserId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let own = EventQuery { user: Some(me), is_own: true, ..EventQuery::default() };
        let recorded = |event| Recorded { id: EventId::default(), at: Timestamp::default(), event };
        for (event, is_mine) in [
            (Event::new(Kind::LoggedIn, By::User(me)).target(me), true),
            (Event::new(Kind::RoleChanged, By::User(other)).target(me), true),
            (Event::new(Kind::LoginFailed, By::Anyone).target(me), true),
            (Event::new(Kind::InviteCreated, By::User(me)), true),
            (Event::new(Kind::RoleChanged, By::User(me)).target(other), false),
            (Event::new(Kind::LoggedIn, By::User(other)).target(other), false),
            (Event::new(Kind::Started, By::Server), false),
        ] {
            assert_eq!(own.matches(&recorded(event.clone())), is_mine, "{event:?}");
        }
    }
}
