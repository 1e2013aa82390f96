//! Some of the entities, under one lock.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tensorforge_core::Instant;

use super::Step;

/// An entity.
#[derive(Clone, Debug)]
pub(super) struct Entity<S> {
    pub(super) state: S,
    pub(super) generation: u64,
    pub(super) entered: Instant,
    /// When its time in this state is over.
    pub(super) deadline: Option<Instant>,
    /// How often it entered the states that have a deadline.
    pub(super) visits: Vec<(S, u32)>,
}

#[derive(Debug)]
pub(super) struct Entities<S> {
    pub(super) known: HashMap<Arc<str>, Entity<S>>,
    pub(super) deadlines: BTreeSet<(Instant, Arc<str>)>,
    pub(super) history: VecDeque<Step<S>>,
}

/// Alone on its cache lines, so that its lock does not slow its neighbours' down.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard<S>(Mutex<Entities<S>>);

impl<S> Shard<S> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Entities {
            known: HashMap::new(),
            deadlines: BTreeSet::new(),
            history: VecDeque::new(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Entities<S>> {
        // What could panic in here is a sink: it is called before anything is changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
