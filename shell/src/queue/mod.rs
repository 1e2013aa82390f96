//! Waiting work: a bounded priority queue, a rate limiter, and what to conclude from a depth.
//!
//! Everything here takes `&self`, is `Send + Sync`, takes no lock and reads no clock: times are the
//! caller's, in any unit, and are passed in.
//!
//! ```
//! use tensorforge::queue::{PriorityQueue, QueueItem, RateLimiter, queue_health, should_shed};
//!
//! let waiting = PriorityQueue::new(100);
//! let admitted = RateLimiter::new(5.0, 1.0); // bursts of 5, then one for each unit of time
//!
//! let now = 0;
//! if admitted.try_acquire(now) && !should_shed(waiting.size(), 100, false) {
//!     waiting.enqueue(QueueItem { id: "a".into(), priority: 3 });
//! }
//! assert_eq!(waiting.dequeue().unwrap().id, "a");
//! assert_eq!(queue_health(waiting.size(), 100).status, "healthy");
//! ```

mod limiter;
mod load;
mod priority;

pub use limiter::RateLimiter;
pub use load::{
    QueueHealth, drain_percentage, estimate_wait_time, fairness_index, queue_health,
    queue_pressure, requeue_expired, should_shed, weighted_wait_time,
};
pub use priority::{MAX_HARD_LIMIT, PriorityQueue, QueueItem, batch_enqueue, priority_boost};
