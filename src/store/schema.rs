//! Every table, its key and its record, on one page.
//!
//! | table | key | record |
//! |---|---|---|
//! | `instance` | – | which installation this is, and the schema |
//! | `progress` | – | a count that only grows: an older state is told by it |
//! | `setup` | – | the open set-up link |
//! | `users` | user id | the account |
//! | `users_by_email` | e-mail | user id |
//! | `standings` | first two bytes of user ids | version and whether disabled of each |
//! | `active_admins` | user id | – |
//! | `sessions` | session id | the refresh-token family |
//! | `sessions_by_user` | user id, session id | – |
//! | `sessions_by_sweep` | time, session id | – |
//! | `revoked_sessions` | session id | until when |
//! | `revoked_tokens` | token id (`jti`) | until when |
//! | `invites` | invite id | the invitation |
//!
//! A stored struct is named for its version (`UserV1`) and never edited once released.

use super::{
    Error,
    record::{self, Record, decode, encode, unknown_version},
    table::Table,
};
use crate::domain::{
    Client, Email, Invite, InviteId, Role, Session, SessionId, Shard, Standing, Standings, Timestamp, TokenId, Transport, User, UserId,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// The schema this release writes and the newest it reads. Before 2 there was no `standings`.
pub const VERSION: u32 = 2;

pub const INSTANCE: Table<(), Instance> = Table::new(b'#', "instance");
pub const PROGRESS: Table<(), Progress> = Table::new(b'b', "progress");
pub const SETUP: Table<(), Setup> = Table::new(b'!', "setup");
pub const USERS: Table<UserId, User> = Table::new(b'u', "users");
pub const USERS_BY_EMAIL: Table<Email, UserId> = Table::new(b'e', "users_by_email");
pub const STANDINGS: Table<Shard, Standings> = Table::new(b'v', "standings");
pub const ACTIVE_ADMINS: Table<UserId, ()> = Table::new(b'a', "active_admins");
pub const SESSIONS: Table<SessionId, Session> = Table::new(b's', "sessions");
pub const SESSIONS_BY_USER: Table<(UserId, SessionId), ()> = Table::new(b'o', "sessions_by_user");
pub const SESSIONS_BY_SWEEP: Table<(Timestamp, SessionId), ()> = Table::new(b'x', "sessions_by_sweep");
pub const REVOKED_SESSIONS: Table<SessionId, Timestamp> = Table::new(b'r', "revoked_sessions");
pub const REVOKED_TOKENS: Table<TokenId, Timestamp> = Table::new(b'j', "revoked_tokens");
pub const INVITES: Table<InviteId, Invite> = Table::new(b'i', "invites");

/// Which installation a database belongs to, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub schema: u32,
    pub id: [u8; 16],
    pub created_at: Timestamp,
}

/// A count that grows with each start and each second of changes (STO-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress(pub u64);

/// The set-up link that is open, if any: there is at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Keyed hash of the link's token.
    pub token_hash: [u8; 32],
    /// From when on it is void.
    pub expires_at: Timestamp,
}

/// A record whose only version is the struct `$stored`.
macro_rules! record {
    ($domain:ty, $stored:ident { $($field:ident: $type:ty),* $(,)? }, $to:expr, $from:expr) => {
        #[derive(Serialize, Deserialize)]
        struct $stored { $($field: $type),* }

        impl Record for $domain {
            const VERSION: u8 = 1;

            fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error> {
                let to: fn(&$domain) -> $stored = $to;
                encode(&to(self), into)
            }

            fn decode(version: u8, payload: &[u8]) -> Result<Self, Error> {
                let from: fn($stored) -> Result<$domain, Error> = $from;
                match version {
                    1 => from(decode(payload)?),
                    other => unknown_version(other),
                }
            }
        }
    };
}

record!(
    Instance,
    InstanceV1 { schema: u32, id: [u8; 16], created_at: u64 },
    |i| InstanceV1 { schema: i.schema, id: i.id, created_at: i.created_at.millis() },
    |s| Ok(Instance { schema: s.schema, id: s.id, created_at: Timestamp::from_millis(s.created_at) })
);

record!(
    Setup,
    SetupV1 { token_hash: [u8; 32], expires_at: u64 },
    |s| SetupV1 { token_hash: s.token_hash, expires_at: s.expires_at.millis() },
    |s| Ok(Setup { token_hash: s.token_hash, expires_at: Timestamp::from_millis(s.expires_at) })
);

