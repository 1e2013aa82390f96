//! Averages in which what is old counts less and less.

use super::is_value;
use crate::{Duration, Instant};

/// An exponential moving average by the value: each new one counts `alpha`, all before it
/// `1 - alpha`.
///
/// The first value is the average; so it is not drawn towards zero. What [is no value](super) is
/// dropped and counted.
///
/// ```
/// use tensorforge_core::stats::Ewma;
///
/// let mut depth = Ewma::new(0.25).unwrap();
/// depth.insert(8.0);
/// depth.insert(4.0);
/// assert_eq!(depth.value(), Some(7.0));
/// assert!(Ewma::new(0.0).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    alpha: f64,
    value: Option<f64>,
    rejected: u64,
}

impl Ewma {
    /// With `alpha` above 0 and at most 1; `None` for another, or NaN.
    #[must_use]
    pub const fn new(alpha: f64) -> Option<Self> {
        if alpha > 0.0 && alpha <= 1.0 {
            Some(Self { alpha, value: None, rejected: 0 })
        } else {
            None
        }
    }

    /// Takes the next value in.
    pub fn insert(&mut self, value: f64) {
        if !is_value(value) {
            self.rejected += 1;
            return;
        }
        // The step from before towards the value: equal values give exactly that value.
        let before = self.value.unwrap_or(value);
        self.value = Some(before + self.alpha * (value - before));
    }

    /// The average; `None` before the first value.
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        self.value
    }

    /// How many values were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// A latency that goes up at once and comes down slowly: what a load balancer should expect of an
/// endpoint.
///
/// A value above the average becomes the average. One below draws it down, the more the longer ago
/// the last one came: what was known `time_constant` ago counts 1 / e, about 37 %. So one slow answer
/// keeps traffic away at once, and quick ones bring it back over the time constant.
///
/// Negative values and what [is no value](super) are dropped and counted. An earlier `now` than the
/// last counts as the last.
///
/// Source: Finagle's and linkerd's Peak-EWMA load metric, whose default time constant is 10 s.
///
/// ```
/// use tensorforge_core::{Duration, Instant, stats::PeakEwma};
///
/// let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// let mut latency = PeakEwma::new(Duration::from_secs(10));
/// latency.insert(0.020, at(0));
/// latency.insert(0.500, at(1)); // a peak: believed at once
/// assert_eq!(latency.value(at(1)), Some(0.5));
/// latency.insert(0.020, at(11)); // ten seconds later: 37 % of the way left
/// let left = (latency.value(at(11)).unwrap() - 0.020) / 0.480;
/// assert!((left - 0.3679).abs() < 1e-4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    time_constant: Duration,
    latest: Instant,
    value: Option<f64>,
    rejected: u64,
}

impl PeakEwma {
    /// With this time constant. With none, every value replaces the last.
    #[must_use]
    pub const fn new(time_constant: Duration) -> Self {
        Self { time_constant, latest: Instant::ZERO, value: None, rejected: 0 }
    }

    /// Takes a value in that was measured at `now`.
    pub fn insert(&mut self, value: f64, now: Instant) {
        if !is_value(value) || value < 0.0 {
            self.rejected += 1;
            return;
        }
        let before = self.value.unwrap_or(value);
        self.value = Some(if value >= before {
            value
        } else {
            value + (before - value) * remaining(now.since(self.latest), self.time_constant)
        });
        self.latest = self.latest.max(now);
    }

    /// The average as it stands at `now`: without new values it sinks towards 0, so that an endpoint
    /// that is no longer asked because it was slow is tried again. `None` before the first value.
    #[must_use]
    pub fn value(&self, now: Instant) -> Option<f64> {
        self.value.map(|value| value * remaining(now.since(self.latest), self.time_constant))
    }

    /// How many values were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// How much of what was known still counts after `passed`: e to the power of minus their quotient.
pub(super) fn remaining(passed: Duration, time_constant: Duration) -> f64 {
    match (passed.as_nanos(), time_constant.as_nanos()) {
        (0, _) => 1.0,
        (_, 0) => 0.0,
        (passed, constant) => libm::exp(-(passed as f64 / constant as f64)),
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
