//! Asking endpoints: one, another where that can help, two at once where the first is late.

use super::endpoint::{EndpointError, check_answer};
use super::experiments::InExperiment;
use super::hints::Ruled;
use super::member::{Seat, View};
use super::plan::{ModelPlan, Plan};
use super::route::Notes;
use super::{Gateway, GatewayError, Hints, RouteTaken};
use crate::clock::Clock;
use crate::concurrency::lock;
use crate::contracts::{InferRequest, InferResponse};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tensorforge_core::Instant;
use tensorforge_core::breaker::Outcome;
use tensorforge_core::route::{
    Admission, Call, EndpointId, Failed, Hedging, InFlight, NoRoute, RetryDecision, RouteContext,
};

/// Answers between two looks at when to hedge.
const HEDGE_EVERY: u64 = 64;

/// A request on its way along the routes of one model.
pub(super) struct Journey<'a> {
    routes: &'a Arc<ModelPlan>,
    pub(super) seats: Arc<[Seat]>,
    pub(super) version: Option<String>,
    request: &'a InferRequest,
    wanted: Vec<String>,
    pub(super) context: RouteContext<'static>,
    blocked: Vec<EndpointId>,
    pub(super) taken: RouteTaken,
}

impl Gateway {
    /// Runs a request by `routes`: finds its version, and an endpoint that answers.
    pub(super) async fn infer_on(
        &self,
        plan: &Plan,
        routes: &Arc<ModelPlan>,
        version: Option<&str>,
        request: &InferRequest,
        hints: &Hints,
    ) -> Result<(InferResponse, RouteTaken), GatewayError> {
        let mut journey = self.journey(routes, version, request, hints);
        routes.retries.record_request();
        let running = routes.experiment.as_deref().filter(|_| journey.taken.version_by == "split");
        let version = journey.version.clone();
        let counted = InExperiment::begin(self, running, version.as_deref());
        let answered = self.travel(&mut journey).await;
        let took = self.clock.now().since(journey.context.now);
        counted.end(answered.as_ref().map(|_| took));
        let response = answered?;
        let mut taken = journey.taken;
        taken.shadows = self.copy_to_shadows(plan, routes, request, &response, took);
        Ok((response, taken))
    }

