//! Events that are not of a transaction, until they are written.

use crate::domain::{Event, Timestamp};
use parking_lot::Mutex;
use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::Notify;

/// How many events may wait. Those beyond are dropped and counted: a flood must neither fill the memory nor slow the
/// requests that cause it.
pub const MAX_NOTED: usize = 256;

/// Events that wait to be written.
#[derive(Default)]
pub struct Noted {
    queue: Mutex<Vec<(Timestamp, Event)>>,
    /// How many were dropped since that was told last.
    dropped: AtomicU64,
    /// Tells the writer that there is something to write.
    wake: Notify,
}

impl Noted {
    /// Queues an event, or counts it as dropped.
    pub fn push(&self, event: (Timestamp, Event)) {
        let mut queue = self.queue.lock();
        if queue.len() == MAX_NOTED {
            return self.count_dropped(1);
        }
        queue.push(event);
        drop(queue);
        self.wake.notify_one();
    }

    /// Counts events as dropped.
    pub fn count_dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Relaxed);
    }

    /// Takes all events, and how many were dropped.
    pub fn take(&self) -> (Vec<(Timestamp, Event)>, u64) {
        (mem::take(&mut *self.queue.lock()), self.dropped.swap(0, Relaxed))
    }

    /// Waits until there are events.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }
}
