//! A histogram that threads count in without a lock.

use super::timing::{BUCKETS, bucket_of, cumulative};
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::Duration;

/// How often something took how long, in the buckets of all histograms.
///
/// **Progress:** wait-free. **Memory:** 192 bytes. The sum is full after 584 years of all times together.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What was counted, copied out of a [`Histogram`]. Of what is counted meanwhile, a time may be in the
/// buckets and not in the sum yet, or the other way round.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Durations {
    buckets: [u64; BUCKETS],
    nanos: u128,
}

impl Histogram {
    pub(crate) fn insert(&self, time: Duration) {
        self.buckets[bucket_of(time)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(time.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        Durations { buckets, nanos: self.nanos.load(Ordering::Relaxed).into() }
    }
}

impl Durations {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += others;
        }
        self.nanos += other.nanos;
    }

    /// How many there were: what the buckets hold, so that they are never at odds.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// Each bound in seconds, and how many are within it.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        cumulative(&self.buckets)
    }
}
