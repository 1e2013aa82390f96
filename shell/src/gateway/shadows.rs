//! Copies of requests, for models that are only tried.

use super::attempt::Journey;
use super::endpoint::EndpointError;
use super::line::Line;
use super::member::{Seat, View};
use super::plan::{ModelPlan, Plan};
use super::{Gateway, HOPS};
use crate::clock::Clock;
use crate::concurrency::lock;
use crate::contracts::{InferResponse, SHADOW};
use crate::routing::{CheckedShadow, ShadowReport, compare_responses};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tensorforge_core::route::{InFlight, RouteContext, ShadowCopy, ShadowSkip};
use tensorforge_core::{Duration, Instant};

/// Requests from which on an endpoint without a limit counts as fully loaded, for shadows.
const FULL_LOAD: u32 = 64;

/// What came of a shadow's copies.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ShadowFigures {
    /// The model whose requests are copied.
    pub model: String,
    /// Who gets the copies: `model` or `model/version`.
    pub shadow: String,
    /// Copies sent.
    pub copies: u64,
    /// Copies not sent, as the primary was busy, too many were under way, or no endpoint had room.
    pub shed: u64,
    /// Copies that failed.
    pub failed: u64,
    /// Copies that were answered.
    pub answered: u64,
    /// Answers that were compared with the primary's.
    pub compared: u64,
    /// Those that were the same, within the tolerance.
    pub agreed: u64,
    /// The share of rows whose highest value is at the same place, where there are such.
    pub top_one_share: Option<f64>,
    /// How much longer the shadow took on average, in milliseconds; negative where it was faster.
    pub latency_delta_ms: Option<f64>,
    /// The largest difference in 99 of 100 outputs, in the outputs' own unit.
    pub difference_p99: Option<f64>,
}

/// What a shadow's copies come to, shared with those under way. Requests count in it without a lock; the
/// report is for answers, which nobody waits for.
#[derive(Debug, Default)]
pub(super) struct Copies {
    sent: AtomicU64,
    shed: AtomicU64,
    answered: AtomicU64,
    report: Mutex<ShadowReport>,
}

/// The copies of all shadows, by model and shadow. They outlive tables.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    by_name: Mutex<BTreeMap<(String, String), Arc<Copies>>>,
}

impl Shadows {
    pub(super) fn figures(&self) -> Vec<ShadowFigures> {
        let by_name = lock(&self.by_name);
        let figures = by_name.iter().map(|((model, shadow), copies)| {
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let report = lock(&copies.report);
            ShadowFigures {
                model: model.clone(),
                shadow: shadow.clone(),
                copies: read(&copies.sent),
                shed: read(&copies.shed),
                failed: report.failed(),
                answered: read(&copies.answered),
                compared: report.compared(),
                agreed: report.agreed(),
                top_one_share: report.top_one_share(),
                latency_delta_ms: report.latency_delta().mean().map(|seconds| seconds * 1e3),
                difference_p99: report.differences().quantile(0.99).map(|it| it.value()),
            }
        });
        figures.collect()
    }

    /// Those of one shadow.
    pub(super) fn of(&self, model: &str, shadow: &str) -> Arc<Copies> {
        let name = (model.to_owned(), shadow.to_owned());
        Arc::clone(lock(&self.by_name).entry(name).or_default())
    }
}

impl Gateway {
    /// Sends the copies that are due, and waits for none. How many there were.
    pub(super) fn copy_to_shadows(
        &self,
        plan: &Plan,
        journey: &Journey<'_>,
        primary: &InferResponse,
        took: Duration,
    ) -> u32 {
        let mut sent = 0;
        let routes = journey.routes;
        for (place, (state, shadow, copies)) in routes.shadows.iter().enumerate() {
            let shed = || copies.shed.fetch_add(1, Ordering::Relaxed);
            // Whoever waits for room goes first.
            let load = if self.waiting.count() > 0 { u16::MAX } else { load(routes) };
            match state.try_copy(load, self.clock.now()) {
                Ok(copy) => {
                    // A model without routes of its own is asked where the primary is.
                    let target = plan.models.get(&shadow.model).unwrap_or(routes);
                    let Some(work) = self.shadow_call(target, shadow, journey) else {
                        state.finish(copy);
                        shed();
                        continue;
                    };
                    sent += 1;
                    copies.sent.fetch_add(1, Ordering::Relaxed);
                    let (routes, copies) = (Arc::clone(routes), Arc::clone(copies));
                    let tolerance = shadow.compare;
                    // Shares the tensors' memory.
                    let primary = tolerance.map(|_| primary.clone());
                    let clock = self.clock;
                    let budget = Budget { routes, place, copy: Some(copy) };
                    tokio::spawn(async move {
                        let began = clock.now();
                        let result = work.await;
                        let shadow_took = clock.now().since(began);
                        let comparison = match (&result, &primary, &tolerance) {
                            (Ok(answer), Some(primary), Some(tolerance)) => {
                                Some(compare_responses(primary, answer, tolerance))
                            }
                            _ => None,
                        };
                        let mut report = lock(&copies.report);
                        if let Some(comparison) = &comparison {
                            report.record(comparison, took, shadow_took);
                        }
                        if result.is_ok() {
                            copies.answered.fetch_add(1, Ordering::Relaxed);
                        } else {
                            report.record_failure();
                        }
                        drop((report, budget));
                    });
                }
                Err(ShadowSkip::NotDrawn) => {}
                Err(_) => drop(shed()),
            }
        }
        sent
    }

