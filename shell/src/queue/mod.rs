//! Waiting work: a bounded priority queue.

mod priority;

pub use priority::{MAX_HARD_LIMIT, PriorityQueue, QueueItem, batch_enqueue, priority_boost};
