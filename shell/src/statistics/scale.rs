//! One number beside others.

/// `alpha · new + (1 − alpha) · prev`: the next value of an exponential moving average.
///
/// If `new` or `alpha` is infinite or NaN, the average stays `prev`; if `prev` is, it becomes `new`; 0.0
/// if both are.
///
/// ```
/// assert_eq!(tensorforge::statistics::exponential_moving_average(8.0, 4.0, 0.25), 7.0);
/// ```
#[must_use]
pub fn exponential_moving_average(prev: f64, new: f64, alpha: f64) -> f64 {
    let next = alpha * new + (1.0 - alpha) * prev;
    [next, prev, new].into_iter().find(|value| value.is_finite()).unwrap_or(0.0)
}

/// Where `v` lies between `min` (0.0) and `max` (1.0): below 0.0 or above 1.0 if it lies outside. 0.0 if
/// `max` is not above `min`, or any of them is infinite or NaN.
///
/// ```
/// assert_eq!(tensorforge::statistics::min_max_normalize(15.0, 10.0, 30.0), 0.25);
/// ```
#[must_use]
pub fn min_max_normalize(v: f64, min: f64, max: f64) -> f64 {
    if max > min { ratio(v - min, max - min) } else { 0.0 }
}

/// The change as a share of what was: `(new − old) / old`. 0.0 if `old` is 0, or any is infinite or NaN.
///
/// ```
/// assert_eq!(tensorforge::statistics::rate_of_change(80.0, 100.0), 0.25);
/// ```
#[must_use]
pub fn rate_of_change(old: f64, new: f64) -> f64 {
    ratio(new - old, old)
}

/// How many standard deviations `v` lies above the mean: `(v − mean) / sd`. 0.0 if `sd` is 0, negative,
/// infinite or NaN, or any other is infinite or NaN.
///
/// ```
/// assert_eq!(tensorforge::statistics::z_score(130.0, 100.0, 15.0), 2.0);
/// ```
#[must_use]
pub fn z_score(v: f64, mean: f64, sd: f64) -> f64 {
    if sd > 0.0 { ratio(v - mean, sd) } else { 0.0 }
}

/// The quotient, or 0.0 if it is not a number that can be told.
fn ratio(of: f64, to: f64) -> f64 {
    let ratio = of / to;
    if ratio.is_finite() && to.is_finite() { ratio } else { 0.0 }
}
