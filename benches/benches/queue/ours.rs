//! The queue under test, and the only place that names it.
//!
//! A stand-in until `tensorforge_core::queue::PriorityQueue` is there: what it measures is std's
//! mutex heap against itself, which shows how far this machine's noise moves a ratio of 1.

use crate::rivals::StdHeap;
use crate::subject::Subject;

pub(crate) const NAME: &str = "STAND-IN (std mutex heap)";

pub(crate) fn new(capacity: usize) -> impl Subject {
    StdHeap::new(capacity)
}
