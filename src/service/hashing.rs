//! The threads that hash passwords. They are few, which bounds the memory that hashing takes, and have low
//! priority. Their queue is fair, and refuses a caller at once when there is no place (ADR 8).

mod queue;

use super::caller::Caller;
use parking_lot::{Condvar, Mutex};
use queue::{Job, Queue, Ticket};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// There was no place in the queue, or the caller's turn did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

/// The nice value of hashing threads: requests that hash nothing are served first, however many hashes wait.
const NICE: i32 = 19;

/// Is told of each job how long it waited for a thread and how long it took.
pub type Watch = Box<dyn Fn(Duration, Duration) + Send + Sync>;

/// The pool. Dropping it ends its threads once they are idle.
pub struct HashPool {
    shared: Arc<Shared>,
    wait: Duration,
    watch: Arc<OnceLock<Watch>>,
}

struct Shared {
    queue: Mutex<Queue>,
    job_added: Condvar,
}

impl HashPool {
    /// Starts `threads` threads with a queue of at most `places` jobs, each of which waits for at most `wait`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, places: usize, wait: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new(places)), job_added: Condvar::new() });
        let pool = Self { shared, wait, watch: Arc::default() };
        for n in 0..threads {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || {
                // On Linux this sets the priority of the calling thread alone. If it fails, hashing still works.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::warn!(%error, "hashing threads keep normal priority");
                }
                while let Some(job) = shared.next() {
                    // A panic must not end the thread. The caller gets no reply, which it reports as Overloaded.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(pool)
    }

    /// Runs a job on one of the threads. If the future is dropped before the job is begun, the job is not run
    /// and its place in the queue is free again. Once it is begun, [`Caller::has_begun`] is true, and `wait` no
    /// longer limits how long the future waits for it.
    ///
    /// # Errors
    /// [`Overloaded`] at once when no place is left for this caller, or when its turn did not come in time.
    pub async fn run<T: Send + 'static>(&self, caller: Caller, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let (reply, mut answer) = oneshot::channel();
        let (queued, watch) = (Instant::now(), Arc::clone(&self.watch));
        let job = Box::new(move || {
            let begun = Instant::now();
            let outcome = job();
            if let Some(watch) = watch.get() {
                watch(begun - queued, begun.elapsed());
            }
            drop(reply.send(outcome));
        });
        let slot = self.enqueue(caller, job).ok_or(Overloaded)?;
        match tokio::time::timeout(self.wait, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) if slot.cancel() => return Err(Overloaded),
            Err(_) => answer.await,
        }
        .map_err(|_| Overloaded)
    }

    /// Has each job from now on told to `watch`, the first that it is given.
    pub fn watch(&self, watch: Watch) {
        // The first one stays.
        let _ = self.watch.set(watch);
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().waiting()
    }

    fn enqueue(&self, caller: Caller, job: Job) -> Option<QueueSlot<'_>> {
        let ticket = self.shared.queue.lock().push(caller, job)?;
        self.shared.job_added.notify_one();
        Some(QueueSlot { shared: &self.shared, ticket })
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.queue.lock().close();
        self.shared.job_added.notify_all();
    }
}

impl Shared {
    /// The next job, already begun; `None` once the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        if let Some(job) = queue.pop() {
            return Some(job);
        }
        queue.add_idle_thread();
        loop {
            self.job_added.wait(&mut queue);
            if queue.is_closed() {
                return None;
            }
            if let Some(job) = queue.pop_for_idle_thread() {
                return Some(job);
            }
        }
    }
}

/// A place in the queue. Dropping it takes the job out of the queue, unless it was begun.
struct QueueSlot<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl QueueSlot<'_> {
    /// Takes the job out of the queue; false if it was begun already.
    fn cancel(&self) -> bool {
        self.shared.queue.lock().remove(&self.ticket)
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::AddressPrefix,
        service::caller::{AccountKey, Trust},
    };
    use std::sync::Barrier;

    fn caller(n: u64) -> Caller {
        Caller::new(AccountKey::of(&format!("user{n}")), AddressPrefix::V6(n), Trust::Stranger)
    }

    #[tokio::test]
    async fn lim_9_beyond_the_queue_the_answer_is_no_and_a_place_comes_back_when_its_caller_leaves() {
        // Of the two places, strangers may take one; the other is reserved for known callers.
        let pool = Arc::new(HashPool::start(1, 2, Duration::from_secs(60)).expect("a pool"));
        let gate = Arc::new(Barrier::new(2));
        let holder = caller(1);
        let busy = tokio::spawn({
            let (pool, gate, holder) = (Arc::clone(&pool), Arc::clone(&gate), holder.clone());
            async move { pool.run(holder, move || gate.wait().is_leader()).await }
        });
        while !holder.has_begun() {
            tokio::task::yield_now().await;
        }
        let left = caller(2);
        let waiting = tokio::spawn({
            let (pool, left) = (Arc::clone(&pool), left.clone());
            async move { pool.run(left, || panic!("its caller has left: it must not run")).await }
        });
        while pool.shared.queue.lock().waiting() != 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(caller(3), || 1).await, Err(Overloaded));
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert!(!left.has_begun(), "what was not begun does not count");
        let next = pool.run(caller(3), || 2);
        gate.wait();
        assert_eq!(next.await, Ok(2));
        busy.await.expect("joined").expect("ran");
    }

    #[tokio::test]
    async fn a_job_that_was_begun_is_waited_for_and_one_that_was_not_is_given_up() {
        let pool = Arc::new(HashPool::start(1, 8, Duration::from_millis(20)).expect("a pool"));
        let gate = Arc::new(Barrier::new(2));
        let busy = loop {
            let holder = caller(1);
            let busy = tokio::spawn({
                let (pool, gate, holder) = (Arc::clone(&pool), Arc::clone(&gate), holder.clone());
                async move { pool.run(holder, move || gate.wait().is_leader()).await }
            });
            while !holder.has_begun() && !busy.is_finished() {
                tokio::task::yield_now().await;
            }
            // On a busy machine a thread of low priority may come too late.
            if holder.has_begun() {
                break busy;
            }
        };
        assert_eq!(pool.run(caller(2), || 1).await, Err(Overloaded), "its turn did not come in time");
        gate.wait();
        busy.await.expect("joined").expect("it was begun in time");
    }

    #[tokio::test]
    async fn a_panicking_job_leaves_the_pool_working() {
        let pool = HashPool::start(1, 8, Duration::from_secs(60)).expect("a pool");
        assert_eq!(pool.run(caller(1), || panic!("a bug")).await, Err::<(), _>(Overloaded));
        assert_eq!(pool.run(caller(1), || 3).await, Ok(3));
    }
}
