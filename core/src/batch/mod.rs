//! Which requests run together, and when.
//!
//! [`Planner`] keeps waiting requests in groups of equal [`BatchKey`] and closes a group into a
//! [`Batch`] when it is full, when its first request has waited long enough, or on drain.

mod key;
mod planner;
mod reason;
#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

pub use key::{BatchKey, ModelId};
pub use planner::{Batch, BatchLimits, OfferError, Planner, Rejected, Request, Ticket};
pub use reason::ClosingReason;

/// Priority levels that the planner keeps apart: a request's priority is below this.
pub const LEVELS: usize = 8;
