//! Races of honest clients on slow disks: a slow commit never makes a refresh look like reuse.

use super::{DENY, Memory, at, event, model, new_account, opened, password_change, runtime, session, user};
use crate::{
    domain::{Session, User},
    store::{Authority, Error, Rotate, Rotated, Store},
};
use std::time::{Duration, Instant};

struct Fixture {
    memory: Memory,
    store: Store,
    ada: User,
    first: Session,
}

async fn fixture() -> Fixture {
    let memory = Memory::default();
    let (store, _) = opened(Box::new(memory.clone())).await;
    let ada = user(1, "ada@example.org", "admin");
    let first = session(1, ada.id, at(1));
    store.create_account(new_account(&ada, Some(&first))).await.expect("works");
    Fixture { memory, store, ada, first }
}

impl Fixture {
    /// A rotation without any window: only a lost race can excuse an old token.
    fn strict(&self, generation: u32, seconds: u64) -> Rotate {
        model::rotation(self.first.id, generation, at(seconds))
    }
}

#[test]
fn ref_3_a_refresh_beside_a_password_change_of_its_session_is_a_lost_race() {
    runtime().block_on(async {
        let fixture = fixture().await;
        fixture.memory.hold();
        let successor = session(2, fixture.ada.id, at(10));
        let (arrived, window) = (Instant::now(), Duration::from_secs(10));
        let just_replaced = |arrived, window| fixture.store.was_just_replaced(fixture.first.id, 1, arrived, window, at(10));
        let change = fixture.store.change_password(password_change(fixture.first.id, successor.clone()));
        assert!(just_replaced(Instant::now(), Duration::ZERO), "under way");
        // Requested after the change.
        let refresh = async { fixture.store.rotate(fixture.strict(1, 10)).await };
        let released = async { fixture.memory.release() };
        let (changed, refreshed, ()) = tokio::join!(change, refresh, released);
        assert!(changed.expect("works").is_some());
        assert_eq!(refreshed.expect("works"), Rotated::Revoked, "and the caller asks whether it lost a race");
        assert!(just_replaced(arrived, Duration::ZERO), "it arrived before the change was durable");
        assert!(just_replaced(Instant::now(), window), "a tab a little later");
        assert!(!just_replaced(Instant::now(), Duration::ZERO), "no browser has no window");
        let grace = Rotate { grace: window, ..fixture.strict(1, 11) };
        assert_eq!(fixture.store.rotate(grace).await.expect("works"), Rotated::Revoked, "the old family is over, and ends nothing more");
        let ada = fixture.store.user(fixture.ada.id).await.expect("readable").expect("there");
        assert_eq!((ada.token_version, ada.epoch), (fixture.ada.token_version + 1, fixture.ada.epoch + 1));
        assert_eq!(fixture.store.sessions_of(ada.id, at(11)).await.expect("readable"), [successor]);
    });
}

#[test]
fn ref_3_a_window_covers_many_rotations_and_after_a_restart_the_last_few() {
    runtime().block_on(async {
        let fixture = fixture().await;
        let late = |generation| Rotate { conflict_window: Duration::from_secs(10), ..fixture.strict(generation, 11) };
        for generation in 1..=20 {
            assert!(matches!(fixture.store.rotate(fixture.strict(generation, 10)).await.expect("works"), Rotated::Rotated(..)));
        }
        assert_eq!(fixture.store.rotate(late(1)).await.expect("works"), Rotated::Conflict);
        let (restarted, _) = opened(Box::new(fixture.memory.clone())).await;
        assert_eq!(restarted.rotate(late(13)).await.expect("works"), Rotated::Conflict);
        assert!(matches!(restarted.rotate(late(12)).await.expect("works"), Rotated::Reused));
    });
}

