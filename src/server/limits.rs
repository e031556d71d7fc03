//! Limits the connections: how many there may be in all and from one address prefix, how many requests of one
//! client may be waiting for their body, and which connection is evicted to make room.

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

/// The most connections at once, if the system gives the process enough descriptors.
const MAX_CONNECTIONS: usize = 1024;
/// The connections that are allowed however few descriptors there are.
const MIN_CONNECTIONS: usize = 16;
/// Descriptors kept for everything but connections: the database, the control socket, the runtime.
const RESERVED_DESCRIPTORS: usize = 48;
/// The most connections at once from one address prefix. This machine and trusted proxies have no such limit.
const MAX_PER_PREFIX: usize = 64;
/// One place in 8 (128 of 1024) is kept for requests without a body, so that `verify` and `/health` are
/// answered even while many bodies do not arrive.
const BODILESS_DIVISOR: usize = 8;
/// The most requests of one client that may be waiting for their body at once. Clients are counted and not
/// peers, because a trusted proxy is the peer of many clients.
const MAX_BODIES_PER_CLIENT: usize = 16;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a body may take once more than three quarters of the places are taken.
const CROWDED_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The open connections and the limits on them.
pub struct ConnectionLimits {
    inner: Mutex<Inner>,
    /// Notified whenever a place is given back.
    freed: Notify,
}

#[derive(Default)]
struct Inner {
    max: usize,
    next_id: u64,
    taken: HashMap<u64, TakenSlot>,
    by_prefix: HashMap<AddressPrefix, usize>,
    /// How many requests of each client are waiting for their body.
    bodies: HashMap<AddressPrefix, usize>,
}

struct TakenSlot {
    watchdog: Arc<Watchdog>,
    evicted: Arc<Notify>,
    /// The client whose body is awaited on this connection, if one is.
    body_of: Option<AddressPrefix>,
}

/// The place of one connection. Dropping it gives the place back.
pub struct Slot {
    limits: Arc<ConnectionLimits>,
    id: u64,
    prefix: Option<AddressPrefix>,
    watchdog: Arc<Watchdog>,
    evicted: Arc<Notify>,
}

impl ConnectionLimits {
    /// Allows as many connections as this process may open descriptors, from 16 to 1024 (OPS-8).
    pub fn new() -> Arc<Self> {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        Self::for_descriptors(descriptors.unwrap_or(usize::MAX))
    }

    /// Allows the few that are allowed however few descriptors there are.
    #[cfg(feature = "metrics")]
    pub fn least() -> Arc<Self> {
        Self::for_descriptors(0)
    }

    fn for_descriptors(descriptors: usize) -> Arc<Self> {
        let max = descriptors.saturating_sub(RESERVED_DESCRIPTORS).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        Arc::new(Self { inner: Mutex::new(Inner { max, ..Inner::default() }), freed: Notify::new() })
    }

    /// Takes a place for a connection. If all are taken, the connection that has kept us waiting longest is
    /// evicted. Returns `None` if the prefix has too many connections, or if every connection is working on a
    /// request. `prefix` is `None` for a peer without a limit.
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
        let (id, evicted) = (inner.next_id, Arc::new(Notify::new()));
        inner.next_id += 1;
        inner.taken.insert(id, TakenSlot { watchdog: Arc::clone(&watchdog), evicted: Arc::clone(&evicted), body_of: None });
        Some(Slot { limits: Arc::clone(self), id, prefix, watchdog, evicted })
    }

    /// Evicts the connection that has kept us waiting longest, if there is one, and waits until it or another
    /// has given back its place.
    pub async fn make_room(&self) {
        let freed = self.freed.notified();
        self.inner.lock().make_room();
        freed.await;
    }
}

impl Inner {
    /// Evicts whichever has kept us waiting longer: the longest silent connection, or the body that
    /// [`Self::longest_awaited_body`] names. Returns whether there was one.
    fn make_room(&mut self) -> bool {
        let silent = self.longest_awaited(|taken| taken.body_of.is_none());
        let longest = silent.into_iter().chain(self.longest_awaited_body()).min();
        longest.is_some_and(|(_, id)| self.evict(id))
    }

    /// The longest awaited body of the client with the most awaited bodies. Other clients are spared, because one
    /// slow body is not yet an attack.
    fn longest_awaited_body(&self) -> Option<(Instant, u64)> {
        let most = *self.bodies.values().max()?;
        self.longest_awaited(|taken| taken.body_of.is_some_and(|client| self.bodies.get(&client) == Some(&most)))
    }

    fn longest_awaited(&self, eligible: impl Fn(&TakenSlot) -> bool) -> Option<(Instant, u64)> {
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
        if self.bodies.values().sum::<usize>() >= self.max - self.max / BODILESS_DIVISOR
            && let Some((_, oldest)) = self.longest_awaited_body()
        {
            self.evict(oldest);
        }
        // If this connection was evicted just now, it is about to end.
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

/// Leaves out the watchdog, which holds bytes of the client: there are tokens in them.
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

    fn answer_goes_on(&self) {
        // The client is not what is waited for, so others do not take its place.
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
        let watchdogs: Vec<_> = (0..MAX_CONNECTIONS).map(|_| Watchdog::new()).collect();
        let taken: Vec<_> = watchdogs.iter().map(|watchdog| limits.take(None, Arc::clone(watchdog)).expect("room")).collect();
        watchdogs.iter().skip(1).for_each(|watchdog| {
            let _ = watchdog.begin();
        });
        let newcomer = limits.take(None, Watchdog::new());
        assert!(newcomer.is_some());
        taken[0].evicted().await;
        watchdogs.iter().for_each(|watchdog| {
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
        assert!((&mut room).now_or_never().is_none(), "it is notified, not gone");
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
        let attack: Vec<_> = (16..896 + 15).map(|n| begin(client(n / 16))).collect();
        assert_eq!(lone.body_timeout(), CROWDED_BODY_TIMEOUT);
        let newcomer = begin(client(1000));
        attack[0].evicted().await;
        let others: Vec<_> = (896..MAX_CONNECTIONS).map(|_| busy(&limits)).collect();
        assert_eq!(others.len(), 128, "places for requests without a body");
        let last = busy(&limits);
        attack[16].evicted().await;
        // The lone client's body has been awaited longest, but it is that client's only one.
        assert!(limits.inner.lock().taken.contains_key(&lone.id));
        drop((newcomer, last, attack, others, lone));
        assert!(limits.inner.lock().bodies.is_empty() && limits.inner.lock().taken.is_empty());
    }
}
