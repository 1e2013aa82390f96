//! Two slices, number by number.

use tensorforge_core::stats::{PairMoments, Sum};

use super::is_value;

/// The population covariance: the mean product of both distances from the mean. 0.0 if the slices
/// differ in length or are empty; a pair with a member that is no value is left out. O(n), at the speed
/// of memory.
///
/// ```
/// use tensorforge::statistics::covariance;
///
/// assert_eq!(covariance(&[1.0, 2.0, 3.0], &[2.0, 4.0, 9.0]), 7.0 / 3.0);
/// assert_eq!(covariance(&[1.0, 2.0], &[1.0]), 0.0);
/// ```
#[must_use]
pub fn covariance(xs: &[f64], ys: &[f64]) -> f64 {
    pairs(xs, ys).covariance().unwrap_or(0.0)
}

/// Pearson's correlation, from -1.0 to 1.0. 0.0 if one side does not vary, the slices differ in length or
/// are empty. O(n), at the speed of memory.
///
/// ```
/// use tensorforge::statistics::correlation;
///
/// assert!((correlation(&[1.0, 2.0, 3.0], &[30.0, 20.0, 10.0]) + 1.0).abs() < 1e-12);
/// assert_eq!(correlation(&[1.0, 2.0, 3.0], &[7.0, 7.0, 7.0]), 0.0);
/// ```
#[must_use]
pub fn correlation(xs: &[f64], ys: &[f64]) -> f64 {
    pairs(xs, ys).correlation().unwrap_or(0.0)
}

/// Of no pairs, if the lengths differ.
fn pairs(xs: &[f64], ys: &[f64]) -> PairMoments {
    PairMoments::from_slices(xs, ys).unwrap_or_default()
}

/// The mean in which each value counts as much as its weight: `Σ(value · weight) / Σ weight`. 0.0 if the
/// slices differ in length or the weights add up to 0. A value or weight that is none is left out with
/// its other half.
///
/// ```
/// assert_eq!(tensorforge::statistics::weighted_mean(&[10.0, 20.0], &[3.0, 1.0]), 12.5);
/// ```
#[must_use]
pub fn weighted_mean(values: &[f64], weights: &[f64]) -> f64 {
    if values.len() != weights.len() {
        return 0.0;
    }
    let (mut products, mut total) = (Sum::new(), Sum::new());
    for (&value, &weight) in values.iter().zip(weights) {
        if is_value(value) && is_value(weight) {
            products.add(value * weight);
            total.add(weight);
        }
    }
    let mean = products.value() / total.value();
    if mean.is_finite() { mean } else { 0.0 }
}
