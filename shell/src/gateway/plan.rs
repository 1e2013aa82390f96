//! Routes that make sense, made ready: policies with their state, members at hand.

use super::experiments::{Experiments, Running};
use super::member::{Member, Seat, View};
use crate::concurrency::lock;
use crate::routing::{
    CheckedEndpoint, CheckedModel, CheckedRule, CheckedShadow, CurrentTable, EndpointGate,
    FilterName, PolicyName, TableVersion,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tensorforge_core::Instant;
use tensorforge_core::route::{
    Affinity, EjectionCap, Filter, Gate, Gated, Geographic, Headroom, Latency, LeastRequest,
    NoRoute, Priority, Retries, RoundRobin, RouteContext, RouteSink, RoutingPolicy, Shadow,
    ShadowConfig, Shortlist, SmoothWeighted, Split, WeightedRandom, stable_hash,
};

/// The share of a model's endpoints that may be ejected at once, in thousandths.
const MOST_EJECTED: u16 = 500;

/// What outlives tables, model by model.
#[derive(Default)]
pub(super) struct Lasting {
    pub(super) experiments: Experiments,
    /// They count what endpoints' health says, which lasts as well.
    caps: Mutex<HashMap<String, Arc<EjectionCap>>>,
}

impl Lasting {
    fn cap(&self, model: &str) -> Arc<EjectionCap> {
        let mut caps = lock(&self.caps);
        let cap = caps.entry(model.to_owned());
        Arc::clone(cap.or_insert_with(|| Arc::new(EjectionCap::new(MOST_EJECTED))))
    }
}

/// What one table comes to.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) version: TableVersion,
    pub(super) models: HashMap<String, Arc<ModelPlan>>,
    /// Everyone in the table, for probes.
    pub(super) members: Vec<Arc<Member>>,
}

/// How requests for one model are routed.
pub(super) struct ModelPlan {
    pub(super) name: String,
    pub(super) policy_name: PolicyName,
    pub(super) policy: Box<dyn RoutingPolicy<View> + Send + Sync>,
    pub(super) seats: Arc<[Seat]>,
    /// How those are divided that name no version.
    pub(super) split: Option<(Split, Vec<String>)>,
    pub(super) experiment: Option<Arc<Running>>,
    pub(super) rules: Vec<(CheckedRule, Option<Arc<[Seat]>>)>,
    pub(super) fallbacks: Vec<String>,
    pub(super) shadows: Vec<(Shadow, CheckedShadow)>,
    pub(super) cap: Arc<EjectionCap>,
    pub(super) retries: Retries,
}

/// An endpoint of a table.
struct Entry<'a> {
    member: &'a Arc<Member>,
    gate: &'a Arc<EndpointGate>,
    entry: &'a CheckedEndpoint,
}

/// Why routes that make sense cannot be served all the same.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("models.{model}: {problem}")]
pub struct PlanError {
    /// The model.
    pub model: String,
    /// What is in the way.
    pub problem: String,
}

impl Plan {
    /// Makes a table ready; `members` are its endpoints, in their order.
    pub(super) fn new(
        table: &CurrentTable,
        members: &[Arc<Member>],
        lasting: &Lasting,
        now: Instant,
    ) -> Result<Self, PlanError> {
        let (version, routes) = (table.version(), table.routes());
        let all: Vec<Entry<'_>> = members
            .iter()
            .zip(table.gates())
            .zip(routes.endpoints())
            .map(|((member, gate), entry)| Entry { member, gate, entry })
            .collect();
        let mut models = HashMap::new();
        for (name, model) in routes.models() {
            let plan = ModelPlan::new(name, model, &all, lasting, now)?;
            models.insert(name.to_owned(), Arc::new(plan));
        }
        Ok(Self { version, models, members: members.to_vec() })
    }
}

impl Plan {
    /// Tells the endpoints that were in `before` and are not here that they have left.
    pub(super) fn take_leave(&self, before: &Self) {
        for (name, model) in &before.models {
            let stays = |seat: &Seat| {
                let now = self.models.get(name);
                now.is_some_and(|now| {
                    now.seats.iter().any(|it| Arc::ptr_eq(&it.member, &seat.member))
                })
            };
            for seat in model.seats.iter().filter(|seat| !stays(seat)) {
                seat.member.leave(name, &model.cap);
            }
        }
    }
}

