//! A model of the store, made of maps and without transactions.

use super::{
    DENY, HASH, Memory,
    action::{Action, Windows},
    at, change, client, event, login, new_account, policy, session, user,
};
use crate::{
    domain::{OnReuse, Role, Session, SessionId, Timestamp, Transport, User, UserId},
    store::{Authority, Created, Ended, LoggedIn, Login, Rotate, Rotated, Store, UserChange},
};
use futures_util::{FutureExt, future::join_all};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long an unused refresh token lives.
pub const IDLE: Duration = Duration::from_secs(3600);
/// How long a session lives at most.
pub const ABSOLUTE: Duration = Duration::from_secs(3 * 3600);
const MAX_SESSIONS: usize = 3;

/// A rotation without any window in which an old token is excused.
pub fn rotation(session: SessionId, generation: u32, now: Timestamp) -> Rotate {
    Rotate {
        session,
        user: UserId::from_bytes([0; 16]),
        generation,
        arrived: Instant::now(),
        was_current: false,
        transport: Transport::Cookie,
        child_expires_at: now.plus(IDLE),
        child_hash: [2; 32],
        hash_key: "h".into(),
        client: client(),
        now,
        conflict_window: Duration::ZERO,
        grace: Duration::ZERO,
        retry_key: None,
        on_reuse: OnReuse::User,
        deny: DENY,
    }
}

struct Account {
    email: String,
    admin: bool,
    disabled: bool,
    version: u32,
}

struct Family {
    user: UserId,
    generation: u32,
    used_at: Timestamp,
    expires_at: Timestamp,
    ends_at: Timestamp,
    /// When each generation was replaced.
    replaced: BTreeMap<u32, Timestamp>,
    replays: u8,
    key: Option<u8>,
}

/// The store and the model, side by side.
pub struct World<'a> {
    store: &'a Store,
    memory: Option<&'a Memory>,
    now: Timestamp,
    accounts: BTreeMap<UserId, Account>,
    families: BTreeMap<SessionId, Family>,
    ever_users: Vec<UserId>,
    ever_sessions: Vec<(SessionId, UserId)>,
    had_admin: bool,
}

impl<'a> World<'a> {
    pub fn new(store: &'a Store, memory: Option<&'a Memory>) -> Self {
        let (accounts, families) = (BTreeMap::new(), BTreeMap::new());
        Self { store, memory, now: at(0), accounts, families, ever_users: vec![], ever_sessions: vec![], had_admin: false }
    }

    fn user(&self, number: u8) -> UserId {
        let nobody = UserId::from_bytes([255; 16]);
        if self.ever_users.is_empty() { nobody } else { self.ever_users[usize::from(number) % self.ever_users.len()] }
    }

    /// The session with this number, counted from the latest, so that most exist.
    fn session(&self, number: u8) -> SessionId {
        let nothing = SessionId::from_bytes([254; 16]);
        self.ever_sessions.iter().rev().nth(usize::from(number)).map_or(nothing, |(id, _)| *id)
    }

    fn new_session(&mut self, user: UserId) -> Session {
        let number = u16::try_from(self.ever_sessions.len()).expect("few");
        let session = session(number, user, self.now);
        self.ever_sessions.push((session.id, user));
        session
    }

    fn begin(&mut self, session: &Session) {
        let family = Family {
            user: session.user,
            generation: 1,
            used_at: session.refreshed_at,
            expires_at: session.expires_at,
            ends_at: session.ends_at,
            replaced: BTreeMap::new(),
            replays: 0,
            key: None,
        };
        self.families.insert(session.id, family);
    }

    fn end_all(&mut self, user: UserId) {
        self.families.retain(|_, family| family.user != user);
    }

    /// Whether a user is the only one who can administer.
    fn is_last_admin(&self, id: UserId) -> bool {
        let active = |account: &Account| account.admin && !account.disabled;
        self.accounts.get(&id).is_some_and(active) && self.accounts.values().filter(|account| active(account)).count() == 1
    }

