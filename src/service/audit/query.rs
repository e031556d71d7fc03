//! What somebody asks of the trail, in words: the parameters of a request, or the options of a command.

use crate::domain::{AddressPrefix, By, EventQuery, Kind, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The words of a query; what is not there is not asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueryWords {
    /// Names of events, with commas between.
    pub event: Option<String>,
    /// The id of a user.
    pub user: Option<String>,
    /// The id of a user, `operator`, `server` or `anyone`.
    pub actor: Option<String>,
    /// The id of a session.
    pub session: Option<String>,
    /// An address, or the /64 of one.
    pub address: Option<String>,
    /// A moment, or how long ago.
    pub since: Option<String>,
    /// A moment, or how long ago.
    pub until: Option<String>,
}

/// A word of a query that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidWord {
    /// Its name.
    pub field: &'static str,
    /// What is allowed.
    pub message: &'static str,
}

impl QueryWords {
    /// The query in these words, asked `now`.
    ///
    /// # Errors
    /// The first word that says nothing.
    pub fn parse(&self, now: Timestamp) -> Result<EventQuery, InvalidWord> {
        let kinds = self.event.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(EventQuery {
            kinds: kinds.map(|name| read("event", name, EVENTS, |name| name.parse::<Kind>().ok())).collect::<Result<_, _>>()?,
            user: word("user", self.user.as_deref(), "must be the id of a user", |text| text.parse().ok())?,
            actor: word("actor", self.actor.as_deref(), "must be the id of a user, operator, server or anyone", actor)?,
            session: word("session", self.session.as_deref(), "must be the id of a session", |text| text.parse().ok())?,
            from: word("address", self.address.as_deref(), "must be an address, or the /64 of one", address)?,
            since: word("since", self.since.as_deref(), MOMENT, |text| moment(text, now))?,
            until: word("until", self.until.as_deref(), MOMENT, |text| moment(text, now))?,
            is_own: false,
        })
    }
}

const EVENTS: &str = "must be names of events, as docs/events.md lists them";
const MOMENT: &str = "must be a moment such as 2026-01-31T12:00:00Z, or how long ago, such as 24h";

fn word<T>(
    field: &'static str,
    text: Option<&str>,
    message: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, InvalidWord> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(|text| read(field, text, message, parse)).transpose()
}

fn read<T>(field: &'static str, text: &str, message: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T, InvalidWord> {
    parse(text).ok_or(InvalidWord { field, message })
}

fn actor(text: &str) -> Option<By> {
    match text {
        "operator" => Some(By::Operator),
        "server" => Some(By::Server),
        "anyone" => Some(By::Anyone),
        id => id.parse::<UserId>().ok().map(By::User),
    }
}

fn address(text: &str) -> Option<AddressPrefix> {
    text.strip_suffix("/64").unwrap_or(text).parse::<IpAddr>().ok().map(AddressPrefix::from)
}

fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Some(Timestamp::from_millis(now.millis().saturating_sub(u64::try_from(ago.as_millis()).ok()?)));
    }
    humantime::parse_rfc3339_weak(text).ok().map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_asked_for_and_what_says_nothing_is_named() {
        let now = Timestamp::from_secs(1_700_000_000);
        let words = |field: &str, text: &str| serde_json::from_value::<QueryWords>(serde_json::json!({ field: text })).expect("words");
        let parse = |field, text| words(field, text).parse(now);
        assert_eq!(QueryWords::default().parse(now), Ok(EventQuery::default()));
        assert_eq!(parse("event", "login_ok, login_failed").expect("both").kinds, [Kind::LoggedIn, Kind::LoginFailed]);
        assert_eq!(parse("actor", "server").expect("one").actor, Some(By::Server));
        let prefix = AddressPrefix::V6(0x2001_0db8_0000_0000);
        assert_eq!(parse("address", "2001:db8::/64").expect("one").from, Some(prefix));
        assert_eq!(parse("address", "2001:db8::7").expect("one").from, Some(prefix));
        assert_eq!(parse("since", "1h").expect("one").since, Some(Timestamp::from_secs(1_699_996_400)));
        assert_eq!(parse("until", "2023-11-14T22:13:20Z").expect("one").until, Some(now));
        for (field, wrong) in [
            ("event", "login"),
            ("user", "ada@example.org"),
            ("actor", "nobody"),
            ("session", "1"),
            ("address", "10.0.0.0/8"),
            ("since", "yesterday"),
            ("until", "now"),
        ] {
            assert_eq!(parse(field, wrong).expect_err(wrong).field, field);
            assert_eq!(parse(field, " "), Ok(EventQuery::default()), "nothing is asked for");
        }
    }
}
