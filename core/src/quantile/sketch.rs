//! Counts by bucket.

use super::grid::{Grid, MANTISSA_BITS, Outside, RangeError, SPLIT};
use super::{Estimate, nearest_rank};
use crate::stats::Sum;

/// What a bucket counts with: `u32` or `u64`.
pub trait Counter: sealed::Counter {}

impl Counter for u32 {}
impl Counter for u64 {}

mod sealed {
    pub trait Counter: Copy + Default + PartialOrd + Into<u64> {
        const ZERO: Self;
        const ONE: Self;
        const MOST: Self;
        fn checked_add(self, other: Self) -> Option<Self>;
        fn checked_sub(self, other: Self) -> Option<Self>;
        fn checked_sub_usize(self, other: usize) -> Option<Self>;
        /// Adds 1, going round from the largest to 0.
        fn next(self) -> Self;
    }

    macro_rules! counter {
        ($int:ty) => {
            impl Counter for $int {
                const ZERO: Self = 0;
                const ONE: Self = 1;
                const MOST: Self = <$int>::MAX;
                #[inline(always)]
                fn checked_add(self, other: Self) -> Option<Self> {
                    <$int>::checked_add(self, other)
                }
                #[inline(always)]
                fn checked_sub(self, other: Self) -> Option<Self> {
                    <$int>::checked_sub(self, other)
                }
                fn checked_sub_usize(self, other: usize) -> Option<Self> {
                    <$int>::try_from(other).ok().and_then(|other| self.checked_sub(other))
                }
                #[inline(always)]
                fn next(self) -> Self {
                    self.wrapping_add(1)
                }
            }
        };
    }
    counter!(u32);
    counter!(u64);
}

/// Why two sketches cannot be merged.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// Their ranges begin at different values.
    DifferentRange,
    /// A bucket would count more than its counter holds.
    Full,
}

impl core::fmt::Display for MergeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::DifferentRange => "the sketches begin at different values; build both alike",
            Self::Full => "a bucket would overflow; count in u64, or clear one more often",
        })
    }
}

impl core::error::Error for MergeError {}

/// Quantiles of everything inserted, at most 0.78 % wrong in value. See [the module](super) for why.
///
/// The range is `OCTAVES` powers of two: by default 30 of them from 2^-20, which in seconds is
/// 0.95 µs to 1,024 s. [`starting_at`](Self::starting_at) chooses another beginning, as for another
/// unit. `C` is what a bucket counts with.
///
/// Smallest, largest, count and sum are exact. The sum is kept as integers, so it does not depend on
/// the order of insertions or merges.
///
/// **Memory:** 268 bytes an octave and 80 more: 8,120 by default. **Time:** an insertion about
/// 1.2 ns; a query reads all buckets.
///
/// ```
/// use tensorforge_core::quantile::Sketch;
///
/// let mut seconds: Sketch = Sketch::new();
/// for millis in 1..=1000 {
///     seconds.insert(f64::from(millis) / 1e3);
/// }
/// let p99 = seconds.quantile(0.99).unwrap().value();
/// assert!((p99 - 0.99).abs() <= 0.01 * 0.99);
/// assert_eq!((seconds.count(), seconds.min(), seconds.max()), (1000, Some(0.001), Some(1.0)));
///
/// let mut everywhere = Sketch::new();
/// everywhere.merge(&seconds).unwrap();
/// everywhere.merge(&seconds).unwrap();
/// assert_eq!(everywhere.count(), 2000);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch<const OCTAVES: usize = 30, C: Counter = u32> {
    grid: Grid<OCTAVES>,
    extremes: Extremes,
    zeros: u64,
    below: u64,
    above: u64,
    rejected: u64,
    saturated: u64,
    /// Of the values below and above the range.
    outside_sum: Sum,
    /// For each octave, how far its values lie above the lower edges of their buckets, added up, in
    /// units of 2^-52 of the octave: the lower 64 bits, and how often they have overflowed.
    rests: [u64; OCTAVES],
    carries: [u32; OCTAVES],
    counts: [[C; SPLIT]; OCTAVES],
}

impl<const OCTAVES: usize, C: Counter> Sketch<OCTAVES, C> {
    /// An empty sketch from 2^-20 up: from a microsecond, if the values are seconds.
    #[must_use]
    pub const fn new() -> Self {
        Self::over(Grid::DEFAULT)
    }

