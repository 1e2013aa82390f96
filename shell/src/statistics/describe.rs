//! What a set of numbers is like.

use tensorforge_core::stats::{Moments, Sum};

use super::{is_value, values_of, z_score};

/// The nearest-rank percentile: the smallest of `values` with at least `pct` per cent of them at or
/// below it. The smallest for `pct` 0, the largest from 100 up, 0 for no values.
///
/// Selects on a copy, without sorting: O(n). Where values keep coming, [`ResponseTimeTracker`] answers
/// without looking at them again.
///
/// [`ResponseTimeTracker`]: super::ResponseTimeTracker
///
/// ```
/// use tensorforge::statistics::percentile;
///
/// assert_eq!(percentile(&[30, 10, 20], 50), 20);
/// assert_eq!(percentile(&[30, 10, 20], 67), 30);
/// assert_eq!(percentile(&[], 50), 0);
/// ```
#[must_use]
pub fn percentile(values: &[i32], pct: usize) -> i32 {
    if values.is_empty() {
        return 0;
    }
    // At most the number of values, so it fits again.
    let rank = (pct.min(100) as u128 * values.len() as u128).div_ceil(100) as usize;
    let mut values = values.to_vec();
    *values.select_nth_unstable(rank.saturating_sub(1)).1
}

/// The mean; 0.0 for no values. O(n), at the speed of memory.
///
/// ```
/// assert_eq!(tensorforge::statistics::mean(&[1.0, 2.0, 6.0]), 3.0);
/// ```
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    Moments::from_slice(values).mean().unwrap_or(0.0)
}

/// The value in the middle, or the mean of the two there; 0.0 for no values. O(n).
///
/// ```
/// use tensorforge::statistics::median;
///
/// assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
/// assert_eq!(median(&[9.0, 1.0, 2.0, 3.0]), 2.5);
/// ```
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut values = values_of(values);
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (lower, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    match lower.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if even => f64::midpoint(lower, upper),
        _ => upper,
    }
}

/// The population variance: the mean squared distance from the mean. 0.0 for no values, and for one.
/// O(n), at the speed of memory; a large mean costs no accuracy.
///
/// ```
/// assert_eq!(tensorforge::statistics::variance(&[1.0, 3.0, 5.0, 7.0]), 5.0);
/// ```
#[must_use]
pub fn variance(values: &[f64]) -> f64 {
    Moments::from_slice(values).variance().unwrap_or(0.0)
}

/// The square root of the [`variance`].
#[must_use]
pub fn stddev(values: &[f64]) -> f64 {
    variance(values).sqrt()
}

/// The squares, added up. At most `f64::MAX`.
///
/// ```
/// assert_eq!(tensorforge::statistics::sum_of_squares(&[1.0, -2.0, 3.0]), 14.0);
/// ```
#[must_use]
pub fn sum_of_squares(values: &[f64]) -> f64 {
    let mut sum = Sum::new();
    values.iter().filter(|&&value| is_value(value)).for_each(|&value| {
        sum.add(value * value);
    });
    sum.value()
}

/// How far the value a quarter from the top lies above the one a quarter from the bottom: of `n` sorted
/// values, number `3n / 4` less number `n / 4`, counted from 0. 0.0 below four values. O(n).
///
/// ```
/// use tensorforge::statistics::interquartile_range;
///
/// assert_eq!(interquartile_range(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]), 4.0);
/// ```
#[must_use]
pub fn interquartile_range(values: &[f64]) -> f64 {
    let mut values = values_of(values);
    let count = values.len();
    if count < 4 {
        return 0.0;
    }
    let mut at = |index| *values.select_nth_unstable_by(index, f64::total_cmp).1;
    // count / 2 + count / 4 would be another number.
    let (lower, upper) = (at(count / 4), at(3 * count / 4));
    upper - lower
}

/// The mean without the extremes: of `n` sorted values, `n * pct` (rounded down) are left out at each
/// end. `pct` is a share: 0.1 leaves out a tenth at each end. 0.0 for no values, and from a share of 0.5
/// up, which leaves none. A negative share, or NaN, leaves nothing out. O(n).
///
/// ```
/// use tensorforge::statistics::trimmed_mean;
///
/// assert_eq!(trimmed_mean(&[1.0, 2.0, 3.0, 4.0, 1000.0], 0.2), 3.0);
/// ```
#[must_use]
pub fn trimmed_mean(values: &[f64], pct: f64) -> f64 {
    if pct >= 0.5 {
        return 0.0;
    }
    let mut values = values_of(values);
    let count = values.len();
    // Below half of the values; a negative number and NaN become 0.
    let left_out = (count as f64 * pct) as usize;
    if left_out > 0 {
        values.select_nth_unstable_by(left_out, f64::total_cmp);
        values.drain(..left_out);
        values.select_nth_unstable_by(count - 2 * left_out, f64::total_cmp);
        values.truncate(count - 2 * left_out);
    }
    mean(&values)
}

/// Where in `values` those are whose distance from the mean is more than `z` standard deviations. None
/// if they do not vary, or `z` is NaN. O(n).
///
/// ```
/// use tensorforge::statistics::outlier_indices;
///
/// assert_eq!(outlier_indices(&[5.0, 5.1, 4.9, 5.0, 5.05, 9.0], 2.0), [5]);
/// ```
#[must_use]
pub fn outlier_indices(values: &[f64], z: f64) -> Vec<usize> {
    let moments = Moments::from_slice(values);
    let mean = moments.mean().unwrap_or(0.0);
    let deviation = moments.standard_deviation().unwrap_or(0.0);
    let is_outlier = |value: f64| {
        is_value(value) && deviation > 0.0 && z_score(value, mean, deviation).abs() > z
    };
    values
        .iter()
        .enumerate()
        .filter_map(|(index, &value)| is_outlier(value).then_some(index))
        .collect()
}