    /// The beginning of a request's way.
    pub(super) fn journey<'a>(
        &self,
        routes: &'a Arc<ModelPlan>,
        version: Option<&str>,
        request: &'a InferRequest,
        hints: &Hints,
    ) -> Journey<'a> {
        let sticky = self.sticky(request, hints);
        let rule = self.rule(routes, request, hints);
        let Ruled { version: rule_version, only } = rule.unwrap_or_default();
        let by_split = || {
            let (split, versions) = routes.split.as_ref()?;
            versions.get(split.arm(sticky)).cloned()
        };
        let (version, version_by) = match (version, rule_version) {
            (Some(version), _) => (Some(version.to_owned()), "request"),
            (None, Some(version)) => (Some(version.to_owned()), "rule"),
            (None, None) => match by_split() {
                Some(version) => (Some(version), "split"),
                None => (None, ""),
            },
        };
        let priority = request.parameters.get("priority").and_then(serde_json::Value::as_u64);
        let context = RouteContext {
            priority: u8::try_from(priority.unwrap_or(0)).unwrap_or(u8::MAX),
            sticky,
            ..RouteContext::new(self.clock.now(), self.draw())
        };
        Journey {
            routes,
            seats: Arc::clone(only.unwrap_or(&routes.seats)),
            version: version.clone(),
            request,
            wanted: request.outputs.iter().map(|output| output.name.clone()).collect(),
            context,
            blocked: Vec::new(),
            taken: RouteTaken {
                model: routes.name.clone(),
                version: version.clone(),
                version_by,
                policy: routes.policy_name.name(),
                ..RouteTaken::default()
            },
        }
    }

    async fn travel(&self, journey: &mut Journey<'_>) -> Result<InferResponse, GatewayError> {
        let deadline = journey.context.now + self.options.timeout.into();
        // Where nobody knows the version, none is missing: it is the request that is wrong.
        let mut unknown: Option<EndpointError> = None;
        let mut all_unknown = true;
        loop {
            let Ok((seat, leave)) = self.choose(journey) else {
                let (model, taken) = (journey.routes.name.clone(), Box::new(journey.taken.clone()));
                return Err(match unknown.filter(|_| all_unknown) {
                    Some(error) => GatewayError::Endpoint { error: Box::new(error), taken },
                    None => GatewayError::NoEndpoint { model, taken },
                });
            };
            let (name, result) = self.ask_or_hedge(journey, seat, leave).await;
            let error = match result {
                Ok(response) => {
                    journey.taken.endpoint = Some(name);
                    return Ok(response);
                }
                Err(error) => error,
            };
            journey.taken.failed.push((name, error.to_string()));
            let now = self.clock.now();
            let failed = Failed {
                attempts: journey.taken.attempts,
                retryable: error.is_retryable(),
                // An attempt that could not end in time would take that of what else can be done.
                deadline: Some(deadline),
                expected: Some(self.options.attempt_timeout.into()),
            };
            all_unknown &= error.is_unknown();
            if journey.routes.retries.decide(failed, now) != RetryDecision::Retry {
                let taken = Box::new(journey.taken.clone());
                // Whoever may be asked instead is asked only where nobody here can answer.
                return Err(if error.is_retryable() && !all_unknown {
                    GatewayError::NoEndpoint { model: journey.routes.name.clone(), taken }
                } else {
                    GatewayError::Endpoint { error: Box::new(error), taken }
                });
            }
            unknown = Some(error);
        }
    }

    /// Chooses an endpoint and gets leave to ask it.
    fn choose(&self, journey: &mut Journey<'_>) -> Result<(Seat, Leave), NoRoute> {
        loop {
            let now = self.clock.now();
            let view = View { seats: Arc::clone(&journey.seats), now };
            let mut notes = Notes::default();
            let context = RouteContext { now, blocked: &journey.blocked, ..journey.context };
            let choice = journey.routes.policy.choose(&context, &view, &mut notes);
            journey.taken.excluded = notes
                .excluded
                .iter()
                .filter_map(|&(index, why)| {
                    let seat = journey.seats.get(index)?;
                    Some((seat.member.name.clone(), why.name()))
                })
                .collect();
            let choice = choice?;
            let seat = journey.seats.get(choice.index).ok_or(NoRoute::AllExcluded)?.clone();
            journey.taken.reason = choice.reason.name();
            journey.taken.admission = choice.admission.name();
            journey.blocked.push(seat.member.id);
            let health = &seat.model.health;
            // The gate first: leave to call has to be reported once it is given.
            let call = seat.gate.enter().and_then(|inside| {
                let call = match choice.admission {
                    Admission::Panic => Ok(health.call_anyway(now)),
                    _ => health.try_call(now),
                };
                call.ok().map(|call| Leave { call, _inside: inside })
            });
            if let Some(leave) = call {
                return Ok((seat, leave));
            }
            // Ejected or drained this moment, or probed by others: another one.
        }
    }

    /// Asks, and asks a second one as well when the first is later than most.
    async fn ask_or_hedge(
        &self,
        journey: &mut Journey<'_>,
        seat: Seat,
        leave: Leave,
    ) -> (String, Result<InferResponse, EndpointError>) {
        let name = seat.member.name.clone();
        journey.taken.attempts += 1;
        let (version, wanted) = (journey.version.clone(), journey.wanted.clone());
        let asked = Asked {
            routes: journey.routes,
            version: version.as_deref(),
            request: journey.request,
            wanted: &wanted,
            timeout: own_timeout(journey.request),
        };
        let visit = Visit::begin(self.clock, journey.routes, &seat, leave);
        let mut first = pin!(self.ask(&asked, visit));
        let Some(late) = self.hedge_after() else { return (name, first.await) };
        tokio::select! {
            biased;
            result = &mut first => return (name, result),
            () = tokio::time::sleep(late) => {}
        }
        if !journey.routes.retries.try_hedge(self.clock.now()) {
            return (name, first.await);
        }
        let Ok((other, leave)) = self.choose(journey) else { return (name, first.await) };
        journey.taken.attempts += 1;
        journey.taken.hedged = true;
        let other_name = other.member.name.clone();
        // Begun before it is first polled, so that it is reported in any case.
        let visit = Visit::begin(self.clock, journey.routes, &other, leave);
        let mut second = pin!(self.ask(&asked, visit));
        // The first good answer; of two failures the later one is told.
        tokio::select! {
            result = &mut first => match result {
                Ok(response) => (name, Ok(response)),
                Err(error) => {
                    journey.taken.failed.push((name, error.to_string()));
                    (other_name, second.await)
                }
            },
            result = &mut second => match result {
                Ok(response) => (other_name, Ok(response)),
                Err(error) => {
                    journey.taken.failed.push((other_name, error.to_string()));
                    (name, first.await)
                }
            },
        }
    }

    async fn ask(
        &self,
        asked: &Asked<'_>,
        mut visit: Visit<'_>,
    ) -> Result<InferResponse, EndpointError> {
        let member = &*visit.seat.member;
        let limit = self.options.attempt_timeout;
        let work = member.endpoint.infer(&asked.routes.name, asked.version, asked.request.clone());
        let result = match tokio::time::timeout(limit, work).await {
            Ok(Ok(response)) => {
                check_answer(&asked.routes.name, asked.wanted, &response).map(|()| response)
            }
            Ok(Err(EndpointError::Status { status: 504, message }))
                if visit.is_past(asked.timeout) =>
            {
                Err(EndpointError::Late(message))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EndpointError::TimedOut(limit)),
        };
        let outcome = result.as_ref().map_or_else(EndpointError::outcome, |_| Outcome::Success);
        let took = visit.end(outcome);
        if result.is_ok() {
            self.note_latency(took);
        }
        result
    }

    fn note_latency(&self, took: tensorforge_core::Duration) {
        if !self.options.hedging {
            return;
        }
        let mut latencies = lock(&self.latencies);
        latencies.insert(took.as_nanos() as f64 * 1e-9);
        if latencies.count().is_multiple_of(HEDGE_EVERY) {
            let after = Hedging::DEFAULT.after(&*latencies);
            let nanos = after.map_or(0, tensorforge_core::Duration::as_nanos);
            self.hedge_after.store(nanos, Ordering::Relaxed);
        }
    }

    fn hedge_after(&self) -> Option<Duration> {
        let nanos = self.hedge_after.load(Ordering::Relaxed);
        (self.options.hedging && nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

/// The timeout that a request brings, in microseconds as in Triton's protocol.
fn own_timeout(request: &InferRequest) -> Option<tensorforge_core::Duration> {
    let micros = request.parameters.get("timeout")?.as_u64().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros).into())
}