    /// An empty sketch from the power of two at or below `lowest` up.
    ///
    /// # Errors
    /// If the range would not begin at a positive number, or end above 2^960.
    ///
    /// ```
    /// use tensorforge_core::quantile::Sketch;
    ///
    /// let millis: Sketch = Sketch::starting_at(1e-3).unwrap();
    /// assert!(millis.lowest() <= 1e-3 && millis.end() >= 1e6);
    /// ```
    pub const fn starting_at(lowest: f64) -> Result<Self, RangeError> {
        match Grid::starting_at(lowest) {
            Ok(grid) => Ok(Self::over(grid)),
            Err(error) => Err(error),
        }
    }

    const fn over(grid: Grid<OCTAVES>) -> Self {
        Self {
            grid,
            extremes: Extremes::NONE,
            zeros: 0,
            below: 0,
            above: 0,
            rejected: 0,
            saturated: 0,
            outside_sum: Sum::new(),
            rests: [0; OCTAVES],
            carries: [0; OCTAVES],
            counts: [[C::ZERO; SPLIT]; OCTAVES],
        }
    }

    /// Counts `value`. What is out of range is counted apart, what is no value is dropped and
    /// counted; see [the module](super). O(1).
    #[inline]
    pub fn insert(&mut self, value: f64) {
        let bits = value.to_bits();
        let bucket = self.grid.bucket(bits);
        let Some(counter) = self.counts.as_flattened_mut().get_mut(bucket) else {
            return self.insert_outside(bits);
        };
        let count = counter.next();
        *counter = count;
        if count == C::ZERO {
            return self.undo_full(bucket);
        }
        let octave = bucket / SPLIT;
        let rests = &mut self.rests[octave];
        let (rest, carry) = rests.overflowing_add(Grid::<OCTAVES>::rest(bits));
        *rests = rest;
        if carry {
            self.carry(octave);
        }
        if self.extremes.are_widened_by(bits) {
            self.extremes.widen(bits);
        }
    }

    /// Counts every value of `values`; from 4096 on a fifth faster than one by one.
    pub fn insert_all(&mut self, values: &[f64]) {
        for chunk in values.chunks(CHUNK) {
            if !self.insert_chunk(chunk) {
                chunk.iter().for_each(|&value| self.insert(value));
            }
        }
    }

    /// Counts some values with fewer checks for each; `false`, and nothing is counted, if they might
    /// fail, or are too few to be worth it.
    fn insert_chunk(&mut self, values: &[f64]) -> bool {
        let (groups, rest) = values.as_chunks::<LANES>();
        let Some(most) = C::MOST.checked_sub_usize(values.len()) else { return false };
        let may_overflow = |counts: &[C; SPLIT]| counts.iter().any(|&count| count > most);
        if values.len() < SMALLEST_CHUNK || self.counts.iter().any(may_overflow) {
            return false;
        }
        let (min, max) = bounds(groups);
        if !(min >= self.grid.lowest() && max < self.grid.end()) {
            return false;
        }
        // Beside each other, so that no addition waits for the one before to reach memory. They cannot
        // overflow: CHUNK values of 46 bits.
        let mut rests = [[0_u64; LANES]; OCTAVES];
        for group in groups {
            for (lane, value) in group.iter().enumerate() {
                let bits = value.to_bits();
                let bucket = self.grid.bucket(bits);
                match self.counts.as_flattened_mut().get_mut(bucket) {
                    Some(count) => *count = count.next(),
                    None => {
                        self.insert_outside(bits); // NaN, which is neither below nor above the bounds
                        continue;
                    }
                }
                rests[bucket / SPLIT][lane] += Grid::<OCTAVES>::rest(bits);
            }
        }
        for (octave, lanes) in rests.iter().enumerate() {
            let (rest, carry) = self.rests[octave].overflowing_add(lanes.iter().sum());
            self.rests[octave] = rest;
            if carry {
                self.carry(octave);
            }
        }
        self.extremes.widen(min.to_bits());
        self.extremes.widen(max.to_bits());
        rest.iter().for_each(|&value| self.insert(value));
        true
    }

    #[cold]
    #[inline(never)]
    fn insert_outside(&mut self, bits: u64) {
        let value = f64::from_bits(bits);
        match self.grid.outside(value) {
            Outside::Zero => self.zeros += 1,
            Outside::Below => self.below += 1,
            Outside::Above => self.above += 1,
            Outside::Rejected => {
                self.rejected += 1;
                return;
            }
        }
        self.outside_sum.add(value);
        self.extremes.widen(value.abs().to_bits());
    }

    /// The counter of `bucket` has gone round to 0: back to the most it can say.
    #[cold]
    #[inline(never)]
    fn undo_full(&mut self, bucket: usize) {
        let count = &mut self.counts[bucket / SPLIT][bucket % SPLIT];
        *count = C::MOST;
        self.saturated += 1;
    }

