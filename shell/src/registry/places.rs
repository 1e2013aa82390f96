//! What loaded models hold, and how they give it back: a number in the scheduler, memory, and their
//! executor, which is dropped on a thread of its own.

use super::Lanes;
use super::loaded::Left;
use crate::clock::Clock;
use crate::concurrency::lock;
use crate::workflow::SharedSink;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;
use tensorforge_core::ModelId;
use tensorforge_core::machine::DeploymentState;

/// Model versions that can be served at once, those included that are unloaded but still have requests in
/// hand.
pub const MAX_MODELS: usize = 256;

/// The numbers and the memory that models hold.
pub(super) struct Places {
    pub(super) clock: Clock,
    pub(super) sink: SharedSink,
    /// Bytes that all models may hold.
    pub(super) limit: Option<u64>,
    held: Mutex<Held>,
    /// Signals that something was given back.
    given_back: Condvar,
    lanes: Mutex<Option<Weak<dyn Lanes>>>,
}

#[derive(Default)]
struct Held {
    /// Numbers from here on were never used.
    fresh: u32,
    /// Numbers to use again, the longest unused first.
    free: VecDeque<u32>,
    /// Numbers that were given back while something of theirs was in hand.
    stuck: Vec<u32>,
    bytes: u64,
    /// How many executors of a version hang, by `NAME/VERSION`.
    hanging: BTreeMap<String, u32>,
    /// The bytes of models that are not freed yet, by serial number.
    models: BTreeMap<u64, u64>,
    /// The serial number of the next model.
    next_serial: u64,
}

impl Places {
    pub(super) fn new(clock: Clock, sink: SharedSink, limit: Option<u64>) -> Self {
        let (held, given_back, lanes) = Default::default();
        Self { clock, sink, limit, held, given_back, lanes }
    }

    pub(super) fn set_lanes(&self, lanes: &Arc<dyn Lanes>) {
        *lock(&self.lanes) = Some(Arc::downgrade(lanes));
    }

    pub(super) fn lanes(&self) -> Option<Arc<dyn Lanes>> {
        lock(&self.lanes).as_ref()?.upgrade()
    }

    /// Nothing of the number is waiting, running or known any more. Where nobody runs models nothing is.
    fn forget(&self, number: u32) -> bool {
        self.lanes().is_none_or(|lanes| lanes.forget(ModelId(number)))
    }

    /// A number for one more model; `None` when all are in use.
    fn take_number(&self) -> Option<u32> {
        let stuck = std::mem::take(&mut lock(&self.held).stuck);
        let (free, stuck): (Vec<u32>, Vec<u32>) =
            stuck.into_iter().partition(|&number| self.forget(number));
        let mut held = lock(&self.held);
        held.free.extend(free);
        held.stuck.extend(stuck);
        if (held.fresh as usize) < MAX_MODELS {
            held.fresh += 1;
            return Some(held.fresh - 1);
        }
        held.free.pop_front()
    }

    /// A number, and `bytes` of those that are `reserved` already.
    pub(super) fn hold(self: &Arc<Self>, reserved: &mut Reserved, bytes: u64) -> Option<Holding> {
        let number = self.take_number()?;
        let bytes = reserved.part(bytes);
        let mut held = lock(&self.held);
        held.next_serial += 1;
        let serial = held.next_serial - 1;
        held.models.insert(serial, bytes);
        Some(Holding { places: Arc::clone(self), number, serial, bytes })
    }

