//! What a breaker is told once, and what follows from it.

use super::window::Counts;
use crate::{Duration, Instant};

/// When to open, for how long, and what it takes to close again. Shares are in thousandths.
///
/// ```
/// use tensorforge_core::breaker::{Breaker, BreakerConfig, ConfigError};
///
/// let config = BreakerConfig { failure_rate: Some(250), ..BreakerConfig::DEFAULT };
/// assert!(Breaker::new(config, 1).is_ok());
/// let never = BreakerConfig { consecutive_failures: None, failure_rate: None, ..config };
/// assert_eq!(Breaker::new(never, 1).err(), Some(ConfigError::NoRule));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Opens after so many failures in a row.
    pub consecutive_failures: Option<u32>,
    /// Opens when this share of the window's calls, or more, failed: 1 to 1000.
    pub failure_rate: Option<u16>,
    /// Opens when this share of the window's calls, or more, was slow: 1 to 1000. With `None`, a slow
    /// call is a success.
    pub slow_rate: Option<u16>,
    /// How far back the two rates look, to within an eighth: 1 ms or more.
    pub window: Duration,
    /// The two rates say nothing about fewer calls in the window than these: 1 to 1000.
    pub minimum_calls: u16,
    /// How long the first opening lasts.
    pub open_for: Duration,
    /// How much longer the next one lasts, in thousandths: 1000 for no longer, 2000 for twice.
    pub open_growth: u32,
    /// The longest that one lasts.
    pub open_at_most: Duration,
    /// By up to which part an opening is shortened at random: 0 to 1000.
    pub jitter: u16,
    /// How many probes one half-open admits: 1 to 255.
    pub probes: u8,
    /// Closes when this share of the probes succeeded: 1 to 1000.
    pub probe_successes: u16,
    /// How long after the last probe was admitted all that have not reported count as failed.
    pub probe_timeout: Duration,
}

/// Why there is no such breaker.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No run of failures, no failure rate and no slow rate.
    NoRule,
    /// A run of 0 failures.
    NoRun,
    /// A rate of failures, slow calls or succeeding probes that is not within 1 to 1000.
    Rate,
    /// A window below 1 ms.
    Window,
    /// A minimum of calls that is not within 1 to 1000.
    MinimumCalls,
    /// An opening of no time.
    OpenFor,
    /// A growth below 1000.
    OpenGrowth,
    /// A limit of openings below the first one.
    OpenAtMost,
    /// A jitter above 1000.
    Jitter,
    /// No probes.
    NoProbes,
    /// Probes that have no time.
    ProbeTimeout,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoRule => {
                "a breaker opens by consecutive failures, a failure rate or a slow rate; none was given"
            }
            Self::NoRun => "a breaker opens after 1 consecutive failure or more; 0 were given",
            Self::Rate => {
                "failure rate, slow rate and probe successes are 1 to 1000 thousandths each"
            }
            Self::Window => "the window of a rate is at least 1 ms",
            Self::MinimumCalls => "the minimum of calls for a rate is 1 to 1000",
            Self::OpenFor => "a breaker is open for some time; 0 was given",
            Self::OpenGrowth => "an opening grows by a factor of 1000 thousandths or more",
            Self::OpenAtMost => "the longest opening is not shorter than the first one",
            Self::Jitter => "an opening is shortened by 1000 thousandths at most",
            Self::NoProbes => "a half-open needs 1 probe or more; 0 were given",
            Self::ProbeTimeout => "probes have some time to report; 0 was given",
        })
    }
}

impl core::error::Error for ConfigError {}

impl BreakerConfig {
    /// Opens after 5 failures in a row, or when half of 20 calls or more in 10 s failed, for 5 s, then
    /// twice as long each time up to 1 min, each shortened by up to a fifth. Closes when 2 of 3 probes
    /// succeed, which have 10 s.
    pub const DEFAULT: Self = Self {
        consecutive_failures: Some(5),
        failure_rate: Some(500),
        slow_rate: None,
        window: Duration::from_secs(10),
        minimum_calls: 20,
        open_for: Duration::from_secs(5),
        open_growth: 2000,
        open_at_most: Duration::from_secs(60),
        jitter: 200,
        probes: 3,
        probe_successes: 600,
        probe_timeout: Duration::from_secs(10),
    };

