//! Whether an endpoint is fit to be asked, and how far.

use super::candidate::{Candidate, FULL_RAMP, Health};
use crate::breaker::{
    Breaker, BreakerConfig, ConfigError, Effect, Outcome, Permit, Refused, State,
};
use crate::sync::{AtomicU32, AtomicU64, Ordering, const_unless_loom};
use crate::{Duration, Instant};

/// By what an endpoint is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthConfig {
    /// When the outcomes of calls eject it, for how long, and what it takes to come back.
    pub breaker: BreakerConfig,
    /// After how many failed probes in a row it is unreachable. 0 counts as 1.
    pub unreachable_after: u32,
    /// After how many good probes in a row it is reachable again. 0 counts as 1.
    pub reachable_after: u32,
    /// How long it takes until it has its whole weight, after it came, came back or loaded a model.
    pub slow_start: Duration,
    /// The part of its weight that it begins with, in thousandths.
    pub first_ramp: u16,
}

impl HealthConfig {
    /// The breaker's default rules; unreachable after 3 probes, reachable after 2; a slow start of 30 s
    /// from a tenth of the weight.
    pub const DEFAULT: Self = Self {
        breaker: BreakerConfig::DEFAULT,
        unreachable_after: 3,
        reachable_after: 2,
        slow_start: Duration::from_secs(30),
        first_ramp: 100,
    };
}

/// How many endpoints of one route may be ejected at once.
///
/// An outlier detector that ejects most of what there is has found a fault of something else, and would
/// break the rest with what those took. Who is over the cap is spared: it counts as healthy.
///
/// **Progress:** lock-free. **Memory:** 16 bytes.
///
/// Source: Envoy's `max_ejection_percent`.
#[derive(Debug)]
pub struct EjectionCap {
    ejected: AtomicU64,
    share: u16,
}

impl EjectionCap {
    const_unless_loom! {
        /// At most `share` thousandths of a route's endpoints, rounded down, but one always; with 0, none.
        #[must_use]
        pub fn new(share: u16) -> Self {
            Self { ejected: AtomicU64::new(0), share }
        }
    }

    /// How many of `endpoints` may be ejected.
    #[must_use]
    pub const fn most(&self, endpoints: u32) -> u64 {
        let most = endpoints as u64 * self.share as u64 / 1000;
        if most == 0 && self.share > 0 { 1 } else { most }
    }

    /// How many are ejected.
    #[must_use]
    pub fn ejected(&self) -> u64 {
        self.ejected.load(Ordering::Relaxed)
    }

    fn try_eject(&self, endpoints: u32) -> bool {
        let mut ejected = self.ejected.load(Ordering::Relaxed);
        while ejected < self.most(endpoints) {
            let swapped = self.ejected.compare_exchange_weak(
                ejected,
                ejected + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return true,
                Err(other) => ejected = other,
            }
        }
        false
    }

    fn take_back(&self) {
        // Not below none, were a call reported to another cap than the one that counted it.
        let mut ejected = self.ejected.load(Ordering::Relaxed);
        while ejected > 0 {
            let swapped = self.ejected.compare_exchange_weak(
                ejected,
                ejected - 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return,
                Err(other) => ejected = other,
            }
        }
    }
}

/// What a [report](EndpointHealth::report) changed for an endpoint's route.
///
/// However threads meet, an endpoint is ejected as often as it came back, or once more while it is out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HealthChange {
    /// It is ejected now.
    Ejected,
    /// It would be, but the [cap](EjectionCap) has no room: it goes on as healthy.
    Spared,
    /// It was ejected, and is no longer.
    Returned,
}

/// A call that was let through, to be [reported](EndpointHealth::report).
#[must_use = "a call that does not report may count as failed"]
#[derive(Debug, PartialEq, Eq)]
pub struct Call(Option<Permit>);

