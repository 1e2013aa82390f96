//! Some of the entities, under one lock.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tensorforge_core::Instant;
use tensorforge_core::machine::State;

use super::Step;

/// An entity, in one cache line of its own: threads that move others do not slow it down.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entity<S> {
    pub(super) state: S,
    pub(super) generation: u64,
    pub(super) entered: Instant,
    pub(super) id: Box<str>,
    /// Its place among the names of its shard.
    name: u32,
    /// Only of entities that were in a state with a deadline.
    pub(super) timing: Option<Box<Timing>>,
}

/// A step, as short as can be: written one after the other, it costs no memory of the entity's.
#[derive(Clone, Copy, Debug)]
struct Made<S> {
    sequence: u64,
    at: Instant,
    name: u32,
    from: S,
    to: S,
}

/// When an entity's time in its state is over, and how often it was where.
#[derive(Debug, Default)]
pub(super) struct Timing {
    pub(super) deadline: Option<Instant>,
    pub(super) visits: Vec<(usize, u32)>,
}

/// The entities of a shard. Boxed, so that the table moves pointers when it grows, and reads nothing that
/// a step writes when it looks for one.
#[derive(Debug)]
pub(super) struct Entities<S> {
    known: HashTable<Box<Entity<S>>>,
    history: History<S>,
}

/// The steps that are known, in order.
#[derive(Debug)]
pub(super) struct History<S> {
    steps: VecDeque<Made<S>>,
    /// Apart, so that what every step needs lies in one place.
    rest: Box<Rest>,
}

/// What not every step needs.
#[derive(Debug, Default)]
struct Rest {
    deadlines: BTreeSet<(Instant, Box<str>)>,
    /// How many steps have fallen out of the history.
    fallen: u64,
    /// Who the steps are of. A name whose entity is forgotten stays until no step is left of it.
    names: Vec<Arc<str>>,
    /// Names of forgotten entities, with the number of the step from which on they are free.
    retired: VecDeque<(u64, u32)>,
    free: Vec<u32>,
}

impl Rest {
    fn name(&mut self, id: &str) -> u32 {
        if let Some(name) = self.free.pop() {
            self.names[name as usize] = id.into();
            return name;
        }
        self.names.push(id.into());
        (self.names.len() - 1) as u32
    }

    /// Frees the names of those of whom no step is left.
    fn free_names(&mut self) {
        while let Some(&(from, name)) = self.retired.front()
            && from <= self.fallen
        {
            self.retired.pop_front();
            self.free.push(name);
        }
    }
}

impl<S: State> Entities<S> {
    pub(super) fn get(&self, hash: u64, id: &str) -> Option<&Entity<S>> {
        self.known.find(hash, |entity| *entity.id == *id).map(|entity| &**entity)
    }

    pub(super) fn get_mut(&mut self, hash: u64, id: &str) -> Option<&mut Entity<S>> {
        self.known.find_mut(hash, |entity| *entity.id == *id).map(|entity| &mut **entity)
    }

    /// Adds an entity, unless there is one of its id.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        id: &str,
        (state, generation, entered): (S, u64, Instant),
        rehash: impl Fn(&str) -> u64,
    ) -> bool {
        let entry = self.known.entry(hash, |known| *known.id == *id, |known| rehash(&known.id));
        let Entry::Vacant(place) = entry else { return false };
        let name = self.history.rest.name(id);
        let id = id.into();
        place.insert(Box::new(Entity { state, generation, entered, id, name, timing: None }));
        true
    }

    /// Takes an entity out; what it did stays in the history.
    pub(super) fn remove(&mut self, hash: u64, id: &str) -> bool {
        let Ok(found) = self.known.find_entry(hash, |entity| *entity.id == *id) else {
            return false;
        };
        let (entity, _) = found.remove();
        if let Some(deadline) = entity.timing.and_then(|timing| timing.deadline) {
            self.history.rest.deadlines.remove(&(deadline, entity.id));
        }
        let steps = self.history.rest.fallen + self.history.steps.len() as u64;
        self.history.rest.retired.push_back((steps, entity.name));
        self.history.rest.free_names();
        true
    }

    /// An entity, and the history to write its step to.
    pub(super) fn get_with_history(
        &mut self,
        hash: u64,
        id: &str,
    ) -> Option<(&mut Entity<S>, &mut History<S>)> {
        let entity = self.known.find_mut(hash, |entity| *entity.id == *id)?;
        Some((entity, &mut self.history))
    }

    pub(super) fn deadlines(&mut self) -> &mut BTreeSet<(Instant, Box<str>)> {
        &mut self.history.rest.deadlines
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entity<S>> {
        self.known.iter().map(|entity| &**entity)
    }

    /// The steps that are known, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<S>> {
        self.history.steps.iter().map(|made| Step {
            sequence: made.sequence,
            entity: self.history.rest.names[made.name as usize].clone(),
            from: made.from,
            to: made.to,
            at: made.at,
        })
    }
}

impl<S: State> History<S> {
    /// Moves an entity on, and writes it down; of the steps made, the last `kept` stay known.
    pub(super) fn step(
        &mut self,
        entity: &mut Entity<S>,
        sequence: u64,
        to: S,
        at: Instant,
        kept: usize,
    ) {
        let (from, name) = (entity.state, entity.name);
        (entity.state, entity.generation, entity.entered) = (to, entity.generation + 1, at);
        if self.steps.len() >= kept {
            self.steps.pop_front();
            self.rest.fallen += 1;
            self.rest.free_names();
        }
        self.steps.push_back(Made { sequence, at, name, from, to });
    }
}

/// Alone on its cache lines, so that its lock does not slow its neighbours down.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard<S>(Mutex<Entities<S>>);

impl<S> Shard<S> {
    pub(super) fn new() -> Self {
        let history = History { steps: VecDeque::new(), rest: Box::default() };
        Self(Mutex::new(Entities { known: HashTable::new(), history }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Entities<S>> {
        // What could panic in here is a sink: it is called before anything is changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
