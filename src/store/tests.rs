//! The store against a model of it, on an engine in memory, on sled, and on one that fails.

mod action;
mod denied;
mod model;
mod races;

use super::{
    schema::{
        ACTIVE_ADMINS, INSTANCE, INVITES, NOT_BEFORE, REVOKED_SESSIONS, REVOKED_TOKENS, REVOKED_USERS, SESSIONS, SESSIONS_BY_SWEEP,
        SESSIONS_BY_USER, SETUP, USERS, USERS_BY_EMAIL,
    },
    table::Table,
    *,
};
use crate::domain::{AddressPrefix, By, Client, Email, Invite, InviteId, Kind, Role, Session, SessionId, TokenId, User, UserId};
use action::Action;
use engine::memory::Memory;
use futures_util::FutureExt;
use model::World;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

const INSTALLATION: [u8; 16] = [7; 16];
const HASH: &str = "$scrypt$of-a-password";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + seconds)
}

/// What memory was told of revocations, as the service keeps it, and what was recorded for the log.
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
            CommitEvent::AllVoidedBefore { .. } | CommitEvent::UserChanged(_) | CommitEvent::Rotated { .. } => {}
        }
    }

    fn recorded(&self, event: &Event) {
        self.records.lock().push(event.kind);
    }
}

/// How revocations are remembered in these tests.
const DENY: Deny = Deny { until: Timestamp::from_secs(1_900_000_000), not_before: None };

fn event() -> Event {
    Event::new(Kind::LoggedIn, By::Anyone)
}

/// A change that nobody is refused.
fn change(user: UserId) -> ChangeRequest {
    ChangeRequest { user, authorize: Box::new(|_| true), deny: DENY, event: event() }
}

/// A user's new account, by open registration.
fn new_account(user: &User, session: Option<&Session>) -> NewAccount {
    let (user, session) = (user.clone(), session.cloned());
    NewAccount { user, session, replaces: None, proof: RegistrationProof::Open, deny: DENY, event: event() }
}

/// A login with the right password.
fn login(session: Session, replaces: Option<SessionId>, max_sessions: usize) -> SignIn {
    SignIn { verified_hash: HASH.into(), rehashed: None, session, replaces, max_sessions, deny: DENY, event: event() }
}

fn password_change(session: SessionId, successor: Session) -> PasswordChange {
    PasswordChange { session, verified_hash: HASH.into(), new_hash: "$scrypt$new".into(), successor, deny: DENY, event: event() }
}

