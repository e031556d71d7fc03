//! What Doorward remembers, as domain verbs: each one atomic transition, durable when it returns (I7).
//!
//! Callers see [`Store`]; beneath it lies [`engine::Engine`], the only thing that touches a disk.
//! A verb is a closure over a [`transaction::Transaction`]; the engine runs it, makes it durable, and only
//! then is memory told ([`Observer`]) and the caller answered. Reads outside verbs are views: closures too,
//! so an engine on a network can fetch what they want and run them again.

mod check;
mod denied;
pub mod engine;
mod error;
mod event;
mod in_flight;
mod invites;
mod key;
mod migrate;
mod recent;
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
mod users;

pub use check::Report;
pub use denied::{Denied, Over};
pub use error::Error;
pub use event::{CommitEvent, Observer};
pub use rotation::{Rotate, Rotated};
pub use rows::Deny;
pub use sessions::{Ended, PasswordChange, SignIn, SignedIn};
pub use users::{Authorize, ChangeRequest, Created, NewAccount, RegistrationProof, UserChange};

use crate::domain::{Event, Timestamp};
use engine::{Engine, Priority, Reads};
use in_flight::InFlightRotations;
use recent::Recent;
use schema::{INSTANCE, Instance};
use std::sync::Arc;
use transaction::{Hints, Transaction, transact};

/// The store. Cheap to share behind an `Arc`.
pub struct Store {
    engine: Box<dyn Engine>,
    observers: Arc<Observers>,
    rotations: Arc<InFlightRotations>,
    recent: Arc<Recent>,
    /// The schema the database was found with.
    schema: u32,
}

/// Tells the store's own memory of each event, then everybody else's.
#[derive(Default)]
struct Observers {
    rotations: Arc<InFlightRotations>,
    recent: Arc<Recent>,
    others: Vec<Arc<dyn Observer>>,
}

impl Observer for Observers {
    fn committed(&self, event: CommitEvent) {
        if let CommitEvent::Rotated { session, replaced, at } = event {
            self.rotations.committed(session, replaced, at);
        }
        self.recent.committed(event);
        self.others.iter().for_each(|observer| observer.committed(event));
    }

    fn recorded(&self, event: &Event) {
        self.others.iter().for_each(|observer| observer.recorded(event));
    }
}

impl Store {
    /// Opens the store on an engine that holds the database of `instance`.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance or to none,
    /// [`Error::TooNew`] when a later release wrote it, and the engine's own.
    pub async fn open(engine: Box<dyn Engine>, instance: [u8; 16], others: Vec<Arc<dyn Observer>>) -> Result<Self, Error> {
        let found = view(&*engine, |reads| INSTANCE.get(reads, &())).await?.ok_or(Error::NotOurs)?;
        if found.schema > schema::VERSION {
            return Err(Error::TooNew { found: found.schema, known: schema::VERSION });
        }
        if found.id != instance {
            return Err(Error::NotOurs);
        }
        let (rotations, recent) = (Arc::new(InFlightRotations::default()), Arc::new(Recent::default()));
        let observers = Arc::new(Observers { rotations: Arc::clone(&rotations), recent: Arc::clone(&recent), others });
        Ok(Self { engine, observers, rotations, recent, schema: found.schema })
    }

    /// Marks an empty engine as the database of `instance`; leaves one that already is alone.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance, and the engine's own.
    pub async fn initialise(engine: &dyn Engine, instance: [u8; 16], now: Timestamp) -> Result<(), Error> {
        transact(engine, Arc::new(Observers::default()), Priority::Normal, Vec::new, move |t| match INSTANCE.get(t.reads(), &())? {
            Some(found) if found.id == instance => Ok(()),
            Some(_) => Err(Error::NotOurs),
            None => INSTANCE.put(t.tx, &(), &Instance { schema: schema::VERSION, id: instance, created_at: now }),
        })
        .await
    }

    /// Whether writes are accepted; once the disk has failed, they are not until a restart (STO-4).
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.engine.is_writable()
    }

    /// Forgets what is no longer of use of the rotations that were made.
    pub fn forget_old_rotations(&self) {
        self.rotations.forget_old();
    }

    /// Reads something that is committed. An engine may run `look` more than once.
    fn view<T: Send>(&self, look: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> impl Future<Output = Result<T, Error>> + Send {
        view(&*self.engine, look)
    }

    /// Runs a verb and waits until it is durable.
    fn transact<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Priority::Normal, Vec::new, verb)
    }

    /// The same for a verb that takes something away from somebody: the last to be refused when the
    /// disk runs full (STO-5).
    fn revoke<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Priority::Revocation, Vec::new, verb)
    }

    fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        hints: impl Fn() -> Hints + Send + 'static,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        transact(&*self.engine, self.observers.clone(), priority, hints, verb)
    }
}

/// Reads something that is committed.
async fn view<T: Send>(engine: &dyn Engine, mut look: impl FnMut(&dyn Reads) -> Result<T, Error> + Send) -> Result<T, Error> {
    let mut found = None;
    engine
        .view(&mut |reads| {
            found = Some(look(reads)?);
            Ok(())
        })
        .await?;
    found.ok_or(Error::Panicked)
}
