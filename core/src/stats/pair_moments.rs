//! Covariance and correlation.

use super::kernels::sum_pair_block;
use super::{is_value, simd};

/// Two slices that are to be taken in pairs differ in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthMismatch {
    /// The first one's length.
    pub x: usize,
    /// The second one's.
    pub y: usize,
}

impl core::fmt::Display for LengthMismatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { x, y } = self;
        write!(f, "pairs come from slices of one length; these have {x} and {y} values")
    }
}

impl core::error::Error for LengthMismatch {}

/// How two quantities vary together: means, variances, covariance, correlation.
///
/// Pairs are taken in one at a time or by the slice; parts computed apart [merge](Self::merge). A pair
/// of which one member [is no value](super) is dropped whole, and counted.
///
/// **Memory:** 56 bytes. **Time:** slices at the speed of memory.
///
/// ```
/// use tensorforge_core::stats::PairMoments;
///
/// let batch = [1.0, 2.0, 4.0, 8.0];
/// let millis = [3.0, 5.0, 9.0, 17.0];
/// let pairs = PairMoments::from_slices(&batch, &millis).unwrap();
/// assert_eq!(pairs.covariance(), Some(14.375));
/// assert!((pairs.correlation().unwrap() - 1.0).abs() < 1e-12);
/// // A line through them, by least squares.
/// assert!((pairs.slope().unwrap() - 2.0).abs() < 1e-12);
///
/// assert!(PairMoments::from_slices(&batch, &millis[..3]).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairMoments {
    count: u64,
    rejected: u64,
    mean_x: f64,
    mean_y: f64,
    /// Distances from the means: squared, and multiplied with each other, added up.
    squares_x: f64,
    squares_y: f64,
    products: f64,
}

/// Pairs of two slices taken together: 32 KiB.
const BLOCK: usize = 2048;
/// Squares that add up to no more than this are of numbers far below the largest.
const SMALL_SQUARES: f64 = f64::from_bits((1023 + 930) << 52);

impl PairMoments {
    /// Of no pairs yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: 0,
            rejected: 0,
            mean_x: 0.0,
            mean_y: 0.0,
            squares_x: 0.0,
            squares_y: 0.0,
            products: 0.0,
        }
    }

    /// Of the pairs of two slices of one length.
    ///
    /// # Errors
    /// If their lengths differ.
    pub fn from_slices(x: &[f64], y: &[f64]) -> Result<Self, LengthMismatch> {
        let mut all = Self::new();
        all.insert_all(x, y)?;
        Ok(all)
    }

    /// Takes a pair in.
    pub fn insert(&mut self, x: f64, y: f64) {
        if !is_value(x) || !is_value(y) {
            self.rejected += 1;
            return;
        }
        self.count += 1;
        let count = self.count as f64;
        let (from_x, from_y) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += from_x / count;
        self.mean_y += from_y / count;
        self.squares_x += from_x * (x - self.mean_x);
        self.squares_y += from_y * (y - self.mean_y);
        self.products += from_x * (y - self.mean_y);
    }

    /// Takes the pairs of two slices in, reading each once.
    ///
    /// # Errors
    /// If their lengths differ; then nothing is taken in.
    pub fn insert_all(&mut self, x: &[f64], y: &[f64]) -> Result<(), LengthMismatch> {
        self.insert_all_at(simd::level(), x, y)
    }

    fn insert_all_at(
        &mut self,
        level: simd::Level,
        x: &[f64],
        y: &[f64],
    ) -> Result<(), LengthMismatch> {
        if x.len() != y.len() {
            return Err(LengthMismatch { x: x.len(), y: y.len() });
        }
        for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
            match Self::of_block(level, x, y, (self.mean_x, self.mean_y)) {
                Some(moments) => self.merge(&moments),
                None => x.iter().zip(y).for_each(|(&x, &y)| self.insert(x, y)),
            }
        }
        Ok(())
    }

    /// The moments of a block, or `None` if some of it may be no value.
    fn of_block(level: simd::Level, x: &[f64], y: &[f64], near: (f64, f64)) -> Option<Self> {
        let (first, near) = (Self::around(level, x, y, near)?, near);
        let lost = |squares: f64, mean: f64, near: f64| {
            // What was subtracted is most of what there was.
            let distance = mean - near;
            x.len() as f64 * distance * distance > 15.0 * squares && distance != 0.0
        };
        if lost(first.squares_x, first.mean_x, near.0)
            || lost(first.squares_y, first.mean_y, near.1)
        {
            return Self::around(level, x, y, (first.mean_x, first.mean_y));
        }
        Some(first)
    }

    fn around(level: simd::Level, x: &[f64], y: &[f64], near: (f64, f64)) -> Option<Self> {
        let sums = sum_pair_block(level, x, y, near.0, near.1);
        // Any NaN or infinity is in these too.
        if !(sums.xx <= SMALL_SQUARES && sums.yy <= SMALL_SQUARES) {
            return None;
        }
        let (offset_x, offset_y) = (sums.x / x.len() as f64, sums.y / x.len() as f64);
        Some(Self {
            count: x.len() as u64,
            rejected: 0,
            mean_x: near.0 + offset_x,
            mean_y: near.1 + offset_y,
            squares_x: (sums.xx - sums.x * offset_x).max(0.0),
            squares_y: (sums.yy - sums.y * offset_y).max(0.0),
            products: sums.xy - sums.x * offset_y,
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
        let share = mine * others / count;
        let (from_x, from_y) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        self.squares_x += other.squares_x + from_x * from_x * share;
        self.squares_y += other.squares_y + from_y * from_y * share;
        self.products += other.products + from_x * from_y * share;
        self.mean_x += from_x * (others / count);
        self.mean_y += from_y * (others / count);
        self.count = self.count.saturating_add(other.count);
    }

    /// How many pairs were taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many were dropped.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The mean of the first and of the second members.
    #[must_use]
    pub fn means(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.mean_x, self.mean_y))
    }

    /// The variance of the first and of the second members, as the whole population.
    #[must_use]
    pub fn variances(&self) -> Option<(f64, f64)> {
        let count = self.count as f64;
        (self.count > 0).then(|| (self.squares_x / count, self.squares_y / count))
    }

    /// The covariance of these pairs as the whole population.
    #[must_use]
    pub fn covariance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.products / self.count as f64)
    }

    /// The covariance of a population of which these pairs are a sample: divided by one less than their
    /// number. `None` below two.
    #[must_use]
    pub fn sample_covariance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.products / (self.count - 1) as f64)
    }

    /// Pearson's correlation, from -1 to 1. `None` if one of the two does not vary.
    #[must_use]
    pub fn correlation(&self) -> Option<f64> {
        // Divided one after the other: their product might overflow or vanish.
        (self.squares_x > 0.0 && self.squares_y > 0.0).then(|| {
            let correlation =
                self.products / libm::sqrt(self.squares_x) / libm::sqrt(self.squares_y);
            correlation.clamp(-1.0, 1.0)
        })
    }

    /// How much the second member rises for each unit of the first, on the line of least squares. `None`
    /// if the first does not vary.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        (self.squares_x > 0.0).then(|| self.products / self.squares_x)
    }
}

impl Default for PairMoments {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;