    #[cold]
    #[inline(never)]
    fn carry(&mut self, octave: usize) {
        self.carries[octave] = self.carries[octave].saturating_add(1);
    }
    /// Takes back one value like `value`: one of its bucket. `false`, and nothing changes, if none is
    /// held. O(1).
    ///
    /// [`min`](Self::min) and [`max`](Self::max) stay: they are of everything ever inserted, for the
    /// second smallest is not known. The sum stays exact if `value` had been inserted.
    pub fn remove(&mut self, value: f64) -> bool {
        let bits = value.to_bits();
        let bucket = self.grid.bucket(bits);
        let octave = bucket / SPLIT;
        let Some(counts) = self.counts.get_mut(octave) else { return self.remove_outside(value) };
        let count = &mut counts[bucket % SPLIT];
        let Some(fewer) = count.checked_sub(C::ONE) else { return false };
        *count = fewer;
        let (rest, borrow) = self.rests[octave].overflowing_sub(Grid::<OCTAVES>::rest(bits));
        self.rests[octave] = rest;
        // Below 0 only if `value` had not been inserted: then there is no right sum.
        self.carries[octave] = self.carries[octave].saturating_sub(borrow.into());
        true
    }

    fn remove_outside(&mut self, value: f64) -> bool {
        let count = match self.grid.outside(value) {
            Outside::Zero => &mut self.zeros,
            Outside::Below => &mut self.below,
            Outside::Above => &mut self.above,
            Outside::Rejected => return false,
        };
        let Some(fewer) = count.checked_sub(1) else { return false };
        *count = fewer;
        self.outside_sum.add(-value);
        if self.below + self.above == 0 {
            self.outside_sum = Sum::new(); // rid of what rounding left of large values
        }
        true
    }

    /// Adds what `other` counted, as if everything had been inserted here: buckets, counts, smallest,
    /// largest and sum do not depend on the order of merges, to the last bit, as long as all values
    /// are in range. All or nothing. O(buckets).
    ///
    /// # Errors
    /// If the ranges differ or a counter would overflow; then nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.grid != other.grid {
            return Err(MergeError::DifferentRange);
        }
        let fits = |(a, b): (&[C; SPLIT], &[C; SPLIT])| {
            a.iter().zip(b).all(|(a, &b)| a.checked_add(b).is_some())
        };
        let carries_fit =
            |(&a, &b): (&u32, &u32)| a.checked_add(b).is_some_and(|sum| sum < u32::MAX);
        // So that no sum over counters overflows.
        let total_fits = self.count().checked_add(other.count()).is_some();
        if !total_fits
            || !self.counts.iter().zip(&other.counts).all(fits)
            || !self.carries.iter().zip(&other.carries).all(carries_fit)
        {
            return Err(MergeError::Full);
        }
        for (mine, others) in self.counts.iter_mut().zip(&other.counts) {
            for (mine, &others) in mine.iter_mut().zip(others) {
                *mine = mine.checked_add(others).unwrap_or(C::MOST);
            }
        }
        for octave in 0..OCTAVES {
            let (rest, carry) = self.rests[octave].overflowing_add(other.rests[octave]);
            self.rests[octave] = rest;
            self.carries[octave] += other.carries[octave] + u32::from(carry);
        }
        self.zeros += other.zeros;
        self.below += other.below;
        self.above += other.above;
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.saturated = self.saturated.saturating_add(other.saturated);
        self.outside_sum.merge(&other.outside_sum);
        if let Some((min, max)) = other.extremes.bounds() {
            self.extremes.widen(min);
            self.extremes.widen(max);
        }
        Ok(())
    }

    /// The smallest value with at least `q` of all at or below it. `None` if nothing is held or `q` is
    /// not in 0 to 1. O(buckets).
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Estimate> {
        let totals: [u64; OCTAVES] = core::array::from_fn(|octave| total(&self.counts[octave]));
        let in_range = totals.iter().sum::<u64>();
        let mut rank = nearest_rank(q, in_range + self.zeros + self.below + self.above)?;
        let (min, max) = (self.min()?, self.max()?);
        if rank <= self.zeros {
            return Some(Estimate::Within(0.0));
        }
        rank -= self.zeros;
        if rank <= self.below {
            return Some(Estimate::Below { at_least: min, below: self.grid.lowest() });
        }
        rank -= self.below;
        for (octave, (counts, held)) in self.counts.iter().zip(totals).enumerate() {
            if rank > held {
                rank -= held;
                continue;
            }
            for (k, &count) in counts.iter().enumerate() {
                let held = count.into();
                if rank <= held {
                    let answer = self.grid.answer(octave * SPLIT + k);
                    return Some(Estimate::Within(answer.max(min).min(max)));
                }
                rank -= held;
            }
        }
        Some(Estimate::Above { at_least: self.grid.end(), at_most: max })
    }

    /// How many values are held: inserted and not removed, zeros and those out of range among them.
    /// O(buckets).
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(total).sum::<u64>() + self.zeros + self.below + self.above
    }

    /// The sum of the values held. Exact, but for the last rounding, if all are in range; values outside
    /// it add a few units in the last place of the largest sum that these had. O(buckets).
    #[must_use]
    pub fn sum(&self) -> f64 {
        let mut sum = self.outside_sum;
        for (octave, counts) in self.counts.iter().enumerate() {
            // In units of 2^-52 of the octave; below 64 * 2^64 * 2^53, that is 2^123.
            let mut exact = u128::from(self.carries[octave]) << 64 | u128::from(self.rests[octave]);
            for (k, &count) in counts.iter().enumerate() {
                exact += u128::from(count.into()) * u128::from(Grid::<OCTAVES>::edge(k));
            }
            let unit = self.grid.exponent(octave) - MANTISSA_BITS as i32;
            // As three numbers that are exact as `f64`: 53 bits each and what is left.
            for shift in [0, 53, 106] {
                let part = (exact >> shift) as u64 & ((1 << 53) - 1);
                sum.add(libm::scalbn(part as f64, unit + shift));
            }
        }
        sum.value()
    }

    /// [`sum`](Self::sum) over [`count`](Self::count). `None` if nothing is held.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum() / count as f64)
    }

    /// The smallest value ever inserted, exactly.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.extremes.bounds().map(|(min, _)| f64::from_bits(min))
    }

    /// The largest value ever inserted, exactly.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.extremes.bounds().map(|(_, max)| f64::from_bits(max))
    }

    /// How many zeros are held.
    #[must_use]
    pub const fn zeros(&self) -> u64 {
        self.zeros
    }

    /// How many values below the range are held, other than zeros.
    #[must_use]
    pub const fn below(&self) -> u64 {
        self.below
    }

    /// How many values above the range are held.
    #[must_use]
    pub const fn above(&self) -> u64 {
        self.above
    }

    /// How many values were dropped because they were negative, infinite (or 2^960 and
    /// more) or NaN.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// How many values were dropped because their bucket's counter was at its largest: beyond
    /// 4,294,967,295 in one bucket, if it counts in `u32`.
    #[must_use]
    pub const fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Where the range begins.
    #[must_use]
    pub const fn lowest(&self) -> f64 {
        self.grid.lowest()
    }

    /// Where the range ends: the first value above it.
    #[must_use]
    pub const fn end(&self) -> f64 {
        self.grid.end()
    }

    /// Forgets everything but the range.
    pub fn clear(&mut self) {
        *self = Self::over(self.grid);
    }
}

