//! Until when the answer to a request is of use.

use crate::contracts::{InferRequest, Parameters};
use std::time::Duration;
use tensorforge_core::Instant;

/// The request parameter that says how long a request has, in microseconds, as in Triton's protocol.
const TIMEOUT: &str = "timeout";

/// When a request's time is over: its own, where it brings a [`TIMEOUT`], and the gateway's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// If that is before the gateway's.
    own: Option<Instant>,
    gateway: Instant,
    came: Instant,
    has_waited: bool,
}

/// How long one attempt has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    pub(super) time: Duration,
    /// Whether it is less than an attempt has else, so that not to keep it is nobody's fault.
    pub(super) is_cut: bool,
}

impl Deadline {
    /// That of a request which came at `now` and for which the gateway has `timeout`.
    pub(super) fn of(request: &InferRequest, timeout: Duration, now: Instant) -> Self {
        let micros = request.parameters.get(TIMEOUT).and_then(serde_json::Value::as_u64);
        let own = micros.filter(|&micros| micros > 0).map(Duration::from_micros);
        let gateway = now + timeout.into();
        let own = own.map(|own| now + own.into()).filter(|&own| own < gateway);
        Self { own, gateway, came: now, has_waited: false }
    }

    /// When the request came.
    pub(super) const fn came(self) -> Instant {
        self.came
    }

    /// That of the same request once it has waited, and sets out again.
    pub(super) const fn after_waiting(self) -> Self {
        Self { has_waited: true, ..self }
    }

    /// Whether it is one that sets out again.
    pub(super) const fn has_waited(self) -> bool {
        self.has_waited
    }

    /// When the answer is of no use any more.
    pub(super) fn instant(self) -> Instant {
        self.own.unwrap_or(self.gateway)
    }

    /// When the gateway gives up.
    pub(super) const fn gateway(self) -> Instant {
        self.gateway
    }

    /// Until when the request may wait before anybody is asked, of the `timeout` that the gateway has in all:
    /// a tenth of that is left for what else can be done.
    pub(super) fn wait_until(self, timeout: Duration) -> Instant {
        let most = Instant::from_nanos(
            self.gateway.as_nanos().saturating_sub((timeout / 10).as_nanos() as u64),
        );
        self.instant().min(most)
    }

    /// Whether the request's own time is over.
    pub(super) fn is_past(self, now: Instant) -> bool {
        self.own.is_some_and(|own| now >= own)
    }

    /// Whether what takes so long can still be of use, as far as the request says.
    pub(super) fn leaves(self, time: tensorforge_core::Duration, now: Instant) -> bool {
        self.own.is_none_or(|own| now + time < own)
    }

    /// How long an attempt has that begins at `now`, where it has at most `most`. One that has half of that
    /// for the gateway's sake has enough.
    pub(super) fn limit(self, most: Duration, now: Instant) -> Limit {
        let left: Duration = self.instant().since(now).into();
        let enough = if self.is_own() { most } else { most / 2 };
        Limit { time: most.min(left), is_cut: left < enough }
    }

    /// Whether the request's own time is what bounds it.
    pub(super) const fn is_own(self) -> bool {
        self.own.is_some()
    }

    /// Tells whoever is asked at `now` how much of the request's own time is left.
    pub(super) fn tell(self, parameters: &mut Parameters, now: Instant) {
        let Some(own) = self.own else { return };
        // With 0 it would have any time.
        let micros = (own.since(now).as_nanos() / 1_000).max(1);
        parameters.insert(TIMEOUT.to_owned(), micros.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(micros: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(micros).into()
    }

    fn request(timeout: &serde_json::Value) -> InferRequest {
        let mut request = InferRequest::default();
        request.parameters.insert(TIMEOUT.to_owned(), timeout.clone());
        request
    }

    proptest! {
        #[test]
        fn no_attempt_has_more_time_than_is_left_of_the_shorter_of_the_two(
            (began, own, gateway) in (0..1_000_000_u64, 1..1_000_000_u64, 1..1_000_000_u64),
            (passed, most) in (0..1_000_000_u64, 1..1_000_000_u64),
        ) {
            let deadline =
                Deadline::of(&request(&json!(own)), Duration::from_micros(gateway), at(began));
            prop_assert_eq!(deadline.instant(), at(began + own.min(gateway)));
            let now = at(began + passed);
            let left = own.min(gateway).saturating_sub(passed);
            let limit = deadline.limit(Duration::from_micros(most), now);
            prop_assert_eq!(limit.time, Duration::from_micros(most.min(left)));
            let is_own = own < gateway;
            prop_assert_eq!(limit.is_cut, if is_own { left < most } else { 2 * left < most });
            prop_assert_eq!(deadline.is_past(now), is_own && passed >= own);
            let mut told = request(&json!(own)).parameters;
            deadline.tell(&mut told, now);
            let expected = if is_own { left.max(1) } else { own };
            prop_assert_eq!(&told[TIMEOUT], &json!(expected));
        }
    }

    #[test]
    fn a_timeout_that_is_none_leaves_the_gateways() {
        for none in [json!(0), json!(-5), json!("soon"), json!(1.5), json!(null), json!(u64::MAX)] {
            let deadline = Deadline::of(&request(&none), Duration::from_secs(30), at(7));
            assert_eq!(deadline.instant(), at(30_000_007), "{none}");
            assert!(
                !deadline.is_past(at(40_000_000)) && deadline.leaves(Duration::MAX.into(), at(0))
            );
        }
    }
}
