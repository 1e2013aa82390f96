//! One entity alone.

use tensorforge_core::Instant;
use tensorforge_core::machine::{
    AuditRecord, AuditSink, Outcome, Reason, Refusal, State, StateMachine,
};

use super::TransitionError;

/// One entity of a machine, for code that owns it anyway: no table of entities, no lock.
///
/// ```
/// use tensorforge::workflow::Cursor;
/// use tensorforge_core::Instant;
/// use tensorforge_core::machine::{RequestLife, RequestState::*};
///
/// let mut request = Cursor::<RequestLife>::new();
/// request.go(Admitted, "r-1", "within limits", Instant::ZERO, &()).unwrap();
/// assert!(request.go(Succeeded, "r-1", "", Instant::ZERO, &()).is_err());
/// assert_eq!(request.state(), Admitted);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cursor<M: StateMachine> {
    state: M::State,
    generation: u32,
}

impl<M: StateMachine> Cursor<M> {
    /// In the machine's first state.
    #[must_use]
    pub fn new() -> Self {
        let state = M::State::from_index(M::TABLE.initial)
            .expect("a checked table begins at one of its states");
        Self { state, generation: 0 }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> M::State {
        self.state
    }

    /// Whether it is at one of the machine's ends.
    #[must_use]
    pub fn is_over(&self) -> bool {
        M::TABLE.is_end(self.state.index())
    }

    /// Goes to `to`, if the table has the edge, and tells the sink either way. The record's sequence is
    /// the number of steps that this entity has made: what numbers all of them is the sink's chain.
    ///
    /// # Errors
    /// If there is no such edge; then it stays.
    pub fn go(
        &mut self,
        to: M::State,
        entity: &str,
        cause: &str,
        now: Instant,
        sink: &(impl AuditSink + ?Sized),
    ) -> Result<(), TransitionError> {
        let from = self.state;
        let allowed = M::TABLE.allows(from.index(), to.index());
        let refusal = Refusal { by: M::TABLE.name, reason: Reason::NoEdge };
        // Nothing to be done about a record that is not kept: the sink counts them.
        let _ = sink.record(&AuditRecord {
            sequence: self.generation.into(),
            at: now,
            machine: M::TABLE.name,
            entity,
            from: from.name(),
            to: to.name(),
            generation: self.generation.into(),
            cause,
            outcome: if allowed { Outcome::Applied } else { Outcome::Refused(refusal) },
        });
        if !allowed {
            return Err(TransitionError::NoEdge { from: from.name(), to: to.name() });
        }
        self.state = to;
        self.generation += 1;
        Ok(())
    }
}

impl<M: StateMachine> Default for Cursor<M> {
    fn default() -> Self {
        Self::new()
    }
}
