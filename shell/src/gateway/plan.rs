//! Routes that make sense, made ready: policies with their state, members at hand.

use super::GatewayOptions;
use super::bandit::{Bandits, Learning};
use super::experiments::{Experiments, Running};
use super::figures::{ArmCounters, ModelFigures};
use super::hints::Places;
use super::member::{Member, Seat, Sought, View};
use super::presence::Presence;
use super::shadows::{Copies, Shadows, shadow_name};
use super::versions::{Seating, Versions};
use crate::concurrency::lock;
use crate::routing::{
    CheckedEndpoint, CheckedModel, CheckedRule, CheckedShadow, CurrentTable, EndpointGate,
    FilterName, PolicyName, StickyBy, TableVersion,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tensorforge_core::Instant;
use tensorforge_core::batch::ModelId;
use tensorforge_core::route::{
    Affinity, AffinityKey, EjectionCap, Filter, Gate, Gated, Geographic, Headroom, Latency,
    LeastRequest, NoRoute, Priority, Retries, RoundRobin, RouteContext, RouteSink, RoutingPolicy,
    Shadow, ShadowConfig, Shortlist, SmoothWeighted, Split, WeightedRandom, stable_hash,
};

/// A model, and the version of it that is asked for, if one is.
type ModelVersion = (String, Option<String>);

/// What outlives tables, model by model.
#[derive(Default)]
pub(super) struct Lasting {
    pub(super) experiments: Experiments,
    pub(super) bandits: Bandits,
    /// They count what endpoints' health says, and last as long as that. Each with its share in thousandths.
    caps: Mutex<HashMap<ModelVersion, (u16, Weak<EjectionCap>)>>,
    figures: Mutex<HashMap<String, Arc<ModelFigures>>>,
    pub(super) shadows: Shadows,
}

impl Lasting {
    /// The cap of a model's endpoints for one version; another one where the share is another.
    pub(super) fn cap(&self, model: &str, version: Option<&str>, share: u16) -> Arc<EjectionCap> {
        let mut caps = lock(&self.caps);
        let key = (model.to_owned(), version.map(str::to_owned));
        let known = caps.get(&key).filter(|(known, _)| *known == share);
        known.and_then(|(_, cap)| cap.upgrade()).unwrap_or_else(|| {
            let cap = Arc::new(EjectionCap::new(share));
            caps.insert(key, (share, Arc::downgrade(&cap)));
            cap
        })
    }

    /// A version is known no longer; should it be again, it begins anew.
    pub(super) fn forget_cap(&self, model: &str, version: &str) {
        lock(&self.caps).remove(&(model.to_owned(), Some(version.to_owned())));
    }

    /// Frees what no table holds any more.
    pub(super) fn forget_unused(&self) {
        lock(&self.caps).retain(|_, (_, cap)| cap.strong_count() > 0);
    }

    fn figures(&self, model: &str) -> Arc<ModelFigures> {
        Arc::clone(lock(&self.figures).entry(model.to_owned()).or_default())
    }

    /// Forgets the figures of models that are in force no longer.
    pub(super) fn retain(&self, plan: &Plan) {
        plan.models
            .values()
            .filter_map(|model| model.bandit.as_ref())
            .for_each(|bandit| self.bandits.keep(bandit));
        lock(&self.figures).retain(|name, figures| match plan.models.get(name) {
            Some(model) => {
                figures.retain_arms(model.versions());
                true
            }
            None => false,
        });
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
    /// The same endpoints with what is known of each version there.
    pub(super) by_version: Versions,
    /// How those are divided that name no version.
    pub(super) split: Option<(Split, Vec<String>)>,
    /// What is counted of those versions.
    pub(super) arms: Vec<Arc<ArmCounters>>,
    pub(super) figures: Arc<ModelFigures>,
    pub(super) experiment: Option<Arc<Running>>,
    /// What changes the split's parts.
    pub(super) bandit: Option<Arc<Learning>>,
    /// Each with the place of its endpoint among those that rules name.
    pub(super) rules: Vec<(CheckedRule, Option<usize>)>,
    pub(super) fallbacks: Vec<String>,
    pub(super) shadows: Vec<(Shadow, CheckedShadow, Arc<Copies>)>,
    pub(super) retries: Retries,
    pub(super) hedging: bool,
    /// How long one endpoint has for one request.
    pub(super) attempt_timeout: Duration,
    pub(super) sticky_by: StickyBy,
    pub(super) places: Arc<Places>,
}

/// An endpoint of a table.
struct Entry<'a> {
    member: &'a Arc<Member>,
    gate: &'a Arc<EndpointGate>,
    entry: &'a CheckedEndpoint,
}

/// What all models of a table have in common.
struct Around<'a> {
    lasting: &'a Lasting,
    options: &'a GatewayOptions,
    places: Arc<Places>,
    /// Versions that shadows ask, by model.
    shadowed: HashMap<&'a str, Vec<&'a str>>,
    /// The table that was in force.
    before: &'a Plan,
    now: Instant,
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
    /// Makes a table ready; `members` are its endpoints, in their order. What `before` knows of versions that
    /// requests have named goes on.
    pub(super) fn new(
        table: &CurrentTable,
        members: &[Arc<Member>],
        before: &Self,
        lasting: &Lasting,
        options: &GatewayOptions,
        now: Instant,
    ) -> Result<Self, PlanError> {
        let (version, routes) = (table.version(), table.routes());
        let places = Arc::new(Places::of(routes));
        let mut shadowed: HashMap<&str, Vec<&str>> = HashMap::new();
        for shadow in routes.models().flat_map(|(_, model)| &model.shadows) {
            shadowed.entry(&shadow.model).or_default().extend(shadow.version.as_deref());
        }
        let around = Around { lasting, options, places, shadowed, before, now };
        let entries: Vec<Entry<'_>> = members
            .iter()
            .zip(table.gates())
            .zip(routes.endpoints())
            .map(|((member, gate), entry)| Entry { member, gate, entry })
            .collect();
        let mut models = HashMap::new();
        for (name, model) in routes.models() {
            let plan = ModelPlan::new(name, model, &entries, &around)?;
            models.insert(name.to_owned(), Arc::new(plan));
        }
        Ok(Self { version, models, members: members.to_vec() })
    }
}

