//! How bad it is.

/// Whether to stop calling: when the share of `errors` among `total` calls is `threshold` or more.
/// `false` without calls and for a threshold of NaN.
///
/// ```
/// use tensorforge::resilience::should_trip;
///
/// assert!(should_trip(3, 10, 0.3));
/// assert!(!should_trip(2, 10, 0.3));
/// assert!(!should_trip(0, 0, 0.0));
/// ```
#[must_use]
pub fn should_trip(errors: usize, total: usize, threshold: f64) -> bool {
    total > 0 && errors as f64 / total as f64 >= threshold
}

/// The share of `successes` among all attempts. 0.0 for none.
///
/// ```
/// use tensorforge::resilience::recovery_rate;
///
/// assert_eq!(recovery_rate(3, 1), 0.75);
/// assert_eq!(recovery_rate(0, 0), 0.0);
/// ```
#[must_use]
pub fn recovery_rate(successes: usize, failures: usize) -> f64 {
    let attempts = successes as f64 + failures as f64;
    if attempts == 0.0 { 0.0 } else { successes as f64 / attempts }
}

/// An error rate in a word: above 0.75 `critical`, above 0.5 `degraded`, above 0.25 `warning`, above 0
/// `minor`, else `healthy`; so is NaN, the rate of no calls.
///
/// ```
/// use tensorforge::resilience::degradation_level;
///
/// assert_eq!(degradation_level(0.75), "degraded");
/// assert_eq!(degradation_level(0.76), "critical");
/// ```
#[must_use]
pub fn degradation_level(error_rate: f64) -> &'static str {
    match error_rate {
        rate if rate > 0.75 => "critical",
        rate if rate > 0.5 => "degraded",
        rate if rate > 0.25 => "warning",
        rate if rate > 0.0 => "minor",
        _ => "healthy",
    }
}

/// Whether the share of the healthy is `quorum` or more. `false` for nobody and for a quorum of NaN.
///
/// ```
/// use tensorforge::resilience::health_quorum;
///
/// assert!(health_quorum(&[true, true, false], 0.6));
/// assert!(!health_quorum(&[true, true, false], 0.7));
/// assert!(!health_quorum(&[], 0.0));
/// ```
#[must_use]
pub fn health_quorum(healthy: &[bool], quorum: f64) -> bool {
    let count = healthy.iter().filter(|&&is_healthy| is_healthy).count();
    !healthy.is_empty() && count as f64 / healthy.len() as f64 >= quorum
}

/// Whether any is unhealthy, and so could pull others down.
///
/// ```
/// use tensorforge::resilience::cascade_failure_check;
///
/// assert!(cascade_failure_check(&[true, false]));
/// assert!(!cascade_failure_check(&[true, true]) && !cascade_failure_check(&[]));
/// ```
#[must_use]
pub fn cascade_failure_check(healthy: &[bool]) -> bool {
    healthy.contains(&false)
}

/// Whether a bulkhead of `max` places has one left.
///
/// ```
/// use tensorforge::resilience::bulkhead_permits_available;
///
/// assert!(bulkhead_permits_available(9, 10));
/// assert!(!bulkhead_permits_available(10, 10));
/// ```
#[must_use]
pub fn bulkhead_permits_available(used: usize, max: usize) -> bool {
    used < max
}
