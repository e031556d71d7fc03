//! Events: one name for each kind, with who did it and to whom. `docs/events.md` explains each.

use super::{AddressPrefix, InviteId, Role, SessionId, UserId};
use std::{borrow::Cow, fmt, str::FromStr};

macro_rules! kinds {
    ($($(#[$doc:meta])* $number:literal $name:ident $text:literal;)*) => {
        /// What happened. The number is what the database has, and never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The `event` field.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The number of this kind in the database.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// The kind with this number.
            #[must_use]
            #[deny(unreachable_patterns)]
            pub const fn with_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }

        impl FromStr for Kind {
            type Err = UnknownKind;

            fn from_str(text: &str) -> Result<Self, UnknownKind> {
                match text { $($text => Ok(Self::$name),)* _ => Err(UnknownKind) }
            }
        }
    };
}

kinds! {
    /// Somebody registered and was logged in.
    1 Registered "register";
    /// A registration was refused: `why` says whether the address is taken or registration is closed.
    2 RegistrationRefused "register_refused";
    /// The first admin registered with a set-up link.
    3 SetUp "setup";
    /// Somebody used a set-up link that is not valid.
    4 SetUpRefused "setup_refused";
    /// A new set-up link was made; earlier ones are void.
    5 SetUpLinkMade "setup_link_made";
    /// Somebody logged in.
    6 LoggedIn "login_ok";
    /// A login failed: `account` is a keyed hash of the name that was tried.
    7 LoginFailed "login_failed";
    /// The failed logins counted against an account were forgotten.
    8 Unlocked "user_unlocked";
    /// Somebody logged out.
    9 LoggedOut "logout";
    /// All sessions of a user were ended.
    10 SessionsRevoked "sessions_revoked";
    /// One session was ended.
    11 SessionRevoked "session_revoked";
    /// One access token was revoked.
    12 TokenRevoked "token_revoked";
    /// A user replaced their password.
    13 PasswordChanged "password_changed";
    /// A user gave a wrong password for their present one.
    14 PasswordChangeFailed "password_change_failed";
    /// An operator replaced a user's password.
    15 PasswordReset "password_reset";
    /// A refresh lost a race.
    16 RefreshConflict "refresh_conflict";
    /// A replaced refresh token was presented: its session, or everything of its user, was revoked.
    17 RefreshReuse "refresh_reuse";
    /// A token is newer than the database, which was rolled back to an older state.
    18 StateRollback "state_rollback";
    /// An access token is signed with our key, but has claims that this server never issues: somebody else has the
    /// key.
    19 ForgedToken "forged_token";
    /// A session's row was not written by this server.
    20 PlantedSession "planted_session";
    /// An operator made an account.
    21 UserAdded "user_added";
    /// A user was given another role.
    22 RoleChanged "role_changed";
    /// A user was disabled.
    23 UserDisabled "user_disabled";
    /// A user was enabled again.
    24 UserEnabled "user_enabled";
    /// A user was deleted.
    25 UserDeleted "user_deleted";
    /// A user's address was marked as verified.
    26 EmailVerified "email_verified";
    /// A user's address was marked as not verified.
    27 EmailUnverified "email_unverified";
    /// An invitation was made.
    28 InviteCreated "invite_created";
    /// An invitation was withdrawn.
    29 InviteWithdrawn "invite_withdrawn";
    /// A key was made; it is to be used later.
    30 KeyPublished "key_published";
    /// A key is in use from now on.
    31 KeyInUse "key_in_use";
    /// A key was removed: what it signed has expired, or is void.
    32 KeyRemoved "key_removed";
    /// A service account was made.
    33 ServiceAdded "service_added";
    /// An API key was made.
    34 ApiKeyCreated "api_key_created";
    /// An API key was given another secret.
    35 ApiKeyRotated "api_key_rotated";
    /// An API key was revoked.
    36 ApiKeyRevoked "api_key_revoked";
    /// A request did not prove that it came from an allowed page.
    37 CsrfFailed "csrf_failed";
    /// A limit refused a request.
    38 RateLimited "rate_limited";
    /// A user entered an app behind the gate.
    39 AppEntered "app_entered";
    /// `verify` was asked for a role or permission that is not configured: the proxy's configuration must be
    /// corrected.
    40 VerifyMistaken "verify_mistaken";
    /// A caller may not do what they asked for.
    41 Forbidden "forbidden";
    /// An invitation was used up: its target is the new user.
    42 InviteUsed "invite_used";
    /// The server started.
    43 Started "started";
    /// The server stopped.
    44 Stopped "stopped";
    /// Events were dropped, because there were too many to keep.
    45 EventsDropped "events_dropped";
}

/// The text is the name of no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no event: docs/events.md lists them")]
pub struct UnknownKind;

impl Kind {
    /// Whether it tells that something was refused or failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::RegistrationRefused
                | Self::SetUpRefused
                | Self::LoginFailed
                | Self::PasswordChangeFailed
                | Self::RefreshConflict
                | Self::CsrfFailed
                | Self::RateLimited
                | Self::Forbidden
                | Self::EventsDropped
        ) || self.is_alarm()
    }

    /// Whether an operator should look at it soon.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        matches!(self, Self::RefreshReuse | Self::StateRollback | Self::ForgedToken | Self::PlantedSession | Self::VerifyMistaken)
    }
}

