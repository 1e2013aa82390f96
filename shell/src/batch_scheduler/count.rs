//! What a request counts as. Each counts once: one that runs as it is where it leaves the engine, with
//! the batch that answers it or with the reason why it has no answer; one that runs in parts, or may have
//! to, where it is waited for, since nobody else sees all of it.

use super::drive::{Pending, Requests};
use super::{Demand, RunError};
use crate::clock::Clock;
use crate::concurrency::lock;
use crate::registry::LoadedModel;
use crate::telemetry::{BatchRecord, ExecutionTimes, FailReason, ModelRecorder, RequestRecord};
use std::sync::{Arc, Mutex};
use tensorforge_core::{Duration, Instant};

impl Pending {
    /// Counts it as a request that has no answer, unless it is a part of one.
    pub(super) fn failed(&self, now: Instant, why: FailReason) {
        if self.part_of.is_none() {
            let recorder = self.model.recorder_of(self.is_shadow);
            recorder.failed(self.priority, now.since(self.arrived), why);
        }
    }
}

/// Counts a batch that began to run at `started`, and its requests. Those that are parts are told their times
/// instead. With one user's request in it, the batch counts as the users', else as the copies'.
pub(super) fn executed(
    model: &LoadedModel,
    requests: &Requests,
    batch: &BatchRecord,
    started: Instant,
) {
    let (mut users, mut copies) = (Vec::with_capacity(requests.len()), Vec::new());
    let mut copied = 0;
    for pending in payloads(requests) {
        let queue = started.since(pending.arrived);
        let items = pending.rows as u64;
        let records = if pending.is_shadow {
            copied += items;
            &mut copies
        } else {
            &mut users
        };
        match &pending.part_of {
            Some(whole) => whole.ran(queue, batch.times),
            None => records.push(RequestRecord {
                priority: pending.priority,
                items,
                queue,
                total: batch.now.since(pending.arrived),
            }),
        }
    }
    if are_copies(requests) {
        model.recorder_of(true).batch(batch, &copies);
        return;
    }
    model.recorder.batch(&BatchRecord { copied, ..*batch }, &users);
    let answered =
        |copy: &RequestRecord| model.recorder_of(true).answered(batch.now, copy, batch.times);
    copies.iter().for_each(answered);
}

/// Counts a batch whose highest level is `priority` as failed.
pub(super) fn failed(model: &LoadedModel, requests: &Requests, priority: u8) {
    model.recorder_of(are_copies(requests)).batch_failed(priority);
}

/// Whether there is no user's request in a batch.
fn are_copies(requests: &Requests) -> bool {
    payloads(requests).all(|pending| pending.is_shadow)
}

fn payloads(requests: &Requests) -> impl Iterator<Item = &Pending> {
    requests.iter().map(|queued| &*queued.request.payload)
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
    recorder: &'a ModelRecorder,
    priority: u8,
    rows: usize,
    came: Instant,
    times: Arc<PartTimes>,
    is_counted: bool,
}

impl<'a> Parted<'a> {
    pub(super) fn new(clock: Clock, model: &'a LoadedModel, demand: &Demand, rows: usize) -> Self {
        let (came, times) = (clock.now(), Arc::default());
        let (recorder, priority) = (model.recorder_of(demand.is_shadow), demand.priority);
        Self { clock, recorder, priority, rows, came, times, is_counted: false }
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
        let recorder = self.recorder;
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
            self.recorder.failed(self.priority, total, FailReason::Canceled);
        }
    }
}
