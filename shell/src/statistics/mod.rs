//! Figures about numbers: averages, spreads, percentiles, trends, heat maps.
//!
//! The functions look at a slice and answer at once. [`ResponseTimeTracker`] follows a stream and
//! keeps the percentiles of its last values. What they stand on, and more for streams (sketches that
//! merge over replicas, covariance matrices, change detection), is in [`tensorforge_core::stats`] and
//! [`tensorforge_core::quantile`].
//!
//! # What is no value
//! NaN, the infinities, and numbers above 3e141 in magnitude (whose squares would overflow) are left out
//! of every figure here, as if they were not in the slice. No function panics or answers NaN; over no
//! values, or slices of different length where pairs are wanted, the answer is 0.0.
//!
//! ```
//! use tensorforge::statistics::{ResponseTimeTracker, mean, percentile, stddev};
//!
//! assert_eq!(mean(&[2.0, 4.0, 9.0]), 5.0);
//! assert_eq!(stddev(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 2.0);
//! assert_eq!(percentile(&[15, 20, 35, 40, 50], 40), 20);
//!
//! let latency = ResponseTimeTracker::new(1000);
//! for millis in 1..=2000 {
//!     latency.record(f64::from(millis));
//! }
//! assert!((latency.p99() - 1990.0).abs() <= 0.01 * 1990.0);
//! ```

mod describe;
mod heatmap;
mod pairs;
mod scale;
mod series;
mod tracker;

#[cfg(test)]
mod tests;

pub use describe::{
    interquartile_range, mean, median, outlier_indices, percentile, stddev, sum_of_squares,
    trimmed_mean, variance,
};
pub use heatmap::{HeatmapCell, HeatmapEvent, generate_heatmap};
pub use pairs::{correlation, covariance, weighted_mean};
pub use scale::{exponential_moving_average, min_max_normalize, rate_of_change, z_score};
pub use series::{cumulative_sum, detect_trend, moving_average, running_variance};
pub use tracker::{MAX_WINDOW, ResponseTimeTracker};

use tensorforge_core::stats::LARGEST;

/// Whether a number counts.
fn is_value(value: f64) -> bool {
    value.abs() <= LARGEST // false for NaN
}

/// Those that count.
fn values_of(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|&value| is_value(value)).collect()
}
