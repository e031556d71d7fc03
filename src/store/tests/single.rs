//! Single operations.

use super::*;

#[test]
fn ref_14_the_session_that_begins_is_never_the_one_that_goes() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let ada = user(1, "ada@example.org", "viewer");
        store.create_account(new_account(&ada, None)).await.expect("created");
        // All in one millisecond, and then the clock is set back: the newest still stays.
        for (id, now) in [(1, at(10)), (2, at(10)), (3, at(10)), (4, at(5))] {
            let session = session(id, ada.id, now);
            store.login(login(session.clone(), None, 1)).await.expect("logged in");
            assert_eq!(store.session(session.id).await.expect("readable"), Some(session), "session {id}");
            assert_eq!(store.sessions_of(ada.id, at(10)).await.expect("readable").len(), 1);
        }
    });
}

/// Only durable transactions record events for the log.
#[test]
fn log_3_an_event_is_recorded_with_what_it_tells_of_or_not_at_all() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, observer) = opened(Box::new(memory.clone())).await;
        let ada = user(1, "ada@example.org", "admin");
        store.create_account(new_account(&ada, None)).await.expect("created");
        assert_eq!(*observer.records.lock(), [Kind::LoggedIn]);
        assert_eq!(store.create_account(new_account(&ada, None)).await.expect("works"), Created::EmailTaken);
        assert!(matches!(store.set_disabled(change(ada.id), true).await, Ok(UserChange::LastAdmin)));
        assert_eq!(observer.records.lock().len(), 1, "refused");
        memory.fail_after(1);
        assert!(store.end_all(ada.id, Authority::Operator, DENY, event()).await.is_err());
        assert_eq!(observer.records.lock().len(), 1, "undone");
    });
}
