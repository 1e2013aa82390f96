//! Lives of entities as declared machines: who may go where, who may veto it, and who is told.
//!
//! [`WorkflowEngine`] and the functions beside it are the stable interface, over the dispatch machine.
//! [`Engine`] is the same for any machine declared with [`machine!`](tensorforge_core::machine!): with
//! validators that may veto a step, a sink that is told of every attempt, compare-and-set steps, steps
//! of several entities at once, deadlines and retries, and snapshots. [`Cursor`] is one entity alone,
//! for what already has an owner.
//!
//! ```
//! use tensorforge::workflow::{WorkflowEngine, shortest_path};
//!
//! let engine = WorkflowEngine::new();
//! engine.register("order-7");
//! assert!(engine.transition("order-7", "allocated", 10).success);
//! let refused = engine.transition("order-7", "arrived", 11);
//! assert_eq!(refused.error.as_deref(), Some("cannot transition from allocated to arrived"));
//! assert_eq!(engine.audit_log(), ["[10] queued -> allocated (entity: order-7)"]);
//! assert_eq!(shortest_path("allocated", "arrived").unwrap(), ["allocated", "departed", "arrived"]);
//! ```

pub mod audit;
mod cursor;
mod deadlines;
mod engine;
mod history;
mod options;
mod request;
mod set;
mod shard;
mod snapshot;
mod stable;
mod validators;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use deadlines::Deadline;
pub use engine::{Applied, Engine, TransitionError};
pub use history::Step;
pub use options::{AuditPolicy, EngineOptions, TimeSource};
pub use request::{LiveRequest, RequestLog, SharedSink};
pub use set::{SetError, Wanted};
pub use snapshot::{EntitySnapshot, Snapshot, SnapshotError};
pub use stable::{
    TransitionRecord, TransitionResult, WorkflowEngine, allowed_transitions, batch_register,
    batch_transition_atomic, bottleneck_state, can_cancel, can_resume, can_transition,
    chain_length, compact_history, entity_throughput, estimated_completion, is_stale,
    is_terminal_state, is_valid_state, merge_histories, parallel_workflows, reachable_from,
    shortest_path, state_age_seconds, state_distribution, time_in_state, transition_count,
    valid_path, validate_and_transition, workflow_complete_percentage,
};
pub use validators::{
    Clearance, DependencyHealth, Entering, Permissions, Resource, StepRate, TimeWindow, entering,
};
