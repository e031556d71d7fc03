//! Threads that hash passwords, apart from all others: few, bounded in memory, of low priority, with
//! a queue that says no in time (SPEC §3).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// There is no place to wait, or the wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

/// The nice value of hashing threads: requests that hash nothing go first, whatever the flood.
const NICE: i32 = 19;

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Dropping it ends its threads once they are idle.
pub struct HashPool {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    wait: Duration,
}

impl HashPool {
    /// Starts `threads` threads, before which at most `queue` jobs wait for at most `wait`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, queue: usize, wait: Duration) -> std::io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let todo = Arc::new(parking_lot::Mutex::new(todo));
        for n in 0..threads {
            let todo = Arc::clone(&todo);
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || {
                // On Linux this is the calling thread's own priority. Without it, still correct.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::warn!(%error, "hashing threads keep normal priority");
                }
                loop {
                    // The lock is held while waiting: one idle thread waits for a job, the others for it.
                    let Ok(job) = todo.lock().recv() else { break };
                    job();
                }
            })?;
        }
        Ok(Self { jobs, places: Arc::new(Semaphore::new(threads + queue)), wait })
    }

    /// Runs a job on one of the threads. A caller that goes away gives its place back, and its job,
    /// if not begun, is not run.
    ///
    /// # Errors
    /// [`Overloaded`] at once when no place is left, or when none was reached in time.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let place: OwnedSemaphorePermit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move || {
            if !reply.is_closed() {
                // A panic here would take the thread along; without a reply the caller sees Overloaded.
                if let Ok(outcome) = catch_unwind(AssertUnwindSafe(job)) {
                    let _ = reply.send(outcome);
                }
            }
        });
        self.jobs.send(job).map_err(|_| Overloaded)?;
        let outcome = tokio::time::timeout(self.wait, answer).await;
        drop(place);
        outcome.map_err(|_| Overloaded)?.map_err(|_| Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_no_and_a_place_comes_back_when_its_caller_leaves() {
        let pool = Arc::new(HashPool::start(1, 1, Duration::from_secs(60)).expect("a pool"));
        let gate = Arc::new(Barrier::new(2));
        let busy = tokio::spawn({
            let (pool, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            async move { pool.run(move || gate.wait().is_leader()).await }
        });
        while pool.places.available_permits() != 1 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(|| panic!("its caller has left: it must not run")).await }
        });
        while pool.places.available_permits() != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 1).await, Err(Overloaded));
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        let next = pool.run(|| 2);
        gate.wait();
        assert_eq!(next.await, Ok(2));
        busy.await.expect("joined").expect("ran");
    }

    #[tokio::test]
    async fn a_panicking_job_leaves_the_pool_working() {
        let pool = HashPool::start(1, 1, Duration::from_secs(60)).expect("a pool");
        assert_eq!(pool.run(|| panic!("a bug")).await, Err::<(), _>(Overloaded));
        assert_eq!(pool.run(|| 3).await, Ok(3));
    }
}
