//! All entities at one moment.

use serde::{Deserialize, Serialize};
use tensorforge_core::Instant;
use tensorforge_core::machine::{AuditSink, State, StateMachine, TransitionValidator};

use super::shard::Shard;
use super::{Engine, EngineOptions};

/// All entities of an engine at one moment, and the machine that they belong to.
///
/// It holds states, generations and times, not the history; visits of states with a deadline are counted
/// anew after a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The machine's name.
    pub machine: String,
    /// Its version.
    pub version: u32,
    /// Its [identity](tensorforge_core::machine::Table::identity): another table has another.
    pub identity: u64,
    /// How many attempts there had been.
    pub attempts: u64,
    /// The entities, in the order of their ids.
    pub entities: Vec<EntitySnapshot>,
}

/// An entity in a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitySnapshot {
    /// Its id.
    pub id: String,
    /// The name of its state.
    pub state: String,
    /// How many steps it had made.
    pub generation: u64,
    /// When it entered its state, in nanoseconds of the engine's time.
    pub entered: u64,
}

/// Why a snapshot cannot be restored. Nothing of it is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is of another machine.
    #[error("the snapshot is of machine '{found}', and this is '{expected}'")]
    Machine {
        /// This machine.
        expected: &'static str,
        /// The snapshot's.
        found: String,
    },
    /// It is of another version of the machine.
    #[error(
        "the snapshot is of version {found} of machine '{machine}', and this is version {expected}: \
         migrate it first"
    )]
    Version {
        /// The machine.
        machine: &'static str,
        /// This version.
        expected: u32,
        /// The snapshot's.
        found: u32,
    },
    /// The version is the same and the table is not.
    #[error(
        "the table of machine '{machine}' has changed since the snapshot, but not its version: \
         give it another version"
    )]
    Identity {
        /// The machine.
        machine: &'static str,
    },
    /// An entity is in a state that the machine has not.
    #[error("entity '{id}' is in state '{state}', which the machine has not")]
    State {
        /// The entity.
        id: String,
        /// Its state.
        state: String,
    },
    /// An entity is there twice.
    #[error("entity '{id}' is there twice")]
    Duplicate {
        /// The entity.
        id: String,
    },
}

impl<M, V, A, C: ?Sized> Engine<M, V, A, C>
where
    M: StateMachine,
    V: TransitionValidator<M::State, C> + 'static,
    A: AuditSink,
{
    /// All entities, in one moment: never with a step half made, nor a set. O(n log n).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let locked: Vec<_> = self.shards.iter().map(Shard::lock).collect();
        let attempts = self.attempts();
        let mut entities: Vec<EntitySnapshot> = locked
            .iter()
            .flat_map(|entities| entities.iter())
            .map(|entity| EntitySnapshot {
                id: (*entity.id).to_owned(),
                state: entity.state.name().to_owned(),
                generation: entity.generation,
                entered: entity.entered.as_nanos(),
            })
            .collect();
        drop(locked);
        entities.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let table = M::TABLE;
        Snapshot {
            machine: table.name.to_owned(),
            version: table.version,
            identity: table.identity(),
            attempts,
            entities,
        }
    }

    /// An engine with the entities of a snapshot. Attempts are counted on from where it was; deadlines
    /// run from when each entity entered its state.
    ///
    /// # Errors
    /// If the snapshot is of another machine or table, or not sound.
    pub fn restore(
        machine: M,
        validator: V,
        sink: A,
        options: EngineOptions<M::State>,
        snapshot: &Snapshot,
    ) -> Result<Self, SnapshotError> {
        let table = M::TABLE;
        if snapshot.machine != table.name {
            let found = snapshot.machine.clone();
            return Err(SnapshotError::Machine { expected: table.name, found });
        }
        if snapshot.version != table.version {
            let (expected, found) = (table.version, snapshot.version);
            return Err(SnapshotError::Version { machine: table.name, expected, found });
        }
        if snapshot.identity != table.identity() {
            return Err(SnapshotError::Identity { machine: table.name });
        }
        let engine = Self::new(machine, validator, sink, options);
        for EntitySnapshot { id, state, generation, entered } in &snapshot.entities {
            let Some(known) = table.state(state).and_then(M::State::from_index) else {
                return Err(SnapshotError::State { id: id.clone(), state: state.clone() });
            };
            let hash = engine.hash(id);
            let mut entities = engine.shards[engine.shard_index(hash)].lock();
            let was = (known, *generation, Instant::from_nanos(*entered));
            if !entities.insert(hash, id, was, |id| engine.hash(id)) {
                return Err(SnapshotError::Duplicate { id: id.clone() });
            }
            entities.schedule(hash, id, &engine.deadlines);
        }
        engine.continue_at(snapshot.attempts);
        Ok(engine)
    }
}
