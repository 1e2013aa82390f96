//! What is written down about routes: the file `routes.toml`, or the same as JSON.

mod bandit;
mod change;
mod check;
mod checked;
mod error;
mod experiment;
mod file;
mod tuning;

#[cfg(test)]
mod tests;

pub use bandit::{BanditEntry, CheckedBandit};
pub use check::{MAX_CHANNELS, MAX_ENDPOINTS, MAX_MODELS, MAX_NAME, MAX_PER_MODEL, MAX_PLACES};
pub use checked::{
    CheckedEndpoint, CheckedModel, CheckedRoutes, CheckedRule, CheckedShadow, Condition,
    VersionShare,
};
pub use error::InvalidRoutes;
pub use experiment::{CheckedExperiment, ExperimentEntry, OnVerdict};
pub use file::{MAX_FILE, RoutesFileError};
pub use tuning::{
    AffinityEntry, CheckedAffinity, CheckedHealth, CheckedRetries, GeographicEntry, HealthEntry,
    RetriesEntry, StickyBy,
};

use super::Route;
use serde::{Deserialize, Serialize};

/// The share of all traffic, in basis points: hundredths of a per cent.
pub const ALL_BASIS_POINTS: u16 = 10_000;

/// Where requests may go, as written: the whole content of `routes.toml`.
///
/// Nothing here is checked yet, so that a mistake can be told by its place: numbers are any numbers, names
/// any text. [`check`](Self::check) makes [`CheckedRoutes`] of it, and so does whatever publishes it. Every
/// key is optional, and a key that is not known is refused.
///
/// ```
/// use tensorforge::routing::{InvalidRoutes, Routes};
///
/// let text = r#"
///     places = ["eu/a", "us"]
///     here = "eu/a"
///
///     [[endpoints]]
///     name = "here"
///     url = "local"
///     place = "eu/a"
///     weight = 3
///
///     [[endpoints]]
///     name = "there"
///     url = "http://gpu-1:8000"
///     place = "us"
///     limit = 64
///
///     [[models]]
///     name = "digits"
///     policy = "latency"
///     filters = ["geographic", "priority"]
///     retries = { attempts = 2, attempt_timeout_ms = 500 }
///     split = [
///         { version = "1", basis_points = 9990 },
///         { version = "2", basis_points = 10 },
///     ]
///     shadows = [{ version = "3", percent = 2.5, answers = "compare" }]
///     rules = [{ header = "x-canary", equals = "yes", version = "2" }]
///     fallbacks = ["digits-small"]
///
///     [[models]]
///     name = "digits-small"
/// "#;
/// let mut routes = Routes::from_toml(text).unwrap();
/// assert!(routes.check().is_ok());
///
/// routes.models[1].fallbacks.push("digits".to_string());
/// assert!(matches!(routes.check(), Err(InvalidRoutes::FallbackCycle { .. })));
/// ```
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routes {
    /// The places that endpoints may be in, each as `region`, `region/zone`, `region/zone/rack` or
    /// `region/zone/rack/host`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// Which of them this gateway stands in, so that its requests come from there unless they name another
    /// one (parameter `place`, header `x-tensorforge-place`); none if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// Plain channels, as [`RouteTable::all`](super::RouteTable::all) tells them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Route>,
    /// What answers requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointEntry>,
    /// How requests for a model are routed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelEntry>,
}

/// Something that answers requests.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointEntry {
    /// Its name, by which it stays the same from one table to the next.
    pub name: String,
    /// `local` for this process, or where it is asked: `http://host:port`.
    pub url: String,
    /// One of [`Routes::places`]; none if it is not known where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its share beside the other endpoints': a whole number from 1 to 65,535.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether it takes new requests.
    #[serde(default)]
    pub state: EndpointState,
    /// How many requests it has at once at most, those of other gateways not counted: 1 to 1,000,000; none
    /// for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Only requests of this `priority` or a higher one go there: 0 to 7. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_priority: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl EndpointEntry {
    /// An active endpoint of weight 1, nobody says where.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            place: None,
            weight: one(),
            state: EndpointState::Active,
            limit: None,
            least_priority: None,
        }
    }
}

