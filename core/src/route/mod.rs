//! Which endpoint answers a request.
//!
//! A [`RoutingPolicy`] is given a request's [`RouteContext`] and the [`Candidate`]s as they stand, and
//! chooses one or none. It says why: the [`Choice`] carries a [`Reason`], and a [`RouteSink`] is told of
//! each candidate that was excluded, and why.
//!
//! # From candidates to a choice
//! 1. The [`Gate`] lets in who may be asked: health, weight, room, version, age of the figures; with a
//!    panic threshold and a little exploration of what recovers.
//! 2. [`Filter`]s narrow the shortlist, as many as there are: [`Geographic`], [`Rules`], [`Priority`],
//!    [`Headroom`].
//! 3. A policy chooses from what is left:
//!
//! | policy | chooses | remembers |
//! |---|---|---|
//! | [`RoundRobin`] | the next in turn | the last one |
//! | [`SmoothWeighted`] | by weight, evenly spread | a credit for each |
//! | [`WeightedRandom`] | by weight, at random | nothing |
//! | [`LeastRequest`] | who has less to do, of two | nothing |
//! | [`Latency`] | who answers sooner, of two | nothing |
//! | [`Affinity`] | whose key or model it is, within a bound | nothing |
//! | [`TwoChoices`], [`Cheapest`] | by a [`Cost`] of your own | nothing |
//!
//! [`Filtered`] and [`Gated`] put them together, and are policies again.
//!
//! # What it goes by, and what goes with it
//! Figures come from [`EndpointLoad`] (what is outstanding, Peak-EWMA latency) and [`EndpointHealth`]
//! (probes, ejection, slow start). [`Split`] divides traffic between versions, [`Bandit`] by how they do,
//! and [`Experiment`] says when their difference means something; [`Shadow`] decides who else gets a copy; [`Retries`] and
//! [`Hedging`] whether to ask a second one.
//!
//! # What it promises
//! Nobody is chosen whom the gate keeps out, and somebody is whenever anybody is left. The same request,
//! candidates and state give the same choice on every machine: time and randomness are passed in.
//! Choosing is lock-free for any number of threads, allocates nothing and panics on no input.
//!
//! # What it costs
//! A choice of 100 takes 0.2 µs in turn or by two choices, 0.4 µs by random weight and 0.6 to 0.7 µs by
//! consistent hashing, all at the median; at the 99th percentile up to 0.9 µs, when the owner of a key is
//! full. The gate takes 0.15 µs of that; a filter adds 0.1 to 0.3 µs, four of them with two choices come to
//! 0.8 µs. Figures that threads share cost 0.1 µs for each time that they are read: copy them, if that is
//! often. `cargo bench --bench routing` measures it, on a shared core at about 3 GHz.

mod affinity;
mod bandit;
mod candidate;
mod confidence;
mod context;
mod cost;
mod experiment;
mod explain;
mod gate;
mod geographic;
mod hash;
mod headroom;
mod health;
mod latency;
mod least_request;
mod load;
mod odds;
mod policy;
mod priority;
mod rendezvous;
mod retry;
mod round_robin;
mod rules;
mod shadow;
mod shortlist;
mod smooth_weighted;
mod split;
mod weighted_random;

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod models;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod routing;

pub use affinity::{Affinity, AffinityKey};
pub use bandit::{Bandit, BanditConfig, BanditError};
pub use candidate::{Candidate, Candidates, FULL_RAMP, Health};
pub use confidence::{Bounds, ConfidenceSequence};
pub use context::{Annotation, EndpointId, Place, RouteContext, Tier};
pub use cost::{Cheapest, Cost, TwoChoices};
pub use experiment::{
    Decision, Evidence, Experiment, ExperimentConfig, ExperimentError, Harm, Promotion, Side,
};
pub use explain::{Admission, Choice, Exclusion, NoRoute, Note, Reason, RouteSink};
pub use gate::{Gate, WhenStale};
pub use geographic::Geographic;
pub use hash::stable_hash;
pub use headroom::Headroom;
pub use health::{Call, EjectionCap, EndpointHealth, HealthChange, HealthConfig};
pub use latency::{Latency, PeakEwmaCost};
pub use least_request::{LeastRequest, Outstanding};
pub use load::{EndpointLoad, InFlight};
pub use policy::{Filter, Filtered, Gated, RoutingPolicy};
pub use priority::Priority;
pub use retry::{Failed, Hedging, Latencies, Retries, RetryDecision};
pub use round_robin::RoundRobin;
pub use rules::{Condition, MAX_CONDITIONS, Rule, Rules, Target, TooManyConditions};
pub use shadow::{Shadow, ShadowConfig, ShadowCopy, ShadowError, ShadowSkip};
pub use shortlist::{MAX_CANDIDATES, Places, Shortlist};
pub use smooth_weighted::SmoothWeighted;
pub use split::{ALL_TRAFFIC, MAX_ARMS, Split, SplitError};
pub use weighted_random::WeightedRandom;
