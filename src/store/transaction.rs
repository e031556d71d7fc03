//! A transaction on its way through the engine: the engine runs its closure and makes it durable, then the
//! observers are told and the caller is answered.

use super::{
    CommitEvent, Error, Observer,
    engine::{Engine, Priority, Reads, Tx, Work},
    schema::{EVENTS, EVENTS_BY_USER},
};
use crate::domain::{Event, EventId, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tracing::Span;

/// How long a caller waits for its commit before it is told that storage is unavailable.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A transaction's view of the database: it reads current rows, and its writes happen all together or not at all.
pub struct Transaction<'a> {
    pub(super) tx: &'a mut dyn Tx,
    /// When it was submitted.
    at: Timestamp,
    emitted: &'a mut Emitted,
}

/// What is reported once a transaction is durable.
#[derive(Default)]
struct Emitted {
    /// For the observers that keep state in memory.
    events: Vec<CommitEvent>,
    /// For the log.
    records: Vec<Event>,
}

impl Transaction<'_> {
    /// The database, with what this transaction has written.
    pub fn reads(&self) -> &dyn Reads {
        self.tx.reads()
    }

    /// Tells the observers of this once the transaction is durable.
    pub fn emit(&mut self, event: CommitEvent) {
        self.emitted.events.push(event);
    }

    /// Adds this event to the audit trail, and logs it once the transaction is durable.
    pub fn record(&mut self, event: Event) -> Result<(), Error> {
        let recorded = (self.at, event);
        self.append(&recorded)?;
        self.emitted.records.push(recorded.1);
        Ok(())
    }

    /// Adds an event to the audit trail, as the last one, with its index.
    pub fn append(&mut self, recorded: &(Timestamp, Event)) -> Result<(), Error> {
        let id = EventId::after(EVENTS.first_key(self.reads(), &[])?, recorded.0);
        EVENTS.put(self.tx, &id, recorded)?;
        recorded.1.users().try_for_each(|user| EVENTS_BY_USER.put(self.tx, &(user, id), &()))
    }
}

/// Keys that a transaction will read first.
pub type Hints = Vec<Vec<u8>>;

/// Runs a transaction and waits until it is durable.
///
/// It is submitted before the future is returned, so the future holds only the reply channel and not the
/// closure, which would be some kilobytes more to move for every request.
pub fn transact<T: Send + 'static>(
    engine: &dyn Engine,
    observer: Arc<dyn Observer>,
    at: Timestamp,
    priority: Priority,
    hints: impl Fn() -> Hints + Send + 'static,
    body: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let (reply, answer) = oneshot::channel();
    engine.submit(Box::new(PendingTransaction {
        body,
        at,
        priority,
        hints,
        outcome: None,
        emitted: Emitted::default(),
        observer,
        span: Span::current(),
        reply,
    }));
    async move {
        match tokio::time::timeout(COMMIT_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            // The engine drops a transaction unanswered only when it has shut down itself.
            Ok(Err(_)) => Err(Error::ReadOnly),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

struct PendingTransaction<F, H, T> {
    body: F,
    at: Timestamp,
    priority: Priority,
    hints: H,
    outcome: Option<T>,
    emitted: Emitted,
    observer: Arc<dyn Observer>,
    /// The request's span, so that log lines carry its id.
    span: Span,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, H, T> Work for PendingTransaction<F, H, T>
where
    F: FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send,
    H: Fn() -> Hints + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error> {
        // The caller timed out and got 503, so it will retry with the same refresh token. Rotating now would
        // make that retry look like reuse: skip it. Revocations still run; repeating them is harmless.
        if self.priority == Priority::Normal && self.reply.is_closed() {
            return Err(Error::TimedOut);
        }
        // An engine may run a transaction again: drop what an earlier run has emitted.
        self.emitted = Emitted::default();
        self.outcome = Some((self.body)(&mut Transaction { tx, at: self.at, emitted: &mut self.emitted })?);
        Ok(())
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn hints(&self) -> Hints {
        (self.hints)()
    }

    fn finish(self: Box<Self>, result: Result<(), Error>) {
        let Self { body, outcome, emitted, observer, span, reply, .. } = *self;
        let result = result.and_then(|()| outcome.ok_or(Error::Panicked));
        if result.is_ok() {
            emitted.events.into_iter().for_each(|event| observer.committed(event));
            let _entered = (!emitted.records.is_empty()).then(|| span.enter());
            emitted.records.iter().for_each(|event| observer.recorded(event));
        }
        // The closure may hold a guard that marks a rotation as in flight: keep it until the observers were told.
        drop(body);
        // The transaction is durable even if the caller has gone.
        let _ = reply.send(result);
    }
}
