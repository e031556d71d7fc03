//! A verb on its way through the engine: a closure over a [`Transaction`], run there, made durable, told to
//! memory, answered.

use super::{
    CommitEvent, Error, Observer,
    engine::{Engine, Priority, Reads, Tx, Work},
};
use crate::domain::Event;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tracing::Span;

/// How long a verb waits for its commit before it answers that storage is unavailable.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A verb's view of the database: what it reads is current, what it writes is all or nothing.
pub struct Transaction<'a> {
    pub(super) tx: &'a mut dyn Tx,
    told: &'a mut Told,
}

/// What is told once a verb is durable.
#[derive(Default)]
struct Told {
    /// To memory.
    events: Vec<CommitEvent>,
    /// To people: lines of the log.
    records: Vec<Event>,
}

impl Transaction<'_> {
    /// What the verb sees.
    pub fn reads(&self) -> &dyn Reads {
        self.tx.reads()
    }

    /// Lets memory know of this once it is durable.
    pub fn emit(&mut self, event: CommitEvent) {
        self.told.events.push(event);
    }

    /// Records that this happened, if the verb becomes durable.
    pub fn record(&mut self, event: Event) {
        self.told.records.push(event);
    }
}

/// Keys that a verb will want first.
pub type Hints = Vec<Vec<u8>>;

/// Runs a verb and waits until it is durable.
///
/// It is submitted before the future is returned, so the future holds only the reply channel and not the
/// closure, which would be some kilobytes more to move for every request.
pub fn transact<T: Send + 'static>(
    engine: &dyn Engine,
    observer: Arc<dyn Observer>,
    priority: Priority,
    hints: impl Fn() -> Hints + Send + 'static,
    verb: impl FnMut(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let (reply, answer) = oneshot::channel();
    engine.submit(Box::new(PendingTransaction {
        verb,
        priority,
        hints,
        outcome: None,
        told: Told::default(),
        observer,
        span: Span::current(),
        reply,
    }));
    async move {
        match tokio::time::timeout(COMMIT_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            // The engine drops a verb only when it is gone itself.
            Ok(Err(_)) => Err(Error::ReadOnly),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

struct PendingTransaction<F, H, T> {
    verb: F,
    priority: Priority,
    hints: H,
    outcome: Option<T>,
    told: Told,
    observer: Arc<dyn Observer>,
    /// The request's: lines of the log name it.
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
        // An engine may run a verb again: nothing of an earlier run may stay.
        self.told = Told::default();
        self.outcome = Some((self.verb)(&mut Transaction { tx, told: &mut self.told })?);
        Ok(())
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn hints(&self) -> Hints {
        (self.hints)()
    }

    fn finish(self: Box<Self>, result: Result<(), Error>) {
        let Self { verb, outcome, told, observer, span, reply, .. } = *self;
        let result = result.and_then(|()| outcome.ok_or(Error::Panicked));
        if result.is_ok() {
            told.events.into_iter().for_each(|event| observer.committed(event));
            let _entered = (!told.records.is_empty()).then(|| span.enter());
            told.records.iter().for_each(|event| observer.recorded(event));
        }
        // The closure may hold a guard that says "under way": it is, until memory has been told.
        drop(verb);
        // A caller that hung up does not unmake what is durable.
        let _ = reply.send(result);
    }
}
