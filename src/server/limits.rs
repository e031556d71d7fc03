//! How many connections there may be, from everywhere and from one subscriber, how many of their
//! requests may keep us waiting for a body, and who makes room.

use super::watchdog::Watchdog;
use crate::{domain::AddressPrefix, http::Connection};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Connections at once, where the system gives as many descriptors.
const MAX_CONNECTIONS: usize = 1024;
/// Connections at once however few it gives, and descriptors that they leave for everything else: the
/// database, the control socket, the runtime.
const MIN_CONNECTIONS: usize = 16;
const RESERVE: usize = 48;
/// Connections at once from one address prefix, unless it is this machine or a trusted proxy.
const MAX_PER_PREFIX: usize = 64;
/// Of all places, one in so many is for requests that need no body, so `verify` and `/health` are
/// answered whatever bodies do not come: 128 of 1024.
const BODILESS: usize = 8;
/// Requests at once whose body is waited for, from one client, be it behind a trusted proxy: peers say nothing about who makes us wait.
const MAX_BODIES_PER_CLIENT: usize = 16;
/// How long a body may take, and how long once more than three quarters of the places are taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const CROWDED_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The connections there are.
pub struct ConnectionLimits {
    inner: Mutex<Inner>,
    /// A place was given back.
    freed: Notify,
}

#[derive(Default)]
struct Inner {
    max: usize,
    next: u64,
    taken: HashMap<u64, Taken>,
    by_prefix: HashMap<AddressPrefix, usize>,
    /// The clients whose bodies are waited for, and how many of each.
    bodies: HashMap<AddressPrefix, usize>,
}

struct Taken {
    watchdog: Arc<Watchdog>,
    evicted: Arc<Notify>,
    /// Whose body is waited for, if one is.
    body_of: Option<AddressPrefix>,
}

/// One connection's place; dropping it gives it back.
pub struct Slot {
    limits: Arc<ConnectionLimits>,
    id: u64,
    prefix: Option<AddressPrefix>,
    watchdog: Arc<Watchdog>,
    evicted: Arc<Notify>,
}

impl ConnectionLimits {
    /// Places for as many connections as this process may have descriptors for, in reason (OPS-8).
    pub fn new() -> Arc<Self> {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        Self::for_descriptors(descriptors.unwrap_or(usize::MAX))
    }

    fn for_descriptors(descriptors: usize) -> Arc<Self> {
        let max = descriptors.saturating_sub(RESERVE).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        Arc::new(Self { inner: Mutex::new(Inner { max, ..Inner::default() }), freed: Notify::new() })
    }

    /// A place for a connection, made by ending the one that we wait for longest if need be; none when
    /// its prefix has too many, or when all are being served. `prefix` is none where no limit
    /// applies.
    pub fn take(self: &Arc<Self>, prefix: Option<AddressPrefix>, watchdog: Arc<Watchdog>) -> Option<Slot> {
        let mut inner = self.inner.lock();
        if prefix.is_some_and(|prefix| inner.by_prefix.get(&prefix).is_some_and(|count| *count >= MAX_PER_PREFIX)) {
            return None;
        }
        if inner.taken.len() >= inner.max && !inner.make_room() {
            return None;
        }
        if let Some(prefix) = prefix {
            *inner.by_prefix.entry(prefix).or_default() += 1;
        }
        let (id, evicted) = (inner.next, Arc::new(Notify::new()));
        inner.next += 1;
        inner.taken.insert(id, Taken { watchdog: Arc::clone(&watchdog), evicted: Arc::clone(&evicted), body_of: None });
        Some(Slot { limits: Arc::clone(self), id, prefix, watchdog, evicted })
    }

    /// Ends the connection that we wait for longest, if there is one, and waits until it or another has
    /// given back what it held.
    pub async fn make_room(&self) {
        let freed = self.freed.notified();
        self.inner.lock().make_room();
        freed.await;
    }
}

impl Inner {
    /// Of those that say nothing and the bodies that do not come, ends what we wait for longest.
    fn make_room(&mut self) -> bool {
        let silent = self.longest_awaited(|taken| taken.body_of.is_none());
        let longest = silent.into_iter().chain(self.longest_awaited_body()).min();
        longest.is_some_and(|(_, id)| self.evict(id))
    }

