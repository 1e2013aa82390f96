//! How long to wait before the next attempt.

/// `base_ms × 2^attempt`, at most `u64::MAX`. The first attempt is number 0.
///
/// ```
/// use tensorforge::resilience::retry_delay;
///
/// assert_eq!([0, 1, 2].map(|attempt| retry_delay(100, attempt)), [100, 200, 400]);
/// assert_eq!(retry_delay(100, 64), u64::MAX);
/// ```
#[must_use]
pub fn retry_delay(base_ms: u64, attempt: u32) -> u64 {
    match base_ms {
        0 => 0,
        _ if attempt > base_ms.leading_zeros() => u64::MAX,
        _ => base_ms << attempt,
    }
}

/// [`retry_delay`], but at most `ceiling_ms`.
///
/// ```
/// use tensorforge::resilience::adaptive_backoff;
///
/// assert_eq!([2, 3, 4].map(|attempt| adaptive_backoff(100, attempt, 500)), [400, 500, 500]);
/// ```
#[must_use]
pub fn adaptive_backoff(base_ms: u64, attempt: u32, ceiling_ms: u64) -> u64 {
    retry_delay(base_ms, attempt).min(ceiling_ms)
}