/// The actor of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An operator on this machine.
    Operator,
    /// The server itself, on a timer or at its start.
    Server,
    /// This user.
    User(UserId),
    /// A client that has not proved who it is.
    Anyone,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Server => f.write_str("server"),
            Self::User(id) => id.fmt(f),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

/// Something that happened, with who did it and to whom.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub actor: By,
    /// The user it is about.
    pub target: Option<UserId>,
    /// A keyed hash of the name that was tried.
    pub account: Option<String>,
    /// The session it is about.
    pub session: Option<SessionId>,
    /// The invitation it is about.
    pub invite: Option<InviteId>,
    /// The role that was given.
    pub role: Option<Role>,
    /// The id of the key it is about, whether one of Doorward's own or an API key.
    pub key: Option<String>,
    /// The app behind the gate that it is about.
    pub app: Option<String>,
    /// The reason.
    pub why: Option<Cow<'static, str>>,
    /// The id of the request that was refused.
    pub request: Option<String>,
    /// The path of that request.
    pub path: Option<String>,
    /// Where the request came from, and from where it should have.
    pub origin: Option<Foreign>,
    /// How many more of its kind there were from there, if it tells of several.
    pub more: Option<u64>,
    /// The address prefix the request came from.
    pub from: Option<AddressPrefix>,
}

/// A page of another origin made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The origin it came from, or what the browser said of it.
    pub seen: String,
    /// The site's own, or the app's.
    pub own: String,
    /// The settings that would let it in.
    pub see: Cow<'static, str>,
}

impl Event {
    /// An event that `actor` causes.
    pub const fn new(kind: Kind, actor: By) -> Self {
        Self {
            kind,
            actor,
            target: None,
            account: None,
            session: None,
            invite: None,
            role: None,
            key: None,
            app: None,
            why: None,
            request: None,
            path: None,
            origin: None,
            more: None,
            from: None,
        }
    }

    /// The same, but of another kind: something else that the same actor did to the same user.
    pub const fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The user it is about.
    pub const fn target(mut self, user: UserId) -> Self {
        self.target = Some(user);
        self
    }

    /// The user it is about, if there is one.
    pub const fn maybe_target(mut self, user: Option<UserId>) -> Self {
        self.target = user;
        self
    }

    /// A keyed hash of the name that was tried.
    pub fn account(mut self, hash: String) -> Self {
        self.account = Some(hash);
        self
    }

    /// The session it is about.
    pub const fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// The invitation it is about.
    pub const fn invite(mut self, invite: InviteId) -> Self {
        self.invite = Some(invite);
        self
    }

    /// The role that was given.
    pub fn role(mut self, role: &Role) -> Self {
        self.role = Some(role.clone());
        self
    }

    /// The id of the key it is about.
    pub fn key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    /// The app behind the gate that it is about.
    pub fn app(mut self, name: &str) -> Self {
        self.app = Some(name.to_owned());
        self
    }

    /// The reason.
    pub fn why(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// The request that was refused, and its path.
    pub fn refused(mut self, request: &str, path: String) -> Self {
        (self.request, self.path) = (Some(request.to_owned()), Some(path));
        self
    }

    /// Where the request came from, and from where it should have.
    pub fn foreign(mut self, foreign: Foreign) -> Self {
        self.origin = Some(foreign);
        self
    }

    /// The users it is about: whom it was done to, and who did it.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        let actor = if let By::User(user) = self.actor { Some(user) } else { None };
        self.target.into_iter().chain(actor.filter(|actor| Some(*actor) != self.target))
    }

    /// How many more of its kind there were from there.
    pub const fn more(mut self, more: u64) -> Self {
        self.more = Some(more);
        self
    }

    /// The address prefix the request came from.
    pub const fn from(mut self, from: AddressPrefix) -> Self {
        self.from = Some(from);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(Kind::with_number(kind.number()), Some(*kind));
        }
    }
}
