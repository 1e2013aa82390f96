//! Worker threads for models.
//!
//! Models compute for milliseconds at a time, which would stall the async runtime's threads, so
//! they run on threads of their own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Locks `mutex` also when a thread panicked holding it.
///
/// For state that every panic-prone step leaves whole: here, panics come from models, which run
/// outside all locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads that run `J`s through one function, first in, first out.
///
/// Dropping the pool lets the jobs already sent finish, then joins the threads.
#[derive(Debug)]
pub struct WorkerPool<J> {
    queue: Arc<Queue<J>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queue<J> {
    state: Mutex<QueueState<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState<J> {
    jobs: VecDeque<J>,
    closed: bool,
}

/// Sends jobs to a pool; cheap to clone.
#[derive(Debug)]
pub struct JobSender<J>(Arc<Queue<J>>);

/// A queue of jobs for a pool that is started later, so that jobs can send further jobs.
#[derive(Debug)]
pub struct JobReceiver<J>(Arc<Queue<J>>);

/// The two ends of a job queue.
#[must_use]
pub fn job_queue<J>() -> (JobSender<J>, JobReceiver<J>) {
    let state = QueueState { jobs: VecDeque::new(), closed: false };
    let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
    (JobSender(Arc::clone(&queue)), JobReceiver(queue))
}

impl<J> Clone for JobSender<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<J> JobSender<J> {
    /// Queues a job. After the pool is dropped, jobs are dropped unrun.
    pub fn send(&self, job: J) {
        lock(&self.0.state).jobs.push_back(job);
        self.0.changed.notify_one();
    }
}

impl<J: Send + 'static> WorkerPool<J> {
    /// Starts `threads` threads (at least one) named `name` that run the jobs sent to `receiver`.
    /// A panic ends only the job that raised it.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(
        name: &str,
        threads: usize,
        receiver: JobReceiver<J>,
        run: impl Fn(J) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let queue = receiver.0;
        let run = Arc::new(run);
        // Made first, so that the threads already started end when one cannot be.
        let mut pool = Self { queue, threads: Vec::new() };
        for index in 0..threads.max(1) {
            let (queue, run) = (Arc::clone(&pool.queue), Arc::clone(&run));
            let thread = std::thread::Builder::new().name(format!("{name}-{index}"));
            pool.threads.push(thread.spawn(move || {
                while let Some(job) = queue.next() {
                    // The panic hook has reported it; there is nothing left to mend.
                    let _ = catch_unwind(AssertUnwindSafe(|| run(job)));
                }
            })?);
        }
        Ok(pool)
    }
}

impl<J> Queue<J> {
    fn next(&self) -> Option<J> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> Drop for WorkerPool<J> {
    fn drop(&mut self) {
        lock(&self.queue.state).closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of the run function has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_job_sent_before_the_end_runs_once_whatever_panics() {
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ran);
        let (sender, receiver) = job_queue();
        let pool = WorkerPool::start("test", 3, receiver, move |job: usize| {
            counter.fetch_add(job, Ordering::Relaxed);
            assert!(!job.is_multiple_of(10), "one job in ten panics");
        })
        .unwrap();
        (1..=100).for_each(|job| sender.send(job));
        drop(pool);
        assert_eq!(ran.load(Ordering::Relaxed), 5050);
    }
}
