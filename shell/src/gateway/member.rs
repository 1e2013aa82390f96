//! An endpoint in the table: how busy it is, and how well.

use super::endpoint::Endpoint;
use super::figures::EndpointCounters;
use super::presence::{Presence, Presences};
use super::versions::AtVersion;
use crate::concurrency::lock;
use crate::routing::{CheckedEndpoint, EndpointGate};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use tensorforge_core::Instant;
use tensorforge_core::batch::ModelId;
use tensorforge_core::breaker::ConfigError;
use tensorforge_core::route::{
    Candidate, Candidates, EjectionCap, EndpointHealth, EndpointId, EndpointLoad, Exclusion,
    Health, HealthConfig, Place, stable_hash,
};

/// An endpoint and what is known of it. It outlives the table that it came with, as long as the next one
/// has an endpoint of the same name and address.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) url: Option<String>,
    pub(super) id: EndpointId,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) load: EndpointLoad,
    /// What probes say.
    pub(super) health: EndpointHealth,
    /// What is known of models there: one that fails says nothing about another.
    models: Mutex<HashMap<String, Arc<AtEndpoint>>>,
    config: HealthConfig,
}

/// What is known of a model at an endpoint.
#[derive(Default)]
pub(super) struct AtEndpoint {
    /// Whether it is there.
    pub(super) presence: Presences,
    pub(super) figures: EndpointCounters,
    /// Version by version, `None` for requests that name none.
    versions: Mutex<HashMap<Option<String>, Weak<AtVersion>>>,
}

impl Member {
    /// An endpoint that joins at `now`.
    pub(super) fn new(
        entry: &CheckedEndpoint,
        endpoint: Arc<dyn Endpoint>,
        config: HealthConfig,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let id = stable_hash(entry.name.as_bytes());
        Ok(Self {
            name: entry.name.clone(),
            url: entry.url.clone(),
            id: EndpointId(id),
            endpoint,
            load: EndpointLoad::new(std::time::Duration::from_secs(10).into()),
            health: EndpointHealth::new(config, id, now)?,
            models: Mutex::default(),
            config,
        })
    }

    /// It has left the routes of a model, whose caps count it no longer.
    pub(super) fn leave(&self, model: &str) {
        if let Some(known) = lock(&self.models).remove(model) {
            known.versions().iter().for_each(|version| version.leave());
        }
    }

    /// Whether it does not answer probes.
    pub(super) fn is_unreachable(&self, now: Instant) -> bool {
        self.health.health(now) == Health::Unreachable
    }

    /// It is asked again what its models are, after it could not be reached: another program may be there now.
    pub(super) fn forget_signatures(&self) {
        let models: Vec<_> = lock(&self.models).values().cloned().collect();
        let versions = models.iter().flat_map(|model| model.versions());
        versions.for_each(|version| version.known.doubt());
    }

    /// What is known of one model there, which outlives tables.
    fn known_of(&self, model: &str) -> Arc<AtEndpoint> {
        let mut models = lock(&self.models);
        Arc::clone(models.entry(model.to_owned()).or_default())
    }

    /// What is known of one version of it, which outlives the tables that follow on one another.
    fn version_of(
        &self,
        model: &AtEndpoint,
        version: Option<&str>,
        cap: &Arc<EjectionCap>,
        now: Instant,
    ) -> Result<Arc<AtVersion>, ConfigError> {
        let mut versions = lock(&model.versions);
        let key = version.map(str::to_owned);
        if let Some(known) = versions.get(&key).and_then(Weak::upgrade) {
            // Another share counts anew: whoever is ejected stays so, and is not counted until it comes back.
            known.cap.store(Arc::clone(cap));
            return Ok(known);
        }
        let seed = self.id.0 ^ stable_hash(version.unwrap_or_default().as_bytes());
        let known =
            Arc::new(AtVersion::new(self.config, seed, version.is_some(), Arc::clone(cap), now)?);
        versions.retain(|_, known| known.strong_count() > 0);
        versions.insert(key, Arc::downgrade(&known));
        Ok(known)
    }
}

impl AtEndpoint {
    /// Those that are held by a table or a request.
    fn versions(&self) -> Vec<Arc<AtVersion>> {
        lock(&self.versions).values().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("url", &self.url).finish()
    }
}

