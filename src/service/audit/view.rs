//! An event as it is shown: to admins, to the user it is about, to the operator, to a webhook. Its members are named as in
//! the log.

use crate::domain::{AddressPrefix, By, EventId, InviteId, Kind, Recorded, SessionId, Timestamp, UserId};
use serde::{Serialize, Serializer};

/// An event as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct EventView<'a> {
    id: EventId,
    at: Timestamp,
    event: &'static str,
    outcome: &'static str,
    #[serde(serialize_with = "shown")]
    actor: ActorView,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(serialize_with = "shown_if_some", skip_serializing_if = "Option::is_none")]
    from: Option<AddressPrefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite: Option<InviteId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    see: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
}

/// Who did it, as far as the reader may know.
#[derive(Debug, Clone, Copy)]
enum ActorView {
    Named(By),
    /// Somebody who may manage the reader: who that is and where they are is not the reader's to know.
    Administrator,
}

impl std::fmt::Display for ActorView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(by) => by.fmt(f),
            Self::Administrator => f.write_str("administrator"),
        }
    }
}

impl<'a> EventView<'a> {
    /// All of an event, for who may read the whole trail.
    #[must_use]
    pub fn new(Recorded { id, at, event }: &'a Recorded) -> Self {
        let origin = event.origin.as_ref();
        Self {
            id: *id,
            at: *at,
            event: event.kind.as_str(),
            outcome: outcome(event.kind),
            actor: ActorView::Named(event.actor),
            target: event.target,
            session: event.session,
            from: event.from,
            account: event.account.as_deref(),
            invite: event.invite,
            role: event.role.as_ref().map(crate::domain::Role::as_str),
            key: event.key.as_deref(),
            app: event.app.as_deref(),
            why: event.why.as_deref(),
            request: event.request.as_deref(),
            path: event.path.as_deref(),
            origin: origin.map(|origin| origin.seen.as_str()),
            site: origin.map(|origin| origin.own.as_str()),
            see: origin.map(|origin| origin.see.as_ref()),
            more: event.more,
        }
    }

    /// An event as the user sees it whom it is about: without who manages them, and from where.
    #[must_use]
    pub fn own(recorded: &'a Recorded, user: UserId) -> Self {
        let view = Self { account: None, request: None, origin: None, site: None, see: None, ..Self::new(recorded) };
        match recorded.event.actor {
            By::User(actor) if actor != user => {
                // The key that an administrator used is not the user's either; one that was made or ended is.
                let is_about_key = matches!(recorded.event.kind, Kind::ApiKeyCreated | Kind::ApiKeyRotated | Kind::ApiKeyRevoked);
                let key = view.key.filter(|_| is_about_key);
                Self { actor: ActorView::Administrator, from: None, session: view.session, key, ..view }
            }
            _ => view,
        }
    }

    /// The users that the event names.
    pub fn users(&self) -> impl Iterator<Item = UserId> + use<> {
        let actor = if let ActorView::Named(By::User(user)) = self.actor { Some(user) } else { None };
        self.target.into_iter().chain(actor)
    }
}

/// How it went.
const fn outcome(kind: Kind) -> &'static str {
    if kind.is_alarm() {
        "alarm"
    } else if kind.is_failure() {
        "failed"
    } else {
        "done"
    }
}

fn shown<S: Serializer>(actor: &ActorView, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(actor)
}

#[allow(clippy::ref_option, reason = "the form in which serde calls it")]
fn shown_if_some<S: Serializer>(from: &Option<AddressPrefix>, to: S) -> Result<S::Ok, S::Error> {
    match from {
        Some(from) => to.collect_str(from),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Event;
    use serde_json::json;

    #[test]
    fn aud_3_users_do_not_see_who_manages_them_and_from_where() {
        let (me, admin) = (UserId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let from = AddressPrefix::V4([192, 0, 2, 1].into());
        let recorded = |event| Recorded { id: EventId::default(), at: Timestamp::default(), event };
        let view = |event| serde_json::to_value(EventView::own(&recorded(event), me)).expect("JSON");
        let changed = view(Event::new(Kind::UserDisabled, By::User(admin)).target(me).from(from).key("k1".into()));
        assert_eq!((&changed["actor"], &changed["from"], &changed["key"]), (&json!("administrator"), &json!(null), &json!(null)));
        assert!(!changed.to_string().contains(&admin.to_string()), "{changed}");
        let own = view(Event::new(Kind::LoggedIn, By::User(me)).target(me).from(from));
        assert_eq!((&own["actor"], &own["from"]), (&json!(me), &json!("192.0.2.1")));
        let tried = view(Event::new(Kind::LoginFailed, By::Anyone).target(me).from(from).account("hash".into()));
        assert_eq!((&tried["actor"], &tried["from"], &tried["account"]), (&json!("anyone"), &json!("192.0.2.1"), &json!(null)));
        assert_eq!((&tried["outcome"], &own["outcome"]), (&json!("failed"), &json!("done")));
    }
}
