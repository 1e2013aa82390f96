//! Whether a queue is linearizable, judged from recorded histories.
//!
//! A history is what threads called, what they were answered, and when each call began and ended
//! ([`history`]). It is linearizable if its calls can be put in one order that respects both real
//! time and the sequential queue ([`specification`]); [`checker`] looks for that order. Histories
//! come from threads that run freely or under a scheduler whose every choice follows from a seed
//! ([`schedule`]); [`judge`] mixes all of this, and [`planted`] shows that it refuses wrong queues.
//!
//! Sources: Herlihy, Wing, "Linearizability" (TOPLAS 12, 1990); Wing, Gong, "Testing and verifying
//! concurrent objects" (JPDC 17, 1993); Lowe, "Testing for linearizability" (CPE 29, 2017);
//! Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs"
//! (ASPLOS 2010).

mod checker;
mod history;
mod judge;
mod planted;
mod random;
mod schedule;
mod specification;

pub(super) use judge::{histories_wanted, judge, seed_wanted};

use std::vec::Vec;

/// A queue under test.
pub(super) trait Subject: Send + Sync {
    /// Whether there was room.
    fn enqueue(&self, priority: i32, deadline: Option<u64>, item: u32) -> bool;
    fn dequeue(&self) -> Option<u32>;
    fn peek(&self) -> Option<u32>;
    fn size(&self) -> usize;
    /// Calls `detached` after the items left the queue and before they stop taking room in it.
    fn drain(&self, detached: &mut dyn FnMut()) -> Vec<u32>;
    fn clear(&self);
}
