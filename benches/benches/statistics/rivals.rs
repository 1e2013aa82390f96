//! Those compared with. Each has its memory before the clock starts, where it can.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use sketches_ddsketch::{Config, DDSketch};

/// hdrhistogram over the range of our sketch, in the microseconds for which it is made: what turns
/// seconds into them is not on its account.
pub(crate) struct Hdr(Histogram<u64>);

impl Hdr {
    pub(crate) fn new(digits: u8) -> Self {
        Self(Histogram::new_with_bounds(1, 1 << 30, digits).expect("the bounds are in order"))
    }

    pub(crate) fn microseconds(values: &[f64]) -> Vec<u64> {
        values.iter().map(|seconds| (seconds * 1e6).round() as u64).collect()
    }

    pub(crate) fn insert_each(&mut self, values: &[u64]) {
        for &value in values {
            self.0.record(value).expect("the values are within the bounds");
        }
    }

    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// DDSketch with the 1 % that ours promises, and the crate's defaults for the rest.
pub(crate) struct Dd(DDSketch);

impl Dd {
    pub(crate) fn new() -> Self {
        Self(DDSketch::new(Config::new(0.01, 2048, 1e-9)))
    }

    pub(crate) fn insert_each(&mut self, values: &[f64]) {
        for &value in values {
            self.0.add(value);
        }
    }

    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.quantile(quantile).ok().flatten().unwrap_or(f64::NAN)
    }
}

/// The last values, and the same in order: exact, with a query at once, and an insertion that moves
/// half of them.
pub(crate) struct SortedWindow {
    arrived: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl SortedWindow {
    /// A full one.
    pub(crate) fn of(values: &[f64]) -> Self {
        Self { arrived: values.iter().copied().collect(), sorted: crate::check::sorted(values) }
    }

    pub(crate) fn insert(&mut self, value: f64) {
        if let Some(oldest) = self.arrived.pop_front() {
            let place = self.sorted.partition_point(|&other| other < oldest);
            self.sorted.remove(place);
        }
        self.arrived.push_back(value);
        let place = self.sorted.partition_point(|&other| other < value);
        self.sorted.insert(place, value);
    }

    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.sorted[rank(self.sorted.len(), quantile)]
    }
}

/// The last values as they came: an insertion at once, and a query that copies and selects.
pub(crate) struct PlainWindow {
    ring: Vec<f64>,
    copy: Vec<f64>,
}

impl PlainWindow {
    /// A full one.
    pub(crate) fn of(values: &[f64]) -> Self {
        Self { ring: values.to_vec(), copy: values.to_vec() }
    }

    pub(crate) fn quantile(&mut self, quantile: f64) -> f64 {
        self.copy.copy_from_slice(&self.ring);
        let rank = rank(self.copy.len(), quantile);
        *self.copy.select_nth_unstable_by(rank, f64::total_cmp).1
    }
}

/// The place of the quantile among so many in order, by the nearest rank.
fn rank(count: usize, quantile: f64) -> usize {
    ((quantile * count as f64).ceil() as usize).clamp(1, count) - 1
}