record!(
    User,
    UserV1 { id: [u8; 16], email: String, password_hash: String, role: String, disabled: bool, version: u32, created_at: u64 },
    |u| UserV1 {
        id: *u.id.as_bytes(),
        email: u.email.to_string(),
        password_hash: u.password_hash.clone(),
        role: u.role.to_string(),
        disabled: u.disabled,
        version: u.version,
        created_at: u.created_at.millis(),
    },
    |s| Ok(User {
        id: UserId::from_bytes(s.id),
        email: Email::from_canonical(s.email),
        password_hash: s.password_hash,
        role: stored_role(s.role)?,
        disabled: s.disabled,
        version: s.version,
        created_at: Timestamp::from_millis(s.created_at),
    })
);

record!(Session, SessionV1 {
    id: [u8; 16], user: [u8; 16], body_transport: bool, generation: u32, token_hash: [u8; 32], hash_key: String,
    token_key: String, created_at: u64, refreshed_at: u64, expires_at: u64, ends_at: u64, sweep_at: u64,
    replaced_at: Vec<u64>, replays: u8, ip: [u8; 16], user_agent: String,
},
|s| SessionV1 {
    id: *s.id.as_bytes(),
    user: *s.user.as_bytes(),
    body_transport: s.transport == Transport::Body,
    generation: s.generation,
    token_hash: s.token_hash,
    hash_key: s.hash_key.clone(),
    token_key: s.token_key.clone(),
    created_at: s.created_at.millis(),
    refreshed_at: s.refreshed_at.millis(),
    expires_at: s.expires_at.millis(),
    ends_at: s.ends_at.millis(),
    sweep_at: s.sweep_at.millis(),
    replaced_at: s.replaced_at.iter().map(|t| t.millis()).collect(),
    replays: s.replays,
    ip: stored_ip(s.client.ip),
    user_agent: s.client.user_agent.clone(),
},
|s| Ok(Session {
    id: SessionId::from_bytes(s.id),
    user: UserId::from_bytes(s.user),
    transport: if s.body_transport { Transport::Body } else { Transport::Cookie },
    generation: s.generation,
    token_hash: s.token_hash,
    hash_key: s.hash_key,
    token_key: s.token_key,
    created_at: Timestamp::from_millis(s.created_at),
    refreshed_at: Timestamp::from_millis(s.refreshed_at),
    expires_at: Timestamp::from_millis(s.expires_at),
    ends_at: Timestamp::from_millis(s.ends_at),
    sweep_at: Timestamp::from_millis(s.sweep_at),
    replaced_at: s.replaced_at.into_iter().map(Timestamp::from_millis).collect(),
    replays: s.replays,
    client: Client { ip: Ipv6Addr::from(s.ip).to_canonical(), user_agent: s.user_agent },
}));

record!(
    Invite,
    InviteV1 { id: [u8; 16], code_hash: [u8; 32], role: String, created_by: [u8; 16], created_at: u64, expires_at: u64 },
    |i| InviteV1 {
        id: *i.id.as_bytes(),
        code_hash: i.code_hash,
        role: i.role.to_string(),
        created_by: *i.created_by.as_bytes(),
        created_at: i.created_at.millis(),
        expires_at: i.expires_at.millis(),
    },
    |s| Ok(Invite {
        id: InviteId::from_bytes(s.id),
        code_hash: s.code_hash,
        role: stored_role(s.role)?,
        created_by: UserId::from_bytes(s.created_by),
        created_at: Timestamp::from_millis(s.created_at),
        expires_at: Timestamp::from_millis(s.expires_at),
    })
);

/// Of a million users a start reads fifteen to a row: bincode's own traits write what serde's would, and
/// take an id as one piece and not byte by byte, which is a fifth of that start.
impl Record for Standings {
    const VERSION: u8 = 1;

    fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error> {
        let users: Vec<_> = self.iter().map(|(id, standing)| (*id.as_bytes(), standing.version, standing.disabled)).collect();
        record::encode_plain(&users, into)
    }

    fn decode(version: u8, payload: &[u8]) -> Result<Self, Error> {
        match version {
            1 => {
                let users: Vec<([u8; 16], u32, bool)> = record::decode_plain(payload)?;
                Ok(users.into_iter().map(|(id, version, disabled)| (UserId::from_bytes(id), Standing { version, disabled })).collect())
            }
            other => unknown_version(other),
        }
    }
}

record!(Progress, ProgressV1 { count: u64 }, |p| ProgressV1 { count: p.0 }, |s| Ok(Progress(s.count)));

record!(UserId, UserIdV1 { id: [u8; 16] }, |id| UserIdV1 { id: *id.as_bytes() }, |s| Ok(UserId::from_bytes(s.id)));

record!(Timestamp, TimestampV1 { millis: u64 }, |t| TimestampV1 { millis: t.millis() }, |s| Ok(Timestamp::from_millis(s.millis)));

record!((), UnitV1 {}, |()| UnitV1 {}, |_| Ok(()));

