//! Where a request goes, and what is left to answer with when nothing can be reached.
//!
//! | what | for |
//! |---|---|
//! | [`RouteTable`] | the routes that are in force: read without a lock, published whole, rolled back |
//! | [`Routes`] | what is written about them, in `routes.toml` or JSON, and [checked](Routes::check) |
//! | [`EndpointGate`] | endpoints that join, drain and leave |
//! | [`AnswerCache`] | answers that are given again when no route is left |
//! | [`compare_responses`], [`ShadowReport`] | what a shadow's answers are worth |
//! | [`choose_route`], [`channel_score`] and the like | one route of several, by its latency |
//!
//! Which endpoint a request goes to is decided by `tensorforge_core::route`. No function here panics on
//! what it is given, and none reads a clock.
//!
//! ```
//! use tensorforge::routing::{Route, RouteTable, choose_route, congestion_adjusted_latency};
//!
//! let table = RouteTable::new();
//! table.add(Route { channel: "near".to_string(), latency: 4 });
//! table.add(Route { channel: "far".to_string(), latency: 30 });
//!
//! assert_eq!(choose_route(&table.all(), &[]).unwrap().channel, "near");
//! assert_eq!(choose_route(&table.all(), &["near".to_string()]).unwrap().channel, "far");
//! assert_eq!(congestion_adjusted_latency(4, 0.5), 6);
//! ```

mod answers;
mod gate;
mod route;
mod routes;
mod score;
mod shadow;
mod table;

pub use answers::{
    AnswerCache, AnswerCacheConfig, AnswerCacheError, AnswerCacheFigures, AnswerKey,
    CACHED_AGE_PARAMETER, CACHED_PARAMETER, CachedAnswer, Freshness, NotKept,
};
pub use gate::{EndpointGate, InFlight};
pub use route::{Route, best_route, choose_route, compare_routes, route_available, route_failover};
pub use routes::{
    ALL_BASIS_POINTS, AffinityEntry, BanditEntry, CheckedAffinity, CheckedBandit, CheckedEndpoint,
    CheckedExperiment, CheckedHealth, CheckedModel, CheckedRetries, CheckedRoutes, CheckedRule,
    CheckedShadow, Condition, EndpointEntry, EndpointState, ExperimentEntry, FilterName,
    GeographicEntry, HealthEntry, InvalidRoutes, MAX_CHANNELS, MAX_ENDPOINTS, MAX_FILE, MAX_MODELS,
    MAX_NAME, MAX_PER_MODEL, MAX_PLACES, ModelEntry, OnVerdict, PolicyName, RetriesEntry, Routes,
    RoutesFileError, RuleEntry, ShadowAnswers, ShadowEntry, SplitEntry, StickyBy, VersionShare,
};
pub use score::{
    channel_score, congestion_adjusted_latency, normalize_latency, route_reliability,
    weighted_route_score,
};
pub use shadow::{
    Comparison, MAX_OUTPUT_NAMES, OutputComparison, OutputCounts, OutputDifference, ShadowReport,
    Tolerance, TopOne, ValueDifferences, compare_responses,
};
pub use table::{
    CurrentTable, EndpointError, KEPT_VERSIONS, PublishError, RollbackError, RouteTable, Snapshot,
    TableVersion,
};
