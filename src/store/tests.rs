//! Compares the store with a model of it, on an engine in memory, on sled, and on an engine that fails.

mod action;
mod denied;
mod model;
mod races;
mod single;

use super::{
    schema::{
        ACTIVE_ADMINS, API_KEYS, EVENTS, EVENTS_BY_USER, INSTANCE, INVITES, ISSUED, NOT_BEFORE, REVOKED_SESSIONS, REVOKED_TOKENS,
        REVOKED_USERS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, SETUP, USERS, USERS_BY_EMAIL,
    },
    table::Table,
    *,
};
use crate::domain::{
    AddressPrefix, By, Client, Email, Invite, InviteId, Kind, Role, RolePolicy, Roles, Session, SessionId, TokenId, TokenIds, User, UserId,
};
use action::Action;
use engine::memory::Memory;
use futures_util::FutureExt;
use model::World;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

const INSTALLATION: [u8; 16] = [7; 16];
const HASH: &str = "$scrypt$of-a-password";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + seconds)
}

/// An observer that keeps the revocations it was told of, as the service does, and the events for the log.
#[derive(Default)]
pub struct RecordingObserver {
    users: Mutex<BTreeMap<UserId, u32>>,
    sessions: Mutex<BTreeSet<SessionId>>,
    tokens: Mutex<BTreeSet<TokenId>>,
    records: Mutex<Vec<Kind>>,
}

impl Observer for RecordingObserver {
    fn committed(&self, event: CommitEvent) {
        match event {
            CommitEvent::TokensVoided { user, least_version, .. } => {
                self.users.lock().insert(user, least_version);
            }
            CommitEvent::SessionRevoked(id, _) => {
                self.sessions.lock().insert(id);
            }
            CommitEvent::TokenRevoked(id, _) => {
                self.tokens.lock().insert(id);
            }
            _ => {}
        }
    }

    fn recorded(&self, event: &Event) {
        self.records.lock().push(event.kind);
    }
}

/// How revocations enter the deny list in these tests.
const DENY: Deny = Deny { until: Timestamp::from_secs(1_900_000_000), lifetime: Duration::from_secs(900), not_before: None };

fn event() -> Event {
    Event::new(Kind::LoggedIn, By::User(UserId::from_bytes([1; 16]))).target(UserId::from_bytes([2; 16]))
}

/// A change by an actor who may manage everybody.
fn change(user: UserId) -> ChangeRequest {
    ChangeRequest { user, authorize: Box::new(|_| true), authority: Authority::Operator, deny: DENY, event: event() }
}

/// What the roles of a default configuration may grant.
fn policy() -> RolePolicy {
    Roles::default().policy(&"viewer".parse().expect("a name"))
}

/// What identifies a token of a session and a user that nothing else was revoked of.
fn ids(token: TokenId) -> TokenIds {
    let (user, session) = (UserId::from_bytes([0xee; 16]), SessionId::from_bytes([0xee; 16]));
    TokenIds { user, version: 0, session, token, issued_at: at(0) }
}

/// A user's new account, by open registration.
fn new_account(user: &User, session: Option<&Session>) -> NewAccount {
    let (user, session) = (user.clone(), session.cloned());
    NewAccount { user, session, replaces: None, proof: RegistrationProof::Open, deny: DENY, event: event() }
}

/// A login with the right password.
fn login(session: Session, replaces: Option<SessionId>, max_sessions: usize) -> Login {
    Login { verified_hash: HASH.into(), rehashed: None, session, replaces, max_sessions, deny: DENY, event: event() }
}

fn password_change(session: SessionId, successor: Session) -> PasswordChange {
    PasswordChange { session, verified_hash: HASH.into(), new_hash: "$scrypt$new".into(), successor, deny: DENY, event: event() }
}

