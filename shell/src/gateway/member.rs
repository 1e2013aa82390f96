//! An endpoint in the table: how busy it is, and how well.

use super::endpoint::Endpoint;
use crate::routing::{CheckedEndpoint, EndpointGate};
use std::fmt;
use std::sync::Arc;
use tensorforge_core::Instant;
use tensorforge_core::batch::ModelId;
use tensorforge_core::route::{
    Candidate, Candidates, EndpointHealth, EndpointId, EndpointLoad, Health, Place,
};

/// An endpoint and what is known of it. It outlives the table that it came with, as long as the next one
/// has an endpoint of the same name and address.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) url: Option<String>,
    pub(super) id: EndpointId,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) load: EndpointLoad,
    pub(super) health: EndpointHealth,
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
    weight: u16,
    place: Place,
}

impl Seat {
    pub(super) fn new(
        member: Arc<Member>,
        gate: Arc<EndpointGate>,
        entry: &CheckedEndpoint,
    ) -> Self {
        let [region, zone, rack, host] = entry.place;
        Self { member, gate, weight: entry.weight, place: Place { region, zone, rack, host } }
    }

    fn candidate(&self, now: Instant) -> Candidate {
        let Self { member, gate, weight, place } = self;
        let plain =
            Candidate { weight: *weight, place: *place, ..Candidate::new(member.id, ModelId(0)) };
        let mut candidate = member.health.fill(member.load.fill(plain, now), now);
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
