//! Which requests run together, and when: keys, rules, sizes, costs.
//!
//! Waiting requests are kept in groups of equal [`BatchKey`], inside a group by priority, inside that in
//! order of arrival. A group closes into a [`Batch`] by the rules of its model's [`Lane`], or by a
//! [`ClosingRule`] of its own. [`Engine`](crate::Engine) says which of the groups goes first.

mod arena;
mod closed;
mod cost;
mod governor;
mod group;
mod key;
mod lane;
mod planner;
mod reason;
mod request;
mod rule;
mod sizes;
mod store;
mod tuner;

pub use arena::Entry;
pub(crate) use arena::NONE;
pub use closed::Batch;
pub use cost::{CostError, CostModel};
pub use governor::SizeGovernor;
pub use group::Group;
pub use key::{BatchKey, ModelId};
pub use lane::{FailurePolicy, Lane, LaneError, LevelRule, POOLS, Padding, PoolId};
pub(crate) use planner::{Gathered, OfferError, Plan, Planner};
pub use reason::ClosingReason;
pub use request::{Queued, Request, Ticket};
pub use rule::{ClosingRule, StandardRule, Verdict, Waiting};
pub use sizes::{MAX_SIZES, Sizes, SizesError};
pub use store::Store;
pub use tuner::{LatencyTuner, Unreachable};

/// Priority levels that the planner keeps apart: a request's priority is below this.
pub const LEVELS: usize = 8;
