//! How long something took: quantiles, histogram, exact sum.

use crate::contracts::TimeFigures;
use tensorforge_core::Duration;
use tensorforge_core::quantile::Sketch;

/// Buckets of the histograms: the same in every replica and release, so that they can be added up.
const BOUNDS: [Duration; 22] = {
    const MICROS: [u64; 22] = [
        10,
        25,
        50,
        100,
        250,
        500,
        1_000,
        2_500,
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
    ];
    let mut bounds = [Duration::ZERO; 22];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = Duration::from_micros(MICROS[i]);
        i += 1;
    }
    bounds
};

/// How many buckets there are: one for each bound, and one for what is longer than all of them.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a time.
pub(super) fn bucket_of(time: Duration) -> usize {
    BOUNDS.partition_point(|bound| *bound < time)
}

/// Each bound in seconds, and how many times are within it.
pub(super) fn cumulative(buckets: &[u64; BUCKETS]) -> Vec<(f64, u64)> {
    let mut so_far = 0;
    let up_to = BOUNDS.iter().zip(buckets).map(|(bound, held)| {
        so_far += held;
        (seconds(bound.as_nanos()), so_far)
    });
    up_to.collect()
}

/// A nanosecond in the sketches' unit.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Durations of one kind. 16 KiB.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing {
    /// In seconds, 0.95 µs to 1,024 s. `u64`, for half of all requests may fall in one bucket: at
    /// 20,000 a second, `u32` would be full within five days.
    sketch: Sketch<30, u64>,
    /// Not cumulative; the last one is for what is longer than every bound.
    buckets: [u64; BUCKETS],
    nanos: u128,
}

impl Timing {
    pub(super) fn insert(&mut self, time: Duration) {
        self.sketch.insert(seconds(time.as_nanos()));
        self.buckets[bucket_of(time)] += 1;
        self.nanos += u128::from(time.as_nanos());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Both begin where all of them begin, and no counter of 64 bits is ever full.
        let _ = self.sketch.merge(&other.sketch);
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += others;
        }
        self.nanos += other.nanos;
    }

    /// Where the sketch keeps its error bound, in seconds.
    pub(super) fn range() -> (f64, f64) {
        let sketch = Sketch::<30, u64>::new();
        (sketch.lowest(), sketch.end())
    }

    pub(super) fn figures(&self) -> TimeFigures {
        let count: u64 = self.buckets.iter().sum();
        let sum = self.nanos as f64 / 1e9;
        let quantile = |q| self.sketch.quantile(q).map(|estimate| estimate.value());
        TimeFigures {
            count,
            sum,
            mean: (count > 0).then(|| sum / count as f64),
            min: self.sketch.min(),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: self.sketch.max(),
            buckets: cumulative(&self.buckets),
        }
    }
}