impl ModelPlan {
    fn new(
        name: &str,
        model: &CheckedModel,
        all: &[Entry<'_>],
        lasting: &Lasting,
        now: Instant,
    ) -> Result<Self, PlanError> {
        let wrong = |problem: String| PlanError { model: name.to_owned(), problem };
        let seat = |index: usize| {
            let Entry { member, gate, entry } = all.get(index)?;
            Some(Seat::new(Arc::clone(member), Arc::clone(gate), entry, name, now))
        };
        let seats: Result<Arc<[Seat]>, _> =
            model.endpoints.iter().filter_map(|&index| seat(index)).collect();
        let seats = seats.map_err(|error| wrong(error.to_string()))?;
        let split = match &model.split[..] {
            [] => None,
            shares => {
                let weights: Vec<u16> = shares.iter().map(|share| share.basis_points).collect();
                let split = Split::new(&weights, stable_hash(name.as_bytes()));
                let split = split.map_err(|error| wrong(error.to_string()))?;
                Some((split, shares.iter().map(|share| share.version.clone()).collect()))
            }
        };
        let mut shadows = Vec::new();
        for (place, shadow) in (0_u16..).zip(&model.shadows) {
            // Shadows that begin apart do not copy the same requests.
            let phase = place.wrapping_mul(1_237);
            let config =
                ShadowConfig { share: shadow.basis_points, phase, ..ShadowConfig::DEFAULT };
            let state = Shadow::new(config).map_err(|error| wrong(error.to_string()))?;
            shadows.push((state, shadow.clone()));
        }
        let rule = |rule: &CheckedRule| {
            // The health of one seat of an endpoint and a model is that of all.
            let only = rule.endpoint.and_then(seat).and_then(Result::ok);
            (rule.clone(), only.map(|seat| Arc::from([seat])))
        };
        // A retry for each five requests, a few besides, three attempts of one.
        let retries = Retries::new(200, 100, 10, 3).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            policy_name: model.policy,
            policy: policy(model),
            seats,
            split,
            experiment: model.experiment.as_ref().and_then(|it| lasting.experiments.of(name, it)),
            rules: model.rules.iter().map(rule).collect(),
            fallbacks: model.fallbacks.clone(),
            shadows,
            cap: lasting.cap(name),
            retries,
        })
    }
}

/// Health counts as long as anybody is healthy: probes have a say here, so what looks ill is, and a request
/// that goes there costs a retry.
const GATE: Gate = Gate { panic_below: 1, ..Gate::DEFAULT };

/// Filters in their order, then the policy, behind the gate.
fn policy(model: &CheckedModel) -> Box<dyn RoutingPolicy<View> + Send + Sync> {
    let inner: Box<dyn RoutingPolicy<View> + Send + Sync> = match model.policy {
        PolicyName::LeastRequest => Box::new(LeastRequest::default()),
        PolicyName::RoundRobin => Box::new(RoundRobin::new()),
        PolicyName::SmoothWeighted => Box::new(SmoothWeighted::<MAX_WEIGHTED>::new()),
        PolicyName::WeightedRandom => Box::new(WeightedRandom),
        PolicyName::ModelAffinity => Box::new(Affinity::MODEL),
        PolicyName::Sticky => Box::new(Affinity::STICKY),
        _ => Box::new(Latency::default()),
    };
    let filters = model.filters.iter().map(|filter| match filter {
        FilterName::Priority => Box::new(Priority::DEFAULT) as Box<dyn Filter<View> + Send + Sync>,
        FilterName::Headroom => Box::new(Headroom::default()),
        _ => Box::new(Geographic::DEFAULT),
    });
    let policy = Narrowed { filters: filters.collect(), policy: inner };
    Box::new(Gated { gate: GATE, policy })
}

/// Endpoints of a model that a weighted turn has places for.
const MAX_WEIGHTED: usize = tensorforge_core::route::MAX_CANDIDATES;

/// A policy behind filters that are known only now.
struct Narrowed {
    filters: Vec<Box<dyn Filter<View> + Send + Sync>>,
    policy: Box<dyn RoutingPolicy<View> + Send + Sync>,
}

impl RoutingPolicy<View> for Narrowed {
    fn choose_among(
        &self,
        request: &RouteContext<'_>,
        candidates: &View,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<tensorforge_core::route::Choice, NoRoute> {
        for filter in &self.filters {
            filter.narrow(request, candidates, shortlist, sink)?;
        }
        self.policy.choose_among(request, candidates, shortlist, sink)
    }
}
