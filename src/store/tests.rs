//! The store against a model of it, on an engine in memory, on sled, and on one that fails.

mod engine;
mod honest;
mod model;

use super::{
    schema::{
        ACTIVE_ADMINS, INSTANCE, INVITES, REVOKED_SESSIONS, REVOKED_TOKENS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, SETUP,
        STANDINGS, USERS, USERS_BY_EMAIL,
    },
    table::Table,
    *,
};
use crate::domain::{Client, Email, Invite, InviteId, Role, Session, Standings, Transport, User};
use engine::Memory;
use model::{Action, World};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

const INSTALLATION: [u8; 16] = [7; 16];
const HASH: &str = "$scrypt$of-a-password";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + seconds)
}

/// What memory was told, as the service keeps it.
#[derive(Default)]
struct Told {
    users: Mutex<BTreeMap<UserId, Standing>>,
    ended: Mutex<BTreeSet<SessionId>>,
}

impl Observer for Told {
    fn committed(&self, change: Change) {
        match change {
            Change::Standing(id, standing) => {
                self.users.lock().expect("no panic").insert(id, standing);
            }
            Change::Deleted(id) => {
                self.users.lock().expect("no panic").remove(&id);
            }
            Change::SessionEnded(id, _) => {
                self.ended.lock().expect("no panic").insert(id);
            }
            Change::TokenRevoked(..) | Change::Rotated(..) => {}
        }
    }
}

