//! What a request counts as. Each counts once: one that runs as it is where it leaves the engine, with
//! the batch that answers it or with the reason why it has no answer; one that runs in parts, or may have
//! to, where it is waited for, since nobody else sees all of it.

use super::RunError;
use super::drive::{Pending, Requests};
use crate::clock::Clock;
use crate::concurrency::lock;
use crate::registry::LoadedModel;
use crate::telemetry::{ExecutionTimes, FailReason, RequestRecord};
use std::sync::{Arc, Mutex};
use tensorforge_core::{Duration, Instant};

impl Pending {
    /// Counts it as a request that has no answer, unless it is a part of one.
    pub(super) fn failed(&self, now: Instant, why: FailReason) {
        if self.part_of.is_none() {
            self.model.recorder.failed(self.priority, now.since(self.arrived), why);
        }
    }
}

/// What is to be counted of the requests of a batch that ran from `started` to `ended`. Those that are
/// parts are told their times instead.
pub(super) fn answered(
    requests: &Requests,
    times: ExecutionTimes,
    started: Instant,
    ended: Instant,
) -> Vec<RequestRecord> {
    let mut records = Vec::with_capacity(requests.len());
    for pending in requests.iter().map(|queued| &queued.request.payload) {
        let queue = started.since(pending.arrived);
        match &pending.part_of {
            Some(whole) => whole.ran(queue, times),
            None => records.push(RequestRecord {
                priority: pending.priority,
                items: pending.rows as u64,
                queue,
                total: ended.since(pending.arrived),
            }),
        }
    }
    records
}

/// Times of the part that waited longest, of a request that runs in parts.
#[derive(Debug, Default)]
pub(super) struct PartTimes(Mutex<(Duration, ExecutionTimes)>);

impl PartTimes {
    fn ran(&self, queue: Duration, times: ExecutionTimes) {
        let mut last = lock(&self.0);
        if queue >= last.0 {
            *last = (queue, times);
        }
    }
}

/// A request that runs in parts, or may have to when it was refused as a whole, until it has been counted. Dropped before that, its client gave it up.
pub(super) struct Parted<'a> {
    clock: Clock,
    model: &'a LoadedModel,
    priority: u8,
    rows: usize,
    came: Instant,
    times: Arc<PartTimes>,
    is_counted: bool,
}

impl<'a> Parted<'a> {
    pub(super) fn new(clock: Clock, model: &'a LoadedModel, priority: u8, rows: usize) -> Self {
        let (came, times) = (clock.now(), Arc::default());
        Self { clock, model, priority, rows, came, times, is_counted: false }
    }

    /// Where its parts say how long they took.
    pub(super) fn times(&self) -> &Arc<PartTimes> {
        &self.times
    }

    /// Counts it as what has become of it.
    pub(super) fn count<T>(mut self, result: &Result<T, RunError>) {
        self.is_counted = true;
        let now = self.clock.now();
        let total = now.since(self.came);
        let recorder = &self.model.recorder;
        if let Err(error) = result {
            recorder.failed(self.priority, total, error.fail_reason());
            return;
        }
        let (queue, times) = *lock(&self.times.0);
        let (priority, items) = (self.priority, self.rows as u64);
        recorder.answered(now, &RequestRecord { priority, items, queue, total }, times);
    }
}

impl Drop for Parted<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            let total = self.clock.now().since(self.came);
            self.model.recorder.failed(self.priority, total, FailReason::Canceled);
        }
    }
}
