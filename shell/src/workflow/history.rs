//! What was done, in order.

use std::sync::Arc;

use tensorforge_core::Instant;

/// A step that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<S> {
    /// Its number among all attempts of the engine. Of one entity, a later step has a higher one.
    pub sequence: u64,
    /// Which entity.
    pub entity: Arc<str>,
    /// The state that it was in.
    pub from: S,
    /// The one that it is in since.
    pub to: S,
    /// When.
    pub at: Instant,
}
