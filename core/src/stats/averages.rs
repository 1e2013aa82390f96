//! Simple moving averages.

use super::{Sum, is_value};
use crate::ring::Ring;

/// The mean of the last `N` values.
///
/// The running sum is compensated: a spike of 10^12 that leaves the window leaves nothing behind. What
/// [is no value](super) is dropped and counted, and nothing leaves the window for it.
///
/// **Memory:** 8 bytes a value and 40 more. **Time:** O(1).
///
/// ```
/// use tensorforge_core::stats::MovingAverage;
///
/// let mut depth: MovingAverage<3> = MovingAverage::new();
/// for value in [1.0, 1e12, 2.0, 3.0, 7.0] {
///     depth.insert(value);
/// }
/// assert_eq!(depth.value(), Some(4.0));
/// ```
#[derive(Clone, Debug)]
pub struct MovingAverage<const N: usize> {
    values: Ring<f64, N>,
    sum: Sum,
    rejected: u64,
}

impl<const N: usize> MovingAverage<N> {
    /// Of no values yet. `N = 0` does not compile.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Ring::new(), sum: Sum::new(), rejected: 0 }
    }

    /// Adds the newest value; the oldest leaves if there are `N`.
    pub fn insert(&mut self, value: f64) {
        if !is_value(value) {
            self.rejected += 1;
            return;
        }
        if let Some(oldest) = self.values.push_overwriting(value) {
            self.sum.add(-oldest);
        }
        self.sum.add(value);
    }

    /// The mean of the values in the window, fewer than `N` at first.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let count = self.values.len();
        (count > 0).then(|| self.sum.value() / count as f64)
    }

    /// The values in the window, from the oldest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
        self.values.iter().copied()
    }

    /// How many values were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

impl<const N: usize> Default for MovingAverage<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The mean of each `window` values of `values` that follow each other: `values.len() - window + 1` of
/// them, one after the other, without a list between. Nothing for a window of 0 or one longer than
/// `values`.
///
/// What [is no value](super) is left out of the means whose window it is in; `None` where nothing is
/// left. O(1) a step, with a compensated sum.
///
/// ```
/// use tensorforge_core::stats::moving_average;
///
/// let values = [1.0, 3.0, 5.0, f64::NAN];
/// assert!(moving_average(&values, 2).eq([Some(2.0), Some(4.0), Some(5.0)]));
/// ```
pub fn moving_average(
    values: &[f64],
    window: usize,
) -> impl Iterator<Item = Option<f64>> + Clone + '_ {
    let (mut sum, mut count) = (Sum::new(), 0_usize);
    let before = if window == 0 { &[] } else { values.get(..window - 1).unwrap_or(&[]) };
    for &value in before.iter().filter(|&&value| is_value(value)) {
        sum.add(value);
        count += 1;
    }
    let newest = if window == 0 { &[] } else { values.get(window - 1..).unwrap_or(&[]) };
    newest.iter().zip(values).map(move |(&newest, &oldest)| {
        if is_value(newest) {
            sum.add(newest);
            count += 1;
        }
        let average = (count > 0).then(|| sum.value() / count as f64);
        if is_value(oldest) {
            sum.add(-oldest);
            count -= 1;
        }
        average
    })
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
