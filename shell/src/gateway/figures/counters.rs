//! The counters: atomics that any number of requests add to at once.

use crate::gateway::{EndpointError, GatewayError, RouteTaken};
use crate::telemetry::Histogram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::Duration;
use tensorforge_core::breaker::Outcome;
use tensorforge_core::route::{Admission, Choice, Exclusion, HealthChange, Reason, RetryDecision};

macro_rules! outcomes {
    ($(#[$doc:meta])* $type:ident: $($(#[$variant_doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub(in crate::gateway) enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// Their names; each stands at the place of its value.
            pub(super) const NAMES: &'static [&'static str] = &[$($name),*];
        }
    };
}

outcomes! {
    /// How a request ended.
    Ended:
    /// An endpoint of its model answered.
    Answered => "answered",
    /// An earlier answer was given again.
    Stale => "stale",
    /// Another model answered.
    Fallback => "fallback",
    /// Everyone who was asked failed.
    Failed => "failed",
    /// Nobody could be asked.
    NoRoute => "no_route",
    /// Nobody could be asked, as whoever else could have no room.
    Overloaded => "overloaded",
    /// An endpoint refused it, and others would do the same.
    Refused => "refused",
    /// Its time was over.
    TimedOut => "timed_out",
    /// Its client gave it up.
    Canceled => "canceled",
}

outcomes! {
    /// How an attempt ended.
    Attempted:
    /// With an answer.
    Answered => "answered",
    /// With an error that speaks against the endpoint.
    Failed => "failed",
    /// With an error that says nothing about it: most of all overload.
    Overloaded => "overloaded",
    /// With an error about the request.
    Refused => "refused",
    /// With an answer that is none to the request.
    WrongAnswer => "wrong_answer",
    /// Without an answer in the time that an attempt has.
    TimedOut => "timed_out",
    /// After the request's own time.
    Late => "late",
    /// It was not reached, or broke off.
    Unreachable => "unreachable",
    /// Nobody waited for it any more.
    Canceled => "canceled",
}

outcomes! {
    /// Why a request that failed was not tried again, though that might have helped.
    NotRetried:
    /// Too many others are tried again.
    NoBudget => "no_budget",
    /// It was tried often enough.
    TooOften => "too_often",
    /// It could not be answered in time.
    TooLate => "too_late",
}