    /// The call of one copy: it counts for nobody's health, nor for the latency of whom users' requests reach.
    fn shadow_call(
        &self,
        target: &Arc<ModelPlan>,
        shadow: &CheckedShadow,
        journey: &Journey<'_>,
    ) -> Option<impl Future<Output = Result<InferResponse, EndpointError>> + Send + use<>> {
        let now = self.clock.now();
        let sought = target.sought(shadow.version.as_deref());
        // Of another model its versions are none of the target's.
        let version = shadow.version.as_deref().filter(|_| target.name == shadow.model);
        let seating = target.by_version.of(version, &self.lasting, now);
        let view = View::new(Arc::clone(&seating.seats), &sought, now);
        let context = RouteContext {
            now,
            random: self.draw(),
            version: target.key(&sought),
            // Nobody waits for it, and it takes nobody's room.
            deadline: None,
            priority: 0,
            ..journey.context
        };
        let choice = target.policy.choose(&context, &view, &mut ()).ok()?;
        // Copies are in the endpoint's limit, too.
        let copy = Copied::begin(seating.seats.get(choice.index)?, self.clock, &self.waiting)?;
        let mut request = journey.request.clone();
        // Whoever gets it sees what it is, and puts it behind the requests of users.
        request.parameters.insert(SHADOW.to_owned(), true.into());
        if let Some(priority) = request.parameters.get_mut("priority") {
            *priority = 0.into();
        }
        debug_assert!(request.parameters.contains_key(HOPS), "every request of a gateway counts");
        let (model, version) = (shadow.model.clone(), shadow.version.clone());
        let limit = target.attempt_timeout;
        Some(async move {
            let mut copy = copy;
            let endpoint = &copy.seat.member.endpoint;
            let work = endpoint.infer(&model, version.as_deref(), request);
            let result = tokio::time::timeout(limit, work).await;
            let result = result.unwrap_or(Err(EndpointError::TimedOut(limit)));
            if result.is_ok() {
                copy.took = Some(copy.clock.now().since(copy.began));
            }
            result
        })
    }
}

/// A copy that is at an endpoint, whatever becomes of it.
struct Copied {
    seat: Seat,
    clock: Clock,
    waiting: Arc<Line>,
    there: Option<InFlight>,
    began: Instant,
    /// Until its answer.
    took: Option<Duration>,
    /// It is drained only when its copies have ended, too.
    _inside: crate::routing::InFlight,
}

impl Copied {
    fn begin(seat: &Seat, clock: Clock, waiting: &Arc<Line>) -> Option<Self> {
        // The gate first: a place in the limit has to be given back once it is taken.
        let inside = seat.gate.enter()?;
        let there = Some(seat.member.load.try_begin(seat.limit)?);
        let (seat, waiting) = (seat.clone(), Arc::clone(waiting));
        let began = clock.now();
        Some(Self { seat, clock, waiting, there, began, took: None, _inside: inside })
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Some(there) = self.there.take() {
            let (load, now) = (&self.seat.member.load, self.clock.now());
            // What users' requests say counts. Of who gets copies only, nothing else would ever be known.
            let told = self.took.filter(|_| load.latency(now).is_none());
            load.finish(there, told, now);
            self.waiting.left(&self.seat.member);
        }
    }
}

/// A copy's place in its shadow's budget, given back whatever becomes of it.
struct Budget {
    routes: Arc<ModelPlan>,
    place: usize,
    copy: Option<ShadowCopy>,
}

impl Drop for Budget {
    fn drop(&mut self) {
        if let (Some((state, ..)), Some(copy)) =
            (self.routes.shadows.get(self.place), self.copy.take())
        {
            state.finish(copy);
        }
    }
}

pub(super) fn shadow_name(shadow: &CheckedShadow) -> String {
    match &shadow.version {
        Some(version) => format!("{}/{version}", shadow.model),
        None => shadow.model.clone(),
    }
}

/// How loaded a model's endpoints are, in thousandths.
fn load(routes: &ModelPlan) -> u16 {
    let outstanding: u64 =
        routes.seats.iter().map(|seat| u64::from(seat.member.load.outstanding())).sum();
    let full: u64 = routes
        .seats
        .iter()
        .map(|seat| u64::from(if seat.limit == u32::MAX { FULL_LOAD } else { seat.limit }))
        .sum();
    u16::try_from(outstanding * 1000 / full.max(1)).unwrap_or(u16::MAX)
}
