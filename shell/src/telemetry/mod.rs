//! Figures of a model: what came, what became of it, how long it took and what its batches were like.
//!
//! [`ModelRecorder`] is told of every execution and every failure. It answers in three forms: the
//! protocol's statistics, [`ModelFigures`] with quantiles for each priority level, and, over all
//! models, the text that [Prometheus](prometheus) reads.
//!
//! Every request that names a served model counts once, at its own level: the scheduler counts what
//! came as far as that, the service what it turned away before. A batch counts at the highest level in
//! it.
//!
//! A [shadow copy](crate::contracts::SHADOW) is no request of a user: it counts in a recorder of its own, and
//! a batch counts there only if nobody else is in it.
//!
//! **Bounds:** 60 KiB for each priority level that had a request, and one entry for each size of batch.
//! **Time:** one lock for a batch, held for about 0.15 µs a request; nothing is allocated once a level and
//! a batch size have been seen. Reading holds the lock for one level's copy at a time.

mod batches;
mod collect;
mod histogram;
mod level;
pub mod prometheus;
mod reason;
mod snapshot;
mod timing;

#[cfg(test)]
mod batch_scheduler;

pub use crate::contracts::{BatchFigures, LevelFigures, ModelFigures, RecentFigures, TimeFigures};
pub use collect::{MAX_SERIES, ModelSeries, OTHER, collect, collect_copies};
pub(crate) use histogram::{Durations, Histogram};
pub use level::RECENT_ANSWERS;
pub use reason::FailReason;

use crate::clock::Clock;
use crate::concurrency::lock;
use crate::contracts::{BatchStatistics, DurationStatistic, InferStatistics, ModelStatistics};
use level::{Level, LevelCounts};
use snapshot::{LevelSnapshot, Snapshot};
use std::collections::BTreeMap;
use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::batch::LEVELS;
use tensorforge_core::{ClosingReason, Duration, Instant};

/// Where one execution spent its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExecutionTimes {
    /// Joining the rows.
    pub input: Duration,
    /// The model.
    pub infer: Duration,
    /// Splitting the answers.
    pub output: Duration,
}

impl ExecutionTimes {
    /// All of it.
    #[must_use]
    pub fn total(self) -> Duration {
        self.input + self.infer + self.output
    }
}

/// A batch that ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchRecord {
    /// When it was done.
    pub now: Instant,
    /// The highest priority in it.
    pub priority: u8,
    /// Rows that were asked for.
    pub items: u64,
    /// Those of them that shadow copies asked for, which are counted elsewhere.
    pub copied: u64,
    /// Rows that were run: `items` and the padding.
    pub padded: u64,
    /// Rows that it might have held.
    pub max_items: u64,
    /// Why it was closed.
    pub reason: ClosingReason,
    /// Where its time went.
    pub times: ExecutionTimes,
}

/// A request that was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestRecord {
    /// Its priority level, 0 the lowest.
    pub priority: u8,
    /// Its rows.
    pub items: u64,
    /// From its arrival until its batch ran.
    pub queue: Duration,
    /// From its arrival until its answer.
    pub total: Duration,
}

/// Counts one model version's requests and executions.
#[derive(Debug)]
pub struct ModelRecorder {
    since: Instant,
    counts: Mutex<Counts>,
    pending: AtomicU64,
}

/// Counts one request as pending for as long as it lives.
#[derive(Debug)]
pub struct Pending<'a>(&'a AtomicU64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The protocol's figures, and those of each level.
#[derive(Debug, Default)]
struct Counts {
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    requests: InferStatistics,
    by_size: BTreeMap<u64, BatchStatistics>,
    /// A level is made when it has its first request.
    levels: [Option<Box<Level>>; LEVELS],
}

impl Default for ModelRecorder {
    /// As [`since`](Self::since) the clock's origin.
    fn default() -> Self {
        Self::since(Instant::ZERO)
    }
}

impl ModelRecorder {
    /// Nothing recorded yet; throughput counts from `now`.
    #[must_use]
    pub fn since(now: Instant) -> Self {
        Self { since: now, counts: Mutex::default(), pending: AtomicU64::new(0) }
    }

