//! Mean and variance.

use super::kernels::sum_block;
use super::{LARGEST, is_value, simd};

/// Count, mean, variance, smallest and largest of some values.
///
/// Values are taken in one at a time or by the slice, and parts computed apart [merge](Self::merge) into
/// the moments of all, as if taken in together. No step subtracts large squares from each other: the
/// variance of 10^9 plus noise of size 1 is as good as that of the noise.
///
/// **Memory:** 48 bytes. **Time:** a value about 3 ns; slices at the speed of memory.
///
/// Sources: Welford, *Technometrics* 4(3), 1962; Chan, Golub and LeVeque, *Updating formulae and a
/// pairwise algorithm for computing sample variances*, 1979.
///
/// ```
/// use tensorforge_core::stats::Moments;
///
/// let mut some = Moments::from_slice(&[2.0, 4.0, 4.0, 4.0]);
/// let others = Moments::from_slice(&[5.0, 5.0, 7.0, 9.0]);
/// some.merge(&others);
/// assert_eq!((some.count(), some.mean(), some.variance()), (8, Some(5.0), Some(4.0)));
/// assert_eq!((some.min(), some.max()), (Some(2.0), Some(9.0)));
///
/// some.insert(f64::NAN);
/// assert_eq!((some.count(), some.rejected()), (8, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    count: u64,
    rejected: u64,
    mean: f64,
    /// The squared distances from the mean, added up.
    squares: f64,
    min: f64,
    max: f64,
}

/// Values of a slice taken together: 32 KiB.
const BLOCK: usize = 4096;
impl Moments {
    /// Of no values yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: 0,
            rejected: 0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Of the values of a slice.
    #[must_use]
    pub fn from_slice(values: &[f64]) -> Self {
        let mut all = Self::new();
        all.insert_all(values);
        all
    }

    /// Takes a value in. What [is no value](super) is dropped and counted.
    pub fn insert(&mut self, value: f64) {
        if !is_value(value) {
            self.rejected += 1;
            return;
        }
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Takes every value of a slice in, reading it once.
    pub fn insert_all(&mut self, values: &[f64]) {
        self.insert_all_at(simd::level(), values);
    }

    fn insert_all_at(&mut self, level: simd::Level, values: &[f64]) {
        for block in values.chunks(BLOCK) {
            match Self::of_block(level, block, self.mean) {
                Some(moments) => self.merge(&moments),
                None => block.iter().for_each(|&value| self.insert(value)),
            }
        }
    }

    /// The moments of a block, or `None` if some of it is no value.
    fn of_block(level: simd::Level, values: &[f64], near: f64) -> Option<Self> {
        let first = Self::around(level, values, near)?;
        // A difference of squares is good while most of them is left of it. Where the block lies
        // elsewhere than what came before, it is taken again, around its own mean.
        let distance = first.mean - near;
        let lost = first.count as f64 * distance * distance > 15.0 * first.squares;
        if lost && distance != 0.0 { Self::around(level, values, first.mean) } else { Some(first) }
    }

    fn around(level: simd::Level, values: &[f64], near: f64) -> Option<Self> {
        let sums = sum_block(level, values, near);
        // NaN among the values makes the squares NaN.
        if !(sums.min >= -LARGEST && sums.max <= LARGEST && sums.squares.is_finite()) {
            return None;
        }
        let offset = sums.sum / values.len() as f64;
        Some(Self {
            count: values.len() as u64,
            rejected: 0,
            mean: near + offset,
            squares: (sums.squares - sums.sum * offset).max(0.0),
            min: sums.min,
            max: sums.max,
        })
    }

    /// Adds what `other` took in.
    pub fn merge(&mut self, other: &Self) {
        self.rejected = self.rejected.saturating_add(other.rejected);
        if other.count == 0 {
            return;
        }
        let (mine, others) = (self.count as f64, other.count as f64);
        let count = mine + others;
        let distance = other.mean - self.mean;
        self.squares += other.squares + distance * distance * (mine * others / count);
        self.mean += distance * (others / count);
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values were taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The mean squared distance from the mean: the variance of these values as the whole population.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }

    /// The variance of a population of which these values are a sample: divided by one less than their
    /// number. `None` below two.
    #[must_use]
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The square root of the [variance](Self::variance).
    #[must_use]
    pub fn standard_deviation(&self) -> Option<f64> {
        self.variance().map(libm::sqrt)
    }

    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self::new()
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.insert(value));
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