/// Leave to ask an endpoint: of its health, and of its gate, which counts who is inside.
struct Leave {
    call: Call,
    _inside: crate::routing::InFlight,
}

/// What every endpoint on a journey is asked.
struct Asked<'a> {
    routes: &'a ModelPlan,
    version: Option<&'a str>,
    request: &'a InferRequest,
    wanted: &'a [String],
    /// The request's own.
    timeout: Option<tensorforge_core::Duration>,
}

/// A request that is at an endpoint. Given up, it says nothing about the endpoint but how long it took at
/// least.
struct Visit<'a> {
    clock: Clock,
    routes: &'a ModelPlan,
    seat: &'a Seat,
    began: Instant,
    there: Option<(InFlight, Leave)>,
}

impl<'a> Visit<'a> {
    fn begin(clock: Clock, routes: &'a ModelPlan, seat: &'a Seat, leave: Leave) -> Self {
        let there = Some((seat.member.load.begin(), leave));
        Self { clock, routes, seat, began: clock.now(), there }
    }

    /// Whether a request's own timeout has passed.
    fn is_past(&self, timeout: Option<tensorforge_core::Duration>) -> bool {
        timeout.is_some_and(|timeout| self.clock.now().since(self.began) >= timeout)
    }

    fn end(&mut self, outcome: Outcome) -> tensorforge_core::Duration {
        let now = self.clock.now();
        let took = now.since(self.began);
        let Some((in_flight, Leave { call, .. })) = self.there.take() else { return took };
        let told = match outcome {
            Outcome::Success => Some(took),
            // What was given up, or timed out, took at least as long; an error comes quickly.
            _ => self
                .seat
                .member
                .load
                .latency(now)
                .is_none_or(|(usual, _)| took > usual)
                .then_some(took),
        };
        self.seat.member.load.finish(in_flight, told, now);
        let endpoints = u32::try_from(self.routes.seats.len()).unwrap_or(u32::MAX);
        self.seat.model.health.report(call, outcome, &self.routes.cap, endpoints, now);
        took
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.end(Outcome::Ignored);
    }
}