#[test]
fn ref_3_what_was_current_when_it_was_looked_at_is_no_theft() {
    runtime().block_on(async {
        let fixture = fixture().await;
        assert!(matches!(fixture.store.rotate(fixture.strict(1, 10)).await.expect("works"), Rotated::Rotated(..)));
        let seen = Rotate { was_current: true, ..fixture.strict(1, 10) };
        assert_eq!(fixture.store.rotate(seen).await.expect("works"), Rotated::Conflict);
        assert!(matches!(fixture.store.rotate(fixture.strict(1, 10)).await.expect("works"), Rotated::Reused));
    });
}

/// A refresh has lost a race if it read the row before the commit was reported, or arrived before that.
#[test]
fn ref_3_a_token_that_arrived_before_the_winner_was_durable_is_no_theft() {
    runtime().block_on(async {
        let fixture = fixture().await;
        let arrived = Instant::now();
        fixture.memory.hold();
        let winner = fixture.store.rotate(Rotate { was_current: true, ..fixture.strict(1, 10) });
        // Reads after the winner's row is written, but was requested before the winner was answered.
        let beside = fixture.store.rotate(fixture.strict(1, 10));
        let released = async { fixture.memory.release() };
        let (won, beside, ()) = tokio::join!(winner, beside, released);
        assert!(matches!(won.expect("works"), Rotated::Rotated(..)));
        assert_eq!(beside.expect("works"), Rotated::Conflict);
        let slow = Rotate { arrived, ..fixture.strict(1, 10) };
        assert_eq!(fixture.store.rotate(slow).await.expect("works"), Rotated::Conflict);
        assert_eq!(fixture.store.rotate(fixture.strict(1, 10)).await.expect("works"), Rotated::Reused, "it came after the answer");
    });
}

#[test]
fn ref_3_the_window_opens_when_the_winner_is_durable_not_when_it_arrived() {
    runtime().block_on(async {
        let fixture = fixture().await;
        fixture.memory.hold();
        let winner = fixture.store.rotate(Rotate { was_current: true, ..fixture.strict(1, 10) });
        let late = async {
            // The commit takes longer than the window, by the wall clock.
            tokio::time::sleep(Duration::from_millis(60)).await;
            fixture.memory.release();
        };
        let (won, ()) = tokio::join!(winner, late);
        assert!(matches!(won.expect("works"), Rotated::Rotated(..)));
        let now = at(10).plus(Duration::from_millis(70));
        let tab = Rotate { conflict_window: Duration::from_millis(50), now, ..fixture.strict(1, 10) };
        assert_eq!(fixture.store.rotate(tab).await.expect("works"), Rotated::Conflict);
    });
}

#[test]
fn a_rotation_that_nobody_waits_for_any_more_is_not_made() {
    runtime().block_on(async {
        let fixture = fixture().await;
        fixture.memory.hold();
        let current = || Rotate { was_current: true, ..fixture.strict(1, 10) };
        let given_up = tokio::time::timeout(Duration::from_millis(10), fixture.store.rotate(current())).await;
        assert!(given_up.is_err());
        fixture.memory.release();
        assert!(
            matches!(fixture.store.rotate(current()).await.expect("works"), Rotated::Rotated(..)),
            "its token is still the current one"
        );
    });
}

#[test]
fn sto_9_a_damaged_row_keeps_nobody_from_revoking() {
    runtime().block_on(async {
        let fixture = fixture().await;
        fixture.memory.damage(b's');
        assert!(matches!(fixture.store.session(fixture.first.id).await, Err(Error::Corrupt(_))));
        fixture.store.end_all(fixture.ada.id, Authority::Operator, DENY, event()).await.expect("works");
        assert_eq!(fixture.store.session(fixture.first.id).await.expect("readable"), None);
    });
}

/// A damaged index row must not let a session go on unseen.
#[test]
fn sto_9_a_damaged_index_row_hides_no_session() {
    runtime().block_on(async {
        let fixture = fixture().await;
        fixture.memory.damage(b'o');
        fixture.store.end_all(fixture.ada.id, Authority::Operator, DENY, event()).await.expect("works");
        assert_eq!(fixture.store.session(fixture.first.id).await.expect("readable"), None);
    });
}