impl Ended {
    /// How a request of a model with routes ended that came to this.
    fn of<T>(result: &Result<(T, RouteTaken), GatewayError>) -> Self {
        match result {
            Ok((_, taken)) if taken.stale_ms.is_some() => Self::Stale,
            Ok((_, taken)) if taken.fallback_of.is_some() => Self::Fallback,
            Ok(_) => Self::Answered,
            Err(GatewayError::TimedOut { .. }) => Self::TimedOut,
            Err(GatewayError::NoEndpoint { taken, .. }) if taken.attempts == 0 => Self::NoRoute,
            Err(GatewayError::Overloaded { .. }) => Self::Overloaded,
            Err(GatewayError::Endpoint { error, .. }) if error.is_late() => Self::TimedOut,
            Err(GatewayError::Endpoint { .. }) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

impl Attempted {
    fn of<T>(result: &Result<T, EndpointError>) -> Self {
        let error = match result {
            Ok(_) => return Self::Answered,
            Err(error) => error,
        };
        match error {
            EndpointError::Unreachable(_) => Self::Unreachable,
            EndpointError::WrongAnswer(_) => Self::WrongAnswer,
            EndpointError::TimedOut(_) => Self::TimedOut,
            error if error.is_late() => Self::Late,
            error => match error.outcome() {
                Outcome::Failure => Self::Failed,
                Outcome::Success => Self::Refused,
                _ => Self::Overloaded,
            },
        }
    }
}

/// The place in the order in which things to count came: whoever came earlier keeps a series of its own
/// where there are too many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Serial(u64);

impl Default for Serial {
    /// The next one.
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One counter for each of `N` names.
#[derive(Debug)]
pub(super) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    fn add(&self, place: usize) {
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> [u64; N] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// A single counter.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of the users' requests, and of the shadow copies among them. The latter are made when the
/// first copy comes: most gateways never see one.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Apart<T> {
    users: T,
    copies: OnceLock<Box<T>>,
}

impl<T: Default> Apart<T> {
    pub(in crate::gateway) fn of(&self, is_copy: bool) -> &T {
        if is_copy { self.copies.get_or_init(Box::default) } else { &self.users }
    }

    /// Both, as far as they are there.
    pub(super) fn both(&self) -> (&T, Option<&T>) {
        (&self.users, self.copies.get().map(|copies| &**copies))
    }
}

/// The names of why an endpoint could not be chosen: those of core, and that the model is not there.
pub(super) const EXCLUSIONS: [&str; Exclusion::NAMES.len() + 1] = {
    let mut names = ["not_loaded"; Exclusion::NAMES.len() + 1];
    let mut place = 0;
    while place < Exclusion::NAMES.len() {
        names[place] = Exclusion::NAMES[place];
        place += 1;
    }
    names
};

/// How a request came to an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::gateway) enum Kind {
    /// It is its first.
    First,
    /// The one before had failed.
    Retry,
    /// The one before was late.
    Hedge,
}

impl Kind {
    /// That of a request that was tried so often already.
    pub(in crate::gateway) const fn after(attempts: u32) -> Self {
        if attempts == 0 { Self::First } else { Self::Retry }
    }
}

/// What is counted of the requests of a model.
#[derive(Debug, Default)]
pub(in crate::gateway) struct ModelCounters {
    pub(super) ended: Counts<{ Ended::NAMES.len() }>,
    pub(super) durations: Histogram,
    pub(super) waited: Count,
    pub(super) first_attempts: Count,
    pub(super) retries: Count,
    pub(super) not_retried: Counts<{ NotRetried::NAMES.len() }>,
    pub(super) hedges: Count,
    pub(super) hedge_wins: Count,
    pub(super) refused_hedges: Count,
    pub(super) exclusions: Counts<{ EXCLUSIONS.len() }>,
    pub(super) reasons: Counts<{ Reason::NAMES.len() }>,
    pub(super) admissions: Counts<{ Admission::NAMES.len() }>,
}

impl ModelCounters {
    /// It had to wait for room at an endpoint.
    pub(in crate::gateway) fn waited(&self) {
        self.waited.add();
    }

    /// An endpoint was chosen, and may be asked.
    pub(in crate::gateway) fn picked(&self, choice: &Choice) {
        self.reasons.add(choice.reason.place());
        self.admissions.add(choice.admission.place());
    }

    /// An endpoint could not be chosen, and that is what the answer calls it.
    pub(in crate::gateway) fn excluded(&self, why: Exclusion, name: &'static str) {
        let is_plain = name == why.name();
        self.exclusions.add(if is_plain { why.place() } else { Exclusion::NAMES.len() });
    }

    /// An endpoint is asked.
    pub(in crate::gateway) fn asked(&self, kind: Kind) {
        match kind {
            Kind::First => self.first_attempts.add(),
            Kind::Retry => self.retries.add(),
            Kind::Hedge => self.hedges.add(),
        }
    }

    /// Whether a request that failed is tried again.
    pub(in crate::gateway) fn decided(&self, decision: RetryDecision) {
        let why = match decision {
            RetryDecision::NoBudget => NotRetried::NoBudget,
            RetryDecision::TooOften => NotRetried::TooOften,
            RetryDecision::TooLate => NotRetried::TooLate,
            // It could not help; or it is an attempt when somebody is left to be asked.
            _ => return,
        };
        self.not_retried.add(why as usize);
    }

    /// The budget allowed no hedge.
    pub(in crate::gateway) fn refused_hedge(&self) {
        self.refused_hedges.add();
    }

    /// The answer came from the hedge.
    pub(in crate::gateway) fn hedge_won(&self) {
        self.hedge_wins.add();
    }

    /// A request that has come; it counts when it has [ended](Coming::ended).
    pub(in crate::gateway) fn coming(&self) -> Coming<'_> {
        Coming(Some(self))
    }
}

/// A request on its way. Dropped before it has ended, it was given up by its client.
#[derive(Debug)]
pub(in crate::gateway) struct Coming<'a>(Option<&'a ModelCounters>);

impl Coming<'_> {
    /// It came to this, so long after it had come.
    pub(in crate::gateway) fn ended<T>(
        mut self,
        result: &Result<(T, RouteTaken), GatewayError>,
        took: Duration,
    ) {
        let Some(counters) = self.0.take() else { return };
        counters.ended.add(Ended::of(result) as usize);
        if result.is_ok() {
            counters.durations.insert(took);
        }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0.take() {
            counters.ended.add(Ended::Canceled as usize);
        }
    }
}

