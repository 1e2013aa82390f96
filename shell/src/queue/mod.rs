//! Waiting work: a bounded priority queue and a rate limiter.

mod limiter;
mod priority;

pub use limiter::RateLimiter;
pub use priority::{MAX_HARD_LIMIT, PriorityQueue, QueueItem, batch_enqueue, priority_boost};