impl<const OCTAVES: usize, C: Counter> Default for Sketch<OCTAVES, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Values of a slice counted together: half a MiB, which stays in the cache for the second look.
const CHUNK: usize = 1 << 16;
/// Below that, what is done once for a chunk costs more than it saves.
const SMALLEST_CHUNK: usize = 1 << 12;
const LANES: usize = 8;

/// The smallest and the largest, whatever NaN there is among them.
fn bounds(groups: &[[f64; LANES]]) -> (f64, f64) {
    let (mut mins, mut maxs) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    for group in groups {
        for lane in 0..LANES {
            let value = group[lane];
            mins[lane] = if value < mins[lane] { value } else { mins[lane] };
            maxs[lane] = if value > maxs[lane] { value } else { maxs[lane] };
        }
    }
    (
        mins.into_iter().fold(f64::INFINITY, f64::min),
        maxs.into_iter().fold(f64::NEG_INFINITY, f64::max),
    )
}

fn total<C: Counter>(counts: &[C; SPLIT]) -> u64 {
    counts.iter().map(|&count| count.into()).sum()
}

/// The smallest and the largest of some values that are not negative, by their bits, which are in the
/// same order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Extremes {
    min: u64,
    /// Largest less smallest: one comparison tells whether a value lies between.
    span: u64,
}

impl Extremes {
    /// Any value widens it: no value has these bits.
    const NONE: Self = Self { min: u64::MAX, span: 0 };

    #[inline(always)]
    const fn are_widened_by(self, bits: u64) -> bool {
        bits.wrapping_sub(self.min) > self.span
    }

    #[cold]
    #[inline(never)]
    fn widen(&mut self, bits: u64) {
        let (min, max) = self.bounds().unwrap_or((bits, bits));
        self.min = min.min(bits);
        self.span = max.max(bits) - self.min;
    }

    fn bounds(self) -> Option<(u64, u64)> {
        (self.min != u64::MAX).then(|| (self.min, self.min + self.span))
    }
}