fn stored_role(name: String) -> Result<Role, Error> {
    Role::try_from(name).map_err(Error::corrupt)
}

/// IPv4 as the IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const fn stored_ip(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{open, seal};
    use data_encoding::HEXLOWER;
    use std::fmt::Debug;

    const KEY: &[u8] = b"key";

    /// The bytes of every record, as release 0.1 writes them. Never edited: a new version adds lines.
    const GOLDEN: &str = include_str!("../../tests/golden/records.txt");

    /// The line of a record, once it is seen to come back and to show every damage.
    fn line<R: Record + PartialEq + Debug>(name: &str, record: &R) -> String {
        let bytes = seal(KEY, record).expect("sealed");
        assert_eq!(&open::<R>(KEY, &bytes).expect("opened"), record);
        refuses_damage::<R>(&bytes);
        format!("{name} {}\n", HEXLOWER.encode(&bytes))
    }

    /// STO-9: whatever bit is flipped, wherever it is cut, under another key: an error, never a record.
    fn refuses_damage<R: Record + Debug>(bytes: &[u8]) {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open::<R>(KEY, &damaged), Err(Error::Corrupt(_))), "bit {bit} flipped");
        }
        for len in 0..bytes.len() {
            assert!(matches!(open::<R>(KEY, &bytes[..len]), Err(Error::Corrupt(_))), "cut to {len}");
        }
        assert!(matches!(open::<R>(b"yek", bytes), Err(Error::Corrupt(_))), "under another key");
    }

    #[test]
    fn sto_9_records_keep_their_bytes_and_show_every_damage() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let mut lines = String::new();
        lines += &line("instance", &Instance { schema: 1, id: [7; 16], created_at: at });
        lines += &line("progress", &Progress(1000));
        lines += &line("setup", &Setup { token_hash: [9; 32], expires_at: at });
        lines += &line(
            "user",
            &User {
                id: UserId::from_bytes([1; 16]),
                email: "ada@example.org".parse().expect("an address"),
                password_hash: "$scrypt$ln=15,r=8,p=3$c2FsdA$aGFzaA".into(),
                role: Role::admin(),
                disabled: false,
                version: 300,
                created_at: at,
            },
        );
        lines += &line(
            "session",
            &Session {
                id: SessionId::from_bytes([2; 16]),
                user: UserId::from_bytes([1; 16]),
                transport: Transport::Body,
                generation: 70_000,
                token_hash: [3; 32],
                hash_key: "h1".into(),
                token_key: "t1".into(),
                created_at: at,
                refreshed_at: at,
                expires_at: at,
                ends_at: at,
                sweep_at: at,
                replaced_at: vec![at, Timestamp::from_millis(1)],
                replays: 2,
                client: Client { ip: IpAddr::from([192, 0, 2, 1]), user_agent: "curl/8".into() },
            },
        );
        lines += &line(
            "invite",
            &Invite {
                id: InviteId::from_bytes([4; 16]),
                code_hash: [5; 32],
                role: Role::admin(),
                created_by: UserId::from_bytes([1; 16]),
                created_at: at,
                expires_at: at,
            },
        );
        lines += &line("user_id", &UserId::from_bytes([1; 16]));
        let standing = Standing { version: 300, disabled: true };
        lines += &line("standings", &Standings::from_iter([(UserId::from_bytes([1; 16]), standing)]));
        lines += &line("timestamp", &at);
        lines += &line("unit", &());
        assert_eq!(lines, GOLDEN);
    }

    #[test]
    fn a_later_version_is_an_error_never_a_guess() {
        let mut bytes = vec![2, 1];
        bytes.extend(
            [KEY, &bytes]
                .concat()
                .iter()
                .fold(crc32fast::Hasher::new(), |mut h, b| {
                    h.update(&[*b]);
                    h
                })
                .finalize()
                .to_le_bytes(),
        );
        let error = open::<Timestamp>(KEY, &bytes).expect_err("version 2 is unknown");
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn sto_9_no_bytes_under_a_right_checksum_make_reading_a_record_panic(
            version in 0_u8..4,
            payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let mut bytes = vec![version];
            bytes.extend(payload);
            bytes.extend(crc32fast::hash(&[KEY, &bytes].concat()).to_le_bytes());
            let _ = open::<Instance>(KEY, &bytes);
            let _ = open::<Progress>(KEY, &bytes);
            let _ = open::<Setup>(KEY, &bytes);
            let _ = open::<User>(KEY, &bytes);
            let _ = open::<Session>(KEY, &bytes);
            let _ = open::<Standings>(KEY, &bytes);
            let _ = open::<Timestamp>(KEY, &bytes);
            let _ = open::<UserId>(KEY, &bytes);
            let _ = open::<()>(KEY, &bytes);
        }
    }
}
