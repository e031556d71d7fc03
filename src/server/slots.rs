//! How many connections there may be, from everywhere and from one subscriber, and who makes room.

use super::pulse::Pulse;
use crate::domain::AddressPrefix;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

/// Connections at once.
const MAX: usize = 1024;
/// Connections at once from one address prefix, unless it is this machine or a trusted proxy.
const MAX_PER_PREFIX: usize = 64;

/// The connections there are.
#[derive(Default)]
pub struct Slots(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    taken: HashMap<u64, Taken>,
    by_prefix: HashMap<AddressPrefix, usize>,
}

struct Taken {
    pulse: Arc<Pulse>,
    evicted: Arc<Notify>,
}

/// One connection's place; dropping it gives it back.
pub struct Slot {
    slots: Arc<Slots>,
    id: u64,
    prefix: Option<AddressPrefix>,
    evicted: Arc<Notify>,
}

impl Slots {
    /// A place for a connection, made by ending the one that idles longest if need be; none when
    /// its prefix has too many, or when all are being served. `prefix` is none where no limit
    /// applies.
    pub fn take(self: &Arc<Self>, prefix: Option<AddressPrefix>, pulse: Arc<Pulse>) -> Option<Slot> {
        let mut inner = self.0.lock();
        if prefix.is_some_and(|prefix| inner.by_prefix.get(&prefix).is_some_and(|count| *count >= MAX_PER_PREFIX)) {
            return None;
        }
        if inner.taken.len() >= MAX && !inner.evict_idlest() {
            return None;
        }
        if let Some(prefix) = prefix {
            *inner.by_prefix.entry(prefix).or_default() += 1;
        }
        let (id, evicted) = (inner.next, Arc::new(Notify::new()));
        inner.next += 1;
        inner.taken.insert(id, Taken { pulse, evicted: Arc::clone(&evicted) });
        Some(Slot { slots: Arc::clone(self), id, prefix, evicted })
    }

    /// Ends the connection that idles longest, if any does.
    pub fn make_room(&self) {
        self.0.lock().evict_idlest();
    }
}

impl Inner {
    fn evict_idlest(&mut self) -> bool {
        let idle = self.taken.iter().filter_map(|(id, taken)| Some((taken.pulse.idle_since()?, *id)));
        let Some((_, id)) = idle.min() else { return false };
        if let Some(taken) = self.taken.remove(&id) {
            taken.evicted.notify_one();
        }
        true
    }
}

impl Slot {
    /// Waits until another connection needs the place.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.slots.0.lock();
        inner.taken.remove(&self.id);
        if let Some(prefix) = self.prefix
            && let Some(count) = inner.by_prefix.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                inner.by_prefix.remove(&prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_idlest_connection_makes_room_and_a_busy_one_never_does() {
        let slots = Arc::new(Slots::default());
        let pulses: Vec<_> = (0..MAX).map(|_| Pulse::new()).collect();
        let taken: Vec<_> = pulses.iter().map(|pulse| slots.take(None, Arc::clone(pulse)).expect("room")).collect();
        pulses.iter().skip(1).for_each(|pulse| assert!(!pulse.begin(false, String::new)));
        let newcomer = slots.take(None, Pulse::new());
        assert!(newcomer.is_some());
        taken[0].evicted().await;
        pulses.iter().for_each(|pulse| assert!(!pulse.begin(false, String::new)));
        let busy = Pulse::new();
        assert!(!busy.begin(false, String::new));
        drop(newcomer);
        let last = slots.take(None, busy);
        assert!(last.is_some());
        assert!(slots.take(None, Pulse::new()).is_none(), "all are being served");
    }

    #[test]
    fn one_subscriber_has_so_many_and_gets_them_back() {
        let slots = Arc::new(Slots::default());
        let prefix = Some(AddressPrefix::V6(1));
        let taken: Vec<_> = (0..MAX_PER_PREFIX).map(|_| slots.take(prefix, Pulse::new()).expect("room")).collect();
        assert!(slots.take(prefix, Pulse::new()).is_none());
        assert!(slots.take(Some(AddressPrefix::V6(2)), Pulse::new()).is_some());
        assert!(slots.take(None, Pulse::new()).is_some());
        drop(taken);
        assert!(slots.take(prefix, Pulse::new()).is_some());
        assert!(slots.0.lock().by_prefix.is_empty());
    }
}
