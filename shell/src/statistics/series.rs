//! Numbers in the order in which they came.

use tensorforge_core::stats::{self, Moments, Sum};

use super::{exponential_moving_average, is_value};

/// The mean of every `window` values in a row: `values.len() − window + 1` means. A window longer than
/// `values` counts as all of them, so there is one mean; a window of 0, or no values, gives none.
///
/// What is no value is left out of the means whose window it is in; 0.0 where nothing is left. O(n)
/// whatever the window, with a compensated sum: a spike of 1e12 that left the window leaves no trace.
///
/// ```
/// use tensorforge::statistics::moving_average;
///
/// assert_eq!(moving_average(&[1.0, 2.0, 6.0, 4.0], 2), [1.5, 4.0, 5.0]);
/// assert_eq!(moving_average(&[1.0, 2.0, 6.0], 10), [3.0]);
/// ```
#[must_use]
pub fn moving_average(values: &[f64], window: usize) -> Vec<f64> {
    stats::moving_average(values, window.min(values.len()))
        .map(|average| average.unwrap_or(0.0))
        .collect()
}

/// For each value, the population variance of it and the values before it, `window` in all; of fewer at
/// the beginning, so 0.0 first. A window of 0 gives nothing.
///
/// What is no value is left out of every window it is in. O(n · window): each window is computed on its
/// own, so that nothing adds up or stays behind.
///
/// ```
/// use tensorforge::statistics::running_variance;
///
/// assert_eq!(running_variance(&[1.0, 3.0, 9.0, 9.0], 2), [0.0, 1.0, 9.0, 0.0]);
/// ```
#[must_use]
pub fn running_variance(values: &[f64], window: usize) -> Vec<f64> {
    if window == 0 {
        return Vec::new();
    }
    (1..=values.len())
        .map(|end| {
            let window = &values[end.saturating_sub(window)..end];
            Moments::from_slice(window).variance().unwrap_or(0.0)
        })
        .collect()
}

/// The sum up to each value. What is no value adds nothing. O(n), with a compensated sum.
///
/// ```
/// assert_eq!(tensorforge::statistics::cumulative_sum(&[1.0, 2.0, -4.0]), [1.0, 3.0, -1.0]);
/// ```
#[must_use]
pub fn cumulative_sum(values: &[f64]) -> Vec<f64> {
    let mut sum = Sum::new();
    values
        .iter()
        .map(|&value| {
            if is_value(value) {
                sum.add(value);
            }
            sum.value()
        })
        .collect()
}

/// Whether the values go up or down: `"rising"` if the last lies more than 1.0 above the
/// [exponential moving average](exponential_moving_average) of all, begun at the first; `"falling"` if
/// more than 1.0 below; else `"stable"`, and below two values.
///
/// The average lags the further behind, the smaller `alpha` is; with an `alpha` of 1 nothing rises. One
/// not in 0 to 1, or NaN, counts as the nearest of them (NaN as 0: every value is compared with the
/// first).
///
/// The 1.0 is in the values' own unit: give milliseconds, not seconds, where milliseconds matter. It does
/// not tell a trend from noise that is larger than that: the last value decides. To
/// learn since when a stream shifted, and with a threshold of your own, see
/// [`tensorforge_core::stats::PageHinkley`].
///
/// ```
/// use tensorforge::statistics::detect_trend;
///
/// assert_eq!(detect_trend(&[10.0, 12.0, 14.0, 16.0], 0.3), "rising");
/// assert_eq!(detect_trend(&[10.0, 10.2, 9.9, 10.0], 0.3), "stable");
/// ```
#[must_use]
pub fn detect_trend(values: &[f64], alpha: f64) -> &'static str {
    let alpha = if alpha.is_nan() { 0.0 } else { alpha.clamp(0.0, 1.0) };
    let mut values = values.iter().copied().filter(|&value| is_value(value));
    let Some(first) = values.next() else { return "stable" };
    let (average, last) = values.fold((first, first), |(average, _), value| {
        (exponential_moving_average(average, value, alpha), value)
    });
    match last - average {
        above if above > 1.0 => "rising",
        below if below < -1.0 => "falling",
        _ => "stable",
    }
}