fn user(id: u8, email: &str, role: &str) -> User {
    User {
        id: UserId::from_bytes([id; 16]),
        email: email.parse().expect("an address"),
        password_hash: HASH.into(),
        role: role.parse().expect("a role"),
        disabled: false,
        email_verified: false,
        version: 1,
        epoch: 0,
        created_at: at(0),
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
        transport: Transport::Cookie,
        generation: 1,
        token_hash: [1; 32],
        hash_key: "h".into(),
        token_key: "t".into(),
        created_at: now,
        refreshed_at: now,
        expires_at,
        ends_at: now.plus(model::ABSOLUTE),
        sweep_at: expires_at,
        replaced_at: Vec::new(),
        replays: 0,
        retry_key: None,
        client: client(),
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
    let standings: BTreeMap<_, _> = rows(&STANDINGS, reads).values().flat_map(Standings::iter).copied().collect();
    assert_eq!(standings, users.values().map(|user| (user.id, user.standing())).collect(), "standings are those of the accounts");
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
        + rows(&STANDINGS, reads).len()
        + rows(&ACTIVE_ADMINS, reads).len()
        + rows(&SESSIONS, reads).len()
        + rows(&SESSIONS_BY_USER, reads).len()
        + rows(&SESSIONS_BY_SWEEP, reads).len()
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
fn told_the_truth(store: &Store, told: &Told) {
    let loaded = store.revocations(Timestamp::default()).expect("readable");
    let users = told.users.lock().expect("no panic").iter().map(|(id, standing)| (*id, *standing)).collect();
    assert_eq!(loaded.users, users);
    let remembered: BTreeSet<_> = loaded.sessions.into_iter().map(|(id, _)| id).collect();
    assert_eq!(remembered, *told.ended.lock().expect("no panic"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

async fn opened(engine: Box<dyn Engine>) -> (Store, Arc<Told>) {
    Store::initialise(&*engine, INSTALLATION, at(0)).await.expect("empty");
    let told = Arc::new(Told::default());
    (Store::open(engine, INSTALLATION, told.clone()).expect("just made"), told)
}

async fn follow(engine: Box<dyn Engine>, memory: Option<&Memory>, script: Vec<Action>) {
    let (store, told) = opened(engine).await;
    let mut world = World::new(&store, memory);
    for action in script {
        world.act(action).await;
        let (users, sessions) = consistent(store.reads());
        assert_eq!(strays(store.reads()), 0);
        world.agrees(&users, &sessions);
        told_the_truth(&store, &told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// STO-3, REF-1, REF-3, REF-4, REF-9, REF-12..15, AZ-3 in any order of verbs.
    #[test]
    fn the_store_does_what_its_model_does(script in proptest::collection::vec(model::action(), 1..60)) {
        let memory = Memory::default();
        runtime().block_on(follow(Box::new(memory.clone()), Some(&memory), script));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_sled_does_what_its_model_does(script in proptest::collection::vec(model::action(), 1..40)) {
        let dir = tempfile::tempdir().expect("a directory");
        let sled = super::engine::sled::Sled::open(&dir.path().join("db"), 0).expect("opens");
        runtime().block_on(follow(Box::new(sled), None, script));
    }
}

/// Every kind of verb once, in an order in which each has something to do.
async fn every_verb(store: &Store, told: &Told, mut after: impl FnMut(&str, Result<(), Error>)) {
    let (ada, ben) = (user(1, "ada@example.org", "admin"), user(2, "ben@example.org", "viewer"));
    let (first, second) = (session(1, ada.id, at(1)), session(2, ben.id, at(2)));
    let new = |user: &User, session: Option<&Session>| NewAccount {
        user: user.clone(),
        session: session.cloned(),
        replaces: None,
        admission: Admission::Open,
        remember: Some(at(900)),
    };
    let setup = Admission::Setup([9; 32]);
    after("open_setup", store.open_setup([9; 32], at(3600)).await.map(drop));
    after("set up", store.create_account(NewAccount { admission: setup, ..new(&ada, Some(&first)) }).await.map(drop));
    after("create", store.create_account(new(&ben, Some(&second))).await.map(drop));
    let sign_in = |id, user: &User, replaces| SignIn {
        verified_hash: HASH.into(),
        rehashed: Some(HASH.into()),
        session: session(id, user.id, at(10 + u64::from(id))),
        replaces,
        max_sessions: 2,
        remember: Some(at(900)),
    };
    after("sign_in", store.sign_in(sign_in(3, &ada, None)).await.map(drop));
    after("sign_in and evict", store.sign_in(sign_in(4, &ada, None)).await.map(drop));
    after("sign_in instead", store.sign_in(sign_in(5, &ben, Some(second.id))).await.map(drop));
    let fifth = session(5, ben.id, at(0)).id;
    after("rotate", store.rotate(model::rotation(fifth, 1, at(30))).await.map(drop));
    after("reuse", store.rotate(model::rotation(fifth, 1, at(40))).await.map(drop));
    after("sign_in anew", store.sign_in(sign_in(9, &ben, None)).await.map(drop));
    let change = PasswordChange {
        session: session(9, ben.id, at(0)).id,
        verified_hash: HASH.into(),
        new_hash: "$scrypt$new".into(),
        successor: session(10, ben.id, at(41)),
    };
    after("change_password", store.change_password(change).await.map(drop));
    after("set_email_verified", store.set_email_verified(Box::new(|_| true), ben.id, true).await.map(drop));
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
    after("create_invite", store.create_invite(made).await);
    after("delete_invite", store.delete_invite(invite).await.map(drop));
    after("set_role", store.set_role(Box::new(|_| true), ben.id, Role::admin()).await.map(drop));
    after("set_disabled", store.set_disabled(Box::new(|_| true), ada.id, true).await.map(drop));
    after("enable", store.set_disabled(Box::new(|_| true), ada.id, false).await.map(drop));
    after("set_password", store.set_password(ben.id, HASH.into()).await.map(drop));
    after("sign_in again", store.sign_in(sign_in(6, &ben, None)).await.map(drop));
    let token = TokenId::from_bytes([3; 16]);
    after("sign_out", store.sign_out(vec![session(6, ben.id, at(0)).id], Some((token, at(900))), Some(at(900))).await.map(drop));
    after("sign_in once more", store.sign_in(sign_in(7, &ben, None)).await.map(drop));
    after("end_session", store.end_session(session(7, ben.id, at(0)).id, Some(ben.id), None).await.map(drop));
    after("sign_in to be swept", store.sign_in(sign_in(8, &ben, None)).await.map(drop));
    after("sweep_sessions", store.sweep_sessions(at(0).plus(model::ABSOLUTE * 2)).await.map(drop));
    let forgotten = store.forget(&[second.id], &[]).await;
    if forgotten.is_ok() {
        // Who calls this has forgotten already.
        told.ended.lock().expect("no panic").remove(&second.id);
    }
    after("forget sessions", forgotten);
    after("forget tokens", store.forget(&[], &[token]).await);
    after("end_all", store.end_all(ada.id).await.map(drop));
    after("delete_user", store.delete_user(Box::new(|_| true), ada.id).await.map(drop));
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
                consistent(memory.reads());
                assert_eq!(strays(memory.reads()), 0, "{verb}");
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
        let new = NewAccount { user: ada.clone(), session: None, replaces: None, admission: Admission::Open, remember: None };
        store.create_account(new).await.expect("created");
        // All in one millisecond, and then the clock is set back: the newest still stays.
        for (id, now) in [(1, at(10)), (2, at(10)), (3, at(10)), (4, at(5))] {
            let session = session(id, ada.id, now);
            let sign_in = SignIn {
                verified_hash: HASH.into(),
                rehashed: None,
                session: session.clone(),
                replaces: None,
                max_sessions: 1,
                remember: None,
            };
            store.sign_in(sign_in).await.expect("signed in");
            assert_eq!(store.session(session.id).expect("readable"), Some(session), "session {id}");
            assert_eq!(store.sessions_of(ada.id, at(10)).expect("readable").len(), 1);
        }
    });
}

/// REV-6: when memory has no room for one more ended session, the user's version speaks for it.
#[test]
fn rev_6_without_room_to_remember_the_version_is_raised() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let (ada, first) = (user(1, "ada@example.org", "admin"), session(1, UserId::from_bytes([1; 16]), at(1)));
        let new =
            NewAccount { user: ada.clone(), session: Some(first.clone()), replaces: None, admission: Admission::Open, remember: None };
        store.create_account(new).await.expect("works");
        store.end_session(first.id, None, None).await.expect("works");
        assert_eq!(store.user(ada.id).expect("readable").expect("there").version, ada.version + 1);
        let loaded = store.revocations(at(900)).expect("readable");
        assert!(loaded.sessions.is_empty());
        assert_eq!(store.session(first.id).expect("readable"), None);
    });
}