impl Plan {
    /// Tells the endpoints that were in `before` and are not here that they have left.
    pub(super) fn take_leave(&self, before: &Self) {
        for (name, model) in &before.models {
            let now = self.models.get(name);
            let stays = |seat: &Seat| {
                let mut here =
                    now.into_iter().flat_map(|now| now.by_version.unversioned().everyone());
                here.any(|it| Arc::ptr_eq(&it.member, &seat.member))
            };
            for seat in model.by_version.unversioned().everyone().filter(|seat| !stays(seat)) {
                seat.member.leave(name);
            }
        }
    }
}

impl ModelPlan {
    fn new(
        name: &str,
        model: &CheckedModel,
        all: &[Entry<'_>],
        around: &Around<'_>,
    ) -> Result<Self, PlanError> {
        let Around { lasting, options, places, shadowed, before, now } = around;
        let wrong = |problem: String| PlanError { model: name.to_owned(), problem };
        let share = model.health.most_ejected;
        let cap = lasting.cap(name, None, share);
        let seat = |index: usize| {
            let Entry { member, gate, entry } = all.get(index)?;
            Some(Seat::new(Arc::clone(member), Arc::clone(gate), entry, (name, &cap), *now))
        };
        let seats: Result<Arc<[Seat]>, _> =
            model.endpoints.iter().filter_map(|&index| seat(index)).collect();
        let seats = seats.map_err(|error| wrong(error.to_string()))?;
        let figures = lasting.figures(name);
        let split = match &model.split[..] {
            [] => None,
            shares => {
                let weights: Vec<u16> = shares.iter().map(|share| share.basis_points).collect();
                let split = Split::new(&weights, stable_hash(name.as_bytes()));
                let split = split.map_err(|error| wrong(error.to_string()))?;
                Some((split, shares.iter().map(|share| share.version.clone()).collect()))
            }
        };
        let arms = model.split.iter().map(|share| figures.arm(&share.version)).collect();
        let mut shadows = Vec::new();
        for (place, shadow) in (0_u16..).zip(&model.shadows) {
            // Shadows that begin apart do not copy the same requests.
            let phase = place.wrapping_mul(1_237);
            let config = ShadowConfig {
                share: shadow.basis_points,
                most_in_flight: shadow.most_at_once,
                shed_from: shadow.shed_from,
                phase,
                ..ShadowConfig::DEFAULT
            };
            let state = Shadow::new(config).map_err(|error| wrong(error.to_string()))?;
            let copies = lasting.shadows.of(name, &shadow_name(shadow));
            shadows.push((state, shadow.clone(), copies));
        }
        let (mut rules, mut only) = (Vec::new(), Vec::new());
        for rule in &model.rules {
            // The health of one seat of an endpoint and a model is that of all.
            let alone = rule.endpoint.and_then(seat).and_then(Result::ok);
            rules.push((rule.clone(), alone.as_ref().map(|_| only.len())));
            only.extend(alone.map(|seat| Arc::from([seat])));
        }
        let split_versions = model.split.iter().map(|share| share.version.as_str());
        let ruled_versions = model.rules.iter().filter_map(|rule| rule.version.as_deref());
        let shadowed = shadowed.get(name).into_iter().flatten().copied();
        let planned: HashSet<&str> = split_versions.chain(ruled_versions).chain(shadowed).collect();
        let before = before.models.get(name).map(|before| &before.by_version);
        let unversioned = Seating::new(Arc::clone(&seats), only, *now);
        let by_version =
            Versions::new((name, share), unversioned, &planned, before, (lasting, *now));
        let by_version = by_version.map_err(|error| wrong(error.to_string()))?;
        let tuned = &model.retries;
        let retries = Retries::new(tuned.per_mille, tuned.saved, tuned.per_second, tuned.attempts);
        let retries = retries.map_err(|error| wrong(error.to_string()))?;
        if let Some(timeout) = tuned.attempt_timeout.filter(|it| *it > options.timeout) {
            let (millis, all) = (timeout.as_millis(), options.timeout);
            return Err(wrong(format!(
                "retries.attempt_timeout_ms is {millis}; a request has {all:?} in all, so it must be {} \
                 at most",
                all.as_millis()
            )));
        }
        let bandit = model.bandit.as_ref().map(|it| lasting.bandits.of(name, &model.split, it));
        let bandit = bandit.transpose().map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            policy_name: model.policy,
            policy: policy(model),
            seats,
            by_version,
            split,
            arms,
            figures,
            experiment: model.experiment.as_ref().and_then(|it| lasting.experiments.of(name, it)),
            bandit,
            rules,
            fallbacks: model.fallbacks.clone(),
            shadows,
            retries,
            hedging: tuned.hedging.unwrap_or(options.hedging),
            attempt_timeout: tuned.attempt_timeout.unwrap_or(options.attempt_timeout),
            sticky_by: model.affinity.by.clone(),
            places: Arc::clone(places),
        })
    }
}

