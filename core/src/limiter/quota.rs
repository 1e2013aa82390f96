//! A rate and a burst.

use crate::{Duration, Instant};

/// What may pass: `tokens` in each `period` on average, and `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Parts of a token per nanosecond, as a fraction of 2^64.
    pub(super) parts_per_nano: u64,
    /// Parts in a token, as a power of two.
    pub(super) token_bits: u32,
    /// Tokens that fit in the bucket.
    pub(super) burst: u64,
}

/// Why there is no such quota.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// A period of no length.
    NoPeriod,
    /// More than one token in 4 ns.
    TooFast,
    /// A burst above 2^61 - 1 tokens.
    TooLarge,
}

impl core::fmt::Display for QuotaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoPeriod => "a rate's period is at least 1 ns; 0 was asked for",
            Self::TooFast => "a rate is at most one token in 4 ns, which is 250,000,000 a second",
            Self::TooLarge => "a burst is below 2^61 tokens",
        })
    }
}

impl core::error::Error for QuotaError {}

/// The most parts that a bucket is ever short of: twice that and all that accrues fit in its word.
pub(super) const MOST_PARTS: u64 = (1 << 61) - 1;

impl Quota {
    /// `tokens` in each `period`, arriving evenly, and at most `burst` of them saved up.
    ///
    /// With 0 tokens, nothing is ever refilled. With a burst of 0, nothing that costs passes.
    ///
    /// ```
    /// use tensorforge_core::{Duration, limiter::{Quota, QuotaError}};
    ///
    /// const QUOTA: Result<Quota, QuotaError> = Quota::per(7, Duration::from_micros(1), 20);
    /// assert!(QUOTA.is_ok());
    /// assert_eq!(Quota::per(7, Duration::ZERO, 20), Err(QuotaError::NoPeriod));
    /// ```
    pub const fn per(tokens: u64, period: Duration, burst: u64) -> Result<Self, QuotaError> {
        let nanos = period.as_nanos();
        if nanos == 0 {
            return Err(QuotaError::NoPeriod);
        }
        if tokens > nanos / 4 {
            return Err(QuotaError::TooFast);
        }
        if burst > MOST_PARTS {
            return Err(QuotaError::TooLarge);
        }
        let mut token_bits = 0;
        while token_bits < 40
            && (tokens as u128) << (token_bits + 1) <= nanos as u128 / 4
            && (burst as u128) << (token_bits + 1) <= MOST_PARTS as u128
        {
            token_bits += 1;
        }
        // At most 2^62, and the product at most 2^126.
        let parts_per_nano = (((tokens as u128) << (token_bits + 64)) / nanos as u128) as u64;
        Ok(Self { parts_per_nano, token_bits, burst })
    }

    /// `tokens` a second.
    pub const fn per_second(tokens: u64, burst: u64) -> Result<Self, QuotaError> {
        Self::per(tokens, Duration::from_secs(1), burst)
    }

    /// Tokens that fit in the bucket.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Parts that have accrued at `now`: at most 2^62.
    #[inline(always)]
    pub(super) const fn accrued(&self, now: Instant) -> u64 {
        ((now.as_nanos() as u128 * self.parts_per_nano as u128) >> 64) as u64
    }

    /// The parts of the whole burst.
    #[inline(always)]
    pub(super) const fn burst_parts(&self) -> u64 {
        self.burst << self.token_bits
    }

    /// The parts of `tokens`, or `None` if they are more than the burst.
    #[inline(always)]
    pub(super) const fn parts(&self, tokens: u64) -> Option<u64> {
        if tokens > self.burst { None } else { Some(tokens << self.token_bits) }
    }

    /// How long after `now` `parts` will have accrued; `None` if not while time lasts.
    pub(super) fn until_accrued(&self, parts: u64, now: Instant) -> Option<Duration> {
        if self.accrued(now) >= parts {
            return Some(Duration::ZERO);
        }
        let at = (u128::from(parts) << 64).div_ceil(u128::from(self.parts_per_nano).max(1));
        // With no rate at all, the line above says far beyond the end of time.
        let at = u64::try_from(at).ok().filter(|_| self.parts_per_nano > 0)?;
        Some(Instant::from_nanos(at).since(now))
    }
}
