//! Asking endpoints: one, another where that can help, two at once where the first is late.

use super::bandit::InBandit;
use super::deadline::{Deadline, Limit};
use super::ending::Ending;
use super::endpoint::{EndpointError, check_answer};
use super::experiments::InExperiment;
use super::figures::{ArmCounters, Attempt, Kind, ModelCounters, Sent};
use super::hints::Ruled;
use super::line::{Line, Nobody, Stopped};
use super::member::{Seat, Sought, View};
use super::plan::{ModelPlan, Plan};
use super::rest::{self, exclusion_name};
use super::route::{Notes, note_text};
use super::versions::AtVersion;
use super::{Gateway, GatewayError, Hints, RouteTaken};
use crate::clock::Clock;
use crate::contracts::{InferRequest, InferResponse, is_shadow};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tensorforge_core::Instant;
use tensorforge_core::batch::LEVELS;
use tensorforge_core::breaker::Outcome;
use tensorforge_core::route::{
    Admission, Annotation, Call, EndpointId, Failed, InFlight, NoRoute, RetryDecision, RouteContext,
};

/// The highest priority that there is.
const HIGHEST_PRIORITY: u64 = LEVELS as u64 - 1;

/// A request on its way along the routes of one model.
pub(super) struct Journey<'a> {
    pub(super) routes: &'a Arc<ModelPlan>,
    pub(super) seats: Arc<[Seat]>,
    pub(super) version: Option<String>,
    pub(super) request: &'a InferRequest,
    pub(super) is_copy: bool,
    wanted: Vec<String>,
    pub(super) context: RouteContext<'static>,
    /// What its policy keeps together, where that is an annotation.
    pub(super) annotation: Option<Annotation>,
    pub(super) sought: Sought,
    pub(super) place: Option<String>,
    pub(super) deadline: Deadline,
    pub(super) blocked: Vec<EndpointId>,
    pub(super) taken: RouteTaken,
    /// When the first of those who were asked may have room, as long as all have said that they are overloaded.
    room_in: Option<tensorforge_core::Duration>,
}

