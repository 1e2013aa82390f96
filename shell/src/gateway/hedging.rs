//! When a second endpoint is asked because the first is late.

use crate::concurrency::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tensorforge_core::quantile::Sketch;
use tensorforge_core::route::Hedging;

/// Answers between two looks at when to hedge.
const LOOK_EVERY: u64 = 64;

/// Answers after which the latencies are counted anew, so that what was long ago does not say what is late.
const FORGET_AFTER: u64 = 8_192;

/// How long the answers for a model take, of which all but 95 of 100 are late.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// In seconds.
    latencies: Mutex<Sketch>,
    /// In nanoseconds after a request was sent; 0 before enough is known.
    late: AtomicU64,
}

impl Lateness {
    /// An answer took so long.
    pub(super) fn answered(&self, took: tensorforge_core::Duration) {
        let mut latencies = lock(&self.latencies);
        latencies.insert(took.as_nanos() as f64 * 1e-9);
        if !latencies.count().is_multiple_of(LOOK_EVERY) {
            return;
        }
        if let Some(late) = Hedging::DEFAULT.after(&*latencies) {
            self.late.store(late.as_nanos(), Ordering::Relaxed);
        }
        if latencies.count() >= FORGET_AFTER {
            // What is late stays as it is until there are enough again.
            *latencies = Sketch::new();
        }
    }

    /// After which time an answer is late, once that is known.
    pub(super) fn late(&self) -> Option<Duration> {
        let nanos = self.late.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;

    fn millis(lateness: &Lateness) -> Option<f64> {
        lateness.late().map(|late| late.as_secs_f64() * 1e3)
    }

    fn answer(lateness: &Lateness, millis: u64, times: u64) {
        (0..times).for_each(|_| lateness.answered(Duration::from_millis(millis).into()));
    }

    #[test]
    fn nothing_is_late_before_a_hundred_answers() {
        let lateness = Lateness::default();
        answer(&lateness, 10, 99);
        assert_eq!(millis(&lateness), None);
        answer(&lateness, 10, 29);
        assert!((millis(&lateness).unwrap() - 10.0).abs() < 0.1, "to 0.8 %");
    }

    #[test]
    fn what_is_late_follows_the_model_as_it_becomes_slower_and_faster() {
        let lateness = Lateness::default();
        for usual in [10, 80, 5] {
            answer(&lateness, usual, 2 * FORGET_AFTER);
            let late = millis(&lateness).unwrap();
            assert!((late / usual as f64 - 1.0).abs() < 0.01, "{usual} ms, but {late}");
        }
    }
}
