//! Where to start again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far something named had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose it is.
    pub id: String,
    /// The last event that it includes.
    pub sequence: i64,
    /// When it was made, in the caller's unit.
    pub timestamp: u64,
}

/// The last checkpoint of each id, for any number of threads.
///
/// **Memory:** one checkpoint for each id. **Time:** O(1), under a short lock.
///
/// ```
/// use tensorforge::resilience::{Checkpoint, CheckpointManager};
///
/// let checkpoints = CheckpointManager::new(100);
/// checkpoints.record(Checkpoint { id: "orders".to_string(), sequence: 500, timestamp: 7 });
/// let last = checkpoints.get("orders").unwrap().sequence;
/// assert!(!checkpoints.should_checkpoint(599, last));
/// assert!(checkpoints.should_checkpoint(600, last));
/// ```
#[derive(Debug)]
pub struct CheckpointManager {
    interval: i64,
    latest: Mutex<HashMap<String, Checkpoint>>,
}

impl CheckpointManager {
    /// No checkpoints yet; one is due after each `interval` events.
    #[must_use]
    pub fn new(interval: i64) -> Self {
        Self { interval, latest: Mutex::new(HashMap::new()) }
    }

    /// Keeps `checkpoint` in place of the one that was recorded before under its id.
    pub fn record(&self, checkpoint: Checkpoint) {
        self.latest().insert(checkpoint.id.clone(), checkpoint);
    }

    /// The one that was recorded last under `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Checkpoint> {
        self.latest().get(id).cloned()
    }

    /// Whether `current` is the interval or more after `last`. Exact for all numbers; always, if the
    /// interval is 0 and `current` is not before `last`.
    #[must_use]
    pub fn should_checkpoint(&self, current: i64, last: i64) -> bool {
        i128::from(current) - i128::from(last) >= i128::from(self.interval)
    }

    /// Forgets all checkpoints. The interval stays.
    pub fn reset(&self) {
        self.latest().clear();
    }

    /// How many ids have a checkpoint.
    #[must_use]
    pub fn count(&self) -> usize {
        self.latest().len()
    }

    /// Nothing panics half way through a change of the map.
    fn latest(&self) -> MutexGuard<'_, HashMap<String, Checkpoint>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