impl Journey<'_> {
    pub(super) fn counters(&self) -> &ModelCounters {
        self.routes.figures.requests.of(self.is_copy)
    }
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
        deadline: Deadline,
    ) -> Result<(InferResponse, RouteTaken), Stopped> {
        let mut journey = self.journey(routes, version, request, hints, deadline);
        // A copy shows how it would be, and is nobody's request.
        let by_split = journey.taken.version_by == "split" && !journey.is_copy;
        let running = routes.experiment.as_deref().filter(|_| by_split);
        let version = journey.version.clone();
        let arm = version.as_deref().filter(|_| by_split).and_then(|version| routes.arm(version));
        let sent = arm.map(ArmCounters::sent);
        let asked = AtomicBool::new(false);
        let counted = InExperiment::begin(self, running, version.as_deref(), &asked, deadline);
        let learning = routes.bandit.as_deref().filter(|_| by_split);
        let learned = InBandit::begin(self, learning, version.as_deref(), &asked, deadline);
        let answered = self.travel(&mut journey, &asked).await;
        let took = self.clock.now().since(journey.context.now);
        let response = match answered {
            Ok(response) => {
                counted.end(Ok(took));
                learned.end(Ok(took.into()));
                response
            }
            Err(Stopped::Failed(error)) => {
                // One that only waited says nothing about the version; that nobody was fit to be asked does.
                let only_waited = matches!(error, GatewayError::TimedOut { .. });
                if only_waited && !asked.load(Ordering::Relaxed) {
                    counted.leave();
                    learned.leave();
                } else if is_late(&error) && !journey.deadline.is_own() {
                    // It was not the request that allowed too little.
                    let after = self.options.timeout;
                    let late = GatewayError::TimedOut { model: routes.name.clone(), after };
                    counted.end(Err(&late));
                    learned.end(Err(&late));
                } else {
                    counted.end(Err(&error));
                    learned.end(Err(&error));
                }
                return Err(Stopped::Failed(error));
            }
            // It was sent nowhere, and sets out again.
            Err(Stopped::Moved) => {
                counted.leave();
                learned.leave();
                sent.into_iter().for_each(Sent::take_back);
                return Err(Stopped::Moved);
            }
        };
        drop(sent);
        arm.inspect(|arm| arm.answered(took));
        if !journey.is_copy {
            journey.taken.shadows = self.copy_to_shadows(plan, &journey, &response, took);
        }
        Ok((response, journey.taken))
    }

    /// The beginning of a request's way.
    pub(super) fn journey<'a>(
        &self,
        routes: &'a Arc<ModelPlan>,
        version: Option<&str>,
        request: &'a InferRequest,
        hints: &Hints,
        deadline: Deadline,
    ) -> Journey<'a> {
        let sticky = self.sticky(request, hints);
        let rule = self.rule(routes, request, hints);
        let Ruled { version: rule_version, only } = rule.unwrap_or_default();
        let by_split = || {
            let (split, versions) = routes.split.as_ref()?;
            let arm = match &routes.bandit {
                Some(bandit) => bandit.arm(sticky),
                None => split.arm(sticky),
            };
            versions.get(arm).cloned()
        };
        let (version, version_by) = match (version, rule_version) {
            (Some(version), _) => (Some(version.to_owned()), "request"),
            (None, Some(version)) => (Some(version.to_owned()), "rule"),
            (None, None) => match by_split() {
                Some(version) => (Some(version), "split"),
                None => (None, ""),
            },
        };
        let is_copy = is_shadow(&request.parameters);
        let priority = request.parameters.get("priority").and_then(serde_json::Value::as_u64);
        // What is kept for higher priorities is not for copies.
        let priority = priority.filter(|_| !is_copy);
        let sought = routes.sought(version.as_deref());
        let place = self.place(&routes.places, request, hints);
        let context = RouteContext {
            version: routes.key(&sought),
            // What is above the highest is refused where it is run, and gains nothing here.
            priority: priority.unwrap_or(0).min(HIGHEST_PRIORITY) as u8,
            tenant: self.tenant(request, hints),
            place: routes.places.place(place.as_deref()),
            deadline: Some(deadline.instant()),
            sticky,
            ..RouteContext::new(self.clock.now(), self.draw())
        };
        let seating = routes.by_version.of(version.as_deref(), &self.lasting, context.now);
        let only = only.and_then(|only| seating.only.get(only));
        Journey {
            routes,
            seats: Arc::clone(only.unwrap_or(&seating.seats)),
            version: version.clone(),
            request,
            is_copy,
            wanted: request.outputs.iter().map(|output| output.name.clone()).collect(),
            context,
            annotation: self.sticky_annotation(&routes.sticky_by, request),
            sought,
            place,
            deadline,
            blocked: Vec::new(),
            taken: RouteTaken {
                model: routes.name.clone(),
                version: version.clone(),
                version_by,
                policy: routes.policy_name.name(),
                ..RouteTaken::default()
            },
            room_in: None,
        }
    }

    async fn travel(
        &self,
        journey: &mut Journey<'_>,
        asked: &AtomicBool,
    ) -> Result<InferResponse, Stopped> {
        // Where nobody knows the version, none is missing: it is the request that is wrong.
        let mut unknown: Option<EndpointError> = None;
        let mut all_unknown = true;
        loop {
            let (seat, leave) = match self.find(journey).await {
                Ok(found) => {
                    if !asked.swap(true, Ordering::Relaxed) {
                        journey.routes.retries.record_request();
                    }
                    found
                }
                Err(Nobody::Moved) => return Err(Stopped::Moved),
                Err(nobody) => {
                    return Err(Stopped::Failed(match unknown.filter(|_| all_unknown) {
                        Some(error) => {
                            let taken = Box::new(journey.taken.clone());
                            GatewayError::Endpoint { error: Box::new(error), taken }
                        }
                        None => self.nobody(journey, nobody),
                    }));
                }
            };
            let (name, result) = self.ask_or_hedge(journey, seat, leave).await;
            let error = match result {
                Ok(response) => {
                    journey.taken.endpoint = Some(name);
                    return Ok(response);
                }
                Err(error) => error,
            };
            journey.failed(name, &error);
            let now = self.clock.now();
            let limit = journey.deadline.limit(journey.routes.attempt_timeout, now);
            let failed = Failed {
                attempts: journey.taken.attempts,
                retryable: error.is_retryable() && journey.has_time(now),
                // An attempt that could not end in time would take that of what else can be done.
                deadline: Some(journey.deadline.gateway()),
                expected: Some(limit.time.into()),
            };
            all_unknown &= error.is_unknown();
            let decision = journey.routes.retries.decide(failed, now);
            journey.counters().decided(decision);
            if decision != RetryDecision::Retry {
                // Whoever may be asked instead is asked only where nobody here can answer.
                return Err(Stopped::Failed(if error.is_retryable() && !all_unknown {
                    self.nobody(journey, Nobody::Left)
                } else {
                    let taken = Box::new(journey.taken.clone());
                    GatewayError::Endpoint { error: Box::new(error), taken }
                }));
            }
            unknown = Some(error);
        }
    }

    /// What it comes to that nobody is there to be asked.
    fn nobody(&self, journey: &Journey<'_>, why: Nobody) -> GatewayError {
        let (model, taken) = (journey.routes.name.clone(), Box::new(journey.taken.clone()));
        if why == Nobody::Late {
            let after = self.clock.now().since(journey.context.now).into();
            GatewayError::TimedOut { model, after }
        } else if let Some(room_in) = journey.room_in {
            GatewayError::Overloaded { model, retry_after: room_in.into(), taken }
        } else if journey.lacks_room() {
            let retry_after = self.room_after(journey);
            GatewayError::Overloaded { model, retry_after, taken }
        } else {
            GatewayError::NoEndpoint { model, taken }
        }
    }

    /// Chooses an endpoint and gets leave to ask it.
    pub(super) fn choose(&self, journey: &mut Journey<'_>) -> Result<(Seat, Leave), NoRoute> {
        loop {
            let now = self.clock.now();
            let view = View::new(Arc::clone(&journey.seats), &journey.sought, now);
            let mut notes = Notes::default();
            let choice = self.choose_rested(journey, &view, &mut notes);
            journey.taken.excluded = notes
                .excluded
                .iter()
                .filter_map(|&(index, why)| {
                    let name = exclusion_name(&view, (index, why), &journey.blocked);
                    journey.counters().excluded(why, name);
                    let seat = journey.seats.get(index)?;
                    Some((seat.member.name.clone(), name))
                })
                .collect();
            journey.taken.notes = notes.notes.iter().map(|note| note_text(*note)).collect();
            let choice = choice?;
            let seat = journey.seats.get(choice.index).ok_or(NoRoute::AllExcluded)?.clone();
            journey.taken.reason = choice.reason.name();
            journey.taken.admission = choice.admission.name();
            // Where others were faster it is full, and so not chosen again.
            let Some(in_flight) = seat.member.load.try_begin(seat.limit) else { continue };
            journey.blocked.push(seat.member.id);
            let health = &seat.version.health;
            // The gate first: leave to call has to be reported once it is given.
            let call = seat.gate.enter().and_then(|inside| {
                let call = match choice.admission {
                    Admission::Panic => Ok(health.call_anyway(now)),
                    _ => health.try_call(now),
                };
                Some((call.ok()?, inside))
            });
            if let Some((call, inside)) = call {
                journey.counters().picked(&choice);
                return Ok((seat, Leave { in_flight, call, _inside: inside }));
            }
            // Ejected or drained this moment, or probed by others: another one.
            seat.member.load.finish(in_flight, None, now);
            self.waiting.left(&seat.member);
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
        journey.counters().asked(Kind::after(journey.taken.attempts));
        journey.taken.attempts += 1;
        let (version, wanted) = (journey.version.clone(), journey.wanted.clone());
        let asked = Asked {
            routes: journey.routes,
            version: version.as_deref(),
            request: journey.request,
            wanted: &wanted,
            deadline: journey.deadline,
            is_copy: journey.is_copy,
            waiting: &self.waiting,
        };
        let visit = Visit::begin(self.clock, &asked, &seat, leave);
        let mut first = pin!(self.ask(&asked, visit));
        let Some(late) = journey.routes.late() else { return (name, first.await) };
        tokio::select! {
            biased;
            result = &mut first => return (name, result),
            () = tokio::time::sleep(late) => {}
        }
        let now = self.clock.now();
        if !journey.has_time(now) {
            return (name, first.await);
        }
        if !journey.routes.retries.try_hedge(now) {
            journey.counters().refused_hedge();
            return (name, first.await);
        }
        let Ok((other, leave)) = self.choose(journey) else { return (name, first.await) };
        journey.counters().asked(Kind::Hedge);
        journey.taken.attempts += 1;
        journey.taken.hedged = true;
        let other_name = other.member.name.clone();
        // Begun before it is first polled, so that it is reported in any case.
        let visit = Visit::begin(self.clock, &asked, &other, leave);
        let mut second = pin!(self.ask(&asked, visit));
        // The first good answer; of two failures the later one is told.
        let (name, result) = tokio::select! {
            result = &mut first => match result {
                Ok(response) => (name, Ok(response)),
                Err(error) => {
                    journey.failed(name, &error);
                    (other_name, second.await)
                }
            },
            result = &mut second => match result {
                Ok(response) => (other_name, Ok(response)),
                Err(error) => {
                    journey.failed(other_name, &error);
                    (name, first.await)
                }
            },
        };
        if result.is_ok() && name == other.member.name {
            journey.counters().hedge_won();
        }
        (name, result)
    }

    async fn ask(
        &self,
        asked: &Asked<'_>,
        mut visit: Visit<'_>,
    ) -> Result<InferResponse, EndpointError> {
        let Seat { member, model, version: at, .. } = visit.seat;
        let Limit { time, is_cut } =
            asked.deadline.limit(asked.routes.attempt_timeout, visit.began);
        let mut request = asked.request.clone();
        asked.deadline.tell(&mut request.parameters, visit.began);
        let work = member.endpoint.infer(&asked.routes.name, asked.version, request);
        let result = match tokio::time::timeout(time, work).await {
            Ok(Ok(response)) => {
                let (model, request) = (&asked.routes.name, asked.request);
                let checked = check_answer(model, asked.wanted, &response);
                let held = || at.known.check(model, asked.version, request, &response);
                checked.and_then(|()| held()).map(|()| response)
            }
            Ok(Err(EndpointError::Status { status: 504, message }))
                if asked.deadline.is_past(self.clock.now()) =>
            {
                Err(EndpointError::Late(message))
            }
            Ok(Err(error)) => Err(error),
            Err(_) if is_cut => {
                let message = format!("no answer within the {time:?} that the request had left");
                Err(EndpointError::Late(message))
            }
            Err(_) => Err(EndpointError::TimedOut(time)),
        };
        match &result {
            Ok(_) => model.presence.answered(),
            Err(error) if error.is_unknown() => model.presence.missed(asked.version),
            Err(error) if error.is_overload() => {
                at.rest.begin(error.retry_after(), self.clock.now());
            }
            Err(_) => {}
        }
        let took = visit.end(match &result {
            Ok(_) => Ending::Answered,
            Err(error) if error.is_late() => Ending::GivenUp(error.outcome()),
            Err(error @ EndpointError::TimedOut(_)) => Ending::GivenUp(error.outcome()),
            Err(error) => Ending::Failed(error.outcome()),
        });
        visit.attempt.ended(&result, took);
        if result.is_ok() && asked.routes.hedging {
            asked.routes.figures.lateness.answered(took);
        }
        result
    }

    /// About when one of the endpoints that are full has room again.
    fn room_after(&self, journey: &Journey<'_>) -> Duration {
        let now = self.clock.now();
        let usual = journey.seats.iter().filter_map(|seat| Some(seat.member.load.latency(now)?.0));
        usual.min().map_or(Duration::from_secs(1), Into::into)
    }
}

