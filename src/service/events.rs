//! What happened, for whoever reads the log: one line an event, with who did it and to whom (LOG-3).
//! `docs/events.md` tells what each means.

use crate::domain::{AddressPrefix, InviteId, Role, SessionId, User, UserId};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $text:literal;)*) => {
        /// What happened.
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
        }
    };
}

kinds! {
    /// Somebody made an account and was signed in.
    Registered "register";
    /// An account was not made: `why` says whether the address is taken or registration is closed.
    RegistrationRefused "register_refused";
    /// The first admin made their account from a set-up link.
    SetUp "setup";
    /// A set-up link was used that is not good.
    SetUpRefused "setup_refused";
    /// A new set-up link was made; the ones before are void.
    SetUpLinkMade "setup_link_made";
    /// Somebody signed in.
    LoggedIn "login_ok";
    /// Somebody did not: `account` is a keyed hash of the name that was tried.
    LoginFailed "login_failed";
    /// What was counted against an account's sign-ins was forgotten.
    Unlocked "user_unlocked";
    /// Somebody signed out.
    LoggedOut "logout";
    /// All sessions of a user were ended.
    SessionsRevoked "sessions_revoked";
    /// One session was ended.
    SessionRevoked "session_revoked";
    /// A user replaced their password.
    PasswordChanged "password_changed";
    /// A user gave a wrong password for their present one.
    PasswordChangeFailed "password_change_failed";
    /// An operator replaced a user's password.
    PasswordReset "password_reset";
    /// A refresh lost a race.
    RefreshConflict "refresh_conflict";
    /// A refresh token that had been replaced was presented: what it could reach was revoked.
    RefreshReuse "refresh_reuse";
    /// A token is newer than the database: that was put back to an older state.
    StateRollback "state_rollback";
    /// An access token was signed with our key, but says what we did not sign: somebody else has the key.
    ForgedToken "forged_token";
    /// A session's row was not written by this server.
    PlantedSession "planted_session";
    /// An operator made an account.
    UserAdded "user_added";
    /// A user was given another role.
    RoleChanged "role_changed";
    /// A user was disabled.
    UserDisabled "user_disabled";
    /// A user was enabled again.
    UserEnabled "user_enabled";
    /// A user was deleted.
    UserDeleted "user_deleted";
    /// Somebody vouched for a user's address.
    EmailVerified "email_verified";
    /// And took it back.
    EmailUnverified "email_unverified";
    /// An invitation was made.
    InviteCreated "invite_created";
    /// An invitation was withdrawn.
    InviteWithdrawn "invite_withdrawn";
    /// A request did not prove that it came from an allowed page.
    CsrfFailed "csrf_failed";
    /// A limit refused a request.
    RateLimited "rate_limited";
    /// `verify` was asked what makes no sense with the roles that are configured: a proxy's configuration has to
    /// be mended.
    QuestionMistaken "verify_mistaken";
}

impl Kind {
    /// Whether somebody should look at it soon.
    const fn is_alarm(self) -> bool {
        matches!(self, Self::RefreshReuse | Self::StateRollback | Self::ForgedToken | Self::PlantedSession | Self::QuestionMistaken)
    }
}

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
    pub const fn did(&self, kind: Kind) -> Event<'static> {
        match self {
            Self::Operator => Event::new(kind, By::Operator),
            Self::User(user, from) => Event::new(kind, By::User(user.id)).from(*from),
        }
    }
}

/// Who an event names as its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Somebody at this machine.
    Operator,
    /// This user.
    User(UserId),
    /// Somebody who has not said who they are, or not proved it.
    Anyone,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::User(id) => id.fmt(f),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

/// Something that happened, to be [written](Event::write).
#[must_use]
#[derive(Debug, Clone)]
pub struct Event<'a> {
    kind: Kind,
    actor: By,
    target: Option<UserId>,
    account: Option<String>,
    session: Option<SessionId>,
    invite: Option<InviteId>,
    role: Option<&'a Role>,
    why: Option<&'static str>,
    request: Option<&'a str>,
    path: Option<String>,
    origin: Option<(String, String)>,
    from: Option<AddressPrefix>,
}

impl<'a> Event<'a> {
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
            why: None,
            request: None,
            path: None,
            origin: None,
            from: None,
        }
    }

    /// The user it is about.
    pub const fn target(mut self, user: UserId) -> Self {
        self.target = Some(user);
        self
    }

    /// The same, if there is one.
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
    pub const fn role(mut self, role: &'a Role) -> Self {
        self.role = Some(role);
        self
    }

    /// The reason.
    pub const fn why(mut self, why: &'static str) -> Self {
        self.why = Some(why);
        self
    }

    /// The request that was refused, and what it asked for.
    pub fn refused(mut self, request: &'a str, path: String) -> Self {
        (self.request, self.path) = (Some(request), Some(path));
        self
    }

    /// The origin it came from, and the site's own.
    pub fn foreign(mut self, seen: String, own: String) -> Self {
        self.origin = Some((seen, own));
        self
    }

    /// Where it came from.
    pub const fn from(mut self, from: AddressPrefix) -> Self {
        self.from = Some(from);
        self
    }

    /// Writes the line. Every event passes here.
    pub fn write(self) {
        let Self { kind, actor, target, account, session, invite, role, why, request, path, origin, from } = self;
        let see = origin.is_some().then_some("server.public_url, cors.allowed_origins");
        let (origin, site) = origin.unzip();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    event = kind.as_str(),
                    actor = %actor,
                    target = target.map(display),
                    account,
                    session = session.map(display),
                    invite = invite.map(display),
                    role = role.map(display),
                    why,
                    request,
                    path,
                    origin,
                    site,
                    see,
                    from = from.map(display),
                )
            };
        }
        if kind.is_alarm() { line!(warn) } else { line!(info) }
    }
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

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
