//! How many attempts may be second ones.

use crate::limiter::{Quota, QuotaError, TokenBucket};
use crate::sync::{AtomicU64, Ordering};
use crate::{Duration, Instant};

/// Retries are at most a share of the requests, and a few each second besides, so that a service that
/// fails is not finished off by those who try again.
///
/// Every request pays in a share of a retry, every retry takes a whole one out; what is saved up is
/// bounded. When nothing is saved, the small steady rate still lets some through, for who has few
/// requests.
///
/// **Progress:** lock-free. **Memory:** that of a token bucket, and 24 bytes.
///
/// Sources: Finagle's retry budget; Google, *Site Reliability Engineering*, chapter 21.
///
/// ```
/// use tensorforge_core::{Instant, policy::RetryBudget};
///
/// // A retry for each five requests, 100 saved up at most, none besides.
/// let budget = RetryBudget::new(200, 100, 0).unwrap();
/// let now = Instant::ZERO;
/// assert!(!budget.try_retry(now));
/// (0..10).for_each(|_| budget.record_request());
/// assert_eq!([(); 3].map(|()| budget.try_retry(now)), [true, true, false]);
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    /// Thousandths of a retry.
    saved: AtomicU64,
    per_mille: u64,
    most: u64,
    besides: TokenBucket,
}

impl RetryBudget {
    /// A retry for `per_mille` of 1000 requests, at most `most` of them saved up, and `per_second` besides.
    ///
    /// # Errors
    /// If `per_second` is above 250,000,000.
    pub fn new(per_mille: u32, most: u32, per_second: u32) -> Result<Self, QuotaError> {
        let quota = Quota::per(per_second.into(), Duration::from_secs(1), per_second.into())?;
        Ok(Self {
            saved: AtomicU64::new(0),
            per_mille: per_mille.into(),
            most: 1000 * u64::from(most),
            besides: TokenBucket::new(quota),
        })
    }

    /// A request was made, a first attempt.
    pub fn record_request(&self) {
        let mut saved = self.saved.load(Ordering::Relaxed);
        while saved < self.most {
            let more = (saved + self.per_mille).min(self.most);
            let swapped =
                self.saved.compare_exchange_weak(saved, more, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return,
                Err(other) => saved = other,
            }
        }
    }

    /// Whether there may be a retry now; if so, it is paid for.
    pub fn try_retry(&self, now: Instant) -> bool {
        let mut saved = self.saved.load(Ordering::Relaxed);
        while saved >= 1000 {
            let swapped = self.saved.compare_exchange_weak(
                saved,
                saved - 1000,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return true,
                Err(other) => saved = other,
            }
        }
        self.besides.try_acquire_n(1, now)
    }

    /// How many retries are saved up, in thousandths.
    #[must_use]
    pub fn saved_per_mille(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }
}