impl Journey<'_> {
    /// Who was asked failed.
    fn failed(&mut self, name: String, error: &EndpointError) {
        let is_first = self.taken.failed.is_empty();
        self.taken.failed.push((name, error.to_string()));
        let room_in = error.is_overload().then(|| error.retry_after().unwrap_or(rest::USUAL));
        self.room_in = match (room_in, self.room_in) {
            (Some(room_in), None) if is_first => Some(room_in),
            (Some(room_in), Some(other)) => Some(room_in.min(other)),
            _ => None,
        };
    }

    /// Whether another attempt can be expected to end while the request has time.
    fn has_time(&self, now: Instant) -> bool {
        let others = self.seats.iter().filter(|seat| !self.blocked.contains(&seat.member.id));
        let usual = others.filter_map(|seat| Some(seat.member.load.latency(now)?.0)).min();
        self.deadline.leaves(usual.unwrap_or_default(), now)
    }
}

/// Whether the time that it had was over.
fn is_late(error: &GatewayError) -> bool {
    matches!(error, GatewayError::Endpoint { error, .. } if matches!(**error, EndpointError::Late(_)))
}

/// Leave to ask an endpoint: of its limit, of its health, and of its gate, which counts who is inside.
pub(super) struct Leave {
    in_flight: InFlight,
    call: Call,
    _inside: crate::routing::InFlight,
}

