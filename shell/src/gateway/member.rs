//! An endpoint in the table: how busy it is, and how well.

use super::endpoint::Endpoint;
use crate::concurrency::lock;
use crate::routing::{CheckedEndpoint, EndpointGate};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use tensorforge_core::Instant;
use tensorforge_core::batch::ModelId;
use tensorforge_core::breaker::ConfigError;
use tensorforge_core::route::{
    Candidate, Candidates, EjectionCap, EndpointHealth, EndpointId, EndpointLoad, Health,
    HealthConfig, Place, stable_hash,
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
    /// What requests say, model by model: one that fails there says nothing about another.
    models: Mutex<HashMap<String, Arc<EndpointHealth>>>,
    config: HealthConfig,
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

    /// It has left the routes of a model, whose cap counts it no longer.
    pub(super) fn leave(&self, model: &str, cap: &EjectionCap) {
        if let Some(health) = lock(&self.models).remove(model) {
            health.leave(cap);
        }
    }

    /// Its health for one model, which outlives tables.
    fn health_for(&self, model: &str, now: Instant) -> Result<Arc<EndpointHealth>, ConfigError> {
        let mut models = lock(&self.models);
        if let Some(known) = models.get(model) {
            return Ok(Arc::clone(known));
        }
        let seed = self.id.0 ^ stable_hash(model.as_bytes());
        let health = Arc::new(EndpointHealth::new(self.config, seed, now)?);
        models.insert(model.to_owned(), Arc::clone(&health));
        Ok(health)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("url", &self.url).finish()
    }
}

/// A member as one table has it.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    /// Open unless it drains or has left; counts who is inside.
    pub(super) gate: Arc<EndpointGate>,
    /// What requests for the model say.
    pub(super) health: Arc<EndpointHealth>,
    weight: u16,
    place: Place,
}

impl Seat {
    pub(super) fn new(
        member: Arc<Member>,
        gate: Arc<EndpointGate>,
        entry: &CheckedEndpoint,
        model: &str,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let [region, zone, rack, host] = entry.place;
        let health = member.health_for(model, now)?;
        let place = Place { region, zone, rack, host };
        Ok(Self { member, gate, health, weight: entry.weight, place })
    }

    fn candidate(&self, now: Instant) -> Candidate {
        let Self { member, gate, health, weight, place } = self;
        let plain =
            Candidate { weight: *weight, place: *place, ..Candidate::new(member.id, ModelId(0)) };
        let mut candidate = health.fill(member.load.fill(plain, now), now);
        // Who could not be reached for a while starts slowly, whatever the model.
        candidate.ramp = candidate.ramp.min(member.health.ramp(now));
        if member.health.health(now) == Health::Unreachable {
            candidate.health = Health::Unreachable;
        }
        if gate.is_closed() {
            candidate.health = Health::Draining;
        }
        candidate
    }
}

/// The endpoints of a model, with their figures of the moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) seats: Arc<[Seat]>,
    pub(super) now: Instant,
}

impl Candidates for View {
    fn count(&self) -> usize {
        self.seats.len()
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        self.seats.get(index).map(|seat| seat.candidate(self.now))
    }
}
