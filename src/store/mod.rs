//! What Doorward remembers, as domain verbs: each one atomic transition, durable when it returns (I7).
//!
//! Callers see [`Store`]; beneath it lies [`engine::Engine`], the only thing that touches a disk.
//! A verb is a closure over a [`Transaction`]; the engine runs it, makes it durable, and only
//! then is memory told ([`Observer`]) and the caller answered, in the order of commits.

mod accounts;
mod check;
pub mod engine;
mod error;
mod invites;
mod key;
mod race;
mod recent;
mod record;
mod rotation;
mod schema;
mod sessions;
mod standings;
mod table;
#[cfg(test)]
mod tests;

pub use accounts::{Admission, Created, NewAccount, Permit, UserChange};
pub use check::Report;
pub use error::Error;
pub use rotation::{OnReuse, Rotate, Rotated};
pub use sessions::{Ended, PasswordChange, Remember, SignIn, SignedIn};

use crate::domain::{Everybody, SessionId, Shard, Standing, Timestamp, TokenId, UserId};
use engine::{Engine, Need, Reads, Work};
use race::Races;
use recent::Recent;
use schema::{INSTANCE, Instance, PROGRESS, Progress, REVOKED_SESSIONS, REVOKED_TOKENS, STANDINGS, USERS};
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a verb waits for its commit before it answers that storage is unavailable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that became durable and that memory must know, told in commit order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A user is new, or has another version, or was disabled or enabled.
    Standing(UserId, Standing),
    /// A user was deleted.
    Deleted(UserId),
    /// A session ended: its access tokens are void, to be remembered until the last has expired.
    SessionEnded(SessionId, Timestamp),
    /// An access token was revoked, to be remembered until it has expired.
    TokenRevoked(TokenId, Timestamp),
    /// A refresh token of this session and generation was replaced.
    Rotated(SessionId, u32),
}

/// Who is told of each [`Change`], on the committing thread: it must be quick and must not wait.
pub trait Observer: Send + Sync {
    /// `change` is durable; its verb has not been answered yet.
    fn committed(&self, change: Change);
}

/// The store. Cheap to share behind an `Arc`.
pub struct Store {
    engine: Box<dyn Engine>,
    observer: Arc<Informed>,
    races: Arc<Races>,
    recent: Arc<Recent>,
    has_changed: AtomicBool,
    /// The schema the database was found with.
    schema: u32,
}

/// Tells the store's own memory of each change, then everybody else's.
struct Informed {
    races: Arc<Races>,
    recent: Arc<Recent>,
    observer: Arc<dyn Observer>,
}

impl Observer for Informed {
    fn committed(&self, change: Change) {
        if let Change::Rotated(session, generation) = change {
            self.races.committed(session, generation);
        }
        self.recent.committed(change);
        self.observer.committed(change);
    }
}

/// A verb's view of the database: what it reads is current, what it writes is all or nothing.
pub struct Transaction<'a> {
    tx: &'a mut dyn engine::Tx,
    changes: &'a mut Vec<Change>,
}

impl Transaction<'_> {
    fn announce(&mut self, change: Change) {
        self.changes.push(change);
    }
}

/// Everything an access token is held against, as loaded at the start.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Every user's standing.
    pub users: Everybody,
    /// Ended sessions and until when to remember each.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Revoked access tokens and until when to remember each.
    pub tokens: Vec<(TokenId, Timestamp)>,
}

impl Store {
    /// Opens the store on an engine that holds the database of `instance`.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance or to none,
    /// [`Error::TooNew`] when a later release wrote it, and the engine's own.
    pub fn open(engine: Box<dyn Engine>, instance: [u8; 16], observer: Arc<dyn Observer>) -> Result<Self, Error> {
        let found = INSTANCE.get(engine.reads(), &())?.ok_or(Error::NotOurs)?;
        if found.schema > schema::VERSION {
            return Err(Error::TooNew { found: found.schema, known: schema::VERSION });
        }
        if found.id != instance {
            return Err(Error::NotOurs);
        }
        let (races, recent) = (Arc::new(Races::default()), Arc::new(Recent::default()));
        let observer = Arc::new(Informed { races: Arc::clone(&races), recent: Arc::clone(&recent), observer });
        Ok(Self { engine, observer, races, recent, has_changed: AtomicBool::new(false), schema: found.schema })
    }