/// The health of one endpoint, shared by any number of threads.
///
/// * **Outcomes of calls** go to a circuit [breaker](crate::breaker). Open, the endpoint is ejected,
///   if the route's [`EjectionCap`] allows it; half open, it is recovering, and its calls are probes.
/// * **Active probes**, which the caller makes, say whether it can be reached; so many in a row change
///   that.
/// * **Slow start:** from when it came, came back or [started](Self::start) something anew, its weight
///   grows evenly from [`first_ramp`](HealthConfig::first_ramp) to the whole.
/// * **Draining** it takes nothing more, whatever else is said.
///
/// **Progress:** lock-free, as the breaker. **Memory:** that of a breaker, and 192 bytes.
///
/// Sources: Envoy's outlier detection, health checking and slow start.
///
/// ```
/// use tensorforge_core::breaker::Outcome;
/// use tensorforge_core::route::{EjectionCap, EndpointHealth, Health, HealthConfig};
/// use tensorforge_core::{Duration, Instant};
///
/// let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// let cap = EjectionCap::new(500); // of 4 endpoints, 2
/// let health = EndpointHealth::new(HealthConfig::DEFAULT, 42, at(0)).unwrap();
/// assert_eq!((health.ramp(at(0)), health.ramp(at(15)), health.ramp(at(30))), (100, 500, 1000));
/// for _ in 0..5 {
///     let call = health.try_call(at(40)).unwrap();
///     health.report(call, Outcome::Failure, &cap, 4, at(40));
/// }
/// assert_eq!((health.health(at(40)), cap.ejected()), (Health::Ejected, 1));
/// // Its time is over after 5 s at most.
/// assert_eq!(health.health(at(45)), Health::Recovering);
/// ```
#[derive(Debug)]
pub struct EndpointHealth {
    standing: Standing,
    breaker: Breaker,
    config: HealthConfig,
}

/// What every choice reads, together on a cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Standing {
    /// One of the constants below.
    ejection: AtomicU32,
    draining: AtomicU32,
    /// Whether it is unreachable, in the lowest bit, and how many probes in a row contradict that.
    probes: AtomicU64,
    /// When its slow start began.
    started: AtomicU64,
    slow_start: Duration,
}

/// The breaker is closed, or has opened this moment.
const NOT_EJECTED: u32 = 0;
/// The breaker has opened, and the cap counts it.
const EJECTED: u32 = 1;
/// The breaker has opened, and the cap had no room.
const SPARED: u32 = 2;
/// It has left, for good: whatever is reported, no cap counts it.
const GONE: u32 = 3;

impl EndpointHealth {
    const_unless_loom! {
        /// A healthy endpoint that comes at `now`. What is random in its breaker follows from `seed`.
        ///
        /// # Errors
        /// If the breaker's configuration makes no sense.
        pub fn new(config: HealthConfig, seed: u64, now: Instant) -> Result<Self, ConfigError> {
            match Breaker::new(config.breaker, seed) {
                Err(error) => Err(error),
                Ok(breaker) => {
                    let standing = Standing {
                        ejection: AtomicU32::new(NOT_EJECTED),
                        draining: AtomicU32::new(0),
                        probes: AtomicU64::new(0),
                        started: AtomicU64::new(now.as_nanos()),
                        slow_start: config.slow_start,
                    };
                    Ok(Self { standing, breaker, config })
                }
            }
        }
    }

    /// What it is at `now`. Changes nothing.
    #[inline]
    #[must_use]
    pub fn health(&self, now: Instant) -> Health {
        if self.standing.draining.load(Ordering::Relaxed) != 0 {
            return Health::Draining;
        }
        if self.standing.probes.load(Ordering::Relaxed) & 1 == 1 {
            return Health::Unreachable;
        }
        if self.standing.ejection.load(Ordering::Relaxed) != EJECTED {
            return Health::Healthy;
        }
        match self.breaker.state(now) {
            State::Closed => Health::Healthy,
            State::HalfOpen { in_flight, succeeded, failed } => {
                let admitted = u32::from(in_flight) + u32::from(succeeded) + u32::from(failed);
                let room = admitted < u32::from(self.config.breaker.probes);
                if room { Health::Recovering } else { Health::Ejected }
            }
            _ => Health::Ejected,
        }
    }

    /// The part of its weight that counts at `now`, in thousandths.
    #[inline]
    #[must_use]
    pub fn ramp(&self, now: Instant) -> u16 {
        let window = self.standing.slow_start.as_nanos();
        let started = Instant::from_nanos(self.standing.started.load(Ordering::Relaxed));
        let passed = now.since(started).as_nanos();
        if passed >= window {
            return FULL_RAMP;
        }
        // Below 1000, as the time passed is below the window, which is not 0.
        let ramp = (u128::from(passed) * u128::from(FULL_RAMP) / u128::from(window)) as u16;
        ramp.max(self.config.first_ramp).min(FULL_RAMP)
    }

    /// `candidate` with this health in place of its own.
    #[inline]
    #[must_use]
    pub fn fill(&self, candidate: Candidate, now: Instant) -> Candidate {
        Candidate { health: self.health(now), ramp: self.ramp(now), ..candidate }
    }

    /// Leave to call the endpoint that was chosen.
    ///
    /// # Errors
    /// If it was ejected meanwhile, or others probe it already: choose another.
    pub fn try_call(&self, now: Instant) -> Result<Call, Refused> {
        match self.breaker.try_call(now) {
            Ok(permit) => Ok(Call(Some(permit))),
            Err(_) if self.standing.ejection.load(Ordering::Relaxed) == SPARED => Ok(Call(None)),
            Err(refused) => Err(refused),
        }
    }