    pub async fn act(&mut self, action: Action) {
        match action {
            Action::Create { email, admin, with_session } => self.create(email, admin, with_session).await,
            Action::Login { user, stale, replaces } => self.login(user, stale, replaces).await,
            Action::Rotate { session, back, other_transport, windows, on_reuse, key } => {
                self.rotate(session, back, other_transport, windows, on_reuse, key).await;
            }
            Action::Race { session, runners } => self.race(session, runners).await,
            Action::EndSession { session, owner } => {
                let (id, owner) = (self.session(session), owner.map(|number| self.user(number)));
                let ours = self.families.get(&id).is_some_and(|family| owner.is_none_or(|owner| owner == family.user));
                let ended = self.store.end_session(id, owner, Authority::Operator, DENY, event()).await.expect("works");
                assert_eq!(ended, self.families.get(&id).filter(|_| ours).map(|family| family.user), "AZ-6");
                if ours {
                    self.families.remove(&id);
                }
            }
            Action::EndAll { user } => {
                let id = self.user(user);
                let ended = self.store.end_all(id, Authority::Operator, DENY, event()).await.expect("works");
                assert_eq!(ended == Ended::Done, self.accounts.contains_key(&id));
                self.end_all(id);
                self.voided(id);
            }
            Action::SetRole { user, admin } => {
                let id = self.user(user);
                let role: Role = if admin { "admin" } else { "viewer" }.parse().expect("a role");
                let outcome = self.store.set_role(change(id), role, policy()).await.expect("works");
                let refused = !admin && self.is_last_admin(id);
                self.changed(id, &outcome, refused, |account| account.admin = admin);
            }
            Action::SetDisabled { user, disabled } => {
                let id = self.user(user);
                let outcome = self.store.set_disabled(change(id), disabled).await.expect("works");
                let refused = disabled && self.is_last_admin(id);
                self.changed(id, &outcome, refused, |account| account.disabled = disabled);
                if self.accounts.get(&id).is_some_and(|account| account.disabled) {
                    self.end_all(id);
                }
            }
            Action::SetPassword { user } => {
                let id = self.user(user);
                // Two changes: the second restores the hash that logins verify against.
                let other = self.store.set_password(change(id), "$scrypt$other".into()).await.expect("works");
                self.changed(id, &other, false, |account| account.version += 0);
                let outcome = self.store.set_password(change(id), HASH.into()).await.expect("works");
                assert_eq!(matches!(outcome, UserChange::Done(_)), self.accounts.contains_key(&id));
                if let Some(account) = self.accounts.get_mut(&id) {
                    account.version += 2;
                }
                self.end_all(id);
            }
            Action::Delete { user } => {
                let id = self.user(user);
                let outcome = self.store.delete_user(change(id)).await.expect("works");
                if !self.accounts.contains_key(&id) {
                    assert_eq!(outcome, UserChange::NotFound);
                } else if self.is_last_admin(id) {
                    assert_eq!(outcome, UserChange::LastAdmin, "AZ-3");
                } else {
                    assert!(matches!(outcome, UserChange::Done(_)));
                    self.accounts.remove(&id);
                    self.end_all(id);
                }
            }
            Action::Sweep => {
                while self.store.sweep_sessions(self.now).await.expect("works") {}
                let now = self.now;
                self.families.retain(|_, family| now < family.expires_at);
            }
            Action::Wait { seconds } => self.now = self.now.plus(Duration::from_secs(seconds.into())),
        }
    }

    async fn create(&mut self, email: u8, admin: bool, with_session: bool) {
        let number = u8::try_from(self.ever_users.len()).expect("few");
        let address = format!("user{email}@example.org");
        let new = user(number, &address, if admin { "admin" } else { "viewer" });
        let (id, session) = (new.id, with_session.then(|| self.new_session(new.id)));
        let taken = self.accounts.values().any(|account| account.email == address);
        let created = self.store.create_account(new_account(&new, session.as_ref())).await.expect("works");
        self.ever_users.push(id);
        if taken {
            assert_eq!(created, Created::EmailTaken, "AUT-3");
            return;
        }
        assert_eq!(created, Created::User(new));
        self.accounts.insert(id, Account { email: address, admin, disabled: false, version: 1 });
        if let Some(session) = session {
            self.begin(&session);
        }
    }