/// Reads on an engine whose futures are ready at once.
fn read_now<T: Send>(engine: &dyn Engine, read: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> T {
    view(engine, read).now_or_never().expect("memory and sled answer at once").expect("readable")
}

fn user(id: u8, email: &str, role: &str) -> User {
    User {
        id: UserId::from_bytes([id; 16]),
        email: email.parse().expect("an address"),
        password_hash: HASH.into(),
        role: role.parse().expect("a role"),
        created_at: at(0),
        ..User::example()
    }
}

fn session(id: u16, user: UserId, now: Timestamp) -> Session {
    let mut bytes = [0; 16];
    // Later sessions sort first, so that a test fails if the order of keys is taken for the order of time.
    bytes[..2].copy_from_slice(&(u16::MAX - id).to_be_bytes());
    let expires_at = now.plus(model::IDLE);
    Session {
        id: SessionId::from_bytes(bytes),
        user,
        created_at: now,
        refreshed_at: now,
        expires_at,
        ends_at: now.plus(model::ABSOLUTE),
        sweep_at: expires_at,
        ..Session::example()
    }
}

fn client() -> Client {
    Client { ip: [127, 0, 0, 1].into(), user_agent: String::new() }
}

fn rows<K: key::Key + Ord, R: record::Record>(table: &Table<K, R>, reads: &dyn Reads) -> BTreeMap<K, R> {
    let mut rows = BTreeMap::new();
    table
        .scan(reads, &[], None, |key, record| {
            rows.insert(key, record);
            ControlFlow::Continue(())
        })
        .expect("memory and a good disk do not fail");
    rows
}

/// Checks what must hold between the tables after every operation (STO-3). Returns users and sessions.
fn consistent(reads: &dyn Reads) -> (BTreeMap<UserId, User>, BTreeMap<SessionId, Session>) {
    let (users, sessions) = (rows(&USERS, reads), rows(&SESSIONS, reads));
    let by_email: BTreeMap<Email, UserId> = users.values().map(|user| (user.email.clone(), user.id)).collect();
    assert_eq!(by_email.len(), users.len(), "two users with one address");
    assert_eq!(rows(&USERS_BY_EMAIL, reads), by_email, "users and their addresses");
    let admins: BTreeSet<UserId> = users.values().filter(|user| user.is_active_admin()).map(|user| user.id).collect();
    assert_eq!(rows(&ACTIVE_ADMINS, reads).into_keys().collect::<BTreeSet<_>>(), admins, "enabled admins");
    let by_user: BTreeSet<_> = sessions.values().map(|session| (session.user, session.id)).collect();
    assert_eq!(rows(&SESSIONS_BY_USER, reads).into_keys().collect::<BTreeSet<_>>(), by_user, "sessions by user");
    let by_sweep: BTreeSet<_> = sessions.values().map(|session| (session.sweep_at, session.id)).collect();
    assert_eq!(rows(&SESSIONS_BY_SWEEP, reads).into_keys().collect::<BTreeSet<_>>(), by_sweep, "sessions by sweep");
    let events = rows(&EVENTS, reads);
    let by_user: BTreeSet<_> =
        events.iter().flat_map(|(id, (_, event))| event.users().map(|user| (user, *id)).collect::<Vec<_>>()).collect();
    assert_eq!(rows(&EVENTS_BY_USER, reads).into_keys().collect::<BTreeSet<_>>(), by_user, "events by user");
    for (id, user) in &users {
        assert_eq!(*id, user.id);
    }
    for (id, void) in rows(&REVOKED_USERS, reads) {
        let is_later = |user: &User| user.token_version >= void.least_version;
        assert!(users.get(&id).map_or(void.least_version == u32::MAX, is_later), "no version is given out that is void");
    }
    for (id, session) in &sessions {
        assert_eq!(*id, session.id);
        assert!(users.contains_key(&session.user), "a session without a user");
        assert!(!users[&session.user].disabled, "a session of a disabled user");
        assert!(session.sweep_at <= session.expires_at, "a session the sweeper would miss");
        assert!(session.expires_at <= session.ends_at, "REF-9");
        assert!(!rows(&REVOKED_SESSIONS, reads).contains_key(id), "a revoked session that goes on");
    }
    (users, sessions)
}

/// How many rows belong to no table: those an operation left behind half-done.
fn strays(reads: &dyn Reads) -> usize {
    let known = rows(&INSTANCE, reads).len()
        + rows(&SETUP, reads).len()
        + rows(&USERS, reads).len()
        + rows(&USERS_BY_EMAIL, reads).len()
        + rows(&ACTIVE_ADMINS, reads).len()
        + rows(&SESSIONS, reads).len()
        + rows(&SESSIONS_BY_USER, reads).len()
        + rows(&SESSIONS_BY_SWEEP, reads).len()
        + rows(&NOT_BEFORE, reads).len()
        + rows(&ISSUED, reads).len()
        + rows(&REVOKED_USERS, reads).len()
        + rows(&REVOKED_SESSIONS, reads).len()
        + rows(&REVOKED_TOKENS, reads).len()
        + rows(&INVITES, reads).len()
        + rows(&API_KEYS, reads).len()
        + rows(&EVENTS, reads).len()
        + rows(&EVENTS_BY_USER, reads).len();
    let mut all = 0;
    reads
        .scan(&[], None, &mut |_, _| {
            all += 1;
            ControlFlow::Continue(())
        })
        .expect("memory and a good disk do not fail");
    all - known
}

/// Checks that the observer was told of exactly the revocations that are in the database (I7, REV-3).
fn observer_agrees(store: &Store, observer: &RecordingObserver) {
    let loaded = store.deny_list(at(0), at(0)).now_or_never().expect("at once").expect("readable");
    let users: BTreeMap<_, _> = loaded.users.into_iter().map(|(id, least_version, _)| (id, least_version)).collect();
    assert_eq!(users, *observer.users.lock());
    let sessions: BTreeSet<_> = loaded.sessions.into_iter().map(|(id, _)| id).collect();
    assert_eq!(sessions, *observer.sessions.lock());
    let tokens: BTreeSet<_> = loaded.tokens.into_iter().map(|(id, _)| id).collect();
    assert_eq!(tokens, *observer.tokens.lock());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// A new store on an empty engine, and an observer of it.
pub async fn opened(engine: Box<dyn Engine>) -> (Store, Arc<RecordingObserver>) {
    Store::initialise(&*engine, INSTALLATION, at(0)).await.expect("empty");
    let observer = Arc::new(RecordingObserver::default());
    (Store::open(engine, INSTALLATION, Clock::default(), vec![observer.clone()]).await.expect("just made"), observer)
}

async fn follow(engine: Box<dyn Engine>, memory: Option<&Memory>, script: Vec<Action>) {
    let (store, observer) = opened(engine).await;
    let mut world = World::new(&store, memory);
    for action in script {
        world.act(action).await;
        let (users, sessions) = read_now(&*store.engine, |reads| {
            assert_eq!(strays(reads), 0);
            Ok(consistent(reads))
        });
        world.agrees(&users, &sessions);
        observer_agrees(&store, &observer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// STO-3, REF-1, REF-3, REF-4, REF-9, REF-12..15 and AZ-3 hold in any order of operations.
    #[test]
    fn the_store_does_what_its_model_does(script in proptest::collection::vec(action::action(), 1..60)) {
        let memory = Memory::default();
        runtime().block_on(follow(Box::new(memory.clone()), Some(&memory), script));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_sled_does_what_its_model_does(script in proptest::collection::vec(action::action(), 1..40)) {
        let dir = tempfile::tempdir().expect("a directory");
        let sled = super::engine::sled::Sled::open(&dir.path().join("db"), 0, &dir.path().join("marker")).expect("opens");
        runtime().block_on(follow(Box::new(sled), None, script));
    }
}

/// Runs every operation once, in an order in which each has something to do.
async fn every_operation(store: &Store, observer: &RecordingObserver, mut after: impl FnMut(&str, Result<(), Error>)) {
    let (ada, ben) = (user(1, "ada@example.org", "admin"), user(2, "ben@example.org", "viewer"));
    let (first, second) = (session(1, ada.id, at(1)), session(2, ben.id, at(2)));
    let proof = RegistrationProof::Setup([9; 32]);
    after("open_setup", store.open_setup([9; 32], at(3600), event()).await.map(drop));
    after("set up", store.create_account(NewAccount { proof, ..new_account(&ada, Some(&first)) }).await.map(drop));
    after("create", store.create_account(new_account(&ben, Some(&second))).await.map(drop));
    let of = |id, user: &User| session(id, user.id, at(10 + u64::from(id)));
    let as_user = |id, user: &User, replaces| Login { rehashed: Some(HASH.into()), ..login(of(id, user), replaces, 2) };
    after("login", store.login(as_user(3, &ada, None)).await.map(drop));
    after("login and evict", store.login(as_user(4, &ada, None)).await.map(drop));
    after("login instead", store.login(as_user(5, &ben, Some(second.id))).await.map(drop));
    let fifth = of(5, &ben).id;
    after("rotate", store.rotate(model::rotation(fifth, 1, at(30))).await.map(drop));
    after("reuse", store.rotate(model::rotation(fifth, 1, at(40))).await.map(drop));
    after("login anew", store.login(as_user(9, &ben, None)).await.map(drop));
    after("change_password", store.change_password(password_change(of(9, &ben).id, session(10, ben.id, at(41)))).await.map(drop));
    after("set_email_verified", store.set_email_verified(change(ben.id), true).await.map(drop));
    let invite = InviteId::from_bytes([4; 16]);
    let made = Invite {
        id: invite,
        code_hash: [5; 32],
        role: Role::admin(),
        email: None,
        created_by: ada.id,
        maker_epoch: 0,
        created_at: at(41),
        expires_at: at(3600),
    };
    after("create_invite", store.create_invite(made, Authority::Operator, event()).await);
    after("delete_invite", store.delete_invite(invite, Authority::Operator, event()).await.map(drop));
    after("set_role", store.set_role(change(ben.id), Role::admin(), policy()).await.map(drop));
    after("set_disabled", store.set_disabled(change(ada.id), true).await.map(drop));
    after("enable", store.set_disabled(change(ada.id), false).await.map(drop));
    after("set_password", store.set_password(change(ben.id), HASH.into()).await.map(drop));
    after("login again", store.login(as_user(6, &ben, None)).await.map(drop));
    let (token, from) = (TokenId::from_bytes([3; 16]), AddressPrefix::V6(1));
    after("logout", store.logout(vec![of(6, &ben).id], Some(ids(token)), from, DENY).await);
    after("login once more", store.login(as_user(7, &ben, None)).await.map(drop));
    after("end_session", store.end_session(of(7, &ben).id, Some(ben.id), Authority::Operator, DENY, event()).await.map(drop));
    after("login to be swept", store.login(as_user(8, &ben, None)).await.map(drop));
    after("sweep_sessions", store.sweep_sessions(at(0).plus(model::ABSOLUTE * 2)).await.map(drop));
    // The observer in memory forgets first and then calls this.
    for (what, expired) in [
        ("forget users", ExpiredEntries { users: vec![(ben.id, DENY.until)], ..ExpiredEntries::default() }),
        ("forget sessions", ExpiredEntries { sessions: vec![(second.id, DENY.until)], ..ExpiredEntries::default() }),
        ("forget tokens", ExpiredEntries { tokens: vec![(token, DENY.until)], ..ExpiredEntries::default() }),
    ] {
        let forgotten = store.forget(expired.clone()).await;
        if forgotten.is_ok() {
            observer.users.lock().retain(|id, _| !expired.users.iter().any(|(expired, _)| expired == id));
            observer.sessions.lock().retain(|id| !expired.sessions.iter().any(|(expired, _)| expired == id));
            observer.tokens.lock().retain(|id| !expired.tokens.iter().any(|(expired, _)| expired == id));
        }
        after(what, forgotten);
    }
    after("end_all", store.end_all(ada.id, Authority::Operator, DENY, event()).await.map(drop));
    after("delete_user", store.delete_user(change(ada.id)).await.map(drop));
}

/// STO-1, STO-3, STO-4: whichever step of the engine fails, an operation did all or nothing and said which, and the
/// observers were told of nothing that is not in the database.
#[test]
fn sto_3_sto_4_whatever_operation_fails_nothing_is_half_made() {
    let mut survived = false;
    for n in 0.. {
        assert!(n < 5000, "the script never came through");
        let memory = Memory::default();
        runtime().block_on(async {
            let (store, observer) = opened(Box::new(memory.clone())).await;
            memory.fail_after(n);
            let mut before = memory.rows();
            let mut failed = 0;
            every_operation(&store, &observer, |operation, outcome| {
                // The checks themselves must not fail.
                let left = memory.pause();
                consistent(&memory);
                assert_eq!(strays(&memory), 0, "{operation}");
                observer_agrees(&store, &observer);
                if let Err(error) = outcome {
                    assert!(matches!(error, Error::Storage(_) | Error::ReadOnly), "{operation}: {error}");
                    assert_eq!(memory.rows(), before, "{operation} failed at step {n} and left something");
                    failed += 1;
                }
                before = memory.rows();
                memory.resume(left);
            })
            .await;
            survived = failed == 0;
            assert_eq!(memory.is_writable(), !memory.commit_failed(), "STO-4");
        });
        if survived {
            assert!(n > 60, "only {n} operations in the whole script");
            break;
        }
    }
}
