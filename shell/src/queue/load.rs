//! What to conclude from a queue's depth, rate and shares.
//!
//! No function here panics or answers NaN. Each says what it makes of 0, NaN and infinity.

/// A queue is in trouble from this share of its limit up.
const WARNING: f64 = 0.8;
const ELEVATED: f64 = 0.6;

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueHealth {
    /// How many items are held.
    pub depth: usize,
    /// The most that may be held.
    pub hard_limit: usize,
    /// `depth / hard_limit`, more than 1.0 if there are too many. 1.0 when the limit is 0.
    pub utilization: f64,
    /// `critical` from a utilization of 1.0, `warning` from 0.8, `elevated` from 0.6, else
    /// `healthy`.
    pub status: &'static str,
}

/// Whether to turn new work away: when `depth` is over `hard_limit`; in an emergency from 80 % of
/// it; always when `hard_limit` is 0.
///
/// ```
/// use tensorforge::queue::should_shed;
///
/// assert!(!should_shed(10, 10, false));
/// assert!(should_shed(11, 10, false));
/// assert!(should_shed(8, 10, true));
/// ```
#[must_use]
pub fn should_shed(depth: usize, hard_limit: usize, emergency: bool) -> bool {
    let (depth, limit) = (depth as u128, hard_limit as u128);
    limit == 0 || depth > limit || emergency && 10 * depth >= 8 * limit
}

/// How full a queue of `depth` items is, in numbers and in a word. A `hard_limit` of 0 is `critical`
/// at a utilization of 1.0, for it has no room.
///
/// ```
/// use tensorforge::queue::queue_health;
///
/// let health = queue_health(85, 100);
/// assert_eq!((health.utilization, health.status), (0.85, "warning"));
/// ```
#[must_use]
pub fn queue_health(depth: usize, hard_limit: usize) -> QueueHealth {
    let utilization = if hard_limit == 0 { 1.0 } else { depth as f64 / hard_limit as f64 };
    let status = match utilization {
        _ if utilization >= 1.0 => "critical",
        _ if utilization >= WARNING => "warning",
        _ if utilization >= ELEVATED => "elevated",
        _ => "healthy",
    };
    QueueHealth { depth, hard_limit, utilization, status }
}

/// How long `depth` items take at `rate` items per unit of time, in that unit: `depth / rate`.
///
/// `f64::MAX` when `rate` is 0, negative or NaN, whatever the depth, and when the quotient is more
/// than that. 0.0 at an infinite rate.
///
/// ```
/// use tensorforge::queue::estimate_wait_time;
///
/// assert_eq!(estimate_wait_time(10, 4.0), 2.5);
/// assert_eq!(estimate_wait_time(10, 0.0), f64::MAX);
/// ```
#[must_use]
pub fn estimate_wait_time(depth: usize, rate: f64) -> f64 {
    if rate > 0.0 { (depth as f64 / rate).min(f64::MAX) } else { f64::MAX }
}

/// [`estimate_wait_time`] times `weight`: `depth / rate × weight`.
///
/// `f64::MAX` when `rate` is 0, negative or NaN, whatever the weight, and when `weight` is NaN.
/// A negative weight gives a negative number. An infinite weight of no wait is 0.0; any other
/// product stays within ±`f64::MAX`.
///
/// ```
/// use tensorforge::queue::weighted_wait_time;
///
/// assert_eq!(weighted_wait_time(10, 4.0, 2.0), 5.0);
/// assert_eq!(weighted_wait_time(10, 0.0, 0.5), f64::MAX);
/// ```
#[must_use]
pub fn weighted_wait_time(depth: usize, rate: f64, weight: f64) -> f64 {
    if rate.is_nan() || rate <= 0.0 || weight.is_nan() {
        return f64::MAX;
    }
    let wait = estimate_wait_time(depth, rate);
    if wait == 0.0 { 0.0 } else { (wait * weight).clamp(-f64::MAX, f64::MAX) }
}

/// Jain's fairness index of some shares, `(Σx)² / (n × Σx²)`: 1.0 for equal ones and for none, 1 / n
/// when one has all.
///
/// Negative and NaN shares count as 0. If there are infinite ones, they are equal and the others
/// nothing beside them.
///
/// ```
/// use tensorforge::queue::fairness_index;
///
/// assert_eq!(fairness_index(&[3.0, 3.0, 3.0]), 1.0);
/// assert_eq!(fairness_index(&[8.0, 0.0, 0.0, 0.0]), 0.25);
/// ```
#[must_use]
pub fn fairness_index(shares: &[f64]) -> f64 {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return 1.0;
    }
    // The index is the same in any unit; in that of the largest share, nothing overflows.
    let (mut sum, mut squares) = (0.0, 0.0);
    for &share in shares {
        let relative = match share {
            _ if share == largest => 1.0,
            _ if share > 0.0 => share / largest,
            _ => 0.0,
        };
        sum += relative;
        squares += relative * relative;
    }
    (sum * sum / (shares.len() as f64 * squares)).min(1.0)
}

/// Splits `(id, priority, timestamp)` into the expired, whose timestamp is at or before `cutoff`, and
/// the active: each as `(id, priority)`, ready to be queued again, in the order given.
///
/// ```
/// use tensorforge::queue::requeue_expired;
///
/// let items = [("old".to_string(), 1, 90), ("new".to_string(), 2, 110)];
/// let (expired, active) = requeue_expired(&items, 100);
/// assert_eq!(expired, [("old".to_string(), 1)]);
/// assert_eq!(active, [("new".to_string(), 2)]);
/// ```
#[must_use]
#[allow(clippy::type_complexity, reason = "callers of long standing take it apart like this")]
pub fn requeue_expired(
    items: &[(String, i32, u64)],
    cutoff: u64,
) -> (Vec<(String, i32)>, Vec<(String, i32)>) {
    let (mut expired, mut active) = (Vec::new(), Vec::new());
    for (id, priority, timestamp) in items {
        let side = if *timestamp <= cutoff { &mut expired } else { &mut active };
        side.push((id.clone(), *priority));
    }
    (expired, active)
}

/// The share of `limit` that `depth` takes, from 0.0 to 1.0: 1.0 also for more than the limit, and
/// when the limit is 0.
///
/// ```
/// use tensorforge::queue::queue_pressure;
///
/// assert_eq!(queue_pressure(25, 100), 0.25);
/// assert_eq!(queue_pressure(250, 100), 1.0);
/// ```
#[must_use]
pub fn queue_pressure(depth: usize, limit: usize) -> f64 {
    if limit == 0 { 1.0 } else { (depth as f64 / limit as f64).min(1.0) }
}

/// `drained` in percent of `total`, more than 100 if it is more. 0.0 when `total` is 0: nothing was
/// there to be drained.
///
/// ```
/// use tensorforge::queue::drain_percentage;
///
/// assert_eq!(drain_percentage(25, 200), 12.5);
/// assert_eq!(drain_percentage(0, 0), 0.0);
/// ```
#[must_use]
pub fn drain_percentage(drained: usize, total: usize) -> f64 {
    if total == 0 { 0.0 } else { drained as f64 * 100.0 / total as f64 }
}

#[cfg(test)]
mod tests;