    async fn login(&mut self, user: u8, stale: bool, replaces: Option<u8>) {
        let id = self.user(user);
        let replaces = replaces.map(|number| self.session(number));
        let session = self.new_session(id);
        let verified_hash = if stale { "$scrypt$of-yesterday" } else { HASH }.into();
        let request = Login { verified_hash, ..login(session.clone(), replaces, MAX_SESSIONS) };
        let logged_in = self.store.login(request).await.expect("works");
        if stale || self.accounts.get(&id).is_none_or(|account| account.disabled) {
            assert_eq!(logged_in, LoggedIn::Refused, "AUT-14");
            return;
        }
        assert!(matches!(logged_in, LoggedIn::User(user) if user.id == id));
        if let Some(replaced) = replaces {
            self.families.remove(&replaced);
        }
        self.begin(&session);
        // REF-14: the sessions used longest ago end, and never the one that has just begun.
        let mut theirs: Vec<_> = self.families.iter().filter(|(_, family)| family.user == id).collect();
        theirs.sort_by_key(|(family_id, family)| (**family_id == session.id, family.used_at, **family_id));
        let too_many = theirs.len().saturating_sub(MAX_SESSIONS);
        let gone: Vec<_> = theirs.into_iter().take(too_many).map(|(id, _)| *id).collect();
        for id in gone {
            self.families.remove(&id);
        }
    }

    async fn rotate(&mut self, number: u8, back: i8, other_transport: bool, windows: Windows, on_reuse: OnReuse, key: Option<u8>) {
        let id = self.session(number);
        let generation = self
            .families
            .get(&id)
            .map_or(1, |family| u32::try_from((i64::from(family.generation) - i64::from(back)).max(1)).expect("at least one"));
        let ends_at = self.families.get(&id).map_or(self.now, |family| family.ends_at);
        let transport = if other_transport { Transport::Body } else { Transport::Cookie };
        let (conflict_window, grace) = (windows.conflict, windows.grace);
        let child_expires_at = self.now.plus(IDLE).min(ends_at);
        let retry_key = key.map(|key| [key; 32]);
        let rotate =
            Rotate { transport, child_expires_at, conflict_window, grace, retry_key, on_reuse, ..rotation(id, generation, self.now) };
        let rotated = self.store.rotate(rotate).await.expect("works");
        let now = self.now;
        let Some(family) = self.families.get_mut(&id) else {
            assert_eq!(rotated, Rotated::Revoked);
            return;
        };
        let user = family.user;
        let since = family.replaced.get(&generation).map(|replaced| now.since(*replaced));
        let within = |window: Duration| since.is_some_and(|since| since < window);
        if now >= family.expires_at {
            assert_eq!(rotated, Rotated::Expired, "REF-9");
        } else if generation == family.generation && other_transport {
            assert_eq!(rotated, Rotated::OtherTransport, "REF-12");
        } else if generation == family.generation {
            assert!(matches!(rotated, Rotated::Rotated(session, _) if session.generation == generation + 1));
            family.rotated(now, child_expires_at);
            family.key = key;
        } else if generation > family.generation {
            assert_eq!(rotated, Rotated::Ahead, "REF-15");
            self.families.remove(&id);
        } else if generation + 1 == family.generation && !other_transport && key.is_some() && key == family.key {
            assert!(matches!(rotated, Rotated::Replayed(session, _) if session.generation == family.generation), "REF-4: a retry");
        } else if generation + 1 == family.generation && within(grace) && !other_transport && family.replays == 3 {
            assert_eq!(rotated, Rotated::Conflict, "repeated too often, and no theft");
        } else if generation + 1 == family.generation && within(grace) && !other_transport {
            assert!(matches!(rotated, Rotated::Replayed(session, _) if session.generation == family.generation), "REF-4");
            family.replays += 1;
        } else if within(conflict_window) {
            assert_eq!(rotated, Rotated::Conflict);
        } else {
            assert_eq!(rotated, Rotated::Reused, "REF-1: an old generation never rotates");
            self.reused(id, user, on_reuse);
        }
    }

