//! The limiters compared, behind one check.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{DefaultDirectRateLimiter, RateLimiter};

use crate::ours_limiter;

/// One token every `period_ns`, at most `burst` of them saved up.
#[derive(Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) period_ns: u64,
    pub(crate) burst: u64,
}

pub(crate) trait Limiter: Sync {
    /// Whether one token was there at `now`, in nanoseconds; a limiter with a clock of its own
    /// does not look at `now`.
    fn check(&self, now: u64) -> bool;
    /// Moves a fake clock.
    fn advance(&self, _: Duration) {}
}

pub(crate) trait VisitLimiter {
    type Output;
    fn visit<L: Limiter>(self, limiter: &L) -> Self::Output;
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LimiterKind {
    Ours,
    GovernorFakeClock,
    GovernorOwnClock,
    MutexBucket,
}

impl LimiterKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Ours, Self::GovernorFakeClock, Self::GovernorOwnClock, Self::MutexBucket];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => ours_limiter::NAME,
            Self::GovernorFakeClock => "governor, fake clock",
            Self::GovernorOwnClock => "governor, own clock",
            Self::MutexBucket => "std Mutex<(f64, u64)>",
        }
    }

    pub(crate) fn build<V: VisitLimiter>(self, quota: Quota, visit: V) -> V::Output {
        match self {
            Self::Ours => visit.visit(&ours_limiter::new(quota)),
            Self::GovernorFakeClock => visit.visit(&Faked::new(quota)),
            Self::GovernorOwnClock => visit.visit(&RateLimiter::direct(quota.governors())),
            Self::MutexBucket => visit.visit(&MutexBucket::new(quota)),
        }
    }
}

impl Quota {
    fn governors(self) -> governor::Quota {
        let burst = u32::try_from(self.burst).ok().and_then(NonZeroU32::new);
        governor::Quota::with_period(Duration::from_nanos(self.period_ns))
            .expect("the period is not 0")
            .allow_burst(burst.expect("the burst is a u32 above 0"))
    }
}

struct Faked {
    limiter: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
    clock: FakeRelativeClock,
}

impl Faked {
    fn new(quota: Quota) -> Self {
        let clock = FakeRelativeClock::default();
        Self { limiter: RateLimiter::direct_with_clock(quota.governors(), clock.clone()), clock }
    }
}

impl Limiter for Faked {
    #[inline]
    fn check(&self, _: u64) -> bool {
        self.limiter.check().is_ok()
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Limiter for DefaultDirectRateLimiter {
    #[inline]
    fn check(&self, _: u64) -> bool {
        Self::check(self).is_ok()
    }
}

/// What one writes in ten lines: tokens and the time they were counted, under a lock.
struct MutexBucket {
    state: Mutex<(f64, u64)>,
    quota: Quota,
}

impl MutexBucket {
    fn new(quota: Quota) -> Self {
        Self { state: Mutex::new((quota.burst as f64, 0)), quota }
    }
}

impl Limiter for MutexBucket {
    #[inline]
    fn check(&self, now: u64) -> bool {
        let mut state = self.state.lock().expect("nothing panics under the lock");
        let (tokens, counted) = *state;
        let earned = now.saturating_sub(counted) as f64 / self.quota.period_ns as f64;
        let tokens = (tokens + earned).min(self.quota.burst as f64);
        let enough = tokens >= 1.0;
        *state = (if enough { tokens - 1.0 } else { tokens }, counted.max(now));
        enough
    }
}
