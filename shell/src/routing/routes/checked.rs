//! Routes that are known to make sense.

use super::{
    CheckedAffinity, CheckedBandit, CheckedExperiment, CheckedHealth, CheckedRetries,
    EndpointState, FilterName, PolicyName, Routes,
};
use crate::routing::{Route, Tolerance};
use hashbrown::HashMap;
use std::sync::Arc;

/// Levels of a place: region, zone, rack, host.
pub(super) const LEVELS: usize = 4;

/// Routes that make sense: every name resolved, every number in its range.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CheckedRoutes {
    pub(in crate::routing) channels: Vec<Arc<Route>>,
    /// As written, but for the channels.
    pub(in crate::routing) written: Routes,
    pub(super) places: HashMap<String, [u16; LEVELS]>,
    pub(super) endpoints: Vec<CheckedEndpoint>,
    pub(super) endpoint_indices: HashMap<String, usize>,
    pub(super) models: HashMap<String, CheckedModel>,
}

impl CheckedRoutes {
    /// The numbers of a place's region, zone, rack and host, as in [`CheckedEndpoint::place`]; `None` if no
    /// such place is declared. O(1).
    #[must_use]
    pub fn place(&self, name: &str) -> Option<[u16; LEVELS]> {
        self.places.get(name).copied()
    }

    /// The places that are declared, each with its numbers, in no order.
    pub fn places(&self) -> impl Iterator<Item = (&str, [u16; LEVELS])> {
        self.places.iter().map(|(name, numbers)| (name.as_str(), *numbers))
    }

    /// Where the gateway stands, one of [`places`](Self::places); `None` if it is not known.
    #[must_use]
    pub fn here(&self) -> Option<&str> {
        self.written.here.as_deref()
    }

    /// The endpoints, in the order written.
    #[must_use]
    pub fn endpoints(&self) -> &[CheckedEndpoint] {
        &self.endpoints
    }

    /// Where an endpoint is among [`endpoints`](Self::endpoints). O(1).
    #[must_use]
    pub fn endpoint_index(&self, name: &str) -> Option<usize> {
        self.endpoint_indices.get(name).copied()
    }

    /// How requests for a model are routed; `None` if nothing is written about it. O(1).
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&CheckedModel> {
        self.models.get(name)
    }

    /// The models that have routes, in no order.
    pub fn models(&self) -> impl Iterator<Item = (&str, &CheckedModel)> {
        self.models.iter().map(|(name, model)| (name.as_str(), model))
    }

    /// How many models have routes.
    #[must_use]
    pub fn model_count(&self) -> usize {
        self.models.len()
    }
}

/// An endpoint that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedEndpoint {
    /// Its name.
    pub name: String,
    /// Where it is asked; `None` for this process.
    pub url: Option<String>,
    /// Region, zone, rack and host as numbers, each with a meaning within the one before it; 0 where it is
    /// not known.
    pub place: [u16; LEVELS],
    /// The place as it is written.
    pub place_name: Option<String>,
    /// Its share beside the others', at least 1.
    pub weight: u16,
    /// Whether it takes new requests.
    pub state: EndpointState,
    /// How many requests it has at once at most; `u32::MAX` for any number.
    pub limit: u32,
    /// Only requests of this priority or a higher one go there.
    pub least_priority: u8,
}

/// A model's routes that make sense.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CheckedModel {
    /// How an endpoint is picked.
    pub policy: PolicyName,
    /// What narrows the endpoints down before.
    pub filters: Vec<FilterName>,
    /// What its policy keeps together, and how far.
    pub affinity: CheckedAffinity,
    /// How many times its share an endpoint can carry before the filter `geographic` looks further, in
    /// thousandths.
    pub overprovision: u32,
    /// When health counts.
    pub health: CheckedHealth,
    /// Who is asked a second time.
    pub retries: CheckedRetries,
    /// Indices of its endpoints among [`CheckedRoutes::endpoints`], as if all had been written where none
    /// was.
    pub endpoints: Vec<usize>,
    /// The versions' parts, which add up to [`ALL_BASIS_POINTS`](super::ALL_BASIS_POINTS); empty for the newest version.
    pub split: Vec<VersionShare>,
    /// Which two versions of the split are compared.
    pub experiment: Option<CheckedExperiment>,
    /// By what the split's parts change.
    pub bandit: Option<CheckedBandit>,
    /// Models to ask instead; no way along them comes back here.
    pub fallbacks: Vec<String>,
    /// Who else gets copies.
    pub shadows: Vec<CheckedShadow>,
    /// Where certain requests go; the first that holds counts.
    pub rules: Vec<CheckedRule>,
}

/// A version's part of the traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VersionShare {
    /// The version.
    pub version: String,
    /// Its part in hundredths of a per cent, at least 1.
    pub basis_points: u16,
}

/// A shadow that makes sense.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CheckedShadow {
    /// The model that is asked.
    pub model: String,
    /// Its version; `None` for what the model's own routes say.
    pub version: Option<String>,
    /// Its part of the requests in hundredths of a per cent, at least 1.
    pub basis_points: u16,
    /// How many copies may be under way.
    pub most_at_once: u32,
    /// From which load of the primary on there are none, in thousandths.
    pub shed_from: u16,
    /// How exactly its answers are compared; `None` if they are dropped.
    pub compare: Option<Tolerance>,
}

/// A rule that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedRule {
    /// What a request must bring.
    pub condition: Condition,
    /// The version it goes to then.
    pub version: Option<String>,
    /// The endpoint it goes to then, as an index among [`CheckedRoutes::endpoints`].
    pub endpoint: Option<usize>,
}

/// What a rule looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// An HTTP header.
    Header {
        /// Its name in lower case.
        name: String,
        /// Its value; `None` for any.
        equals: Option<String>,
    },
    /// A request parameter.
    Annotation {
        /// Its name.
        name: String,
        /// Its value; `None` for any.
        equals: Option<String>,
    },
}
