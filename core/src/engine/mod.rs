//! The composition: events in, actions and the next deadline out.
//!
//! [`Engine`] admits requests, keeps them in groups of equal key and dispatches a batch whenever one may
//! close and its model has an idle instance. While every instance is busy a batch keeps growing, up to
//! its limit, so load makes batches larger by itself.
//!
//! # Which batch goes first
//! The one with the highest priority; among equals that of the model that has had the least time for its
//! weight; then the one whose first request came first. A group of lower priority that may close never
//! goes before one of higher priority that could wait for company, if that would have to wait for it: that
//! one closes early ([`ClosingReason::Priority`](crate::batch::ClosingReason::Priority)).
//!
//! # How long a request may wait
//! Let a request find nothing of its own priority or above waiting or running, and nothing above come
//! while it waits. Then it waits for an instance of its model, as long as that takes to become idle, and
//! at most its level's `max_wait`: *max(time left of what is running, max wait)*, however much of lower
//! priority waits. Where memory is counted, what is running includes all that holds the same memory.
//!
//! # How low priority is kept alive
//! Lower levels fill what room the batches of higher ones leave. With [`Engine::set_fairness`], requests
//! that have waited for `starve_after` are owed `min_share` of all items that run: as places in batches
//! of their own key first, then as turns of their own. A turn of their own is never taken from a request
//! that the bound above holds for.
//!
//! # Time
//! The caller owns the clock. Equal events at equal instants give equal decisions. The instant that
//! [`Engine::handle`] returns is exact: before it nothing is due, at it something is.

mod admission;
#[cfg(feature = "alloc")]
mod boxed;
mod dispatch;
mod ends;
mod lanes;
mod sink;

#[cfg(all(test, not(loom)))] // it is no model, and loom's atomics work in models only
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler;

use crate::batch::{CostModel, Ticket};
use crate::batch::{Entry, Group, LEVELS, Lane, LaneError, ModelId, POOLS, Planner, PoolId, Store};
use crate::policy::Level;
use crate::{Duration, Instant};
#[cfg(feature = "alloc")]
pub use boxed::BoxedEngine;
pub use lanes::LaneState;
use lanes::Pool;
pub use sink::{ActionSink, Dropped, Event, Failure, Notice, Refused};

/// Admission, queue and planner of several models as one sans-I/O state machine.
///
/// `E`, `G` and `M` are its places for waiting requests, groups and models: arrays inside the value
/// ([`StaticEngine`]) or boxed slices (`BoxedEngine`, with the feature `alloc`). One owner at a time; no method panics, allocates
/// or reads a clock.
///
/// Cost: an arrival O(1), plus O(log n) if it has a deadline, unless a batch may close; then O(groups in
/// use), and O(1) for each request dispatched. See the [crate's example](crate).
#[derive(Debug)]
pub struct Engine<T, E, G, M> {
    planner: Planner<T, E, G>,
    lanes: M,
    pools: [Pool; POOLS],
    max_running: u32,
    running: u32,
    running_by_level: [u32; LEVELS],
    /// Requests of batches that run: their places are kept, in case they come back.
    in_flight: u32,
    bytes: u64,
    max_bytes: u64,
    draining: bool,
    next_batch: u64,
    next_pair: u32,
    /// For each level, the turn of the model that was last dispatched there.
    virtual_now: [u64; LEVELS],
    /// For each level, the last request that found nothing ahead of it.
    unobstructed: [Option<Ticket>; LEVELS],
    min_share: u16,
    starve_after: Duration,
    /// Thousandths of items that lower levels are owed.
    owed: i64,
    /// When a group may close, by the last look at all of them.
    wake: Option<Instant>,
    /// That look is out of date.
    scan_needed: bool,
}

/// An engine whose places are inside it, so that it can be a `static`: `REQUESTS` waiting or running
/// requests of `GROUPS` different batch keys, over `MODELS` models.
pub type StaticEngine<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize> =
    Engine<T, [Entry<T>; REQUESTS], [Group; GROUPS], [Option<LaneState>; MODELS]>;

impl<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize>
    StaticEngine<T, REQUESTS, GROUPS, MODELS>
{
    /// An engine that knows no model yet.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_places(
            [const { Entry::EMPTY }; REQUESTS],
            [const { Group::UNUSED }; GROUPS],
            [const { None }; MODELS],
        )
    }
}

impl<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize> Default
    for StaticEngine<T, REQUESTS, GROUPS, MODELS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E, G, M> Engine<T, E, G, M> {
    const fn with_places(entries: E, groups: G, lanes: M) -> Self {
        Self {
            planner: Planner::new(entries, groups),
            lanes,
            pools: [Pool::UNLIMITED; POOLS],
            max_running: u32::MAX,
            running: 0,
            running_by_level: [0; LEVELS],
            in_flight: 0,
            bytes: 0,
            max_bytes: u64::MAX,
            draining: false,
            next_batch: 0,
            next_pair: 0,
            virtual_now: [0; LEVELS],
            unobstructed: [None; LEVELS],
            min_share: 0,
            starve_after: Duration::ZERO,
            owed: 0,
            wake: None,
            scan_needed: false,
        }
    }

    /// Requests waiting.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.planner.queued() as usize
    }

    /// Bytes of the requests waiting.
    #[must_use]
    pub const fn queued_bytes(&self) -> u64 {
        self.bytes
    }

    /// Batches running.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running as usize
    }

    /// True once [`Event::Drain`] has come and nothing waits or runs any more.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.draining && self.queued() == 0 && self.running() == 0
    }
}

