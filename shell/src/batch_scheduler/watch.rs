//! Executions that may hang: who gives up on them, and what becomes of those that come back late.

use super::drive::{Requests, Shared};
use super::{RunError, count};
use crate::concurrency::lock;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;
use tensorforge_core::Batch;

/// A batch in execution, which its worker and the timer thread may both end: the first one does.
pub(super) struct Watched {
    stage: Mutex<Stage>,
    /// The worker's thread.
    thread: ThreadId,
    limit: Duration,
}

enum Stage {
    Running(Batch, Requests),
    /// Its requests are answered; the engine gets the batch back when the execution ends.
    GivenUp(Batch),
    Over,
}

/// What the worker finds when it is through.
pub(super) enum Ended {
    InTime(Batch, Requests),
    TooLate(Batch),
}

impl Watched {
    /// Watches over a batch that this thread is about to run. The timer thread gives it up when `limit` has
    /// passed.
    pub(super) fn begin(
        shared: &Shared,
        batch: Batch,
        requests: Requests,
        limit: Duration,
    ) -> Arc<Self> {
        let watched = Arc::new(Self {
            stage: Mutex::new(Stage::Running(batch, requests)),
            thread: std::thread::current().id(),
            limit,
        });
        shared.watch(shared.clock.now() + limit.into(), Arc::clone(&watched));
        watched
    }

    /// The worker is through. `None` can only be if it says so twice.
    pub(super) fn end(&self) -> Option<Ended> {
        match std::mem::replace(&mut *lock(&self.stage), Stage::Over) {
            Stage::Running(batch, requests) => Some(Ended::InTime(batch, requests)),
            Stage::GivenUp(batch) => Some(Ended::TooLate(batch)),
            Stage::Over => None,
        }
    }

    /// The limit has passed: answers the requests and lets the engine go on without the batch. The thread
    /// that hangs, unless the batch has ended meanwhile.
    pub(super) fn give_up(&self, shared: &Shared) -> Option<ThreadId> {
        let mut stage = lock(&self.stage);
        let Stage::Running(mut batch, requests) = std::mem::replace(&mut *stage, Stage::Over)
        else {
            return None;
        };
        let (after, priority) = (self.limit, batch.priority());
        tracing::error!(batch = batch.number(), ?after, "an execution hangs and is given up");
        shared.decide(|state, now, actions| {
            let signatures = requests.iter().map(|queued| queued.request.key.signature);
            actions.left.extend(signatures);
            state.engine.overdue(now, &mut batch, actions)
        });
        *stage = Stage::GivenUp(batch);
        drop(stage);
        let (error, now) = (RunError::Hung { after }, shared.clock.now());
        if let Some(first) = requests.first() {
            count::failed(&first.request.payload.model, &requests, priority);
        }
        for queued in requests {
            queued.request.payload.failed(now, error.fail_reason());
            let _ = queued.request.payload.reply.send(Err(error.clone()));
        }
        Some(self.thread)
    }
}
