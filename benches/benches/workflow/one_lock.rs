//! What one would write first: everything behind one lock. It does what the engine does: a table of
//! edges, generations, numbered attempts, a history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tensorforge_core::machine::{Job, JobState, State, StateMachine};

use crate::load::Subject;

#[derive(Default)]
pub(crate) struct OneLock(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entities: HashMap<Arc<str>, Entity>,
    history: Vec<Step>,
    attempts: u64,
}

struct Entity {
    state: JobState,
    generation: u64,
    entered: u64,
}

#[allow(dead_code, reason = "kept, as the engine keeps it; nobody reads it here")]
struct Step {
    sequence: u64,
    entity: Arc<str>,
    from: JobState,
    to: JobState,
    at: u64,
}

impl Subject for OneLock {
    fn register(&self, id: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entity = Entity { state: JobState::Pending, generation: 0, entered: 0 };
        inner.entities.insert(id.into(), entity);
    }

    fn transition(&self, id: &str, to: JobState, now: u64) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { entities, history, attempts } = &mut *inner;
        *attempts += 1;
        let Some((name, _)) = entities.get_key_value(id) else { return false };
        let name = name.clone();
        let Some(entity) = entities.get_mut(id) else { return false };
        if !Job::TABLE.allows(entity.state.index(), to.index()) {
            return false;
        }
        let (from, sequence) = (entity.state, *attempts - 1);
        *entity = Entity { state: to, generation: entity.generation + 1, entered: now };
        std::hint::black_box(entity.entered);
        history.push(Step { sequence, entity: name, from, to, at: now });
        true
    }
}
