//! What a stream or a slice of numbers amounts to.
//!
//! | | |
//! |---|---|
//! | [`Moments`] | count, mean, variance, smallest, largest; one value or a slice at a time; mergeable |
//! | [`PairMoments`] | covariance and correlation of two streams or slices; mergeable |
//! | [`covariance_matrix`], [`correlation_matrix`] | of many columns |
//! | [`Sum`] | a sum without rounding errors |
//! | [`MovingAverage`], [`moving_average`] | the mean of the last N |
//! | [`Ewma`], [`PeakEwma`], [`Rate`] | averages that forget |
//! | [`Extremes`] | smallest and largest of the last N |
//! | [`PageHinkley`] | when the mean of a stream shifted |
//!
//! # What is no value
//! NaN, the infinities, and numbers above [`LARGEST`] in magnitude are dropped and counted, everywhere
//! in this module: they change nothing else, so nothing poisons a later answer. The limit is there so
//! that no square and no sum overflows. An answer over no values is `None`.
//!
//! # Speed
//! Slices are read once, at nearly the speed of memory. On x86-64 the loops over slices are compiled
//! for AVX-512, AVX2 and the baseline; which one runs is found out once from the processor. All three
//! add in the same order and give the same answers, to the last bit; only the matrices, which use
//! fused multiply-add where the processor has it, may differ in the last places.

mod averages;
mod ewma;
mod extremes;
mod kernels;
mod matrix;
mod moments;
mod page_hinkley;
mod pair_moments;
mod rate;
mod simd;
mod sum;

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;

pub use averages::{MovingAverage, moving_average};
pub use ewma::{Ewma, PeakEwma};
pub use extremes::Extremes;
pub use matrix::{
    Divisor, MatrixError, RowCount, correlation_matrix, covariance_matrix, matrix_scratch_len,
};
pub use moments::Moments;
pub use page_hinkley::{Direction, PageHinkley, Shift};
pub use pair_moments::{LengthMismatch, PairMoments};
pub use rate::Rate;
pub use sum::Sum;

/// The largest magnitude of a value: 2^470, about 3e141. 2^64 squared differences of such values add
/// up to a finite number.
pub const LARGEST: f64 = f64::from_bits((1023 + 470) << 52);

/// Whether statistics count it.
#[inline(always)]
fn is_value(value: f64) -> bool {
    value.abs() <= LARGEST // false for NaN
}