    fn reused(&mut self, id: SessionId, user: UserId, on_reuse: OnReuse) {
        match on_reuse {
            OnReuse::Session => {
                self.families.remove(&id);
            }
            OnReuse::User => {
                self.end_all(user);
                self.voided(user);
            }
        }
    }

    /// REF-3: of several requests that present one token at once, exactly one gets a child.
    async fn race(&mut self, number: u8, runners: u8) {
        let id = self.session(number);
        let Some(family) = self.families.get(&id).filter(|family| self.now < family.expires_at) else { return };
        let generation = family.generation;
        let child_expires_at = self.now.plus(IDLE).min(family.ends_at);
        let rotate = Rotate { was_current: true, child_expires_at, ..rotation(id, generation, self.now) };
        if let Some(memory) = self.memory {
            memory.hold();
        }
        let all = join_all((0..runners).map(|_| self.store.rotate(rotate.clone())));
        let start = async {
            // By now all of them wait for their commit.
            tokio::task::yield_now().await;
            if let Some(memory) = self.memory {
                memory.release();
            }
        };
        let (outcomes, ()) = tokio::join!(all, start);
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("works")).collect();
        let winners = outcomes.iter().filter(|outcome| matches!(outcome, Rotated::Rotated(..))).count();
        let losers = outcomes.iter().filter(|outcome| **outcome == Rotated::Conflict).count();
        assert_eq!(winners, 1, "{outcomes:?}");
        self.families.get_mut(&id).expect("there").rotated(self.now, child_expires_at);
        // The token was current when each of them read it, so none is reuse.
        assert_eq!(losers, outcomes.len() - 1, "{outcomes:?}");
    }

    fn voided(&mut self, id: UserId) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.version += 1;
        }
    }

    fn changed(&mut self, id: UserId, change: &UserChange, refused: bool, apply: impl FnOnce(&mut Account)) {
        let Some(account) = self.accounts.get_mut(&id) else {
            assert_eq!(*change, UserChange::NotFound);
            return;
        };
        if refused {
            assert_eq!(*change, UserChange::LastAdmin, "AZ-3");
            return;
        }
        assert!(matches!(change, UserChange::Done(_)), "{change:?}");
        let before = (account.admin, account.disabled);
        apply(account);
        if before != (account.admin, account.disabled) {
            account.version += 1;
        }
    }

    /// Checks that the database holds what the model does, and that there is an admin once there was one.
    pub fn agrees(&mut self, users: &BTreeMap<UserId, User>, sessions: &BTreeMap<SessionId, Session>) {
        let stored: Vec<_> = users.values().map(|u| (u.id, u.email.to_string(), u.role.is_admin(), u.disabled, u.token_version)).collect();
        let model: Vec<_> = self.accounts.iter().map(|(id, a)| (*id, a.email.clone(), a.admin, a.disabled, a.version)).collect();
        assert_eq!(stored, model);
        let stored: Vec<_> = sessions.values().map(|s| (s.id, s.user, s.generation, s.expires_at, s.replays)).collect();
        let model: Vec<_> = self.families.iter().map(|(id, f)| (*id, f.user, f.generation, f.expires_at, f.replays)).collect();
        assert_eq!(stored, model);
        let has_admin = users.values().any(User::is_active_admin);
        self.had_admin |= has_admin;
        assert_eq!(has_admin, self.had_admin, "AZ-3: nobody is left to administer");
        assert_eq!(self.store.has_admin().now_or_never().expect("at once").expect("works"), has_admin);
    }
}

impl Family {
    fn rotated(&mut self, now: Timestamp, expires_at: Timestamp) {
        self.replaced.insert(self.generation, now);
        self.generation += 1;
        self.used_at = now;
        self.expires_at = expires_at;
        self.replays = 0;
        self.key = None;
    }
}