    /// What throughput counts from.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.since
    }

    /// A request came in; it counts as pending until the answer is dropped.
    pub fn pending(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(&self.pending)
    }

    /// Requests pending now.
    #[must_use]
    pub fn count_pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// A batch ran and has an answer for each of `requests`, which are all that it ran for, but those
    /// that were only a part of one: these are [`answered`](Self::answered) later. To be told before the answers are sent, so
    /// that whoever has one finds it counted.
    pub fn batch(&self, batch: &BatchRecord, requests: &[RequestRecord]) {
        lock(&self.counts).batch(self.since, batch, requests);
    }

    /// A request has its answer at `now` that ran in parts, and so in several batches. `times` are of
    /// the last part's.
    pub fn answered(&self, now: Instant, request: &RequestRecord, times: ExecutionTimes) {
        lock(&self.counts).answered(self.since, now, request, times);
    }

    /// A batch whose highest level is `priority` failed. Its requests run again in others, or are
    /// [`failed`](Self::failed) each by itself.
    pub fn batch_failed(&self, priority: u8) {
        lock(&self.counts).level(self.since, priority).batch_failed();
    }

    /// A request of level `priority` ended without an answer, `total` after its arrival. To be told
    /// before its sender is, as with [`batch`](Self::batch). Where there is no such level, it counts as
    /// one that asked for none.
    pub fn failed(&self, priority: u8, total: Duration, why: FailReason) {
        let mut counts = lock(&self.counts);
        add(&mut counts.requests.fail, total);
        counts.last_inference = Clock::unix_millis();
        counts.level(self.since, priority).failed(total, why);
    }

    /// The figures so far, in the protocol's form.
    #[must_use]
    pub fn statistics(&self, name: &str, version: &str) -> ModelStatistics {
        let counts = lock(&self.counts);
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_owned(),
            last_inference: counts.last_inference,
            inference_count: counts.inference_count,
            execution_count: counts.execution_count,
            pending: self.count_pending(),
            inference_stats: counts.requests,
            batch_stats: counts.by_size.values().copied().collect(),
            tensorforge: None,
        }
    }

    /// The figures as of `now` that the protocol has no place for.
    #[must_use]
    pub fn figures(&self, now: Instant) -> ModelFigures {
        self.snapshot(now).figures()
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let mut levels = BTreeMap::new();
        // Made where nothing is locked, for a copy takes 50 KiB.
        let mut copy = Box::<LevelCounts>::default();
        for (priority, place) in (0..).zip(0..LEVELS) {
            // Locked again for each level, so that no batch waits for more than one copy.
            let lately = lock(&self.counts).levels[place].as_ref().map(|level| {
                level.copy_to(&mut copy);
                level.lately(now)
            });
            if let Some(lately) = lately {
                levels.insert(priority, LevelSnapshot { counts: mem::take(&mut copy), lately });
            }
        }
        Snapshot { age: now.since(self.since), levels, pending: self.count_pending() }
    }
}

impl Counts {
    fn level(&mut self, since: Instant, priority: u8) -> &mut Level {
        let place = usize::from(priority);
        let place = if place < LEVELS { place } else { 0 };
        self.levels[place].get_or_insert_with(|| Box::new(Level::new(since)))
    }

    fn answered(
        &mut self,
        since: Instant,
        now: Instant,
        request: &RequestRecord,
        times: ExecutionTimes,
    ) {
        let by_phase = &mut self.requests;
        add(&mut by_phase.queue, request.queue);
        add(&mut by_phase.compute_input, times.input);
        add(&mut by_phase.compute_infer, times.infer);
        add(&mut by_phase.compute_output, times.output);
        add(&mut by_phase.success, request.total);
        self.level(since, request.priority).answered(request, times.total(), now);
    }

    fn batch(&mut self, since: Instant, batch: &BatchRecord, requests: &[RequestRecord]) {
        let BatchRecord { now, items, copied, times, .. } = *batch;
        for request in requests {
            self.answered(since, now, request, times);
        }
        self.level(since, batch.priority).batch(batch);
        // The protocol's figures are as if no copy had been in it.
        let items = items.saturating_sub(copied);
        let new = || BatchStatistics { batch_size: items, ..Default::default() };
        let same_size = self.by_size.entry(items).or_insert_with(new);
        add(&mut same_size.compute_input, times.input);
        add(&mut same_size.compute_infer, times.infer);
        add(&mut same_size.compute_output, times.output);
        self.inference_count = self.inference_count.saturating_add(items);
        self.execution_count += 1;
        // Calendar time, which the protocol wants and no decision uses.
        self.last_inference = Clock::unix_millis();
    }
}

fn add(statistic: &mut DurationStatistic, time: Duration) {
    add_statistic(statistic, DurationStatistic { count: 1, ns: time.as_nanos() });
}

fn add_statistic(statistic: &mut DurationStatistic, other: DurationStatistic) {
    statistic.count += other.count;
    statistic.ns = statistic.ns.saturating_add(other.ns);
}
