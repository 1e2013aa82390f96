//! State machines as data, with the validation injected and the audit plugged in.
//!
//! A machine is a table: its states, which may follow which, where it begins and where it ends.
//! [`machine!`](crate::machine!) declares one as an enum and checks the table while it compiles: a state
//! that cannot be reached, one that cannot be left and is no end, an end that can be left, an edge
//! written twice are compile errors. What may veto a step is a [`TransitionValidator`]; who is told of
//! every attempt, the refused ones too, is an [`AuditSink`].
//!
//! Nothing here keeps entities: whoever does (the shell's engine, or firmware with one variable) asks the
//! table, the validator and the sink, in this order.
//!
//! ```
//! use tensorforge_core::machine::{State, StateMachine};
//!
//! tensorforge_core::machine! {
//!     /// A door.
//!     pub machine Door: "door", version 1, starts Closed;
//!     /// What a door can be.
//!     pub enum DoorState {
//!         /// Anyone may open it.
//!         Closed = "closed" -> [Open, Locked, Removed],
//!         /// Anyone may pass.
//!         Open = "open" -> [Closed],
//!         /// Only those with a key may open it.
//!         Locked = "locked" -> [Closed],
//!         /// No door any more.
//!         Removed = "removed" -> end,
//!     }
//! }
//!
//! let table = Door::TABLE;
//! assert!(table.allows(DoorState::Closed.index(), DoorState::Open.index()));
//! assert!(!table.allows(DoorState::Open.index(), DoorState::Locked.index()));
//! assert_eq!(table.state("locked"), Some(DoorState::Locked.index()));
//! assert_eq!(DoorState::Removed.name(), "removed");
//! ```
//!
//! A table with a mistake does not compile:
//!
//! ```compile_fail
//! tensorforge_core::machine! {
//!     /// A trap.
//!     pub machine Trap: "trap", version 1, starts Open;
//!     /// What it can be.
//!     pub enum TrapState {
//!         /// Ready.
//!         Open = "open" -> [Shut],
//!         /// Nothing leads out, and it is no end.
//!         Shut = "shut" -> [],
//!     }
//! }
//! ```

mod attempt;
mod audit;
mod declare;
mod machines;
mod table;

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod workflow;

pub use attempt::{Attempt, Reason, Refusal, TransitionValidator};
pub use audit::{AuditFailure, AuditRecord, AuditSink, Outcome};
pub use machines::{
    Deployment, DeploymentState, Dispatch, DispatchState, Job, JobState, RequestLife, RequestState,
};
pub use table::{MOST_STATES, Row, StateSet, Table, TableError};

use core::fmt::Debug;

/// A state of a machine: a value of an enum, and its place in the table.
pub trait State: Copy + Eq + Debug + Send + Sync + 'static {
    /// Its place in the table.
    fn index(self) -> usize;

    /// The state at a place, if there is one.
    fn from_index(index: usize) -> Option<Self>;

    /// Its name in the table.
    fn name(self) -> &'static str;
}

/// A machine: its table, and what happens when a state is left or entered.
pub trait StateMachine: Send + Sync + 'static {
    /// Its states.
    type State: State;

    /// What it consists of.
    const TABLE: Table;

    /// Called when `attempt` leaves `attempt.from`, before [`entered`](Self::entered). Nothing by
    /// default.
    fn left(&self, attempt: &Attempt<'_, Self::State>) {
        let _ = attempt;
    }

    /// Called when `attempt` has entered `attempt.to`. Nothing by default.
    fn entered(&self, attempt: &Attempt<'_, Self::State>) {
        let _ = attempt;
    }
}
