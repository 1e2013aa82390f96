//! How good a route is, as one number.
//!
//! No function here panics, overflows or answers NaN or infinity.

/// `reliability × priority / latency`: the more is reached in the less time, the higher. 0.0 for a latency
/// of 0 or less, and where the result is no number that can be told (a reliability of NaN or infinity).
///
/// ```
/// use tensorforge::routing::channel_score;
///
/// assert_eq!(channel_score(20, 0.5, 4), 0.1);
/// assert_eq!(channel_score(0, 0.5, 4), 0.0);
/// ```
#[must_use]
pub fn channel_score(latency: i32, reliability: f64, priority: i32) -> f64 {
    weighted_route_score(latency, reliability, f64::from(priority))
}

/// `reliability × weight / latency`. 0.0 for a latency of 0 or less, and where the result is no number that
/// can be told (NaN, infinity, or products beyond what an `f64` holds).
///
/// ```
/// use tensorforge::routing::weighted_route_score;
///
/// assert_eq!(weighted_route_score(10, 0.5, 2.0), 0.1);
/// assert_eq!(weighted_route_score(-1, 0.5, 2.0), 0.0);
/// ```
#[must_use]
pub fn weighted_route_score(latency: i32, reliability: f64, weight: f64) -> f64 {
    let score = reliability * weight / f64::from(latency);
    if latency > 0 && score.is_finite() { score } else { 0.0 }
}

/// A latency as a share of the highest: `latency / max`. Above 1.0 when it is higher than that, negative
/// when it is negative; 0.0 for a `max` of 0 or less.
///
/// ```
/// use tensorforge::routing::normalize_latency;
///
/// assert_eq!(normalize_latency(50, 200), 0.25);
/// assert_eq!(normalize_latency(50, 0), 0.0);
/// ```
#[must_use]
pub fn normalize_latency(latency: i32, max: i32) -> f64 {
    if max > 0 { f64::from(latency) / f64::from(max) } else { 0.0 }
}

/// The share of `successes` among `total` attempts: 0.0 for none. Above 1.0 when there are more successes
/// than attempts.
///
/// ```
/// use tensorforge::routing::route_reliability;
///
/// assert_eq!(route_reliability(9, 12), 0.75);
/// assert_eq!(route_reliability(0, 0), 0.0);
/// ```
#[must_use]
pub fn route_reliability(successes: usize, total: usize) -> f64 {
    if total == 0 { 0.0 } else { successes as f64 / total as f64 }
}

/// What a latency of `base` becomes under load: `base × (1 + load)`, cut to a whole number towards 0 and
/// held within what an `i32` can be. A load of 0.5 is half as long again; one of NaN changes nothing.
///
/// ```
/// use tensorforge::routing::congestion_adjusted_latency;
///
/// assert_eq!(congestion_adjusted_latency(100, 0.5), 150);
/// assert_eq!(congestion_adjusted_latency(100, f64::INFINITY), i32::MAX);
/// ```
#[must_use]
pub fn congestion_adjusted_latency(base: i32, load: f64) -> i32 {
    let load = if load.is_nan() { 0.0 } else { load };
    // A conversion from f64 saturates; 0 × ∞ becomes 0.
    (f64::from(base) * (1.0 + load)) as i32
}

#[cfg(test)]
mod tests;