/// Reads on an engine that answers at once.
fn look<T: Send>(engine: &dyn Engine, look: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> T {
    view(engine, look).now_or_never().expect("memory and sled answer at once").expect("readable")
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
    // The bytes of later sessions sort first: order of keys must never stand in for order of time.
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

/// What holds between the tables after every verb (STO-3). Gives back users and sessions.
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

/// How many rows there are that no table accounts for: leftovers of a half-made verb.
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
        + rows(&REVOKED_USERS, reads).len()
        + rows(&REVOKED_SESSIONS, reads).len()
        + rows(&REVOKED_TOKENS, reads).len()
        + rows(&INVITES, reads).len();
    let mut all = 0;
    reads
        .scan(&[], None, &mut |_, _| {
            all += 1;
            ControlFlow::Continue(())
        })
        .expect("memory and a good disk do not fail");
    all - known
}

/// The database and what memory was told of it agree (I7, REV-3).
fn told_the_truth(store: &Store, told: &RecordingObserver) {
    let loaded = store.denied(at(0), at(0)).now_or_never().expect("at once").expect("readable");
    let users: BTreeMap<_, _> = loaded.users.into_iter().map(|(id, least_version, _)| (id, least_version)).collect();
    assert_eq!(users, *told.users.lock());
    let sessions: BTreeSet<_> = loaded.sessions.into_iter().map(|(id, _)| id).collect();
    assert_eq!(sessions, *told.sessions.lock());
    let tokens: BTreeSet<_> = loaded.tokens.into_iter().map(|(id, _)| id).collect();
    assert_eq!(tokens, *told.tokens.lock());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// A new store on an empty engine, and what it tells.
pub async fn opened(engine: Box<dyn Engine>) -> (Store, Arc<RecordingObserver>) {
    Store::initialise(&*engine, INSTALLATION, at(0)).await.expect("empty");
    let told = Arc::new(RecordingObserver::default());
    (Store::open(engine, INSTALLATION, vec![told.clone()]).await.expect("just made"), told)
}

async fn follow(engine: Box<dyn Engine>, memory: Option<&Memory>, script: Vec<Action>) {
    let (store, told) = opened(engine).await;
    let mut world = World::new(&store, memory);
    for action in script {
        world.act(action).await;
        let (users, sessions) = look(&*store.engine, |reads| {
            assert_eq!(strays(reads), 0);
            Ok(consistent(reads))
        });
        world.agrees(&users, &sessions);
        told_the_truth(&store, &told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// STO-3, REF-1, REF-3, REF-4, REF-9, REF-12..15, AZ-3 in any order of verbs.
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

/// Every kind of verb once, in an order in which each has something to do.
async fn every_verb(store: &Store, told: &RecordingObserver, mut after: impl FnMut(&str, Result<(), Error>)) {
    let (ada, ben) = (user(1, "ada@example.org", "admin"), user(2, "ben@example.org", "viewer"));
    let (first, second) = (session(1, ada.id, at(1)), session(2, ben.id, at(2)));
    let proof = RegistrationProof::Setup([9; 32]);
    after("open_setup", store.open_setup([9; 32], at(3600), event()).await.map(drop));
    after("set up", store.create_account(NewAccount { proof, ..new_account(&ada, Some(&first)) }).await.map(drop));
    after("create", store.create_account(new_account(&ben, Some(&second))).await.map(drop));
    let of = |id, user: &User| session(id, user.id, at(10 + u64::from(id)));
    let sign_in = |id, user: &User, replaces| SignIn { rehashed: Some(HASH.into()), ..login(of(id, user), replaces, 2) };
    after("sign_in", store.sign_in(sign_in(3, &ada, None)).await.map(drop));
    after("sign_in and evict", store.sign_in(sign_in(4, &ada, None)).await.map(drop));
    after("sign_in instead", store.sign_in(sign_in(5, &ben, Some(second.id))).await.map(drop));
    let fifth = of(5, &ben).id;
    after("rotate", store.rotate(model::rotation(fifth, 1, at(30))).await.map(drop));
    after("reuse", store.rotate(model::rotation(fifth, 1, at(40))).await.map(drop));
    after("sign_in anew", store.sign_in(sign_in(9, &ben, None)).await.map(drop));
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
    after("create_invite", store.create_invite(made, event()).await);
    after("delete_invite", store.delete_invite(invite, event()).await.map(drop));
    after("set_role", store.set_role(change(ben.id), Role::admin()).await.map(drop));
    after("set_disabled", store.set_disabled(change(ada.id), true).await.map(drop));
    after("enable", store.set_disabled(change(ada.id), false).await.map(drop));
    after("set_password", store.set_password(change(ben.id), HASH.into()).await.map(drop));
    after("sign_in again", store.sign_in(sign_in(6, &ben, None)).await.map(drop));
    let (token, from) = (TokenId::from_bytes([3; 16]), AddressPrefix::V6(1));
    after("logout", store.logout(vec![of(6, &ben).id], Some(token), from, DENY).await);
    after("sign_in once more", store.sign_in(sign_in(7, &ben, None)).await.map(drop));
    after("end_session", store.end_session(of(7, &ben).id, Some(ben.id), DENY, event()).await.map(drop));
    after("sign_in to be swept", store.sign_in(sign_in(8, &ben, None)).await.map(drop));
    after("sweep_sessions", store.sweep_sessions(at(0).plus(model::ABSOLUTE * 2)).await.map(drop));
    // Memory, which calls this, has forgotten already.
    for (what, over) in [
        ("forget users", Over { users: vec![(ben.id, DENY.until)], ..Over::default() }),
        ("forget sessions", Over { sessions: vec![(second.id, DENY.until)], ..Over::default() }),
        ("forget tokens", Over { tokens: vec![(token, DENY.until)], ..Over::default() }),
    ] {
        let forgotten = store.forget(over.clone()).await;
        if forgotten.is_ok() {
            told.users.lock().retain(|id, _| !over.users.iter().any(|(over, _)| over == id));
            told.sessions.lock().retain(|id| !over.sessions.iter().any(|(over, _)| over == id));
            told.tokens.lock().retain(|id| !over.tokens.iter().any(|(over, _)| over == id));
        }
        after(what, forgotten);
    }
    after("end_all", store.end_all(ada.id, DENY, event()).await.map(drop));
    after("delete_user", store.delete_user(change(ada.id)).await.map(drop));
}

/// STO-1, STO-3, STO-4: whichever operation fails, a verb did all or nothing and said which, and
/// memory was told of nothing that is not there.
#[test]
fn sto_3_sto_4_whatever_operation_fails_nothing_is_half_made() {
    let mut survived = false;
    for n in 0.. {
        assert!(n < 5000, "the script never came through");
        let memory = Memory::default();
        runtime().block_on(async {
            let (store, told) = opened(Box::new(memory.clone())).await;
            memory.fail_after(n);
            let mut before = memory.rows();
            let mut failed = 0;
            every_verb(&store, &told, |verb, outcome| {
                // Looking is not part of what fails.
                let left = memory.pause();
                consistent(&memory);
                assert_eq!(strays(&memory), 0, "{verb}");
                told_the_truth(&store, &told);
                if let Err(error) = outcome {
                    assert!(matches!(error, Error::Storage(_) | Error::ReadOnly), "{verb}: {error}");
                    assert_eq!(memory.rows(), before, "{verb} failed at operation {n} and left something");
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

#[test]
fn ref_14_the_session_that_begins_is_never_the_one_that_goes() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let ada = user(1, "ada@example.org", "viewer");
        store.create_account(new_account(&ada, None)).await.expect("created");
        // All in one millisecond, and then the clock is set back: the newest still stays.
        for (id, now) in [(1, at(10)), (2, at(10)), (3, at(10)), (4, at(5))] {
            let session = session(id, ada.id, now);
            store.sign_in(login(session.clone(), None, 1)).await.expect("signed in");
            assert_eq!(store.session(session.id).await.expect("readable"), Some(session), "session {id}");
            assert_eq!(store.sessions_of(ada.id, at(10)).await.expect("readable").len(), 1);
        }
    });
}

/// What is recorded for the log is of verbs that are durable, and of nothing else.
#[test]
fn log_3_an_event_is_recorded_with_its_verb_or_not_at_all() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, told) = opened(Box::new(memory.clone())).await;
        let ada = user(1, "ada@example.org", "admin");
        store.create_account(new_account(&ada, None)).await.expect("created");
        assert_eq!(*told.records.lock(), [Kind::LoggedIn]);
        assert_eq!(store.create_account(new_account(&ada, None)).await.expect("works"), Created::EmailTaken);
        assert!(matches!(store.set_disabled(change(ada.id), true).await, Ok(UserChange::LastAdmin)));
        assert_eq!(told.records.lock().len(), 1, "refused");
        memory.fail_after(1);
        assert!(store.end_all(ada.id, DENY, event()).await.is_err());
        assert_eq!(told.records.lock().len(), 1, "undone");
    });
}