    /// Leave to call it whatever its health is, as in a panic. While it is ejected, the outcome counts
    /// for nothing.
    pub fn call_anyway(&self, now: Instant) -> Call {
        Call(self.breaker.try_call(now).ok())
    }

    /// How a call went, as known at `now`, in a route of so many endpoints; and what that changed.
    pub fn report(
        &self,
        call: Call,
        outcome: Outcome,
        cap: &EjectionCap,
        endpoints: u32,
        now: Instant,
    ) -> Option<HealthChange> {
        let Call(Some(permit)) = call else { return None };
        match self.breaker.report(permit, outcome, now) {
            Effect::Opened => self.eject(cap, endpoints),
            Effect::Closed => self.restore(cap, now),
            _ => {
                // Who ejected it may have been overtaken by who restored it.
                let is_left = self.standing.ejection.load(Ordering::Relaxed) != NOT_EJECTED;
                if is_left && self.breaker.state(now) == State::Closed {
                    return self.restore(cap, now);
                }
                None
            }
        }
    }

    /// How an active probe went; whether that made the endpoint reachable or unreachable.
    pub fn probed(&self, answered: bool, now: Instant) -> Option<bool> {
        let mut seen = self.standing.probes.load(Ordering::Relaxed);
        loop {
            let (unreachable, run) = (seen & 1 == 1, seen >> 1);
            let needed = match unreachable {
                true => self.config.reachable_after.max(1),
                false => self.config.unreachable_after.max(1),
            };
            let contradicts = answered == unreachable;
            let changes = contradicts && run + 1 >= u64::from(needed);
            let next = match contradicts {
                true if changes => u64::from(!unreachable),
                true => (run + 1) << 1 | u64::from(unreachable),
                false => u64::from(unreachable),
            };
            if changes && answered {
                // Before it is seen as reachable.
                self.start(now);
            }
            let swapped = self.standing.probes.compare_exchange(
                seen,
                next,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return changes.then_some(answered),
                Err(other) => seen = other,
            }
        }
    }

    /// It begins anew at `now`, from a small part of its weight: it has loaded a model, say.
    pub fn start(&self, now: Instant) {
        self.standing.started.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether it takes nothing more. It may change its mind.
    pub fn set_draining(&self, draining: bool) {
        self.standing.draining.store(draining.into(), Ordering::Relaxed);
    }

    /// It leaves its route for good, whose cap counts it no longer. Calls under way may still be reported;
    /// that ejects nobody. Should the endpoint come back, it begins with a health of its own.
    pub fn leave(&self, cap: &EjectionCap) {
        if self.standing.ejection.swap(GONE, Ordering::AcqRel) == EJECTED {
            cap.take_back();
        }
    }

    /// Puts `ejection` in the place of what it was, which is returned; unless it has left.
    fn exchange(&self, ejection: u32) -> Option<u32> {
        let mut before = self.standing.ejection.load(Ordering::Relaxed);
        while before != GONE {
            let swapped = self.standing.ejection.compare_exchange_weak(
                before,
                ejection,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Some(before),
                Err(other) => before = other,
            }
        }
        None
    }

    /// The breaker, for its figures.
    #[must_use]
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    fn eject(&self, cap: &EjectionCap, endpoints: u32) -> Option<HealthChange> {
        if matches!(self.standing.ejection.load(Ordering::Relaxed), EJECTED | GONE) {
            return None; // a probe failed: it stays so
        }
        let ejection = if cap.try_eject(endpoints) { EJECTED } else { SPARED };
        let Some(before) = self.exchange(ejection) else {
            if ejection == EJECTED {
                cap.take_back();
            }
            return None;
        };
        if before == EJECTED {
            cap.take_back();
        }
        match (before, ejection) {
            (EJECTED, EJECTED) | (SPARED, SPARED) => None,
            (EJECTED, _) => Some(HealthChange::Returned),
            (_, EJECTED) => Some(HealthChange::Ejected),
            _ => Some(HealthChange::Spared),
        }
    }

    fn restore(&self, cap: &EjectionCap, now: Instant) -> Option<HealthChange> {
        if self.standing.ejection.load(Ordering::Relaxed) == EJECTED {
            // Before it is seen as restored.
            self.start(now);
        }
        let was_ejected = self.exchange(NOT_EJECTED) == Some(EJECTED);
        if was_ejected {
            cap.take_back();
        }
        was_ejected.then_some(HealthChange::Returned)
    }
}
