//! Percentiles of the last response times.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tensorforge_core::quantile::{Estimate, Window};

/// 2^-14 to 2^26 milliseconds: 61 ns to 18 hours.
const OCTAVES: usize = 40;
const LOWEST: f64 = 1e-4;

/// The most records that a [`ResponseTimeTracker`] looks back over, whatever it was asked for: 16,777,216.
pub const MAX_WINDOW: usize = 1 << 24;

/// The median and the upper percentiles of the last response times, in milliseconds, at most 1 % wrong.
///
/// Each is the nearest-rank percentile over the last `window_size` records, to 0.78 % of its value,
/// whatever the distribution; zeros are exact. Outside 61 ns to 18 hours, the nearest end of that range
/// is told. Negative times, NaN and the infinities are left out.
///
/// **Memory:** two bytes a record and 11 KiB. **Time:** [`record`](Self::record) is O(1), a few
/// nanoseconds within a lock; a percentile looks at about a hundred counters.
///
/// ```
/// use tensorforge::statistics::ResponseTimeTracker;
///
/// let tracker = ResponseTimeTracker::new(3);
/// for millis in [900.0, 10.0, 20.0, 30.0] {
///     tracker.record(millis);
/// }
/// assert_eq!(tracker.count(), 3);
/// assert!((tracker.p50() - 20.0).abs() <= 0.2);
/// assert!((tracker.p99() - 30.0).abs() <= 0.3);
/// ```
#[derive(Debug)]
pub struct ResponseTimeTracker {
    window: Mutex<Window<Box<[u16]>, OCTAVES>>,
}

impl ResponseTimeTracker {
    /// Over the last `window_size` records, and at most [`MAX_WINDOW`]: a larger size, such as
    /// `usize::MAX`, counts as that. Over none, if it is 0: then nothing is ever recorded.
    #[must_use]
    pub fn new(window_size: usize) -> Self {
        let slots = vec![0; window_size.min(MAX_WINDOW)].into_boxed_slice();
        let window = Window::starting_at(LOWEST, slots).expect("2^-14 to 2^26 is a range");
        Self { window: Mutex::new(window) }
    }

    /// Takes a response time in, in milliseconds; the oldest leaves, if there are `window_size`.
    pub fn record(&self, ms: f64) {
        self.window().insert(ms);
    }

    /// As [`record`](Self::record), for who holds it alone: without the lock.
    pub(crate) fn record_alone(&mut self, ms: f64) {
        self.window.get_mut().unwrap_or_else(PoisonError::into_inner).insert(ms);
    }

    /// The median; 0.0 for no records.
    #[must_use]
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The time that 95 of 100 responses did not exceed; 0.0 for no records.
    #[must_use]
    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }

    /// The time that 99 of 100 responses did not exceed; 0.0 for no records.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The quantile `q`, from 0.0 (the smallest) to 1.0 (the largest); 0.0 for no records, and for
    /// another `q`.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        match self.window().quantile(q) {
            Some(Estimate::Above { at_least, .. }) => at_least,
            Some(estimate) => estimate.value(),
            None => 0.0,
        }
    }

    /// How many records the percentiles are over: at most `window_size`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.window().len()
    }

    fn window(&self) -> MutexGuard<'_, Window<Box<[u16]>, OCTAVES>> {
        // Nothing panics while it is held; and a window is whole between any two steps.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