    /// Sets bytes aside, if there are so many.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let mut held = lock(&self.held);
        let sum = held.bytes.saturating_add(bytes);
        if self.limit.is_some_and(|limit| sum > limit) {
            return None;
        }
        held.bytes = sum;
        Some(Reserved { places: Arc::clone(self), bytes })
    }

    /// As [`reserve`](Self::reserve), and waits until so many are given back.
    pub(super) fn reserve_within(
        self: &Arc<Self>,
        bytes: u64,
        longest: Duration,
    ) -> Option<Reserved> {
        let is_short = |held: &mut Held| {
            self.limit.is_some_and(|limit| held.bytes.saturating_add(bytes) > limit)
        };
        let waited = self.given_back.wait_timeout_while(lock(&self.held), longest, is_short);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        // Only whoever changes the registry takes bytes, one at a time.
        self.reserve(bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        lock(&self.held).bytes
    }

    /// Bytes that are held, but for those of the models with these serial numbers.
    pub(super) fn bytes_without(&self, serials: impl Iterator<Item = u64>) -> u64 {
        let held = lock(&self.held);
        let theirs = serials.filter_map(|serial| held.models.get(&serial));
        held.bytes.saturating_sub(theirs.sum())
    }

    /// Whether the model of that serial number is not freed yet.
    pub(super) fn holds(&self, serial: u64) -> bool {
        lock(&self.held).models.contains_key(&serial)
    }

    /// An executor of a version hangs.
    pub(super) fn hangs(&self, entity: &str) {
        *lock(&self.held).hanging.entry(entity.to_owned()).or_default() += 1;
    }

    /// It hangs no more.
    pub(super) fn came_back(&self, entity: &str) {
        let mut held = lock(&self.held);
        if let Some(count) = held.hanging.get_mut(entity) {
            *count -= 1;
            if *count == 0 {
                held.hanging.remove(entity);
            }
        }
    }

    /// Whether an executor of that version hangs.
    pub(super) fn is_hanging(&self, entity: &str) -> bool {
        lock(&self.held).hanging.contains_key(entity)
    }

    /// Waits until no more than `models` are held.
    #[cfg(test)]
    pub(super) fn until_held(&self, models: usize) {
        let held = self.given_back.wait_while(lock(&self.held), |held| held.models.len() > models);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }

    fn give_back(&self, change: impl FnOnce(&mut Held)) {
        change(&mut lock(&self.held));
        self.given_back.notify_all();
    }
}

/// Bytes set aside for models that are about to be loaded.
pub(super) struct Reserved {
    places: Arc<Places>,
    bytes: u64,
}

impl Reserved {
    fn part(&mut self, bytes: u64) -> u64 {
        let part = bytes.min(self.bytes);
        self.bytes -= part;
        part
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.places.give_back(|held| held.bytes = held.bytes.saturating_sub(self.bytes));
        }
    }
}

/// What one loaded model holds.
pub(super) struct Holding {
    pub(super) places: Arc<Places>,
    number: u32,
    serial: u64,
    bytes: u64,
}

impl Holding {
    pub(super) const fn id(&self) -> ModelId {
        ModelId(self.number)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Holds `bytes` from now on: what it lacks comes out of `room`, what it has too much is free.
    pub(super) fn resize(&mut self, bytes: u64, mut room: Reserved) {
        let before = self.bytes;
        self.bytes = bytes.min(before.saturating_add(room.part(bytes.saturating_sub(before))));
        self.places.give_back(|held| {
            held.bytes = held.bytes.saturating_sub(before.saturating_sub(self.bytes));
            held.models.insert(self.serial, self.bytes);
        });
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let forgotten = self.places.forget(self.number);
        if !forgotten {
            // Nobody who has a request of it in hand has let go of the model, so this should not be.
            tracing::error!(model = self.number, "its number is kept: something of it is in hand");
        }
        self.places.give_back(|held| {
            if forgotten {
                held.free.push_back(self.number);
            } else {
                held.stuck.push(self.number);
            }
            held.bytes = held.bytes.saturating_sub(self.bytes);
            held.models.remove(&self.serial);
        });
    }
}

/// The thread that frees models: ends when none is left that could come. Freeing takes its time, and the
/// last one to hold a model may be a thread that has connections to serve.
pub(super) fn free_models(left: &Receiver<Left>) {
    for Left { executor, life, entity, holding } in left {
        let freed = catch_unwind(AssertUnwindSafe(|| drop(executor)));
        if freed.is_err() {
            tracing::error!(model = entity, "its runtime panicked while it was unloaded");
        }
        let places = &holding.places;
        let mut life = lock(&life);
        // One that goes with its registry was not retired: the server has stopped.
        if life.state() == DeploymentState::Deprecated {
            let (cause, now) = ("its last request is answered", places.clock.now());
            life.go(DeploymentState::Archived, &entity, cause, now, &*places.sink);
        }
    }
}