    /// The oldest body of the client that has most: one body that is slow is not yet an attack.
    fn longest_awaited_body(&self) -> Option<(Instant, u64)> {
        let most = *self.bodies.values().max()?;
        self.longest_awaited(|taken| taken.body_of.is_some_and(|client| self.bodies.get(&client) == Some(&most)))
    }

    fn longest_awaited(&self, eligible: impl Fn(&Taken) -> bool) -> Option<(Instant, u64)> {
        let eligible = self.taken.iter().filter(|(_, taken)| eligible(taken));
        eligible.filter_map(|(id, taken)| Some((taken.watchdog.waiting_since()?, *id))).min()
    }

    fn evict(&mut self, id: u64) -> bool {
        self.body_done(id);
        self.taken.remove(&id).inspect(|taken| taken.evicted.notify_one()).is_some()
    }

    fn await_body(&mut self, id: u64, client: AddressPrefix) -> bool {
        if self.bodies.get(&client).is_some_and(|count| *count >= MAX_BODIES_PER_CLIENT) {
            return false;
        }
        if self.bodies.values().sum::<usize>() >= self.max - self.max / BODILESS
            && let Some((_, oldest)) = self.longest_awaited_body()
        {
            self.evict(oldest);
        }
        // One that was evicted in this moment is about to end.
        let Some(taken) = self.taken.get_mut(&id) else { return false };
        taken.body_of = Some(client);
        *self.bodies.entry(client).or_default() += 1;
        true
    }

    fn body_done(&mut self, id: u64) {
        if let Some(client) = self.taken.get_mut(&id).and_then(|taken| taken.body_of.take()) {
            decrement(&mut self.bodies, client);
        }
    }
}

fn decrement(counts: &mut HashMap<AddressPrefix, usize>, prefix: AddressPrefix) {
    if let Some(count) = counts.get_mut(&prefix) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&prefix);
        }
    }
}

