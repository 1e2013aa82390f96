//! A request as the planner sees it.

use super::BatchKey;
use crate::Instant;

/// A request as the planner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<T> {
    /// What it may share a batch with.
    pub key: BatchKey,
    /// Rows it brings to the batch dimension. At least 1.
    pub items: u32,
    /// Its priority level, higher first; below [`LEVELS`](super::LEVELS) and the levels its model has.
    pub priority: u8,
    /// Memory it occupies while it waits, for limits by bytes.
    pub bytes: u64,
    /// From then on nobody wants the answer; [`Instant::MAX`] for none.
    pub deadline: Instant,
    /// The caller's own: a handle, an index, a box.
    pub payload: T,
}

impl<T> Request<T> {
    /// A request of `items` rows at priority 0, of no bytes, without a deadline.
    #[must_use]
    pub const fn new(key: BatchKey, items: u32, payload: T) -> Self {
        Self { key, items, priority: 0, bytes: 0, deadline: Instant::MAX, payload }
    }
}

/// A request that has waited: what a [`Batch`](super::Batch) hands out, and takes back when it fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queued<T> {
    /// The request, with the deadline that its level gave it if it came without one.
    pub request: Request<T>,
    /// When it came.
    pub arrived: Instant,
    pub(crate) number: u64,
}

impl<T> Queued<T> {
    /// Its number: the engine counts the requests it admits, from 0.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

/// Names a waiting request, to cancel it. Never valid for a later request in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    pub(crate) index: u32,
    pub(crate) number: u64,
}

impl Ticket {
    /// The number of its request, see [`Queued::number`].
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }
}
