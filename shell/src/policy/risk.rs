//! Risks and promises.

/// Whether a service level was kept: `actual` at most `sla`.
#[must_use]
pub const fn check_sla_compliance(actual_minutes: i32, sla_minutes: i32) -> bool {
    actual_minutes <= sla_minutes
}

/// How many of 100 records, each what it was and what was promised, kept it. 100.0 of none.
#[must_use]
pub fn sla_percentage(records: &[(i32, i32)]) -> f64 {
    if records.is_empty() {
        return 100.0;
    }
    let kept = records.iter().filter(|&&(actual, sla)| check_sla_compliance(actual, sla)).count();
    kept as f64 * 100.0 / records.len() as f64
}

/// Whether a rate of failures is above the threshold. `false` at it, and if one of them is NaN.
#[must_use]
pub fn escalation_needed(failure_rate: f64, threshold: f64) -> bool {
    failure_rate > threshold
}

/// How bad times how likely. 0.0 if that is no number, such as for NaN; at most `f64::MAX`.
#[must_use]
pub fn risk_score(severity: f64, probability: f64) -> f64 {
    let risk = severity * probability;
    if risk.is_nan() { 0.0 } else { risk.clamp(f64::MIN, f64::MAX) }
}

/// The mean of the risk scores of some events, each how bad and how likely. 0.0 of none.
///
/// ```
/// assert_eq!(tensorforge::policy::aggregate_risk(&[(10.0, 0.5), (4.0, 0.25)]), 3.0);
/// ```
#[must_use]
pub fn aggregate_risk(events: &[(f64, f64)]) -> f64 {
    let count = events.len().max(1) as f64;
    // Divided first: the sum of the largest would overflow.
    let shares =
        events.iter().map(|&(severity, probability)| risk_score(severity, probability) / count);
    // The sum of no numbers is -0.0.
    shares.sum::<f64>() + 0.0
}

/// Whether a time of grace is not over: up to and with its last second.
#[must_use]
pub const fn within_grace_period(elapsed_seconds: u64, grace_seconds: u64) -> bool {
    elapsed_seconds <= grace_seconds
}