/// A member as one table has it.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    /// Open unless it drains or has left; counts who is inside.
    pub(super) gate: Arc<EndpointGate>,
    /// What is known of the model there.
    pub(super) model: Arc<AtEndpoint>,
    /// And of the version that is asked for.
    pub(super) version: Arc<AtVersion>,
    pub(super) limit: u32,
    pub(super) least_priority: u8,
    pub(super) place_name: Option<Arc<str>>,
    weight: u16,
    place: Place,
}

impl Seat {
    pub(super) fn new(
        member: Arc<Member>,
        gate: Arc<EndpointGate>,
        entry: &CheckedEndpoint,
        (model, cap): (&str, &Arc<EjectionCap>),
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let model = member.known_of(model);
        Ok(Self {
            version: member.version_of(&model, None, cap, now)?,
            model,
            member,
            gate,
            limit: entry.limit,
            least_priority: entry.least_priority,
            place_name: entry.place_name.as_deref().map(Arc::from),
            weight: entry.weight,
            place: place_of(entry.place),
        })
    }

    /// The same for requests for one version, whose endpoints `cap` counts.
    pub(super) fn for_version(
        &self,
        version: &str,
        cap: &Arc<EjectionCap>,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let version = self.member.version_of(&self.model, Some(version), cap, now)?;
        Ok(Self { version, ..self.clone() })
    }

    fn has(&self, sought: &Sought) -> bool {
        self.model.presence.of(sought.version.as_deref()) >= sought.least
    }

    fn candidate(&self, sought: &Sought, is_hidden: bool, now: Instant) -> Candidate {
        let Self { member, gate, model, version, limit, least_priority, place, .. } = self;
        let presence = model.presence.of(sought.version.as_deref());
        let is_hidden = is_hidden && presence < sought.least;
        let plain = Candidate {
            // Another model of that name gets nothing, as if it had no weight; nor does who has none.
            weight: if is_hidden || version.known.is_odd() { 0 } else { self.weight },
            place: *place,
            loaded: presence == Presence::Ready,
            limit: *limit,
            least_priority: *least_priority,
            ..Candidate::new(member.id, sought.model)
        };
        let mut candidate = version.health.fill(member.load.fill(plain, now), now);
        // Who could not be reached for a while starts slowly, whatever the model.
        candidate.ramp = candidate.ramp.min(member.health.ramp(now));
        if member.is_unreachable(now) {
            candidate.health = Health::Unreachable;
        }
        if gate.is_closed() {
            candidate.health = Health::Draining;
        }
        candidate
    }
}

/// The place of these numbers.
pub(super) const fn place_of([region, zone, rack, host]: [u16; 4]) -> Place {
    Place { region, zone, rack, host }
}

/// What a request is for, at each endpoint of its model.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    /// The version, where one is named.
    pub(super) version: Option<Arc<str>>,
    /// The number of the model and version, for affinity.
    pub(super) model: ModelId,
    /// How far an endpoint must have it.
    pub(super) least: Presence,
}

/// The endpoints of a model, with their figures of the moment, which are read once: what threads share is
/// slow to read, and a choice asks for it a few times.
///
/// Those that have not got what is sought are as if they had no weight, as long as there is one that has it:
/// before the gate, so that health is compared among those alone that could answer, and nearness too. One
/// that is ill counts: where all that have the model are, it is they who must be asked.
#[derive(Clone)]
pub(super) struct View {
    pub(super) seats: Arc<[Seat]>,
    candidates: Vec<Candidate>,
    sought: Sought,
    hides: bool,
    pub(super) now: Instant,
}

impl View {
    pub(super) fn new(seats: Arc<[Seat]>, sought: &Sought, now: Instant) -> Self {
        let hides = seats
            .iter()
            .any(|seat| !seat.gate.is_closed() && !seat.version.known.is_odd() && seat.has(sought));
        let candidates = seats.iter().map(|seat| seat.candidate(sought, hides, now)).collect();
        Self { seats, candidates, sought: sought.clone(), hides, now }
    }

    /// The name of why the endpoint at `index` was left out.
    pub(super) fn why(&self, index: usize, why: Exclusion) -> &'static str {
        let has = || self.seats.get(index).is_none_or(|seat| seat.has(&self.sought));
        match why {
            Exclusion::ZeroWeight if self.hides && !has() => "not_loaded",
            why => why.name(),
        }
    }
}

impl Candidates for View {
    fn count(&self) -> usize {
        self.candidates.len()
    }

    #[inline(always)]
    fn candidate(&self, index: usize) -> Option<Candidate> {
        self.candidates.as_slice().candidate(index)
    }
}
