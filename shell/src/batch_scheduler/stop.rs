//! The end of a scheduler: what is waited for, and what is left behind.

use super::drive::{Job, Shared};
use super::{BatchScheduler, RunError};
use crate::concurrency::{LeftBehind, lock};
use std::time::Duration;
use tensorforge_core::Instant;

/// How long a scheduler that is dropped waits for executions that have no `hang_timeout`.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// How soon the timer thread has given an execution up whose time has come, or a little later.
const GIVING_UP: Duration = Duration::from_millis(10);

impl BatchScheduler {
    /// How long it waits, when it is dropped, for executions without a `hang_timeout`: [`STOP_GRACE`] if
    /// nothing is said.
    pub fn set_stop_grace(&self, grace: Duration) {
        *lock(&self.stop_grace) = grace;
    }
}

impl Drop for BatchScheduler {
    /// Nobody waits for an answer any more, as whoever does borrows the scheduler; what still runs is for
    /// clients that have gone.
    fn drop(&mut self) {
        let clock = self.shared.clock;
        let grace = clock.now() + (*lock(&self.stop_grace)).into();
        if let Some(workers) = self.workers.take() {
            // The timer thread goes on meanwhile: it gives up what hangs.
            let left = workers.end(|| still_to_wait(&self.shared, clock.now(), grace));
            self.shared.leave_behind(left);
        }
        self.shared.stop_timer();
        if let Some(timer) = self.timer.take() {
            let _ = timer.join();
        }
        // Threads that are left behind keep the rest for as long as they hang.
        drop(self.shared.with_state(|state| state.engine.end_record()));
    }
}

/// How long executions may still take: each its `hang_timeout`, the others what is left of the grace.
fn still_to_wait(shared: &Shared, now: Instant, grace: Instant) -> Option<Duration> {
    match shared.last_given_up() {
        Some(at) => Some(Duration::from(at.max(grace).since(now)).max(GIVING_UP)),
        None if now < grace => Some(grace.since(now).into()),
        None => None,
    }
}

impl Shared {
    /// Says what a stop does not wait for, and answers batches that no thread was left for.
    fn leave_behind(&self, left: LeftBehind<Job>) {
        if left.threads > 0 {
            let threads = left.threads;
            tracing::error!(
                threads,
                "stopped under executions that hang: each keeps its thread, its model and the model's memory until it ends"
            );
        }
        let now = self.clock.now();
        for queued in left.jobs.into_iter().flat_map(|job| job.requests) {
            let (pending, error) = (queued.request.payload, RunError::Stopped);
            pending.failed(now, error.fail_reason());
            // Whoever waited for it has gone, and forgot to say so.
            let _ = pending.reply.send(Err(error));
        }
    }
}
