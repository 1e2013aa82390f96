//! What all of the module share: random numbers and slow, exact answers.

use std::vec::Vec;

use proptest::prelude::*;

pub(super) use crate::stats::simd::Level;

/// Every level that this processor has.
pub(super) fn levels() -> Vec<Level> {
    let all = [Level::Baseline, Level::Avx2, Level::Avx512];
    all.into_iter().filter(|&level| level <= crate::stats::simd::level()).collect()
}

/// Random numbers from a seed, uniform from -1 to 1: SplitMix64.
pub(super) fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Whole numbers, small enough that sums of their squares are exact in `i128`.
pub(super) fn whole_numbers(
    len: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<i32>> {
    let number = prop_oneof![
        3 => -1000..1000_i32,
        1 => any::<i32>(),
        1 => 1_000_000_000..1_000_000_010,
    ];
    prop::collection::vec(number, len)
}

/// The covariance of whole numbers, as the quotient of two whole numbers, rounded once; 0.0 for none.
pub(super) fn exact_covariance(x: &[i32], y: &[i32]) -> f64 {
    let n = x.len() as i128;
    let sum = |values: &[i32]| values.iter().map(|&value| i128::from(value)).sum::<i128>();
    let products: i128 = x.iter().zip(y).map(|(&x, &y)| i128::from(x) * i128::from(y)).sum();
    let numerator = n * products - sum(x) * sum(y);
    if n == 0 { 0.0 } else { numerator as f64 / (n * n) as f64 }
}

pub(super) const NO_VALUES: [f64; 6] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1e142];

/// `values` as floating point numbers.
pub(super) fn floats(values: &[i32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}
