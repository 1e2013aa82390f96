//! What a model's batches were like.

use super::BatchRecord;
use crate::contracts::BatchFigures;
use tensorforge_core::ClosingReason;

/// Bounds of the histogram of batch sizes.
const SIZES: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

/// Counts over batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches {
    by_reason: [u64; ClosingReason::ALL.len()],
    items: u64,
    capacity: u64,
    padded: u64,
    /// Not cumulative; the last one is for what is larger than every bound.
    sizes: [u64; SIZES.len() + 1],
    busy_nanos: u128,
    failed: u64,
}

impl Batches {
    pub(super) fn insert(&mut self, batch: &BatchRecord) {
        if let Some(count) = self.by_reason.get_mut(batch.reason as usize) {
            *count += 1;
        }
        self.items = self.items.saturating_add(batch.items);
        // A request from before the limit was lowered runs alone, with more than the limit.
        self.capacity = self.capacity.saturating_add(batch.max_items.max(batch.items));
        self.padded = self.padded.saturating_add(batch.padded.saturating_sub(batch.items));
        self.sizes[SIZES.partition_point(|&bound| bound < batch.items)] += 1;
        self.busy_nanos += u128::from(batch.times.total().as_nanos());
    }

    pub(super) const fn failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |mine: &mut [u64], others: &[u64]| {
            mine.iter_mut().zip(others).for_each(|(mine, others)| *mine += others);
        };
        add(&mut self.by_reason, &other.by_reason);
        add(&mut self.sizes, &other.sizes);
        self.items = self.items.saturating_add(other.items);
        self.capacity = self.capacity.saturating_add(other.capacity);
        self.padded = self.padded.saturating_add(other.padded);
        self.busy_nanos += other.busy_nanos;
        self.failed += other.failed;
    }

    pub(super) fn figures(&self) -> BatchFigures {
        let count: u64 = self.sizes.iter().sum();
        let (items, capacity, padded) = (self.items, self.capacity, self.padded);
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let reasons = ClosingReason::ALL.iter().zip(self.by_reason);
        let mut so_far = 0;
        let cumulative = SIZES.iter().zip(self.sizes).map(|(&bound, held)| {
            so_far += held;
            (bound, so_far)
        });
        BatchFigures {
            count,
            failed: self.failed,
            by_reason: reasons.map(|(reason, held)| (reason.name().to_owned(), held)).collect(),
            items,
            capacity,
            padded,
            mean_items: ratio(items, count),
            fill_rate: ratio(items, capacity),
            padding_rate: ratio(padded, items.saturating_add(padded)),
            busy_seconds: self.busy_nanos as f64 / 1e9,
            sizes: cumulative.collect(),
        }
    }
}
