//! A model's figures at one moment: to be read, or added to those of others.

use super::batches::Batches;
use super::level::{Lately, LevelCounts};
use super::timing::{Timing, seconds};
use super::{FailReason, add_statistic};
use crate::contracts::{DurationStatistic, ModelFigures, RecentFigures};
use crate::queue::fairness_index;
use std::collections::BTreeMap;
use tensorforge_core::Duration;

/// The sketch's bound: half a bucket of 64 to the octave.
const ERROR_BOUND: f64 = 1.0 / 129.0;

/// Copied out of a recorder, so that nothing is computed under its lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Since the recorder began.
    pub(super) age: Duration,
    pub(super) levels: BTreeMap<u8, LevelSnapshot>,
    pub(super) pending: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LevelSnapshot {
    pub(super) counts: Box<LevelCounts>,
    pub(super) lately: Lately,
}

impl Snapshot {
    /// Adds the figures of another model. What cannot be added, the quantiles of the last answers, is
    /// left out.
    pub(super) fn merge(&mut self, other: &Self) {
        self.age = self.age.max(other.age);
        self.pending += other.pending;
        for (&priority, LevelSnapshot { counts, lately }) in &other.levels {
            let mine = self.levels.entry(priority).or_default();
            mine.counts.merge(counts);
            mine.lately.answers = RecentFigures::default();
            mine.lately.items_per_second += lately.items_per_second;
        }
    }

    pub(super) fn figures(&self) -> ModelFigures {
        let (exact_from, exact_to) = Timing::range();
        let none = |why: FailReason| (why.name().to_owned(), DurationStatistic::default());
        let mut failures: BTreeMap<_, _> = FailReason::ALL.into_iter().map(none).collect();
        let mut batches = Batches::default();
        let (mut items, mut recent_items_per_second, mut shares) = (0_u64, 0.0, Vec::new());
        for LevelSnapshot { counts, lately } in self.levels.values() {
            for (name, failed) in counts.failures() {
                add_statistic(failures.entry(name).or_default(), failed);
            }
            batches.merge(counts.batches());
            items = items.saturating_add(counts.items());
            recent_items_per_second += lately.items_per_second;
            shares.extend(counts.served_share());
        }
        let age = seconds(self.age.as_nanos());
        let levels = self.levels.iter();
        let levels =
            levels.map(|(&priority, level)| level.counts.figures(priority, age, &level.lately));
        ModelFigures {
            error_bound: ERROR_BOUND,
            exact_from,
            exact_to,
            levels: levels.collect(),
            failures,
            fairness: (!shares.is_empty()).then(|| fairness_index(&shares)),
            batches: batches.figures(),
            items_per_second: (age > 0.0).then(|| items as f64 / age),
            recent_items_per_second,
            shadow: None,
        }
    }
}
