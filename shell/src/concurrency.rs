//! Worker threads for models.
//!
//! Models compute for milliseconds at a time, which would stall the async runtime's threads, so
//! they run on threads of their own.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// Locks `mutex` also when a thread panicked holding it.
///
/// For state that every panic-prone step leaves whole: here, panics come from models, which run
/// outside all locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads that run `J`s through one function, first in, first out.
///
/// Dropping the pool lets the jobs already sent finish, then joins the threads; not those that have been
/// [replaced](Threads::replace). [`end`](Self::end) waits with a limit.
#[derive(Debug)]
pub struct WorkerPool<J> {
    threads: Arc<Threads<J>>,
}

/// The threads of a pool.
pub struct Threads<J> {
    name: String,
    queue: Arc<Queue<J>>,
    run: Box<dyn Fn(J) + Send + Sync>,
    handles: Mutex<Handles>,
    /// Signals that a thread has ended, or was replaced.
    fewer: Condvar,
    /// Threads that end with the job that they hang in.
    replaced: Mutex<HashSet<ThreadId>>,
}

impl<J> fmt::Debug for Threads<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Handles {
    running: Vec<JoinHandle<()>>,
    /// Threads that are through with their last job.
    ended: Vec<JoinHandle<()>>,
    /// Threads started so far, for their names.
    started: usize,
}

impl Handles {
    /// Takes out the thread, unless it was replaced.
    fn take(&mut self, thread: ThreadId) -> Option<JoinHandle<()>> {
        let place = self.running.iter().position(|handle| handle.thread().id() == thread)?;
        Some(self.running.swap_remove(place))
    }
}

/// What a pool left behind that was [ended](WorkerPool::end).
#[derive(Debug)]
pub struct LeftBehind<J> {
    /// Threads that were still in a job. Each ends with it, if ever; nobody waits for them.
    pub threads: usize,
    /// Jobs that were not run.
    pub jobs: Vec<J>,
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
        // Made first, so that the threads already started end when one cannot be.
        let pool = Self {
            threads: Arc::new(Threads {
                name: name.to_owned(),
                queue: receiver.0,
                run: Box::new(run),
                handles: Mutex::default(),
                fewer: Condvar::new(),
                replaced: Mutex::default(),
            }),
        };
        for _ in 0..threads.max(1) {
            pool.threads.spawn(&mut lock(&pool.threads.handles))?;
        }
        Ok(pool)
    }

    /// Its threads, for whoever watches over them.
    #[must_use]
    pub fn threads(&self) -> Arc<Threads<J>> {
        Arc::clone(&self.threads)
    }

    /// Lets the jobs already sent finish, as dropping does, for as long as `patience` lasts: it says how long
    /// to wait on, at most, before it is asked again, and `None` to wait no more. It is asked again as well
    /// whenever a thread has ended.
    pub fn end(self, mut patience: impl FnMut() -> Option<Duration>) -> LeftBehind<J> {
        self.close();
        let (threads, jobs) = (&self.threads, &self.threads.queue.state);
        while let Some(longest) = patience() {
            let handles = lock(&threads.handles);
            if handles.running.is_empty() {
                break;
            }
            let waited = threads.fewer.wait_timeout(handles, longest);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        // Without their handles nobody waits for them.
        let hanging = std::mem::take(&mut lock(&threads.handles).running);
        let jobs = std::mem::take(&mut lock(jobs).jobs);
        LeftBehind { threads: hanging.len(), jobs: jobs.into() }
    }
}

impl<J> WorkerPool<J> {
    fn close(&self) {
        lock(&self.threads.queue.state).closed = true;
        self.threads.queue.changed.notify_all();
    }
}

