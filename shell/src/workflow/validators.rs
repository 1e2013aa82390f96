//! Validators that ship.
//!
//! Each looks at every step it is asked about; [`entering`] asks it about steps into some states only.

use tensorforge_core::limiter::TokenBucket;
use tensorforge_core::machine::{Attempt, Reason, Refusal, TransitionValidator};
use tensorforge_core::{Duration, Instant};

/// Asks a validator about the steps into some states only.
///
/// ```
/// use tensorforge::workflow::{Engine, EngineOptions, Resource, entering};
/// use tensorforge_core::Instant;
/// use tensorforge_core::machine::{Deployment, DeploymentState::*};
///
/// let free = 6_000_000_000;
/// let memory = Resource::new(|_: &str| 8_000_000_000, move || free);
/// let engine = Engine::new(Deployment, entering([Staging], memory), (), EngineOptions::default());
/// let now = Instant::ZERO;
/// engine.register("large", now);
/// assert!(engine.transition("large", Validating, "load", &(), now).is_ok());
/// let refused = engine.transition("large", Staging, "loaded", &(), now).unwrap_err();
/// let message = "refused by resource: needs 8000000000, of which 6000000000 is free";
/// assert_eq!(refused.to_string(), message);
/// ```
pub fn entering<S, V>(states: impl Into<Vec<S>>, validator: V) -> Entering<S, V> {
    Entering { states: states.into(), validator }
}

/// See [`entering`].
#[derive(Clone, Debug)]
pub struct Entering<S, V> {
    states: Vec<S>,
    validator: V,
}

impl<S: PartialEq, C: ?Sized, V: TransitionValidator<S, C>> TransitionValidator<S, C>
    for Entering<S, V>
{
    fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
        if self.states.contains(&attempt.to) {
            self.validator.validate(attempt, context)
        } else {
            Ok(())
        }
    }
}

/// Enough of something must be free, such as memory of a device.
pub struct Resource<N, F> {
    needed: N,
    available: F,
}

impl<N, F> Resource<N, F> {
    /// `needed` says how much an entity takes (it is given the entity's id), `available` how much there
    /// is.
    pub const fn new(needed: N, available: F) -> Self {
        Self { needed, available }
    }
}

impl<S, C: ?Sized, N: Fn(&str) -> u64, F: Fn() -> u64> TransitionValidator<S, C>
    for Resource<N, F>
{
    fn validate(&self, attempt: &Attempt<'_, S>, _: &C) -> Result<(), Refusal> {
        let (needed, available) = ((self.needed)(attempt.entity), (self.available)());
        if needed <= available {
            return Ok(());
        }
        Err(Refusal { by: "resource", reason: Reason::Resource { needed, available } })
    }
}

/// What somebody is allowed to do.
pub trait Permissions {
    /// Whether this is one of the things.
    fn has(&self, permission: &str) -> bool;
}

impl Permissions for () {
    /// Nobody in particular may do nothing in particular.
    fn has(&self, _: &str) -> bool {
        false
    }
}

impl<T: AsRef<str>> Permissions for [T] {
    fn has(&self, permission: &str) -> bool {
        self.iter().any(|held| held.as_ref() == permission)
    }
}

impl<T: AsRef<str>> Permissions for Vec<T> {
    fn has(&self, permission: &str) -> bool {
        self.as_slice().has(permission)
    }
}

/// Whoever asks must have a permission: the context says which they have.
#[derive(Clone, Copy, Debug)]
pub struct Clearance {
    permission: &'static str,
}

impl Clearance {
    /// They must have this one.
    #[must_use]
    pub const fn new(permission: &'static str) -> Self {
        Self { permission }
    }
}

impl<S, C: Permissions + ?Sized> TransitionValidator<S, C> for Clearance {
    fn validate(&self, _: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
        if context.has(self.permission) {
            return Ok(());
        }
        Err(Refusal { by: "clearance", reason: Reason::Clearance })
    }
}

/// Something that the entity depends on must be well, such as a circuit breaker closed.
pub struct DependencyHealth<F> {
    name: &'static str,
    is_well: F,
}

impl<F> DependencyHealth<F> {
    /// Its name, and how it is: asked for an entity's id, at the attempt's time.
    pub const fn new(name: &'static str, is_well: F) -> Self {
        Self { name, is_well }
    }
}

impl<S, C: ?Sized, F: Fn(&str, Instant) -> bool> TransitionValidator<S, C> for DependencyHealth<F> {
    fn validate(&self, attempt: &Attempt<'_, S>, _: &C) -> Result<(), Refusal> {
        if (self.is_well)(attempt.entity, attempt.now) {
            return Ok(());
        }
        Err(Refusal { by: "dependency", reason: Reason::Dependency { name: self.name } })
    }
}

/// Not more than so many steps in so much time.
///
/// A token is taken when it is asked: a step that a later validator refuses has taken one too, so it
/// belongs last.
#[derive(Debug)]
pub struct StepRate {
    bucket: TokenBucket,
}

impl StepRate {
    /// As many as this bucket gives.
    #[must_use]
    pub const fn new(bucket: TokenBucket) -> Self {
        Self { bucket }
    }
}

impl<S, C: ?Sized> TransitionValidator<S, C> for StepRate {
    fn validate(&self, attempt: &Attempt<'_, S>, _: &C) -> Result<(), Refusal> {
        if self.bucket.try_acquire_n(1, attempt.now) {
            return Ok(());
        }
        let wait = self.bucket.peek(1, attempt.now).retry_after;
        let retry_at = wait.map_or(Instant::MAX, |wait| attempt.now + wait);
        Err(Refusal { by: "rate", reason: Reason::Rate { retry_at } })
    }
}

/// Only at certain times, such as a maintenance window of every night.
#[derive(Clone, Copy, Debug)]
pub struct TimeWindow {
    every: Duration,
    opens: Duration,
    length: Duration,
}

impl TimeWindow {
    /// In each period of length `every`, counted from the engine's time 0: from `opens` on, for `length`.
    /// A period of 0 is never open. A window that is longer than its period is always open.
    #[must_use]
    pub const fn new(every: Duration, opens: Duration, length: Duration) -> Self {
        Self { every, opens, length }
    }
}

impl<S, C: ?Sized> TransitionValidator<S, C> for TimeWindow {
    fn validate(&self, attempt: &Attempt<'_, S>, _: &C) -> Result<(), Refusal> {
        let every = self.every.as_nanos();
        let closed = |opens_at| Err(Refusal { by: "window", reason: Reason::Window { opens_at } });
        if every == 0 {
            return closed(Instant::MAX);
        }
        let now = attempt.now.as_nanos();
        // How long ago the window last opened; it may have been in the period before.
        let opens = self.opens.as_nanos() % every;
        let since =
            if now % every >= opens { now % every - opens } else { every - (opens - now % every) };
        if since < self.length.as_nanos() {
            return Ok(());
        }
        closed(Instant::from_nanos(now.saturating_add(every - since)))
    }
}
