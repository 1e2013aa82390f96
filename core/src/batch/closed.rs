//! A closed batch.

use super::{BatchKey, ClosingReason, PoolId};
use crate::Instant;
use crate::breaker::Permit;

/// A closed batch on its way through a device. Whoever runs it gives it back to the engine when it has
/// ended, well or not: until then an instance is busy and its memory is taken.
#[derive(Debug)]
#[must_use = "the engine waits for its end"]
pub struct Batch {
    pub(crate) key: BatchKey,
    pub(crate) reason: ClosingReason,
    pub(crate) number: u64,
    pub(crate) items: u32,
    pub(crate) padded: u32,
    pub(crate) requests: u32,
    pub(crate) priority: u8,
    pub(crate) started: Instant,
    pub(crate) rerun: bool,
    /// Bytes of the device's memory that are set aside for it.
    pub(crate) memory: u64,
    /// Where: its model may be told to take others from elsewhere while it runs.
    pub(crate) pool: PoolId,
    /// Time that its model was charged for it in advance.
    pub(crate) charged: u64,
    pub(crate) permit: Option<Permit>,
    /// The split it comes of, and whether the other half of that failed.
    pub(crate) pair: u32,
    pub(crate) other_half_failed: bool,
    /// The engine no longer counts it as running.
    pub(crate) overdue: bool,
}

impl Batch {
    /// What its requests share.
    #[must_use]
    pub const fn key(&self) -> BatchKey {
        self.key
    }

    /// Why it was closed.
    #[must_use]
    pub const fn reason(&self) -> ClosingReason {
        self.reason
    }

    /// Its number: the engine counts its batches, from 0.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Items it was closed with.
    #[must_use]
    pub const fn items(&self) -> u32 {
        self.items
    }

    /// Items to run it with: `items` and as many of padding as lead to an allowed size.
    #[must_use]
    pub const fn padded(&self) -> u32 {
        self.padded
    }

    /// Requests it was closed with.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// The highest priority in it.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// When it was closed.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Whether it is a piece of a batch that failed.
    #[must_use]
    pub const fn is_rerun(&self) -> bool {
        self.rerun
    }
}
