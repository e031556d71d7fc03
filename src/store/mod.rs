//! What Doorward remembers. Each operation of [`Store`] is one atomic transaction, durable when it returns (I7).
//!
//! Beneath [`Store`] lies [`engine::Engine`], the only thing that touches a disk. An operation that writes is a
//! closure over a `Transaction`: the engine runs it and makes it durable; only then are the
//! observers told ([`Observer`]) and the caller answered. One that only reads is a closure over [`engine::Reads`].
//! An engine may run either more than once: one on a network first finds out which rows to fetch.

mod api_keys;
mod audit;
mod authority;
pub mod backup;
mod check;
mod count;
mod denied;
pub mod engine;
mod entry;
mod error;
mod event;
mod in_flight;
mod invites;
mod key;
mod migrate;
mod noted;
mod record;
mod rollback;
mod rotation;
mod rows;
mod schema;
mod sessions;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod user_cache;
mod user_change;
mod users;

pub use api_keys::{KeyCreated, KeyRequest};
pub use audit::EventPage;
pub use authority::{Authority, Authorize};
pub use check::Report;
pub use count::Counts;
pub use denied::{DenyListRows, ExpiredEntries};
pub use entry::Entry;
pub use error::Error;
pub use event::{CommitEvent, Observer};
pub use rotation::{MADE_BY_A_THIEF, Rotate, Rotated};
pub use rows::{Deny, NOTING_INTERVAL};
pub use sessions::{Ended, LoggedIn, Login, PasswordChange};
pub use user_change::{ChangeRequest, UserChange};
pub use users::{Created, NewAccount, RegistrationProof};

use crate::domain::{Clock, Event, Timestamp};
use engine::{Engine, Load, Priority, Reads, Watch};
use in_flight::InFlightRotations;
use noted::Noted;
pub use schema::Issued;
use schema::{INSTANCE, Instance};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use transaction::{Hints, Transaction, transact};
use user_cache::UserCache;

/// The store. Cheap to share behind an `Arc`.
pub struct Store {
    engine: Box<dyn Engine>,
    observers: Arc<Observers>,
    rotations: Arc<InFlightRotations>,
    user_cache: Arc<UserCache>,
    /// Events that are not of a transaction, until they are written.
    noted: Noted,
    clock: Clock,
    /// The schema the database was found with.
    schema: u32,
}

/// Passes each event to the store's own caches, then to the other observers.
#[derive(Default)]
struct Observers {
    /// How many events were recorded since the start.
    recorded: AtomicU64,
    rotations: Arc<InFlightRotations>,
    user_cache: Arc<UserCache>,
    others: Vec<Arc<dyn Observer>>,
}

impl Observer for Observers {
    fn committed(&self, event: CommitEvent) {
        if let CommitEvent::Rotated { session, replaced, at } = event {
            self.rotations.committed(session, replaced, at);
        }
        self.user_cache.committed(&event);
        self.others.iter().for_each(|observer| observer.committed(event.clone()));
    }

    fn recorded(&self, event: &Event) {
        self.recorded.fetch_add(1, Relaxed);
        self.others.iter().for_each(|observer| observer.recorded(event));
    }
}

impl Store {
    /// Opens the store on an engine that holds the database of `instance`.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance or to none,
    /// [`Error::TooNew`] when a later release wrote it, and the engine's own.
    pub async fn open(engine: Box<dyn Engine>, instance: [u8; 16], clock: Clock, others: Vec<Arc<dyn Observer>>) -> Result<Self, Error> {
        let found = view(&*engine, |reads| INSTANCE.get(reads, &())).await?.ok_or(Error::NotOurs)?;
        if found.schema > schema::VERSION {
            return Err(Error::TooNew { found: found.schema, known: schema::VERSION });
        }
        if found.id != instance {
            return Err(Error::NotOurs);
        }
        let (rotations, user_cache) = (Arc::new(InFlightRotations::default()), Arc::new(UserCache::default()));
        let recorded = AtomicU64::default();
        let observers = Arc::new(Observers { recorded, rotations: Arc::clone(&rotations), user_cache: Arc::clone(&user_cache), others });
        Ok(Self { engine, observers, rotations, user_cache, noted: Noted::default(), clock, schema: found.schema })
    }

    /// Marks an empty engine as the database of `instance`; leaves one that already is alone.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance, and the engine's own.
    pub async fn initialise(engine: &dyn Engine, instance: [u8; 16], now: Timestamp) -> Result<(), Error> {
        transact(engine, Arc::new(Observers::default()), now, Priority::Normal, Vec::new, move |t| match INSTANCE.get(t.reads(), &())? {
            Some(found) if found.id == instance => Ok(()),
            Some(_) => Err(Error::NotOurs),
            None => INSTANCE.put(t.tx, &(), &Instance { schema: schema::VERSION, id: instance, created_at: now }),
        })
        .await
    }

    /// Whether an earlier release wrote the database, so that [`Store::migrate`] will change it.
    #[must_use]
    pub const fn is_outdated(&self) -> bool {
        self.schema < schema::VERSION
    }

    /// Whether writes are accepted; once the disk has failed, they are not until a restart (STO-4).
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.engine.is_writable()
    }

    /// Has each group of changes from now on told to `watch`.
    pub fn watch(&self, watch: Watch) {
        self.engine.watch(watch);
    }

    /// How the engine is doing.
    #[must_use]
    pub fn load(&self) -> Load {
        self.engine.load()
    }

    /// Forgets rotations that are too old to decide a race.
    pub fn forget_old_rotations(&self) {
        self.rotations.forget_old();
    }

    /// Reads committed rows. An engine may run `read` more than once.
    fn view<T: Send>(&self, read: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> impl Future<Output = Result<T, Error>> + Send {
        view(&*self.engine, read)
    }

    /// Runs a transaction and waits until it is durable.
    fn transact<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Priority::Normal, Vec::new, body)
    }

    /// Runs a transaction that revokes or removes something: it is refused last when the disk runs full (STO-5).
    fn revoke<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Priority::Revocation, Vec::new, body)
    }

    fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        hints: impl Fn() -> Hints + Send + 'static,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        transact(&*self.engine, self.observers.clone(), self.clock.now(), priority, hints, body)
    }
}

/// Reads committed rows.
async fn view<T: Send>(engine: &dyn Engine, mut read: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> Result<T, Error> {
    let mut found = None;
    engine
        .view(&mut |reads| {
            found = Some(read(reads)?);
            Ok(())
        })
        .await?;
    found.ok_or(Error::Panicked)
}