impl<T, E, G, M> Engine<T, E, G, M>
where
    E: Store<Entry<T>>,
    G: Store<Group>,
    M: Store<Option<LaneState>>,
{
    /// Adds a model, or changes how it is served from now on, requests that wait included.
    ///
    /// Nothing is dispatched here: after a change send [`Event::Tick`], which also tells the new
    /// deadline.
    ///
    /// # Errors
    /// Refuses a [`Lane`] that could never run a request or contradicts itself; nothing changes.
    pub fn configure(&mut self, model: ModelId, lane: Lane) -> Result<(), LaneError> {
        lane.check()?;
        let models = self.lanes.as_ref().len();
        let place = self.lanes.as_mut().get_mut(model.0 as usize);
        match place.ok_or(LaneError::TooManyModels { models })? {
            Some(state) => state.reconfigure(lane, model)?,
            place => *place = Some(LaneState::new(lane, model)?),
        }
        self.scan_needed = true;
        Ok(())
    }

    /// Takes a model away, with all that was learned of it: its times and memory, its level, its circuit,
    /// the pace of its requests. Its number may then be [configured](Self::configure) for another model,
    /// which begins as in a new engine. What comes for it until then is refused with
    /// [`Refused::UnknownModel`].
    ///
    /// Returns whether it was: not while a request of it waits or a batch of it is out, overdue ones
    /// included; then nothing changes. A model that is not there is gone already. O(groups).
    ///
    /// ```
    /// use tensorforge_core::batch::Lane;
    /// use tensorforge_core::{ModelId, StaticEngine};
    ///
    /// let mut engine: StaticEngine<(), 8, 4, 2> = StaticEngine::new();
    /// engine.configure(ModelId(0), Lane::unbatched()).unwrap();
    /// assert!(engine.execution_time(ModelId(0)).is_some());
    /// assert!(engine.forget(ModelId(0)));
    /// assert!(engine.execution_time(ModelId(0)).is_none());
    /// ```
    pub fn forget(&mut self, model: ModelId) -> bool {
        let Some(place) = self.lanes.as_mut().get_mut(model.0 as usize) else { return true };
        match place {
            Some(state) if state.waiting.requests > 0 || state.busy > 0 => return false,
            place => *place = None,
        }
        self.planner.groups.forget_pace(model);
        self.scan_needed = true;
        true
    }

    /// Limits the batches that run at once over all models, to the threads or devices there are.
    /// Without it only each lane's `instances` limit them. At least 1 is kept.
    pub fn set_max_running(&mut self, batches: u32) {
        self.max_running = batches.max(1);
        self.scan_needed = true;
    }

    /// Limits the bytes that wait at once over all models.
    pub const fn set_max_bytes(&mut self, bytes: u64) {
        self.max_bytes = bytes;
    }

    /// The memory of a device, of which batches of models with a known cost take their part; without it,
    /// memory is not counted. A pool whose number is none is left out: no lane can name it either.
    pub fn set_memory(&mut self, pool: PoolId, bytes: u64) {
        if let Some(pool) = self.pools.get_mut(usize::from(pool.0)) {
            pool.capacity = bytes;
        }
        self.scan_needed = true;
    }

    /// Requests that have waited for `starve_after` are owed this share of all items that run, in
    /// thousandths (at most 1000), whatever waits at higher priorities. 0, as it is from the start, for
    /// strict priorities.
    pub fn set_fairness(&mut self, min_share: u16, starve_after: Duration) {
        self.min_share = min_share.min(1000);
        self.starve_after = starve_after;
        self.scan_needed = true;
    }

    /// Takes in one event, orders what follows from it through `sink`, and returns when to send
    /// [`Event::Tick`] if nothing else happens before.
    pub fn handle(
        &mut self,
        now: Instant,
        event: Event<T>,
        sink: &mut impl ActionSink<T>,
    ) -> Option<Instant> {
        match event {
            Event::Arrived(request) => {
                self.expire(now, sink);
                let quiet = match self.admit(now, request, sink) {
                    Some(group) => self.is_quiet(group, now, sink),
                    None => !self.scan_needed && self.wake.is_none_or(|wake| now < wake),
                };
                if quiet {
                    return self.next_wake();
                }
            }
            Event::Cancelled(ticket) => {
                if let Some(index) = self.planner.arena.find(ticket) {
                    self.drop_waiting(index, Dropped::Cancelled, sink);
                }
            }
            Event::Finished { batch, took, memory } => {
                self.succeeded(now, batch, took, memory, sink);
            }
            Event::Tick => {}
            Event::Drain => self.draining = true,
        }
        self.after(now, sink)
    }

    fn after(&mut self, now: Instant, sink: &mut impl ActionSink<T>) -> Option<Instant> {
        self.expire(now, sink);
        self.dispatch_due(now, sink);
        self.next_wake()
    }

    /// What is known of the time that a model's batches take, in nanoseconds.
    #[must_use]
    pub fn execution_time(&self, model: ModelId) -> Option<CostModel> {
        self.lane(model).map(|state| state.time)
    }

    /// How restricted a model is at `now`.
    #[must_use]
    pub fn level(&self, model: ModelId, now: Instant) -> Option<Level> {
        self.lane(model).map(|state| state.level(now))
    }

    /// Requests of a model that wait.
    #[must_use]
    pub fn queued_of(&self, model: ModelId) -> usize {
        self.lane(model).map_or(0, |state| state.waiting.requests as usize)
    }

    /// Memory of a pool that running batches take, in bytes.
    #[must_use]
    pub fn memory_taken(&self, pool: PoolId) -> u64 {
        self.pools.get(usize::from(pool.0)).map_or(0, |pool| pool.taken)
    }
}