impl<J: Send + 'static> Threads<J> {
    fn spawn(self: &Arc<Self>, handles: &mut Handles) -> std::io::Result<()> {
        let threads = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("{}-{}", self.name, handles.started));
        let handle = thread.spawn(move || threads.work())?;
        handles.running.push(handle);
        handles.started += 1;
        Ok(())
    }

    fn work(&self) {
        let own = std::thread::current().id();
        while let Some(job) = self.queue.next() {
            // The panic hook has reported it; there is nothing left to mend.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.run)(job)));
            if lock(&self.replaced).remove(&own) {
                return;
            }
        }
        let mut handles = lock(&self.handles);
        if let Some(handle) = handles.take(own) {
            handles.ended.push(handle);
        }
        drop(handles);
        self.fewer.notify_all();
    }

    /// Starts another thread in the place of one that hangs in its job. That one ends with the job, if
    /// ever; nobody waits for it. A thread that is none of the pool's, or replaced already, is left alone.
    ///
    /// # Errors
    /// The system's, when it gives no more threads: the pool has one fewer then.
    pub fn replace(self: &Arc<Self>, thread: ThreadId) -> std::io::Result<()> {
        // Held until the other is there: whoever ends the pool meanwhile would find it without threads.
        let mut handles = lock(&self.handles);
        if handles.take(thread).is_none() {
            return Ok(());
        }
        lock(&self.replaced).insert(thread);
        let spawned = self.spawn(&mut handles);
        drop(handles);
        self.fewer.notify_all();
        spawned
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
        self.close();
        let mut handles = lock(&self.threads.handles);
        while !handles.running.is_empty() {
            handles = self.threads.fewer.wait(handles).unwrap_or_else(PoisonError::into_inner);
        }
        let ended = std::mem::take(&mut handles.ended);
        drop(handles);
        for thread in ended {
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

    #[test]
    fn a_pool_that_is_ended_leaves_behind_what_hangs_and_what_waits() {
        let (hangs, hung) = std::sync::mpsc::channel();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let (done, ran) = std::sync::mpsc::channel();
        let waits = Mutex::new(waits);
        let (sender, receiver) = job_queue();
        let pool = WorkerPool::start("test", 1, receiver, move |job: usize| {
            hangs.send(()).unwrap();
            let _ = lock(&waits).recv();
            done.send(job).unwrap();
        })
        .unwrap();
        (0..3).for_each(|job| sender.send(job));
        hung.recv().unwrap();
        let mut asked = 0;
        let left = pool.end(|| {
            asked += 1;
            (asked < 3).then_some(Duration::from_millis(1))
        });
        assert_eq!((left.threads, left.jobs), (1, vec![1, 2]));
        drop(go_on);
        assert_eq!(ran.recv(), Ok(0));
        assert!(ran.recv().is_err(), "its thread ends with it");
    }

    #[test]
    fn a_pool_that_is_ended_is_through_with_what_ends_in_time() {
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ran);
        let (sender, receiver) = job_queue();
        let pool = WorkerPool::start("test", 3, receiver, move |job: usize| {
            counter.fetch_add(job, Ordering::Relaxed);
        })
        .unwrap();
        (1..=100).for_each(|job| sender.send(job));
        let left = pool.end(|| Some(Duration::MAX));
        assert_eq!((left.threads, left.jobs.len()), (0, 0));
        assert_eq!(ran.load(Ordering::Relaxed), 5050);
    }

    #[test]
    fn a_pool_is_never_without_threads_while_one_is_replaced() {
        let (hangs, hung) = std::sync::mpsc::channel();
        let blocked = Arc::new(Mutex::new(()));
        let held = lock(&blocked);
        let blocks = Arc::clone(&blocked);
        let (sender, receiver) = job_queue();
        let pool = WorkerPool::start("test", 1, receiver, move |()| {
            hangs.send(std::thread::current().id()).unwrap();
            drop(lock(&blocks));
        })
        .unwrap();
        let (threads, is_over) = (pool.threads(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let watched = scope.spawn(|| {
                let mut without = 0;
                while is_over.load(Ordering::Relaxed) == 0 {
                    without += usize::from(lock(&threads.handles).running.is_empty());
                }
                without
            });
            for _ in 0..500 {
                sender.send(());
                threads.replace(hung.recv().unwrap()).unwrap();
            }
            is_over.store(1, Ordering::Relaxed);
            assert_eq!(watched.join().unwrap(), 0);
        });
        drop(held);
    }

    #[test]
    fn a_thread_that_hangs_is_replaced_and_nobody_waits_for_it() {
        let (hangs, hung) = std::sync::mpsc::channel();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let (done, ran) = std::sync::mpsc::channel();
        let waits = Mutex::new(waits);
        let (sender, receiver) = job_queue();
        let pool = WorkerPool::start("test", 1, receiver, move |job: usize| {
            if job == 0 {
                hangs.send(std::thread::current().id()).unwrap();
                let _ = lock(&waits).recv();
            }
            done.send(job).unwrap();
        })
        .unwrap();
        sender.send(0);
        sender.send(1);
        let thread = hung.recv().unwrap();
        pool.threads().replace(thread).unwrap();
        pool.threads().replace(thread).unwrap();
        assert_eq!(ran.recv(), Ok(1), "the other thread runs what waits");
        drop(pool);
        go_on.send(()).unwrap();
        assert_eq!(ran.recv(), Ok(0));
        assert!(ran.recv().is_err(), "both threads have ended");
    }
}
