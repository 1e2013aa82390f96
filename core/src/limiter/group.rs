//! Several buckets at once.

use super::TokenBucket;
use crate::Instant;

/// Which bucket refused, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub usize);

/// Takes from every bucket its tokens, or from none.
///
/// It first looks at all of them and touches none if one would refuse. Then it takes from one after
/// the other; if one has been emptied since, it refunds those before it.
///
/// **Guarantee:** when it returns, all were taken or none; no bucket ever gives more than its quota.
/// It is not one atomic step: while it is at work, others may be refused tokens that it then gives
/// back. They are refused, never delayed.
///
/// **Progress:** lock-free. O(buckets).
///
/// ```
/// use tensorforge_core::{Instant, limiter::{Quota, Refusal, TokenBucket, acquire_all}};
///
/// let tenant = TokenBucket::new(Quota::per_second(100, 10).unwrap());
/// let model = TokenBucket::new(Quota::per_second(50, 5).unwrap());
/// let now = Instant::ZERO;
/// assert_eq!(acquire_all(&[(&tenant, 4), (&model, 4)], now), Ok(()));
/// assert_eq!(acquire_all(&[(&tenant, 4), (&model, 4)], now), Err(Refusal(1)));
/// assert_eq!(tenant.peek(0, now).remaining, 6);
/// ```
pub fn acquire_all(buckets: &[(&TokenBucket, u64)], now: Instant) -> Result<(), Refusal> {
    let refuses = |&(bucket, tokens): &(&TokenBucket, u64)| bucket.peek(tokens, now).limited;
    if let Some(place) = buckets.iter().position(refuses) {
        return Err(Refusal(place));
    }
    for (place, &(bucket, tokens)) in buckets.iter().enumerate() {
        if !bucket.try_acquire_n(tokens, now) {
            for &(taken, tokens) in buckets.iter().take(place) {
                taken.refund(tokens);
            }
            return Err(Refusal(place));
        }
    }
    Ok(())
}
