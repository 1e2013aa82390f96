//! How an engine is set up.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tensorforge_core::{Duration, Instant};

use super::Deadline;

/// How an [`Engine`](super::Engine) is set up.
pub struct EngineOptions<S> {
    /// Locks that the entities are spread over: at least 1, rounded up to a power of two. By default 16
    /// for each processor.
    pub shards: usize,
    /// Steps that the history keeps, at least: each shard its part of them, the oldest fall out. All are
    /// kept for good, by default.
    pub history: Option<usize>,
    /// What becomes of a step that the audit does not keep.
    pub audit: AuditPolicy,
    /// How long entities may stay in a state.
    pub deadlines: Vec<Deadline<S>>,
    /// How long a validator's answer may take to count, and who tells the time. Without it, any time.
    pub validator_limit: Option<(Duration, TimeSource)>,
}

/// Tells the time, in the engine's unit.
pub type TimeSource = Arc<dyn Fn() -> Instant + Send + Sync>;

/// What becomes of a step that the audit sink does not keep.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditPolicy {
    /// It is made, and [counted](super::Engine::audit_failures).
    #[default]
    Count,
    /// It is refused: nothing happens that is not on record.
    Refuse,
}

impl<S> Default for EngineOptions<S> {
    fn default() -> Self {
        Self {
            shards: 16 * available_parallelism().map_or(1, NonZero::get),
            history: None,
            audit: AuditPolicy::Count,
            deadlines: Vec::new(),
            validator_limit: None,
        }
    }
}
