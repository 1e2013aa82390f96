//! Events per second.

use super::ewma::remaining;
use crate::{Duration, Instant};

/// How many events a second, lately: an event counts less the longer ago it was, 1 / e after the time
/// constant.
///
/// It is right from the first: what would have happened before it began does not count as nothing
/// happening. Only within the first tenth of the time constant it counts as if that had passed, so that
/// the first event is not an infinite rate.
///
/// An earlier `now` than the last counts as the last. **Memory:** 32 bytes. **Time:** O(1).
///
/// ```
/// use tensorforge_core::{Duration, Instant, stats::Rate};
///
/// let at = |millis| Instant::ZERO + Duration::from_millis(millis);
/// let mut arrivals = Rate::new(Duration::from_secs(10), at(0));
/// for i in 1..=500 {
///     arrivals.record(1, at(10 * i)); // 100 a second, for half of the time constant
/// }
/// assert!((arrivals.per_second(at(5_000)) - 100.0).abs() < 1.0);
/// assert!(arrivals.per_second(at(65_000)) < 1.0); // and none for a minute
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    time_constant: Duration,
    start: Instant,
    latest: Instant,
    /// The events, each weighed by its age at `latest`.
    weight: f64,
}

/// 1 - e^-0.1: the unit below after a tenth of the time constant.
const FIRST_TENTH: f64 = 0.095_162_581_964_040_43;

impl Rate {
    /// No events yet, counted from `start`. A time constant of 0 is taken as 1 ns.
    #[must_use]
    pub const fn new(time_constant: Duration, start: Instant) -> Self {
        let nanos = time_constant.as_nanos();
        let time_constant = Duration::from_nanos(if nanos == 0 { 1 } else { nanos });
        Self { time_constant, start, latest: start, weight: 0.0 }
    }

    /// `events` happened at `now`.
    pub fn record(&mut self, events: u64, now: Instant) {
        self.weight = self.weight_at(now) + events as f64;
        self.latest = self.latest.max(now);
    }

    /// Events per second as of `now`.
    #[must_use]
    pub fn per_second(&self, now: Instant) -> f64 {
        let now = now.max(self.latest);
        // What one event a time constant, since the start, would weigh now.
        let unit = 1.0 - remaining(now.since(self.start), self.time_constant);
        let seconds = self.time_constant.as_nanos() as f64 / 1e9;
        self.weight_at(now) / (unit.max(FIRST_TENTH) * seconds)
    }

    fn weight_at(&self, now: Instant) -> f64 {
        self.weight * remaining(now.since(self.latest), self.time_constant)
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
