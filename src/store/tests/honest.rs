//! Honest clients on slow disks: nobody is taken for a thief because a commit took its time.

use super::{HASH, at, engine::Memory, model, opened, runtime, session, user};
use crate::{
    domain::{Session, User},
    store::{Admission, Error, NewAccount, PasswordChange, Rotate, Rotated, Store},
};
use std::time::Duration;

struct Bench {
    memory: Memory,
    store: Store,
    ada: User,
    first: Session,
}

async fn bench() -> Bench {
    let memory = Memory::default();
    let (store, _) = opened(Box::new(memory.clone())).await;
    let ada = user(1, "ada@example.org", "admin");
    let first = session(1, ada.id, at(1));
    let new = NewAccount { user: ada.clone(), session: Some(first.clone()), replaces: None, admission: Admission::Open, remember: None };
    store.create_account(new).await.expect("works");
    Bench { memory, store, ada, first }
}

impl Bench {
    /// A rotation without any window: only the race can excuse it.
    fn strict(&self, generation: u32, seconds: u64) -> Rotate {
        model::rotation(self.first.id, generation, at(seconds))
    }
}

#[test]
fn ref_3_a_refresh_beside_a_password_change_of_its_session_is_a_lost_race() {
    runtime().block_on(async {
        let bench = bench().await;
        bench.memory.hold();
        let successor = session(2, bench.ada.id, at(10));
        let change = PasswordChange {
            session: bench.first.id,
            verified_hash: HASH.into(),
            new_hash: "$scrypt$new".into(),
            successor: successor.clone(),
        };
        let change = bench.store.change_password(change);
        // Asked for after the change.
        let refresh = async { bench.store.rotate(bench.strict(1, 10)).await };
        let released = async { bench.memory.release() };
        let (changed, refreshed, ()) = tokio::join!(change, refresh, released);
        assert!(changed.expect("works").is_some());
        assert_eq!(refreshed.expect("works"), Rotated::Conflict);
        let window = Duration::from_secs(10);
        assert!(bench.store.was_just_replaced(bench.first.id, 1, window), "a tab a little later");
        assert!(!bench.store.was_just_replaced(bench.first.id, 1, Duration::ZERO), "no browser has no window");
        let grace = Rotate { grace: window, ..bench.strict(1, 11) };
        assert_eq!(bench.store.rotate(grace).await.expect("works"), Rotated::Revoked, "the old family is over, and ends nothing more");
        let ada = bench.store.user(bench.ada.id).expect("readable").expect("there");
        assert_eq!((ada.version, ada.epoch), (bench.ada.version + 1, bench.ada.epoch + 1));
        assert_eq!(bench.store.sessions_of(ada.id, at(11)).expect("readable"), [successor]);
    });
}

#[test]
fn ref_3_a_window_covers_many_rotations_and_after_a_restart_the_last_few() {
    runtime().block_on(async {
        let bench = bench().await;
        let late = |generation| Rotate { conflict_window: Duration::from_secs(10), ..bench.strict(generation, 11) };
        for generation in 1..=20 {
            assert!(matches!(bench.store.rotate(bench.strict(generation, 10)).await.expect("works"), Rotated::Rotated(..)));
        }
        assert_eq!(bench.store.rotate(late(1)).await.expect("works"), Rotated::Conflict);
        let (restarted, _) = opened(Box::new(bench.memory.clone())).await;
        assert_eq!(restarted.rotate(late(13)).await.expect("works"), Rotated::Conflict);
        assert!(matches!(restarted.rotate(late(12)).await.expect("works"), Rotated::Reused(_)));
    });
}

#[test]
fn ref_3_what_was_current_when_it_was_looked_at_is_no_theft() {
    runtime().block_on(async {
        let bench = bench().await;
        assert!(matches!(bench.store.rotate(bench.strict(1, 10)).await.expect("works"), Rotated::Rotated(..)));
        let seen = Rotate { was_current: true, ..bench.strict(1, 10) };
        assert_eq!(bench.store.rotate(seen).await.expect("works"), Rotated::Conflict);
        assert!(matches!(bench.store.rotate(bench.strict(1, 10)).await.expect("works"), Rotated::Reused(_)));
    });
}

#[test]
fn ref_3_the_window_opens_when_the_winner_is_durable_not_when_it_arrived() {
    runtime().block_on(async {
        let bench = bench().await;
        bench.memory.hold();
        let winner = bench.store.rotate(bench.strict(1, 10));
        let late = async {
            // The commit takes its time; the wall clock shows more than the window since it began.
            tokio::time::sleep(Duration::from_millis(60)).await;
            bench.memory.release();
        };
        let (won, ()) = tokio::join!(winner, late);
        assert!(matches!(won.expect("works"), Rotated::Rotated(..)));
        let now = at(10).plus(Duration::from_millis(70));
        let tab = Rotate { conflict_window: Duration::from_millis(50), now, ..bench.strict(1, 10) };
        assert_eq!(bench.store.rotate(tab).await.expect("works"), Rotated::Conflict);
    });
}

#[test]
fn a_rotation_that_nobody_waits_for_any_more_is_not_made() {
    runtime().block_on(async {
        let bench = bench().await;
        bench.memory.hold();
        let current = || Rotate { was_current: true, ..bench.strict(1, 10) };
        let given_up = tokio::time::timeout(Duration::from_millis(10), bench.store.rotate(current())).await;
        assert!(given_up.is_err());
        bench.memory.release();
        assert!(matches!(bench.store.rotate(current()).await.expect("works"), Rotated::Rotated(..)), "its token is still the current one");
    });
}

#[test]
fn sto_9_a_damaged_row_keeps_nobody_from_revoking() {
    runtime().block_on(async {
        let bench = bench().await;
        bench.memory.damage(b's');
        assert!(matches!(bench.store.session(bench.first.id), Err(Error::Corrupt(_))));
        bench.store.end_all(bench.ada.id).await.expect("works");
        assert_eq!(bench.store.session(bench.first.id).expect("readable"), None);
    });
}

/// A fault of the index must not let a session live on unseen.
#[test]
fn sto_9_a_damaged_index_row_hides_no_session() {
    runtime().block_on(async {
        let bench = bench().await;
        bench.memory.damage(b'o');
        bench.store.end_all(bench.ada.id).await.expect("works");
        assert_eq!(bench.store.session(bench.first.id).expect("readable"), None);
    });
}