    /// Marks an empty engine as the database of `instance`; leaves one that already is alone.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the database belongs to another instance, and the engine's own.
    pub async fn initialise(engine: &dyn Engine, instance: [u8; 16], now: Timestamp) -> Result<(), Error> {
        struct Nobody;
        impl Observer for Nobody {
            fn committed(&self, _: Change) {}
        }
        transact(engine, Arc::new(Nobody), Need::Ordinary, move |t| match INSTANCE.get(t.reads(), &())? {
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

    /// Everything an access token is held against: for the start alone. A damaged row fails closed:
    /// its revocation holds until `forget_by` (STO-9).
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn revocations(&self, forget_by: Timestamp) -> Result<Revocations, Error> {
        let users = match self.schema {
            // From before there were standings.
            1 => standings::of_accounts(self.reads(), &[])?.iter().copied().collect(),
            _ => standings::all(self.reads())?,
        };
        let mut all = Revocations { users, ..Revocations::default() };
        // A damaged date leaves what it is of revoked, for as long as that can matter.
        REVOKED_SESSIONS.inspect(self.reads(), &[], |id, until| all.sessions.extend(id.map(|id| (id, until.unwrap_or(forget_by)))))?;
        REVOKED_TOKENS.inspect(self.reads(), &[], |id, until| all.tokens.extend(id.map(|id| (id, until.unwrap_or(forget_by)))))?;
        Ok(all)
    }

    /// Brings a database that an earlier release wrote up to this one's schema. May be cut short at
    /// any point and is then done again. On a disk that is nearly full too: it must start (STO-5).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn upgrade(&self) -> Result<(), Error> {
        /// Rows of one transaction.
        const STEP: usize = 1000;
        if self.schema == schema::VERSION {
            return Ok(());
        }
        tracing::info!(from = self.schema, to = schema::VERSION, "bringing the database up to this release");
        let mut shards = BTreeSet::new();
        // Of an upgrade that was cut short there may be rows whose users an earlier release deleted since.
        STANDINGS.inspect(self.reads(), &[], |shard, _| shards.extend(shard))?;
        USERS.scan(self.reads(), &[], None, |id, _| {
            shards.insert(Shard::from(&id));
            ControlFlow::Continue(())
        })?;
        let shards: Vec<_> = shards.into_iter().collect();
        for step in shards.chunks(STEP) {
            let step = step.to_vec();
            self.revoke(move |t| standings::rebuild(t, &step)).await?;
        }
        self.revoke(|t| match INSTANCE.get(t.reads(), &())? {
            Some(found) => INSTANCE.put(t.tx, &(), &Instance { schema: schema::VERSION, ..found }),
            None => Err(Error::NotOurs),
        })
        .await
    }

    /// How far the database has come, if it has come as far as is `known` of it. Otherwise it is an
    /// older copy, or damage made sled take what came later for a torn end: `None`, and every session
    /// in it ends and every access token is void, because what was revoked since is unknown (STO-14).
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it has forgotten every user as well, and the engine's own.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub async fn resume(&self, known: u64) -> Result<Option<u64>, Error> {
        let counted = PROGRESS.get(self.reads(), &())?.map_or(0, |progress| progress.0);
        if counted >= known {
            return Ok(Some(counted));
        }
        let mut users = Vec::new();
        USERS.scan(self.reads(), &[], None, |id, _| {
            users.push(id);
            ControlFlow::Continue(())
        })?;
        // Damage near its beginning makes sled forget all the rest: never an empty server (STO-8).
        if users.is_empty() {
            return Err(Error::Corrupt("it is older than when it was last seen and has no users".into()));
        }
        // Beyond every version that was issued since, and never twice the same.
        let mut step = [0; 2];
        getrandom::fill(&mut step).expect("the operating system provides randomness");
        let step = (1 << 16) + u32::from(u16::from_le_bytes(step));
        for id in users {
            self.end_all_by(id, step).await?;
        }
        Ok(None)
    }

    /// Counts on to `count`, durable like everything else.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn count(&self, count: u64) -> Result<(), Error> {
        self.has_changed.store(false, Relaxed);
        let verb = move |t: &mut Transaction<'_>| {
            let counted = PROGRESS.get(t.reads(), &())?.map_or(0, |progress| progress.0);
            PROGRESS.put(t.tx, &(), &Progress(count.max(counted)))
        };
        transact(&*self.engine, self.observer.clone(), Need::Urgent, verb).await
    }

    /// Whether anything was asked to be written since the last count.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed.load(Relaxed)
    }

    fn reads(&self) -> &dyn Reads {
        self.engine.reads()
    }

    /// Runs a verb and waits until it is durable.
    fn transact<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Need::Ordinary, verb)
    }

    /// The same for a verb that takes something away from somebody: the last to be refused when the
    /// disk runs full (STO-5).
    fn revoke<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.run(Need::Urgent, verb)
    }

    fn run<T: Send + 'static>(
        &self,
        need: Need,
        verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        self.has_changed.store(true, Relaxed);
        transact(&*self.engine, self.observer.clone(), need, verb)
    }
}

impl Transaction<'_> {
    fn reads(&self) -> &dyn Reads {
        self.tx.reads()
    }
}

/// Runs a verb and waits until it is durable. It is on its way before the wait begins, so a future that
/// waits for it has no room for it.
fn transact<T: Send + 'static>(
    engine: &dyn Engine,
    observer: Arc<dyn Observer>,
    need: Need,
    run: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let (reply, answer) = oneshot::channel();
    engine.submit(Box::new(Verb { run, need, outcome: None, changes: Vec::new(), observer, reply }));
    async move {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            // The writer drops a verb only when it is gone itself.
            Ok(Err(_)) => Err(Error::ReadOnly),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

/// A verb on its way through the engine.
struct Verb<F, T> {
    run: F,
    need: Need,
    outcome: Option<T>,
    changes: Vec<Change>,
    observer: Arc<dyn Observer>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Work for Verb<F, T>
where
    F: FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut dyn engine::Tx) -> Result<(), Error> {
        // Who gave up waiting was told that nothing was saved, and will try again: a token that rotated
        // for nobody would make that a theft. What takes something away is done all the same.
        if self.need == Need::Ordinary && self.reply.is_closed() {
            return Err(Error::TimedOut);
        }
        // An engine may run a verb again: nothing of an earlier run may stay.
        self.changes.clear();
        self.outcome = Some((self.run)(&mut Transaction { tx, changes: &mut self.changes })?);
        Ok(())
    }

    fn need(&self) -> Need {
        self.need
    }

    fn finish(self: Box<Self>, result: Result<(), Error>) {
        let Self { run, outcome, changes, observer, reply, .. } = *self;
        let result = result.and_then(|()| outcome.ok_or(Error::Panicked));
        if result.is_ok() {
            changes.into_iter().for_each(|change| observer.committed(change));
        }
        // What the closure holds lives until memory has been told.
        drop(run);
        // A caller that hung up does not unmake what is durable.
        let _ = reply.send(result);
    }
}
