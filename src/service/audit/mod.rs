//! The audit trail: what happened, to whom, by whom; for admins, and for each user their own.

mod query;
mod view;

pub use query::{InvalidWord, QueryWords};
pub use view::EventView;

use super::Error;
use crate::{
    config,
    domain::{Event, EventId, EventQuery, SteadyClock, Timestamp},
    store::{self, EventPage, Store},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// How often the trail is swept although little was added to it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// After how many new events it is swept before that.
const SWEEP_AFTER: u64 = 1000;

/// The use cases of the audit trail.
pub struct Audit {
    store: Arc<Store>,
    settings: config::Audit,
    /// The clock for sweeping: what is swept by a wrong clock is lost.
    steady: Arc<SteadyClock>,
    /// When it was swept last, and how many events had been recorded then.
    swept: Mutex<Option<(Timestamp, u64)>>,
}

impl Audit {
    /// The trail that this store keeps.
    #[must_use]
    pub fn new(settings: &config::Audit, store: &Arc<Store>, steady: &Arc<SteadyClock>) -> Self {
        Self { store: Arc::clone(store), settings: settings.clone(), steady: Arc::clone(steady), swept: Mutex::new(None) }
    }

    /// Logs an event that is not of a transaction, and adds it to the trail soon.
    pub fn note(&self, event: Event) {
        self.store.note(event);
    }

    /// Waits until there are noted events to write.
    pub async fn noted(&self) {
        self.store.noted().await;
    }

    /// Writes the noted events.
    ///
    /// # Errors
    /// The store's.
    pub async fn write_noted(&self) -> Result<(), store::Error> {
        self.store.write_noted().await
    }

    /// Events that meet a query, the latest first, from those before `before`.
    ///
    /// # Errors
    /// The store's.
    pub async fn before(&self, query: &EventQuery, before: Option<EventId>, limit: usize) -> Result<EventPage, Error> {
        Ok(self.store.events(query, before, limit).await?)
    }

    /// Events that meet a query, in the order in which they were written, from those after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn after(&self, query: &EventQuery, after: Option<EventId>, limit: usize) -> Result<EventPage, Error> {
        Ok(self.store.events_after(query, after, limit).await?)
    }

    /// The id of the latest event.
    ///
    /// # Errors
    /// The store's.
    pub async fn last(&self) -> Result<Option<EventId>, Error> {
        Ok(self.store.last_event().await?)
    }

    /// Removes the events that are too old or too many, if that was not done for a while.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), Error> {
        let (now, recorded) = (self.steady.now(), self.store.events_recorded());
        let is_recent = |(at, then)| now.since(at) < SWEEP_INTERVAL && recorded - then < SWEEP_AFTER;
        if self.swept.lock().is_some_and(is_recent) {
            return Ok(());
        }
        let keep_from =
            Timestamp::from_millis(now.millis().saturating_sub(u64::try_from(self.settings.keep.as_millis()).unwrap_or(u64::MAX)));
        let removed = self.store.sweep_events(keep_from, self.settings.max).await?;
        tracing::debug!(removed, "swept the audit trail");
        *self.swept.lock() = Some((now, recorded));
        Ok(())
    }
}
