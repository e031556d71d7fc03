//! Tests of the audit trail.

use super::*;
use crate::{
    domain::{AddressPrefix, Clock, Foreign, SessionId},
    store::{engine::memory::Memory, noted::MAX_NOTED},
};
use std::time::Duration;

use Kind::{LoggedIn, LoginFailed, RoleChanged, Started};

const ADA: UserId = UserId::from_bytes([1; 16]);
const BEN: UserId = UserId::from_bytes([2; 16]);

async fn store(memory: &Memory, clock: &Clock) -> Store {
    Store::initialise(memory, [7; 16], clock.now()).await.expect("empty");
    Store::open(Box::new(memory.clone()), [7; 16], clock.clone(), vec![]).await.expect("just made")
}

/// Writes events in a transaction each.
async fn record(store: &Store, events: Vec<Event>) {
    for event in events {
        store.transact(move |t| t.record(event.clone())).await.expect("written");
    }
}

fn login(user: UserId) -> Event {
    Event::new(Kind::LoggedIn, By::User(user)).target(user)
}

async fn all(store: &Store) -> Vec<Recorded> {
    store.events_after(&EventQuery::default(), None, usize::MAX).await.expect("readable").events
}

/// The kinds of the events that meet a query, the latest first, read in pages of two.
async fn kinds(store: &Store, query: EventQuery) -> Vec<Kind> {
    let (mut kinds, mut before) = (Vec::new(), None);
    loop {
        let page = store.events(&query, before, 2).await.expect("readable");
        kinds.extend(page.events.iter().map(|recorded| recorded.event.kind));
        before = page.next;
        if before.is_none() {
            return kinds;
        }
    }
}

#[tokio::test]
async fn aud_1_events_are_found_by_what_they_are_about_the_latest_first() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    let (session, from) = (SessionId::from_bytes([3; 16]), AddressPrefix::V6(7));
    record(&store, vec![login(ADA).session(session), login(BEN)]).await;
    clock.shift(60_000);
    let later = clock.now();
    record(
        &store,
        vec![
            Event::new(Kind::RoleChanged, By::User(ADA)).target(BEN),
            Event::new(Kind::LoginFailed, By::Anyone).target(ADA).from(from),
            Event::new(Kind::Started, By::Server),
        ],
    )
    .await;
    let any = EventQuery::default;
    for (query, expected) in [
        (any(), &[Started, LoginFailed, RoleChanged, LoggedIn, LoggedIn][..]),
        (EventQuery { user: Some(ADA), ..any() }, &[LoginFailed, RoleChanged, LoggedIn]),
        (EventQuery { user: Some(BEN), ..any() }, &[RoleChanged, LoggedIn]),
        (EventQuery { user: Some(ADA), is_own: true, ..any() }, &[LoginFailed, LoggedIn]),
        (EventQuery { actor: Some(By::User(ADA)), ..any() }, &[RoleChanged, LoggedIn]),
        (EventQuery { session: Some(session), ..any() }, &[LoggedIn]),
        (EventQuery { from: Some(from), ..any() }, &[LoginFailed]),
        (EventQuery { kinds: vec![Started, LoginFailed], ..any() }, &[Started, LoginFailed]),
        (EventQuery { since: Some(later), ..any() }, &[Started, LoginFailed, RoleChanged]),
        (EventQuery { until: Some(later), ..any() }, &[LoggedIn, LoggedIn]),
        (EventQuery { user: Some(UserId::from_bytes([9; 16])), ..any() }, &[]),
    ] {
        assert_eq!(kinds(&store, query.clone()).await, expected, "{query:?}");
    }
}

#[tokio::test]
async fn aud_1_a_clock_that_is_set_back_keeps_the_order_and_tells_the_time() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    record(&store, vec![login(ADA)]).await;
    clock.shift(-3_600_000);
    record(&store, vec![login(BEN), login(BEN)]).await;
    let events = all(&store).await;
    assert_eq!(events.iter().map(|recorded| recorded.event.target).collect::<Vec<_>>(), [Some(ADA), Some(BEN), Some(BEN)]);
    assert!(events[0].at.since(events[2].at) > Duration::from_secs(3500));
}

#[tokio::test]
async fn aud_1_pages_lead_forward_through_gaps_and_bursts() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    record(&store, vec![login(ADA)]).await;
    clock.shift(90 * 86_400_000);
    let since = clock.now();
    let burst: Vec<_> = (0..2 * MAX_ROWS).map(|_| login(BEN)).collect();
    store.transact(move |t| burst.iter().try_for_each(|event| t.record(event.clone()))).await.expect("written");
    clock.shift(1);
    record(&store, vec![login(ADA)]).await;
    for (query, expected) in
        [(EventQuery::default(), 2 * MAX_ROWS + 2), (EventQuery { since: Some(since), ..EventQuery::default() }, 2 * MAX_ROWS + 1)]
    {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = store.events_after(&query, after, 300).await.expect("readable");
            ids.extend(page.events.iter().map(|recorded| recorded.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(ids.is_sorted_by(|a, b| a < b), "in order, each once");
        assert_eq!(ids.len(), expected);
    }
}

#[tokio::test]
async fn aud_1_what_is_undone_leaves_no_event() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    let undone = store.transact::<()>(|t| t.record(login(ADA)).and(Err(Error::NotOurs))).await;
    assert!(matches!(undone, Err(Error::NotOurs)));
    assert_eq!(all(&store).await, []);
}

