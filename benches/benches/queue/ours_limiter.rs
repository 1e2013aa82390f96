//! The limiter under test, and the only place that names it.

use tensorforge_core::limiter::TokenBucket;
use tensorforge_core::{Duration, Instant};

use crate::limiters::{Limiter, Quota};

pub(crate) const NAME: &str = "tensorforge TokenBucket";

pub(crate) fn new(quota: Quota) -> impl Limiter {
    let period = Duration::from_nanos(quota.period_ns);
    match tensorforge_core::limiter::Quota::per(1, period, quota.burst) {
        Ok(quota) => TokenBucket::new(quota),
        Err(why) => panic!("a token in {period:?}: {why}"),
    }
}

impl Limiter for TokenBucket {
    #[inline]
    fn check(&self, now: u64) -> bool {
        self.try_acquire(Instant::from_nanos(now))
    }
}
