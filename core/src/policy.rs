//! How much is still allowed when things go wrong.
//!
//! [`Ladder`] goes up a level when failures come in bursts and down again when successes come in a row;
//! [`RetryBudget`] bounds how many attempts may be second attempts; [`Bulkhead`] how many calls may be
//! under way at once. All of them are shared by any number of threads without a lock, and the level is
//! one load.
//!
//! ```
//! use tensorforge_core::policy::{Ladder, LadderConfig, Level};
//! use tensorforge_core::{Duration, Instant};
//!
//! let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
//! let ladder = Ladder::new(LadderConfig { cooldown: Duration::from_secs(10), ..Default::default() });
//! assert_eq!(ladder.record_failure(at(100)), None);
//! let change = ladder.record_failure(at(101)).unwrap(); // a burst of two
//! assert_eq!((change.from, change.to), (Level::Normal, Level::Watch));
//! // Not again before 20 seconds have passed: the cooldown, twice as long at this level.
//! assert!((102..=120).all(|second| ladder.record_failure(at(second)).is_none()));
//! assert_eq!(ladder.record_failure(at(122)).unwrap().to, Level::Restricted);
//! ```

mod budget;
mod bulkhead;
mod ladder;

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod models;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod workflow;

pub use budget::RetryBudget;
pub use bulkhead::{Bulkhead, Permit};
pub use ladder::{Change, Ladder, LadderConfig, Level};
