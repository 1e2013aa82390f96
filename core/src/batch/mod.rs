//! Which requests run together, and when.
//!
//! [`Planner`] keeps waiting requests in groups of equal [`BatchKey`] and closes a group into a
//! [`Batch`] when it is full, when its first request has waited long enough, or on drain.

mod key;
mod planner;
#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

pub use key::{BatchKey, ModelId};
pub use planner::{
    Batch, BatchLimits, ClosingReason, OfferError, Planner, Rejected, Request, Ticket,
};