    /// Whether there is such a breaker.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    pub(super) const fn check(&self) -> Result<(), ConfigError> {
        let (failure_rate, slow_rate) = (or_most(self.failure_rate), or_most(self.slow_rate));
        let error = if self.consecutive_failures.is_none() && !self.has_rate() {
            ConfigError::NoRule
        } else if matches!(self.consecutive_failures, Some(0)) {
            ConfigError::NoRun
        } else if !is_rate(failure_rate) || !is_rate(slow_rate) || !is_rate(self.probe_successes) {
            ConfigError::Rate
        } else if self.has_rate() && self.window.as_nanos() < 1_000_000 {
            ConfigError::Window
        } else if self.has_rate() && !is_rate(self.minimum_calls) {
            ConfigError::MinimumCalls
        } else if self.open_for.as_nanos() == 0 {
            ConfigError::OpenFor
        } else if self.open_growth < 1000 {
            ConfigError::OpenGrowth
        } else if self.open_at_most.as_nanos() < self.open_for.as_nanos() {
            ConfigError::OpenAtMost
        } else if self.jitter > 1000 {
            ConfigError::Jitter
        } else if self.probes == 0 {
            ConfigError::NoProbes
        } else if self.probe_timeout.as_nanos() == 0 {
            ConfigError::ProbeTimeout
        } else {
            return Ok(());
        };
        Err(error)
    }

    /// Whether a window is needed.
    pub(super) const fn has_rate(&self) -> bool {
        self.failure_rate.is_some() || self.slow_rate.is_some()
    }

    /// Whether so many failures in a row open the breaker.
    pub(super) fn run_opens(&self, run: u32) -> bool {
        self.consecutive_failures.is_some_and(|most| run >= most)
    }

    /// Whether what the window has seen opens the breaker.
    pub(super) fn rates_open(&self, seen: Counts) -> bool {
        let reaches = |count: u32, rate: Option<u16>| {
            rate.is_some_and(|rate| {
                u64::from(count) * 1000 >= u64::from(rate) * u64::from(seen.calls)
            })
        };
        seen.calls >= u32::from(self.minimum_calls)
            && (reaches(seen.failures, self.failure_rate) || reaches(seen.slow, self.slow_rate))
    }

    /// How many probes must succeed: at least one, at most all.
    pub(super) const fn successes_needed(&self) -> u8 {
        // At most 255, for a share is at most the whole.
        (self.probes as u32 * self.probe_successes as u32).div_ceil(1000) as u8
    }

    /// When an opening at `start` ends that follows `openings` others since the breaker was closed.
    pub(super) fn open_until(&self, start: Instant, openings: u8, random: u64) -> Instant {
        let most = self.open_at_most.as_nanos();
        let mut length = self.open_for.as_nanos();
        for _ in 0..openings {
            let grown = u128::from(length) * u128::from(self.open_growth) / 1000;
            length = u64::try_from(grown).unwrap_or(u64::MAX);
            if length >= most {
                length = most;
                break;
            }
        }
        let spread = u128::from(length) * u128::from(self.jitter) / 1000;
        // Both below 2^64, for the jitter is not above 1000.
        let cut = ((spread * u128::from(random)) >> 64) as u64;
        start + Duration::from_nanos(length.saturating_sub(cut))
    }
}

/// From 1 to 1000.
const fn is_rate(thousandths: u16) -> bool {
    thousandths >= 1 && thousandths <= 1000
}

const fn or_most(rate: Option<u16>) -> u16 {
    match rate {
        Some(rate) => rate,
        None => 1000,
    }
}

/// The random number of an epoch: the first, second ... of SplitMix64 from `seed`.
pub(super) const fn random(seed: u64, epoch: u32) -> u64 {
    let step = (epoch as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut mixed = seed.wrapping_add(step);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
