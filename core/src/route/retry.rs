//! Whether to ask a second endpoint: after a failure, or before an answer.

use crate::limiter::QuotaError;
use crate::policy::RetryBudget;
use crate::quantile::{Counter, Estimate, Sketch, Window};
use crate::{Duration, Instant};

/// Whether a request may be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RetryDecision {
    /// Yes, and it is paid for. Block the endpoints that have failed it.
    Retry,
    /// Its failure would only happen again, or it may have had an effect.
    NotRetryable,
    /// It was tried often enough.
    TooOften,
    /// It could not be answered in time.
    TooLate,
    /// Too many others are tried again.
    NoBudget,
}

/// What is known of a request that has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed {
    /// How often it was tried, at least once.
    pub attempts: u32,
    /// Whether another try can help and does no harm.
    pub retryable: bool,
    /// When its answer is of no use any more.
    pub deadline: Option<Instant>,
    /// How long another try takes, if that is known.
    pub expected: Option<Duration>,
}

/// Which requests may be tried again: only so many of all, so that who fails is not finished off.
///
/// Hedges are second attempts too, and are paid from the same budget.
///
/// **Progress:** lock-free. **Memory:** that of a [`RetryBudget`], and 8 bytes.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::route::{Failed, Retries, RetryDecision};
///
/// // A retry for each five requests, at most 100 saved up, none besides; three attempts in all.
/// let retries = Retries::new(200, 100, 0, 3).unwrap();
/// (0..5).for_each(|_| retries.record_request());
/// let failed = Failed { attempts: 1, retryable: true, deadline: None, expected: None };
/// assert_eq!(retries.decide(failed, Instant::ZERO), RetryDecision::Retry);
/// assert_eq!(retries.decide(failed, Instant::ZERO), RetryDecision::NoBudget);
/// ```
#[derive(Debug)]
pub struct Retries {
    budget: RetryBudget,
    most_attempts: u32,
}

impl Retries {
    /// A retry for `per_mille` of 1000 requests, at most `saved` of them saved up, and `per_second`
    /// besides; `most_attempts` of one request, the first included.
    ///
    /// # Errors
    /// If `per_second` is above 250,000,000.
    pub fn new(
        per_mille: u32,
        saved: u32,
        per_second: u32,
        most_attempts: u32,
    ) -> Result<Self, QuotaError> {
        Ok(Self { budget: RetryBudget::new(per_mille, saved, per_second)?, most_attempts })
    }

    /// A request was made, a first attempt.
    pub fn record_request(&self) {
        self.budget.record_request();
    }

    /// Whether to try again. Only a [`Retry`](RetryDecision::Retry) is paid for.
    #[must_use]
    pub fn decide(&self, failed: Failed, now: Instant) -> RetryDecision {
        let ready = now + failed.expected.unwrap_or(Duration::ZERO);
        if !failed.retryable {
            RetryDecision::NotRetryable
        } else if failed.attempts >= self.most_attempts {
            RetryDecision::TooOften
        } else if failed.deadline.is_some_and(|deadline| ready >= deadline) {
            RetryDecision::TooLate
        } else if self.budget.try_retry(now) {
            RetryDecision::Retry
        } else {
            RetryDecision::NoBudget
        }
    }

    /// Whether a hedge may be sent now; if so, it is paid for.
    #[must_use]
    pub fn try_hedge(&self, now: Instant) -> bool {
        self.budget.try_retry(now)
    }
}

/// When to ask a second endpoint although the first has not failed.
///
/// After the time within which `quantile` of the requests are answered: with 0.95, one request in 20 is
/// asked twice, and the slowest of them are no longer as slow as the slowest endpoint.
///
/// Source: J. Dean and L. A. Barroso, *The tail at scale*, 2013.
///
/// ```
/// use tensorforge_core::quantile::Sketch;
/// use tensorforge_core::route::Hedging;
///
/// let mut seconds: Sketch = Sketch::new();
/// (1..=1000).for_each(|millis| seconds.insert(f64::from(millis) * 1e-3));
/// let after = Hedging::DEFAULT.after(&seconds).unwrap().as_nanos() as f64 * 1e-9;
/// assert!((after / 0.95 - 1.0).abs() < 0.0078);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hedging {
    /// Which quantile of the latency to wait for: 0 to 1.
    pub quantile: f64,
    /// Never sooner than this.
    pub at_least: Duration,
    /// Never later than this.
    pub at_most: Duration,
    /// No hedge before so many latencies are known.
    pub least_observations: u64,
}

impl Hedging {
    /// The 95th percentile of 100 latencies or more, 1 ms at least.
    pub const DEFAULT: Self = Self {
        quantile: 0.95,
        at_least: Duration::from_millis(1),
        at_most: Duration::MAX,
        least_observations: 100,
    };

    /// How long after a request was sent to send a second one; `None` for not at all. `latencies` are
    /// in seconds.
    #[must_use]
    pub fn after(&self, latencies: &impl Latencies) -> Option<Duration> {
        if latencies.count() < self.least_observations {
            return None;
        }
        let seconds = latencies.quantile(self.quantile)?.value();
        // Saturates; what is no number waits for no time, and then for the least.
        let after = Duration::from_nanos((seconds * 1e9) as u64);
        Some(after.max(self.at_least).min(self.at_most))
    }
}

/// Latencies whose quantiles can be asked for.
pub trait Latencies {
    /// How many there are.
    fn count(&self) -> u64;
    /// The quantile at `q`, 0 to 1.
    fn quantile(&self, q: f64) -> Option<Estimate>;
}

impl<const OCTAVES: usize, C: Counter> Latencies for Sketch<OCTAVES, C> {
    fn count(&self) -> u64 {
        self.count()
    }

    fn quantile(&self, q: f64) -> Option<Estimate> {
        self.quantile(q)
    }
}

impl<S: AsRef<[u16]> + AsMut<[u16]>, const OCTAVES: usize> Latencies for Window<S, OCTAVES> {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn quantile(&self, q: f64) -> Option<Estimate> {
        self.quantile(q)
    }
}