impl ModelPlan {
    /// After which time a second endpoint is asked, where that is allowed and enough is known.
    pub(super) fn late(&self) -> Option<Duration> {
        self.hedging.then(|| self.figures.lateness.late()).flatten()
    }

    /// What requests for a version of it are for, or for any version.
    pub(super) fn sought(&self, version: Option<&str>) -> Sought {
        let name = [self.name.as_str(), version.unwrap_or_default()].join("\0");
        Sought {
            version: version.map(Arc::from),
            // Two that have the same number are only kept in the same place.
            model: ModelId(stable_hash(name.as_bytes()) as u32),
            least: match self.policy_name {
                // The policy itself says when one that has it not loaded does so.
                PolicyName::ModelAffinity => Presence::Cold,
                _ => Presence::Ready,
            },
        }
    }

    /// The version that the policy is to keep together, where it does.
    pub(super) fn key(&self, sought: &Sought) -> Option<ModelId> {
        (self.policy_name == PolicyName::ModelAffinity).then_some(sought.model)
    }

    /// The versions of its split.
    fn versions(&self) -> &[String] {
        self.split.as_ref().map_or(&[], |(_, versions)| versions)
    }

    /// The counters of a version of its split.
    pub(super) fn arm(&self, version: &str) -> Option<&ArmCounters> {
        let place = self.versions().iter().position(|it| it == version)?;
        self.arms.get(place).map(|arm| &**arm)
    }
}

/// Filters in their order, then the policy, behind the gate.
fn policy(model: &CheckedModel) -> Box<dyn RoutingPolicy<View> + Send + Sync> {
    let load_factor = model.affinity.load_factor;
    let inner: Box<dyn RoutingPolicy<View> + Send + Sync> = match model.policy {
        PolicyName::LeastRequest => Box::new(LeastRequest::default()),
        PolicyName::RoundRobin => Box::new(RoundRobin::new()),
        PolicyName::SmoothWeighted => Box::new(SmoothWeighted::<MAX_WEIGHTED>::new()),
        PolicyName::WeightedRandom => Box::new(WeightedRandom),
        PolicyName::ModelAffinity => Box::new(Affinity { load_factor, ..Affinity::MODEL }),
        PolicyName::Sticky => {
            let key = match &model.affinity.by {
                StickyBy::Tenant => AffinityKey::Tenant,
                StickyBy::Annotation(name) => AffinityKey::Annotation(stable_hash(name.as_bytes())),
                StickyBy::StickyKey => AffinityKey::Sticky,
            };
            Box::new(Affinity { key, load_factor, ..Affinity::STICKY })
        }
        _ => Box::new(Latency::default()),
    };
    let filters = model.filters.iter().map(|filter| match filter {
        FilterName::Priority => Box::new(Priority::DEFAULT) as Box<dyn Filter<View> + Send + Sync>,
        FilterName::Headroom => Box::new(Headroom::default()),
        FilterName::Geographic => Box::new(Geographic { overprovision: model.overprovision }),
    });
    let policy = Narrowed { filters: filters.collect(), policy: inner };
    let gate = Gate {
        panic_below: model.health.panic_below,
        explore: model.health.explore,
        ..Gate::DEFAULT
    };
    Box::new(Gated { gate, policy })
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