/// Whether an endpoint takes new requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EndpointState {
    /// It does.
    #[default]
    Active,
    /// It finishes those it has, and takes no more.
    Draining,
}

/// How requests for one model are routed.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelEntry {
    /// The model's name.
    pub name: String,
    /// How an endpoint is picked.
    pub policy: PolicyName,
    /// What narrows the endpoints down before one is picked, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterName>,
    /// For the policies `sticky` and `model_affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<AffinityEntry>,
    /// For the filter `geographic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geographic: Option<GeographicEntry>,
    /// When health counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthEntry>,
    /// Who is asked a second time, and how long one endpoint has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetriesEntry>,
    /// Names of the endpoints that have it; none for all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// How requests that name no version are divided among versions; none for the newest one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitEntry>,
    /// Compares two versions of the split; see [`ExperimentEntry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentEntry>,
    /// Divides the split's requests by how its versions do; see [`BanditEntry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandit: Option<BanditEntry>,
    /// Models to ask instead, the first one first, when no endpoint of this one is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Who else gets a copy of its requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowEntry>,
    /// Where certain requests go, before any split; the first rule that holds counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleEntry>,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyName {
    /// Who answers sooner, of two drawn at random.
    #[default]
    Latency,
    /// Who has less to do, of two drawn at random.
    LeastRequest,
    /// The next in turn.
    RoundRobin,
    /// In turn by weight, evenly spread.
    SmoothWeighted,
    /// At random by weight.
    WeightedRandom,
    /// The same one for the same model and version, of those that have it, within a bound on its load.
    ModelAffinity,
    /// The same one for the same key, such as a session's; see [`AffinityEntry`].
    Sticky,
}

impl PolicyName {
    /// Its name, as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::LeastRequest => "least_request",
            Self::RoundRobin => "round_robin",
            Self::SmoothWeighted => "smooth_weighted",
            Self::WeightedRandom => "weighted_random",
            Self::ModelAffinity => "model_affinity",
            Self::Sticky => "sticky",
        }
    }
}

/// What narrows the endpoints down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FilterName {
    /// The nearest ones to the request's place, and further ones for what those cannot carry.
    Geographic,
    /// Those with room for the request's `priority`: the lowest one fills nine tenths of a
    /// [limit](EndpointEntry::limit), the others all of it.
    Priority,
    /// Those that are expected to answer before the request's `timeout` or the gateway's, while there are
    /// such.
    Headroom,
}

/// A version's part of the traffic.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SplitEntry {
    /// The version.
    pub version: String,
    /// Its part in hundredths of a per cent; those of all versions add up to [`ALL_BASIS_POINTS`].
    pub basis_points: f64,
}

/// Who gets copies of requests, whose answers nobody waits for.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowEntry {
    /// The model that is asked; none for the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its version; none for what the model's own routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many of the requests are copied, in per cent, to 0.01.
    pub percent: f64,
    /// What becomes of the answers.
    #[serde(default)]
    pub answers: ShadowAnswers,
    /// How many copies are under way at once at most: 1 to 65,535. Default: 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_at_once: Option<f64>,
    /// From which load of the model's own endpoints on there are no copies, in per cent of their limits, or
    /// of 64 requests where an endpoint has none: 0.1 to 1000, to 0.1. Default: 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_from_percent: Option<f64>,
    /// How far compared numbers may be apart, absolutely. Default: 1e-6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_tolerance: Option<f64>,
    /// How far they may be apart as a part of the primary's. Default: 1e-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_tolerance: Option<f64>,
}

/// What becomes of a shadow's answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ShadowAnswers {
    /// They are dropped.
    #[default]
    Drop,
    /// They are compared with the primary's, and the differences are reported.
    Compare,
}

/// Sends requests with a certain header or annotation somewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleEntry {
    /// The HTTP header that is looked at; its name in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The request parameter that is looked at, instead of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// The value it must have; none if it need only be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// The version that such requests go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The endpoint that such requests go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}
