//! Smallest and largest of the last values.

use super::is_value;
use crate::ring::Ring;

/// The smallest and the largest of the last `N` values, exactly.
///
/// It keeps only those values that may still become an extreme: those that no later one surpasses. What
/// [is no value](super) is dropped and counted, and nothing leaves the window for it.
///
/// **Memory:** 32 bytes a value and 64 more. **Time:** an insertion O(1) on average, O(`N`) at worst; a
/// query O(1).
///
/// Source: Lemire, *Streaming maximum-minimum filter using no more than three comparisons per element*,
/// 2006.
///
/// ```
/// use tensorforge_core::stats::Extremes;
///
/// let mut depth: Extremes<3> = Extremes::new();
/// for value in [9.0, 4.0, 6.0, 5.0] {
///     depth.insert(value);
/// }
/// assert_eq!((depth.min(), depth.max()), (Some(4.0), Some(6.0)));
/// ```
#[derive(Clone, Debug)]
pub struct Extremes<const N: usize> {
    /// How many values have come: the number of the next.
    count: u64,
    rejected: u64,
    /// Numbered values, the oldest first: each is smaller than all before it in time that are left.
    minima: Ring<(u64, f64), N>,
    maxima: Ring<(u64, f64), N>,
}

impl<const N: usize> Extremes<N> {
    /// Of no values yet. `N = 0` does not compile.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, rejected: 0, minima: Ring::new(), maxima: Ring::new() }
    }

    /// Adds the newest value; the oldest leaves if there are `N`.
    pub fn insert(&mut self, value: f64) {
        if !is_value(value) {
            self.rejected += 1;
            return;
        }
        let number = self.count;
        self.count += 1;
        keep(&mut self.minima, (number, value), |kept| kept >= value);
        keep(&mut self.maxima, (number, value), |kept| kept <= value);
    }

    /// The smallest value in the window.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.minima.oldest().map(|&(_, value)| value)
    }

    /// The largest value in the window.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.maxima.oldest().map(|&(_, value)| value)
    }

    /// How many values were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// Puts the newest behind those it does not surpass, and gives up what has left the window.
fn keep<const N: usize>(
    candidates: &mut Ring<(u64, f64), N>,
    newest: (u64, f64),
    surpassed: impl Fn(f64) -> bool,
) {
    while candidates.newest().is_some_and(|&(_, kept)| surpassed(kept)) {
        candidates.pop_newest();
    }
    if candidates.oldest().is_some_and(|&(number, _)| newest.0 - number >= N as u64) {
        candidates.pop();
    }
    candidates.push_overwriting(newest);
}

impl<const N: usize> Default for Extremes<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