/// What every endpoint on a journey is asked.
struct Asked<'a> {
    routes: &'a ModelPlan,
    version: Option<&'a str>,
    request: &'a InferRequest,
    wanted: &'a [String],
    deadline: Deadline,
    is_copy: bool,
    waiting: &'a Line,
}

/// A request that is at an endpoint. Given up, it says nothing about the endpoint but how long it took at
/// least.
struct Visit<'a> {
    clock: Clock,
    routes: &'a ModelPlan,
    seat: &'a Seat,
    began: Instant,
    there: Option<Leave>,
    waiting: &'a Line,
    attempt: Attempt<'a>,
}

impl<'a> Visit<'a> {
    fn begin(clock: Clock, asked: &Asked<'a>, seat: &'a Seat, leave: Leave) -> Self {
        let attempt = seat.model.figures.attempt(asked.is_copy);
        let (routes, began, there) = (asked.routes, clock.now(), Some(leave));
        Self { clock, routes, seat, began, there, waiting: asked.waiting, attempt }
    }

    fn end(&mut self, ending: Ending) -> tensorforge_core::Duration {
        let now = self.clock.now();
        let took = now.since(self.began);
        let Some(Leave { in_flight, call, .. }) = self.there.take() else { return took };
        let told = ending.latency(took, self.seat, self.routes, now);
        self.seat.member.load.finish(in_flight, told, now);
        self.waiting.left(&self.seat.member);
        let endpoints = u32::try_from(self.routes.seats.len()).unwrap_or(u32::MAX);
        let AtVersion { health, cap, .. } = &*self.seat.version;
        let change = health.report(call, ending.outcome(), &cap.load(), endpoints, now);
        self.seat.model.figures.changed(change);
        took
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.end(Ending::GivenUp(Outcome::Ignored));
    }
}
