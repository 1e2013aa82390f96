//! One priority level's figures.

use super::batches::Batches;
use super::timing::Timing;
use super::{BatchRecord, FailReason, RequestRecord, add, add_statistic};
use crate::contracts::{DurationStatistic, LevelFigures, RecentFigures};
use crate::statistics::ResponseTimeTracker;
use std::collections::BTreeMap;
use tensorforge_core::stats::Rate;
use tensorforge_core::{Duration, Instant};

/// Answers that the recent quantiles of a level are over.
pub const RECENT_ANSWERS: usize = 1024;

/// How far back the recent rate looks.
const RECENT: Duration = Duration::from_secs(10);

/// What is counted at one level. 60 KiB, so it is made when the level has its first request.
#[derive(Debug)]
pub(super) struct Level {
    counts: LevelCounts,
    /// Of the last answers, however long ago they were: it never empties by itself.
    recent: ResponseTimeTracker,
    rate: Rate,
}

/// A level's counts, which can be copied and added to others.
#[derive(Clone, Debug, Default)]
pub(super) struct LevelCounts {
    success: u64,
    items: u64,
    failures: [DurationStatistic; FailReason::ALL.len()],
    queue: Timing,
    execution: Timing,
    total: Timing,
    batches: Batches,
}

/// What a level tells of the time just past. It cannot be added to that of another model, but for the
/// rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Lately {
    pub(super) answers: RecentFigures,
    pub(super) items_per_second: f64,
}

impl Level {
    /// Nothing counted yet, since `since`.
    pub(super) fn new(since: Instant) -> Self {
        let recent = ResponseTimeTracker::new(RECENT_ANSWERS);
        Self { counts: LevelCounts::default(), recent, rate: Rate::new(RECENT, since) }
    }

    /// Counts a request of this level that a batch answered at `now`, having run for `execution`.
    pub(super) fn answered(&mut self, request: &RequestRecord, execution: Duration, now: Instant) {
        let counts = &mut self.counts;
        counts.success += 1;
        counts.items = counts.items.saturating_add(request.items);
        counts.queue.insert(request.queue);
        counts.execution.insert(execution);
        counts.total.insert(request.total);
        self.rate.record(request.items, now);
        self.recent.record_alone(request.total.as_nanos() as f64 / 1e6);
    }

    /// Counts a batch whose highest level this is.
    pub(super) fn batch(&mut self, batch: &BatchRecord) {
        self.counts.batches.insert(batch);
    }

    pub(super) const fn batch_failed(&mut self) {
        self.counts.batches.failed();
    }

    pub(super) fn failed(&mut self, total: Duration, why: FailReason) {
        add(&mut self.counts.failures[why as usize], total);
    }

    /// The counts, copied into memory that is there already.
    pub(super) fn copy_to(&self, copy: &mut LevelCounts) {
        copy.clone_from(&self.counts);
    }

    pub(super) fn lately(&self, now: Instant) -> Lately {
        let count = self.recent.count() as u64;
        let quantile = |ms: f64| (count > 0).then_some(ms / 1e3);
        let answers = RecentFigures {
            count,
            p50: quantile(self.recent.p50()),
            p95: quantile(self.recent.p95()),
            p99: quantile(self.recent.p99()),
        };
        Lately { answers, items_per_second: self.rate.per_second(now) }
    }
}

impl LevelCounts {
    pub(super) fn merge(&mut self, other: &Self) {
        self.success += other.success;
        self.items = self.items.saturating_add(other.items);
        for (mine, others) in self.failures.iter_mut().zip(other.failures) {
            add_statistic(mine, others);
        }
        self.queue.merge(&other.queue);
        self.execution.merge(&other.execution);
        self.total.merge(&other.total);
        self.batches.merge(&other.batches);
    }

    pub(super) const fn items(&self) -> u64 {
        self.items
    }

    pub(super) const fn batches(&self) -> &Batches {
        &self.batches
    }

    /// The share of this level's requests that got their turn, answered or not, of those that wanted
    /// one. `None` when there were none. A request that does not fit its model wants none.
    pub(super) fn served_share(&self) -> Option<f64> {
        let failed = |why: FailReason| self.failures[why as usize].count;
        let ran = self.success + failed(FailReason::Backend);
        let in_vain = FailReason::ALL.into_iter().filter(|why| why.is_in_vain());
        let all = ran + in_vain.map(failed).sum::<u64>();
        (all > 0).then(|| ran as f64 / all as f64)
    }

    pub(super) fn failures(&self) -> BTreeMap<String, DurationStatistic> {
        let named = |why: FailReason| (why.name().to_owned(), self.failures[why as usize]);
        FailReason::ALL.into_iter().map(named).collect()
    }

    /// The figures of the level `priority` after `age` seconds.
    pub(super) fn figures(&self, priority: u8, age: f64, lately: &Lately) -> LevelFigures {
        LevelFigures {
            priority,
            success: self.success,
            items: self.items,
            failures: self.failures(),
            queue: self.queue.figures(),
            execution: self.execution.figures(),
            total: self.total.figures(),
            recent: lately.answers.clone(),
            batches: self.batches.figures(),
            items_per_second: (age > 0.0).then(|| self.items as f64 / age),
            recent_items_per_second: lately.items_per_second,
        }
    }
}