#[tokio::test]
async fn aud_2_noted_events_are_written_together_and_dropped_by_number_when_there_are_too_many() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    let failed = || Event::new(Kind::LoginFailed, By::Anyone);
    (0..MAX_NOTED + 44).for_each(|_| store.note(failed()));
    assert_eq!(all(&store).await, [], "not yet");
    store.noted().await;
    store.write_noted().await.expect("written");
    let events = all(&store).await;
    assert_eq!(events.len(), MAX_NOTED + 1);
    assert_eq!(events[MAX_NOTED].event, Event::new(Kind::EventsDropped, By::Server).more(44));
    store.note(failed());
    memory.fail_after(0);
    assert!(store.write_noted().await.is_err(), "the disk fails");
    store.write_noted().await.expect("it was for a moment");
    assert_eq!(
        all(&store).await.last().expect("one").event,
        Event::new(Kind::EventsDropped, By::Server).more(1),
        "and its events are counted"
    );
}

#[tokio::test]
async fn aud_4_old_events_go_and_a_burst_of_one_kind_pushes_out_its_own() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    record(&store, vec![login(ADA), login(ADA)]).await;
    clock.shift(10_000);
    let keep_from = clock.now();
    record(&store, vec![Event::new(Kind::RoleChanged, By::User(ADA)).target(BEN), login(BEN)]).await;
    let burst: Vec<_> = (0..2500).map(|_| Event::new(Kind::LoginFailed, By::Anyone).target(BEN)).collect();
    store.transact(move |t| burst.iter().try_for_each(|event| t.record(event.clone()))).await.expect("written");
    assert_eq!(store.sweep_events(keep_from, 5000).await.expect("swept"), 2, "those of before");
    assert_eq!(store.sweep_events(keep_from, 1000).await.expect("swept"), 1502);
    let events = all(&store).await;
    let of = |kind| events.iter().filter(|recorded| recorded.event.kind == kind).count();
    assert_eq!((of(Kind::RoleChanged), of(Kind::LoggedIn), of(Kind::LoginFailed)), (1, 1, 998));
    let mut indexed = 0;
    EVENTS_BY_USER
        .scan(&memory, &[], None, |(_, id), ()| {
            indexed += 1;
            assert!(readable(EVENTS.get(&memory, &id)).expect("readable").is_some(), "an index of nothing");
            ControlFlow::Continue(())
        })
        .expect("readable");
    assert_eq!(indexed, 2 + 1 + 998);
}

#[test]
fn aud_4_kinds_with_few_events_keep_all_of_them() {
    let share = |counts: &[usize], max| fair_share(counts.iter().copied(), max);
    assert_eq!(share(&[3, 5, 2], 10), usize::MAX, "there is room for all");
    assert_eq!(share(&[1, 100, 2], 13), 10);
    assert_eq!(share(&[100, 50], 100), 50);
    assert_eq!(share(&[100, 90], 100), 50);
    assert_eq!(share(&[], 100), usize::MAX);
}

#[tokio::test]
async fn aud_1_an_event_is_read_as_it_was_written() {
    let (memory, clock) = (Memory::default(), Clock::default());
    let store = store(&memory, &clock).await;
    let foreign = Foreign { seen: "https://evil.example".into(), own: "https://door.example".into(), see: "server.public_url".into() };
    let full = Event::new(Kind::CsrfFailed, By::User(ADA))
        .target(BEN)
        .account("hash".into())
        .session(SessionId::from_bytes([3; 16]))
        .invite(crate::domain::InviteId::from_bytes([4; 16]))
        .role(&crate::domain::Role::admin())
        .key("k1".into())
        .app("wiki")
        .why("because")
        .refused("request", "/api".into())
        .foreign(foreign)
        .more(7)
        .from(AddressPrefix::V4([192, 0, 2, 1].into()));
    let long = "/ü".repeat(200);
    record(&store, vec![full.clone(), Event::new(Kind::RateLimited, By::Operator).refused("r", long.clone())]).await;
    let events = all(&store).await;
    assert_eq!(events[0].event, full);
    let path = events[1].event.path.clone().expect("a path");
    assert!(path.len() <= 200 && long.starts_with(&path), "what a client has sent is cut");
}
