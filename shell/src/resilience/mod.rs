//! What to do when something fails: stop calling it, try again later, replay what happened.
//!
//! [`CircuitBreaker`] knows no time: its owner says when to try again. The breaker that the server
//! uses, with windows, rates, probes and deadlines, is [`tensorforge_core::breaker`]. An event log that
//! finds gaps and stays in its bounds is [`events`](crate::events).
//!
//! No function here panics, overflows or answers NaN.
//!
//! ```
//! use tensorforge::resilience::{CB_OPEN, CircuitBreaker, Event, adaptive_backoff, replay};
//!
//! let breaker = CircuitBreaker::new(2, 1);
//! breaker.record_failure();
//! breaker.record_failure();
//! assert_eq!(breaker.state(), CB_OPEN);
//! assert_eq!(adaptive_backoff(100, 3, 500), 500);
//!
//! let event = |id: &str, sequence| Event { id: id.to_string(), sequence };
//! let seen = [event("b", 3), event("a", 1), event("b", 2)];
//! assert_eq!(replay(&seen), [event("a", 1), event("b", 3)]);
//! ```

mod assess;
mod backoff;
mod checkpoint;
mod circuit;
mod keyed;
mod replay;

#[cfg(test)]
mod workflow;

pub use assess::{
    bulkhead_permits_available, cascade_failure_check, degradation_level, health_quorum,
    recovery_rate, should_trip,
};
pub use backoff::{adaptive_backoff, retry_delay};
pub use checkpoint::{Checkpoint, CheckpointManager};
pub use circuit::{CB_CLOSED, CB_HALF_OPEN, CB_OPEN, CircuitBreaker};
pub use keyed::{BreakerKey, Breakers};
pub use replay::{
    Event, deduplicate, event_ordering, idempotent_apply, replay, replay_converges, replay_window,
};
