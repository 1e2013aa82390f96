//! The queue under test, and the only place that names it.

use tensorforge_core::queue::BoxedPriorityQueue;

use crate::subject::Subject;

pub(crate) const NAME: &str = "tensorforge";

/// Threads of the largest cell, and the one that watches.
const SEATS: usize = 16;

pub(crate) fn new(capacity: usize) -> impl Subject {
    match BoxedPriorityQueue::with_capacity(capacity, SEATS) {
        Ok(queue) => Ours(queue),
        Err(why) => panic!("a queue of {capacity}: {why}"),
    }
}

struct Ours(BoxedPriorityQueue<u64>);

impl Subject for Ours {
    #[inline]
    fn enqueue(&self, priority: i32, item: u64) -> bool {
        self.0.enqueue(priority, item).is_ok()
    }

    #[inline]
    fn dequeue(&self) -> Option<u64> {
        self.0.dequeue()
    }
}
