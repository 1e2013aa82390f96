//! Who else gets a copy of a request.

use super::split::{ALL_TRAFFIC, place_of};
use crate::Instant;
use crate::limiter::{Quota, QuotaError, TokenBucket};
use crate::sync::{AtomicU64, Ordering};

/// How much a shadow gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShadowConfig {
    /// Which part of the requests is copied, in hundredths of a per cent: up to [`ALL_TRAFFIC`].
    pub share: u16,
    /// How many copies may be under way.
    pub most_in_flight: u32,
    /// How many copies there may be in a second.
    pub per_second: u32,
    /// How many of those at once.
    pub burst: u32,
    /// From which load of the primary on there are no copies, in thousandths of what it can carry. With 0,
    /// there are none at all.
    pub shed_from: u16,
    /// Where in its turns it begins. Shadows that begin apart do not copy the same requests.
    pub phase: u16,
}

impl ShadowConfig {
    /// All requests, 64 copies under way and 1,000 in a second, none from a load of 70 % on.
    pub const DEFAULT: Self = Self {
        share: ALL_TRAFFIC,
        most_in_flight: 64,
        per_second: 1_000,
        burst: 100,
        shed_from: 700,
        phase: 0,
    };
}

/// Why there is no such shadow.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShadowError {
    /// A share above [`ALL_TRAFFIC`].
    Share(u16),
    /// A rate that cannot be held.
    Rate(QuotaError),
}

impl core::fmt::Display for ShadowError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Share(share) => {
                write!(f, "a shadow gets 10000 of 10000 requests at most, not {share}")
            }
            Self::Rate(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ShadowError {}

/// Why a shadow gets no copy of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ShadowSkip {
    /// The request is not in its share.
    NotDrawn,
    /// The primary is busy: shadows are the first thing that is shed.
    Shed,
    /// As many copies are under way as there may be.
    InFlight,
    /// There were as many copies lately as there may be.
    Rate,
}

/// A copy under way, to be given back to [`Shadow::finish`]. One that is dropped stays under way.
#[must_use = "a copy that does not finish stays under way"]
#[derive(Debug, PartialEq, Eq)]
pub struct ShadowCopy(());

/// Decides which requests a shadow gets a copy of, within a budget of its own.
///
/// The share is exact over any 10,000 requests that follow each other, and spread evenly. A copy that
/// finds no room is not made and never waits; so a slow shadow takes at most `most_in_flight` of
/// anything. Several shadows are several of these, each asked about every request.
///
/// **Progress:** lock-free. **Memory:** that of a token bucket, and 48 bytes.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::route::{Shadow, ShadowConfig, ShadowSkip};
///
/// let config = ShadowConfig { most_in_flight: 1, ..ShadowConfig::DEFAULT };
/// let shadow = Shadow::new(config).unwrap();
/// let copy = shadow.try_copy(0, Instant::ZERO).unwrap();
/// assert_eq!(shadow.try_copy(0, Instant::ZERO), Err(ShadowSkip::InFlight));
/// shadow.finish(copy);
/// assert_eq!(shadow.try_copy(900, Instant::ZERO), Err(ShadowSkip::Shed));
/// ```
#[derive(Debug)]
pub struct Shadow {
    turn: AtomicU64,
    in_flight: AtomicU64,
    rate: TokenBucket,
    config: ShadowConfig,
}

impl Shadow {
    /// A shadow that has had nothing yet.
    ///
    /// # Errors
    /// If the share is above [`ALL_TRAFFIC`], or the rate above 250,000,000 in a second.
    pub fn new(config: ShadowConfig) -> Result<Self, ShadowError> {
        if config.share > ALL_TRAFFIC {
            return Err(ShadowError::Share(config.share));
        }
        let quota = Quota::per_second(config.per_second.into(), config.burst.into());
        Ok(Self {
            turn: AtomicU64::new(u64::from(config.phase % ALL_TRAFFIC)),
            in_flight: AtomicU64::new(0),
            rate: TokenBucket::new(quota.map_err(ShadowError::Rate)?),
            config,
        })
    }

    /// Whether the next request is copied, while the primary carries `primary_load` thousandths of what it
    /// can.
    ///
    /// # Errors
    /// If it is not, with the first reason of those that hold, in their order.
    pub fn try_copy(&self, primary_load: u16, now: Instant) -> Result<ShadowCopy, ShadowSkip> {
        let place = place_of(self.turn.fetch_add(1, Ordering::Relaxed));
        if place >= self.config.share {
            return Err(ShadowSkip::NotDrawn);
        }
        if primary_load >= self.config.shed_from {
            return Err(ShadowSkip::Shed);
        }
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let skip = if before >= u64::from(self.config.most_in_flight) {
            Some(ShadowSkip::InFlight)
        } else if !self.rate.try_acquire(now) {
            Some(ShadowSkip::Rate)
        } else {
            None
        };
        match skip {
            None => Ok(ShadowCopy(())),
            Some(skip) => {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                Err(skip)
            }
        }
    }

    /// A copy has ended, however it did.
    pub fn finish(&self, copy: ShadowCopy) {
        let ShadowCopy(()) = copy;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many copies are under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What it was built with.
    #[must_use]
    pub const fn config(&self) -> &ShadowConfig {
        &self.config
    }
}
