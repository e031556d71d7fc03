//! The form in which an event is stored.

use crate::{
    domain::{AddressPrefix, By, Event, Foreign, InviteId, Kind, Role, SessionId, Timestamp, UserId},
    store::{
        Error,
        record::{Record, decode, encode, unknown_version},
    },
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The longest text that is stored of what a client has sent, in bytes.
const MAX_TEXT: usize = 200;

#[derive(Serialize, Deserialize)]
struct EventV1 {
    kind: u8,
    at: u64,
    actor: ActorV1,
    target: Option<[u8; 16]>,
    session: Option<[u8; 16]>,
    from: Option<PrefixV1>,
    /// What few events have: each text under the number of its field.
    details: Vec<(u8, String)>,
}

#[derive(Serialize, Deserialize)]
enum ActorV1 {
    Operator,
    Server,
    Anyone,
    /// The user whom it was done to.
    Target,
    User([u8; 16]),
}

#[derive(Serialize, Deserialize)]
enum PrefixV1 {
    V4([u8; 4]),
    V6(u64),
}

/// The numbers of the fields that few events have. None is ever used for another.
mod field {
    pub const ACCOUNT: u8 = 1;
    pub const INVITE: u8 = 2;
    pub const ROLE: u8 = 3;
    pub const KEY: u8 = 4;
    pub const APP: u8 = 5;
    pub const WHY: u8 = 6;
    pub const REQUEST: u8 = 7;
    pub const PATH: u8 = 8;
    pub const SEEN: u8 = 9;
    pub const OWN: u8 = 10;
    pub const SEE: u8 = 11;
    pub const MORE: u8 = 12;
}

impl Record for (Timestamp, Event) {
    const VERSION: u8 = 1;

    fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error> {
        let (at, event) = self;
        let stored = EventV1 {
            kind: event.kind.number(),
            at: at.millis(),
            actor: match event.actor {
                By::Operator => ActorV1::Operator,
                By::Server => ActorV1::Server,
                By::Anyone => ActorV1::Anyone,
                By::User(user) if event.target == Some(user) => ActorV1::Target,
                By::User(user) => ActorV1::User(*user.as_bytes()),
            },
            target: event.target.map(|user| *user.as_bytes()),
            session: event.session.map(|session| *session.as_bytes()),
            from: event.from.map(|from| match from {
                AddressPrefix::V4(v4) => PrefixV1::V4(v4.octets()),
                AddressPrefix::V6(upper) => PrefixV1::V6(upper),
            }),
            details: details(event),
        };
        encode(&stored, into)
    }

    fn decode(version: u8, payload: &[u8]) -> Result<Self, Error> {
        if version != Self::VERSION {
            return unknown_version(version);
        }
        let stored: EventV1 = decode(payload)?;
        let target = stored.target.map(UserId::from_bytes);
        let kind = Kind::with_number(stored.kind)
            .ok_or_else(|| Error::corrupt(format_args!("event {} is unknown to this release", stored.kind)))?;
        let actor = match stored.actor {
            ActorV1::Operator => By::Operator,
            ActorV1::Server => By::Server,
            ActorV1::Anyone => By::Anyone,
            ActorV1::Target => By::User(target.ok_or_else(|| Error::corrupt("an event of its target without one"))?),
            ActorV1::User(user) => By::User(UserId::from_bytes(user)),
        };
        let mut event = Event::new(kind, actor).maybe_target(target);
        event.session = stored.session.map(SessionId::from_bytes);
        event.from = stored.from.map(|from| match from {
            PrefixV1::V4(octets) => AddressPrefix::V4(Ipv4Addr::from(octets)),
            PrefixV1::V6(upper) => AddressPrefix::V6(upper),
        });
        for (number, text) in stored.details {
            set(&mut event, number, text)?;
        }
        Ok((Timestamp::from_millis(stored.at), event))
    }
}

/// The fields that few events have.
fn details(event: &Event) -> Vec<(u8, String)> {
    let origin = event.origin.as_ref();
    let details = [
        (field::ACCOUNT, event.account.clone()),
        (field::INVITE, event.invite.map(|invite| invite.to_string())),
        (field::ROLE, event.role.as_ref().map(ToString::to_string)),
        (field::KEY, event.key.clone()),
        (field::APP, event.app.clone()),
        (field::WHY, event.why.as_deref().map(str::to_owned)),
        (field::REQUEST, event.request.clone()),
        (field::PATH, event.path.as_deref().map(cut)),
        (field::SEEN, origin.map(|origin| cut(&origin.seen))),
        (field::OWN, origin.map(|origin| origin.own.clone())),
        (field::SEE, origin.map(|origin| origin.see.clone().into_owned())),
        (field::MORE, event.more.map(|more| more.to_string())),
    ];
    details.into_iter().filter_map(|(number, text)| Some((number, text?))).collect()
}

fn set(event: &mut Event, number: u8, text: String) -> Result<(), Error> {
    let origin = |event: &mut Event, set: fn(&mut Foreign, String), text| {
        let unknown = || Foreign { seen: String::new(), own: String::new(), see: "".into() };
        set(event.origin.get_or_insert_with(unknown), text);
    };
    match number {
        field::ACCOUNT => event.account = Some(text),
        field::INVITE => event.invite = Some(text.parse::<InviteId>().map_err(Error::corrupt)?),
        field::ROLE => event.role = Some(Role::try_from(text).map_err(Error::corrupt)?),
        field::KEY => event.key = Some(text),
        field::APP => event.app = Some(text),
        field::WHY => event.why = Some(text.into()),
        field::REQUEST => event.request = Some(text),
        field::PATH => event.path = Some(text),
        field::SEEN => origin(event, |origin, text| origin.seen = text, text),
        field::OWN => origin(event, |origin, text| origin.own = text, text),
        field::SEE => origin(event, |origin, text| origin.see = text.into(), text),
        field::MORE => event.more = Some(text.parse().map_err(Error::corrupt)?),
        other => return Err(Error::corrupt(format_args!("field {other} of an event is unknown to this release"))),
    }
    Ok(())
}

/// The beginning of a text, up to a character's end.
fn cut(text: &str) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}