impl Slot {
    /// Waits until another connection needs the place.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// Without what the connection has said: there are passwords in it.
impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Connection for Slot {
    fn await_body(&self, client: AddressPrefix) -> bool {
        let mut limits = self.limits.inner.lock();
        let awaited = limits.await_body(self.id, client);
        if awaited {
            self.watchdog.await_body();
        }
        awaited
    }

    fn body_timeout(&self) -> Duration {
        let limits = self.limits.inner.lock();
        if limits.taken.len() > limits.max / 4 * 3 { CROWDED_BODY_TIMEOUT } else { BODY_TIMEOUT }
    }

    fn body_done(&self) {
        let mut limits = self.limits.inner.lock();
        limits.body_done(self.id);
        self.watchdog.body_done();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.limits.inner.lock();
        inner.body_done(self.id);
        inner.taken.remove(&self.id);
        if let Some(prefix) = self.prefix {
            decrement(&mut inner.by_prefix, prefix);
        }
        self.limits.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn the_idlest_connection_makes_room_and_a_busy_one_never_does() {
        let limits = ConnectionLimits::for_descriptors(usize::MAX);
        let pulses: Vec<_> = (0..MAX_CONNECTIONS).map(|_| Watchdog::new()).collect();
        let taken: Vec<_> = pulses.iter().map(|watchdog| limits.take(None, Arc::clone(watchdog)).expect("room")).collect();
        pulses.iter().skip(1).for_each(|watchdog| {
            let _ = watchdog.begin();
        });
        let newcomer = limits.take(None, Watchdog::new());
        assert!(newcomer.is_some());
        taken[0].evicted().await;
        pulses.iter().for_each(|watchdog| {
            let _ = watchdog.begin();
        });
        let busy = Watchdog::new();
        let _ = busy.begin();
        drop(newcomer);
        let last = limits.take(None, busy);
        assert!(last.is_some());
        assert!(limits.take(None, Watchdog::new()).is_none(), "all are being served");
    }

    #[test]
    fn one_subscriber_has_so_many_and_gets_them_back() {
        let limits = ConnectionLimits::for_descriptors(usize::MAX);
        let prefix = Some(AddressPrefix::V6(1));
        let taken: Vec<_> = (0..MAX_PER_PREFIX).map(|_| limits.take(prefix, Watchdog::new()).expect("room")).collect();
        assert!(limits.take(prefix, Watchdog::new()).is_none());
        assert!(limits.take(Some(AddressPrefix::V6(2)), Watchdog::new()).is_some());
        assert!(limits.take(None, Watchdog::new()).is_some());
        drop(taken);
        assert!(limits.take(prefix, Watchdog::new()).is_some());
        assert!(limits.inner.lock().by_prefix.is_empty());
    }

    #[tokio::test]
    async fn ops_8_there_are_as_many_places_as_descriptors_allow() {
        for (descriptors, places) in [(0, MIN_CONNECTIONS), (64, MIN_CONNECTIONS), (256, 208), (1024, 976), (usize::MAX, MAX_CONNECTIONS)] {
            let limits = ConnectionLimits::for_descriptors(descriptors);
            let taken: Vec<_> = (0..places).map(|_| busy(&limits)).collect();
            assert!(limits.take(None, Watchdog::new()).is_none(), "{descriptors}: all are being served");
            taken[0].watchdog.end();
            assert!(limits.take(None, Watchdog::new()).is_some());
        }
    }

    #[tokio::test]
    async fn ops_8_room_is_made_once_the_connection_is_gone() {
        let limits = ConnectionLimits::for_descriptors(usize::MAX);
        let idle = limits.take(None, Watchdog::new()).expect("room");
        let mut room = std::pin::pin!(limits.make_room());
        assert!((&mut room).now_or_never().is_none());
        idle.evicted().await;
        assert!((&mut room).now_or_never().is_none(), "it is told, not gone");
        drop(idle);
        room.await;
    }

    fn client(n: u64) -> AddressPrefix {
        AddressPrefix::V6(n)
    }

    fn busy(limits: &Arc<ConnectionLimits>) -> Slot {
        let watchdog = Watchdog::new();
        let _ = watchdog.begin();
        limits.take(None, watchdog).expect("room")
    }

    #[test]
    fn http_1_one_client_lets_us_wait_for_so_many_bodies_whatever_its_peers() {
        let limits = ConnectionLimits::for_descriptors(usize::MAX);
        let taken: Vec<_> = (0..=MAX_BODIES_PER_CLIENT).map(|_| busy(&limits)).collect();
        let (last, first) = taken.split_last().expect("some");
        first.iter().for_each(|slot| assert!(slot.await_body(client(1))));
        assert!(!last.await_body(client(1)), "one too many");
        assert!(last.await_body(client(2)), "somebody else's");
        last.body_done();
        first[0].body_done();
        assert!(last.await_body(client(1)), "one came");
        drop(taken);
        assert!(limits.inner.lock().bodies.is_empty());
    }

    #[tokio::test]
    async fn http_1_bodies_leave_places_and_the_client_with_most_makes_room() {
        let limits = ConnectionLimits::for_descriptors(usize::MAX);
        let begin = |client| {
            let slot = busy(&limits);
            assert!(slot.await_body(client));
            slot
        };
        let lone = begin(client(0));
        assert_eq!(lone.body_timeout(), BODY_TIMEOUT);
        let siege: Vec<_> = (16..896 + 15).map(|n| begin(client(n / 16))).collect();
        assert_eq!(lone.body_timeout(), CROWDED_BODY_TIMEOUT);
        let newcomer = begin(client(1000));
        siege[0].evicted().await;
        let others: Vec<_> = (896..MAX_CONNECTIONS).map(|_| busy(&limits)).collect();
        assert_eq!(others.len(), 128, "places for what needs no body");
        let last = busy(&limits);
        siege[16].evicted().await;
        // Of its own, the lone body is the oldest by far.
        assert!(limits.inner.lock().taken.contains_key(&lone.id));
        drop((newcomer, last, siege, others, lone));
        assert!(limits.inner.lock().bodies.is_empty() && limits.inner.lock().taken.is_empty());
    }
}
