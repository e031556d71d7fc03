//! The form in which each record is stored. A stored struct is named for its version (`UserV1`) and never edited once
//! released.

use super::{Instance, Issued, NotBefore, Setup, VoidTokens};
use crate::{
    domain::{
        ApiKey, ApiKeyId, AuthMethod, Client, Email, Invite, InviteId, MadeIn, Permission, ReplacedSecret, Role, Session, SessionId,
        Timestamp, Transport, User, UserId, UserKind,
    },
    store::{
        Error,
        record::{Record, decode, encode, unknown_version},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// A record that is written as version `$version`, the struct `$stored`; `$old` versions are still read.
macro_rules! record {
    ($domain:ty, $stored:ident { $($fields:tt)* }, $to:expr, $from:expr) => {
        record!($domain, 1 $stored { $($fields)* }, $to, $from,);
    };
    (
        $domain:ty, $version:literal $stored:ident { $($field:ident: $type:ty),* $(,)? }, $to:expr, $from:expr,
        $($old:literal $old_stored:ident { $($old_field:ident: $old_type:ty),* $(,)? } $old_from:expr,)*
    ) => {
        #[derive(Serialize, Deserialize)]
        struct $stored { $($field: $type),* }

        $(
            #[derive(Deserialize)]
            struct $old_stored { $($old_field: $old_type),* }
        )*

        impl Record for $domain {
            const VERSION: u8 = $version;

            fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error> {
                let to: fn(&$domain) -> $stored = $to;
                encode(&to(self), into)
            }

            fn decode(version: u8, payload: &[u8]) -> Result<Self, Error> {
                let from: fn($stored) -> Result<$domain, Error> = $from;
                match version {
                    $version => from(decode(payload)?),
                    $($old => {
                        let old_from: fn($old_stored) -> $stored = $old_from;
                        from(old_from(decode(payload)?))
                    })*
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
    3 UserV3 {
        id: [u8; 16], email: String, password_hash: String, role: String, disabled: bool, version: u32, created_at: u64,
        email_verified: bool, epoch: u32, is_service: bool,
    },
    |u| UserV3 {
        id: *u.id.as_bytes(),
        email: u.email.to_string(),
        password_hash: u.password_hash.clone(),
        role: u.role.to_string(),
        disabled: u.disabled,
        version: u.token_version,
        created_at: u.created_at.millis(),
        email_verified: u.email_verified,
        epoch: u.epoch,
        is_service: !u.is_person(),
    },
    |s| Ok(User {
        kind: if s.is_service { UserKind::Service } else { UserKind::Person },
        id: UserId::from_bytes(s.id),
        email: Email::from_canonical(s.email),
        password_hash: s.password_hash,
        role: stored_role(s.role)?,
        disabled: s.disabled,
        email_verified: s.email_verified,
        token_version: s.version,
        epoch: s.epoch,
        created_at: Timestamp::from_millis(s.created_at),
    }),
    // Version 2 knew no services.
    2 UserV2 {
        id: [u8; 16], email: String, password_hash: String, role: String, disabled: bool, version: u32, created_at: u64,
        email_verified: bool, epoch: u32,
    }
    |o| UserV3 {
        id: o.id,
        email: o.email,
        password_hash: o.password_hash,
        role: o.role,
        disabled: o.disabled,
        version: o.version,
        created_at: o.created_at,
        email_verified: o.email_verified,
        epoch: o.epoch,
        is_service: false,
    },
    // Version 1 knew neither verified addresses nor epochs.
    1 UserV1 { id: [u8; 16], email: String, password_hash: String, role: String, disabled: bool, version: u32, created_at: u64 }
    |o| UserV3 {
        id: o.id,
        email: o.email,
        password_hash: o.password_hash,
        role: o.role,
        disabled: o.disabled,
        version: o.version,
        created_at: o.created_at,
        email_verified: false,
        epoch: 0,
        is_service: false,
    },
);

record!(
    Session,
    2 SessionV2 {
        id: [u8; 16], user: [u8; 16], body_transport: bool, generation: u32, token_hash: [u8; 32], hash_key: String,
        token_key: String, created_at: u64, refreshed_at: u64, expires_at: u64, ends_at: u64, sweep_at: u64,
        replaced_at: Vec<u64>, replays: u8, ip: [u8; 16], user_agent: String, retry_key: Option<[u8; 32]>, auth_time: u64,
        methods: Vec<u8>,
    },
    |s| SessionV2 {
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
        retry_key: s.retry_key,
        auth_time: s.auth_time.millis(),
        methods: s.methods.iter().map(|method| stored_method(*method)).collect(),
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
        retry_key: s.retry_key,
        auth_time: Timestamp::from_millis(s.auth_time),
        methods: s.methods.into_iter().map(method_of).collect::<Result<_, _>>()?,
        client: Client { ip: Ipv6Addr::from(s.ip).to_canonical(), user_agent: s.user_agent },
    }),
    1 SessionV1 {
        id: [u8; 16], user: [u8; 16], body_transport: bool, generation: u32, token_hash: [u8; 32], hash_key: String,
        token_key: String, created_at: u64, refreshed_at: u64, expires_at: u64, ends_at: u64, sweep_at: u64,
        replaced_at: Vec<u64>, replays: u8, ip: [u8; 16], user_agent: String,
    }
    |o| SessionV2 {
        id: o.id,
        user: o.user,
        body_transport: o.body_transport,
        generation: o.generation,
        token_hash: o.token_hash,
        hash_key: o.hash_key,
        token_key: o.token_key,
        created_at: o.created_at,
        refreshed_at: o.refreshed_at,
        expires_at: o.expires_at,
        ends_at: o.ends_at,
        sweep_at: o.sweep_at,
        replaced_at: o.replaced_at,
        replays: o.replays,
        ip: o.ip,
        user_agent: o.user_agent,
        retry_key: None,
        // When version 1 was written, every session began with a password.
        auth_time: o.created_at,
        methods: vec![stored_method(AuthMethod::Password)],
    },
);

record!(
    Invite,
    2 InviteV2 {
        id: [u8; 16], code_hash: [u8; 32], role: String, created_by: [u8; 16], created_at: u64, expires_at: u64,
        email: Option<String>, maker_epoch: u32,
    },
    |i| InviteV2 {
        id: *i.id.as_bytes(),
        code_hash: i.code_hash,
        role: i.role.to_string(),
        created_by: *i.created_by.as_bytes(),
        created_at: i.created_at.millis(),
        expires_at: i.expires_at.millis(),
        email: i.email.as_ref().map(ToString::to_string),
        maker_epoch: i.maker_epoch,
    },
    |s| Ok(Invite {
        id: InviteId::from_bytes(s.id),
        code_hash: s.code_hash,
        role: stored_role(s.role)?,
        email: s.email.map(Email::from_canonical),
        created_by: UserId::from_bytes(s.created_by),
        maker_epoch: s.maker_epoch,
        created_at: Timestamp::from_millis(s.created_at),
        expires_at: Timestamp::from_millis(s.expires_at),
    }),
    // Version 1 knew no epochs: every user was in epoch 0.
    1 InviteV1 { id: [u8; 16], code_hash: [u8; 32], role: String, created_by: [u8; 16], created_at: u64, expires_at: u64 }
    |o| InviteV2 {
        id: o.id,
        code_hash: o.code_hash,
        role: o.role,
        created_by: o.created_by,
        created_at: o.created_at,
        expires_at: o.expires_at,
        email: None,
        maker_epoch: 0,
    },
);

record!(
    ApiKey,
    ApiKeyV1 {
        id: [u8; 16], owner: [u8; 16], name: String, start: String, permissions: Vec<String>, hash: [u8; 32],
        replaced: Option<([u8; 32], u64)>, made_in: Option<([u8; 16], u32)>, created_at: u64, expires_at: Option<u64>,
        last_used_at: Option<u64>, revision: u32, apps: Vec<String>,
    },
    |k| ApiKeyV1 {
        id: *k.id.as_bytes(),
        owner: *k.owner.as_bytes(),
        name: k.name.clone(),
        start: k.start.clone(),
        permissions: k.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
        hash: k.hash,
        replaced: k.replaced.map(|replaced| (replaced.hash, replaced.until.millis())),
        made_in: k.made_in.map(|made| (*made.session.as_bytes(), made.generation)),
        created_at: k.created_at.millis(),
        expires_at: k.expires_at.map(Timestamp::millis),
        last_used_at: k.last_used_at.map(Timestamp::millis),
        revision: k.revision,
        apps: k.apps.iter().map(ToString::to_string).collect(),
    },
    |s| Ok(ApiKey {
        id: ApiKeyId::from_bytes(s.id),
        owner: UserId::from_bytes(s.owner),
        name: s.name,
        start: s.start,
        apps: s.apps.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(Error::corrupt)?,
        permissions: s.permissions.into_iter().map(Permission::try_from).collect::<Result<_, _>>().map_err(Error::corrupt)?,
        hash: s.hash,
        replaced: s.replaced.map(|(hash, until)| ReplacedSecret { hash, until: Timestamp::from_millis(until) }),
        made_in: s.made_in.map(|(session, generation)| MadeIn { session: SessionId::from_bytes(session), generation }),
        created_at: Timestamp::from_millis(s.created_at),
        expires_at: s.expires_at.map(Timestamp::from_millis),
        last_used_at: s.last_used_at.map(Timestamp::from_millis),
        revision: s.revision,
    })
);

record!(
    VoidTokens,
    VoidTokensV1 { least_version: u32, until: u64 },
    |v| VoidTokensV1 { least_version: v.least_version, until: v.until.millis() },
    |s| Ok(VoidTokens { least_version: s.least_version, until: Timestamp::from_millis(s.until) })
);

record!(
    NotBefore,
    NotBeforeV1 { moment: u64, until: u64 },
    |n| NotBeforeV1 { moment: n.moment.millis(), until: n.until.millis() },
    |s| Ok(NotBefore { moment: Timestamp::from_millis(s.moment), until: Timestamp::from_millis(s.until) })
);

record!(
    Issued,
    IssuedV1 { latest: u64, lifetime_secs: u64 },
    |i| IssuedV1 { latest: i.latest.millis(), lifetime_secs: i.lifetime.as_secs() },
    |s| Ok(Issued { latest: Timestamp::from_millis(s.latest), lifetime: Duration::from_secs(s.lifetime_secs) })
);

record!(UserId, UserIdV1 { id: [u8; 16] }, |id| UserIdV1 { id: *id.as_bytes() }, |s| Ok(UserId::from_bytes(s.id)));

record!(Timestamp, TimestampV1 { millis: u64 }, |t| TimestampV1 { millis: t.millis() }, |s| Ok(Timestamp::from_millis(s.millis)));

record!((), UnitV1 {}, |()| UnitV1 {}, |_| Ok(()));

const fn stored_method(method: AuthMethod) -> u8 {
    match method {
        AuthMethod::Password => 0,
    }
}

fn method_of(stored: u8) -> Result<AuthMethod, Error> {
    match stored {
        0 => Ok(AuthMethod::Password),
        other => Err(Error::corrupt(format_args!("authentication method {other} is unknown to this release"))),
    }
}

fn stored_role(name: String) -> Result<Role, Error> {
    Role::try_from(name).map_err(Error::corrupt)
}

/// IPv4 is stored as the IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const fn stored_ip(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