/// What is counted of attempts.
#[derive(Debug, Default)]
pub(in crate::gateway) struct AttemptCounters {
    pub(super) outstanding: AtomicU64,
    pub(super) ended: Counts<{ Attempted::NAMES.len() }>,
    /// Of those that were answered.
    pub(super) durations: Histogram,
}

/// What is counted of a model at an endpoint.
#[derive(Debug, Default)]
pub(in crate::gateway) struct EndpointCounters {
    pub(super) serial: Serial,
    pub(super) attempts: Apart<AttemptCounters>,
    pub(super) ejections: Count,
    pub(super) spared: Count,
    pub(super) returns: Count,
}

impl EndpointCounters {
    /// It is asked.
    pub(in crate::gateway) fn attempt(&self, is_copy: bool) -> Attempt<'_> {
        let counters = self.attempts.of(is_copy);
        counters.outstanding.fetch_add(1, Ordering::Relaxed);
        Attempt { counters, ended: Attempted::Canceled }
    }

    /// Its health changed, if it did.
    pub(in crate::gateway) fn changed(&self, change: Option<HealthChange>) {
        match change {
            Some(HealthChange::Ejected) => self.ejections.add(),
            Some(HealthChange::Spared) => self.spared.add(),
            Some(HealthChange::Returned) => self.returns.add(),
            _ => {}
        }
    }
}

/// An attempt under way. Dropped before it has ended, nobody waited for it any more.
#[derive(Debug)]
pub(in crate::gateway) struct Attempt<'a> {
    counters: &'a AttemptCounters,
    ended: Attempted,
}

impl Attempt<'_> {
    /// It came to this after so long.
    pub(in crate::gateway) fn ended<T>(
        &mut self,
        result: &Result<T, EndpointError>,
        took: Duration,
    ) {
        self.ended = Attempted::of(result);
        if result.is_ok() {
            self.counters.durations.insert(took);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.counters.ended.add(self.ended as usize);
        self.counters.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is counted of the requests that a split sends to one version.
#[derive(Debug, Default)]
pub(in crate::gateway) struct ArmCounters {
    pub(super) serial: Serial,
    pub(super) requests: Count,
    /// Of those that were answered.
    pub(super) durations: Histogram,
}

impl ArmCounters {
    /// A request that is sent to it counts, at the latest when it ends.
    pub(in crate::gateway) const fn sent(&self) -> Sent<'_> {
        Sent(Some(self))
    }

    /// One was answered after so long.
    pub(in crate::gateway) fn answered(&self, took: Duration) {
        self.durations.insert(took);
    }
}

/// A request that a split has sent to a version.
#[derive(Debug)]
pub(in crate::gateway) struct Sent<'a>(Option<&'a ArmCounters>);

impl Sent<'_> {
    /// It was not sent after all.
    pub(in crate::gateway) fn take_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(arm) = self.0 {
            arm.requests.add();
        }
    }
}

/// What is counted over all models.
#[derive(Debug, Default)]
pub(in crate::gateway) struct GatewayCounters {
    pub(super) unrouted: Apart<Count>,
    pub(super) looped: Count,
}

impl GatewayCounters {
    /// A request for a model without routes, which goes to this process.
    pub(in crate::gateway) fn unrouted(&self, is_copy: bool) {
        self.unrouted.of(is_copy).add();
    }

    /// A request that came through too many gateways.
    pub(in crate::gateway) fn looped(&self) {
        self.looped.add();
    }
}
