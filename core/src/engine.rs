//! The composition: events in, actions out.
//!
//! [`Engine`] admits requests, keeps them in the [`Planner`] and dispatches a batch whenever one
//! may close and its model has an idle instance. While every instance is busy a batch keeps
//! growing, up to its limit, so load makes batches larger by itself.

use crate::batch::{Batch, BatchLimits, ModelId, OfferError, Planner, Request, Ticket};
use crate::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Something that happened outside.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<T> {
    /// A request came in.
    Arrived(Request<T>),
    /// The caller no longer wants a queued request. Ignored once the request has left the queue.
    Cancelled(Ticket),
    /// An instance of the model has finished a batch and is idle again.
    Finished(ModelId),
    /// The instant that [`Engine::handle`] returned has come.
    Tick,
    /// Admit nothing more; run what is queued without waiting for company.
    Drain,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The model was never configured.
    UnknownModel,
    /// The engine is draining.
    Draining,
    /// The request has no items.
    Empty,
    /// The request alone exceeds what one batch of its model may hold.
    TooLarge {
        /// The most items one batch of this model may hold.
        max_items: u32,
    },
    /// The model's own queue limit is reached.
    ModelQueueFull {
        /// That limit, in requests.
        max_queued: u32,
    },
    /// The engine holds as many requests, or as many different batch keys, as it has room for.
    QueueFull,
}

impl From<OfferError> for Refused {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Empty => Self::Empty,
            OfferError::TooLarge { max_items } => Self::TooLarge { max_items },
            OfferError::Full | OfferError::GroupsFull => Self::QueueFull,
        }
    }
}

/// What the engine asks its shell to do. Called from inside [`Engine::handle`].
pub trait ActionSink<T> {
    /// Run these requests as one batch on an idle instance of `batch.key().model`, then report
    /// [`Event::Finished`], which is due even if not one request was taken from the batch. Requests
    /// not taken go on waiting.
    fn dispatch(&mut self, batch: Batch<'_, T>);

    /// Tell the sender that its request was not admitted.
    fn refuse(&mut self, request: Request<T>, why: Refused);

    /// The request waits under this ticket. Comes before any dispatch that includes it.
    fn queued(&mut self, ticket: Ticket, payload: &T) {
        let _ = (ticket, payload);
    }

    /// The request left the queue because of [`Event::Cancelled`].
    fn cancelled(&mut self, request: Request<T>) {
        drop(request);
    }
}

/// How one model is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Its batch limits.
    pub limits: BatchLimits,
    /// Batches of it that may run at once. At least 1.
    pub instances: u32,
    /// Requests of it that may wait at once. At least 1.
    pub max_queued: u32,
}

/// Why a model cannot be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigureError {
    /// `max_items` is 0: no request could ever run.
    NoItems,
    /// `instances` is 0: no request could ever run.
    NoInstances,
    /// `max_queued` is 0: no request would ever be admitted.
    NoQueue,
    /// The id is not below the engine's number of models.
    TooManyModels {
        /// That number.
        models: usize,
    },
}

impl core::fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoItems => f.write_str("max_items is 0: no request could ever run"),
            Self::NoInstances => f.write_str("instances is 0: no request could ever run"),
            Self::NoQueue => f.write_str("max_queued is 0: no request would ever be admitted"),
            Self::TooManyModels { models } => write!(f, "there is room for {models} models only"),
        }
    }
}

impl core::error::Error for ConfigureError {}

#[derive(Clone, Copy, Debug)]
struct LaneState {
    lane: Lane,
    busy: u32,
    queued: u32,
}

/// Admission, queue and planner of up to `MODELS` models as one sans-I/O state machine.
///
/// Room for `REQUESTS` waiting requests in `GROUPS` different batch keys. Each event costs
/// O(keys in use) plus O(log n) amortised per request dispatched. One owner at a time; no method
/// panics, allocates or reads a clock. See the [crate's example](crate).
#[derive(Debug)]
pub struct Engine<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize> {
    planner: Planner<T, REQUESTS, GROUPS>,
    lanes: [Option<LaneState>; MODELS],
    max_running: u32,
    running: u32,
    draining: bool,
}

impl<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize>
    Engine<T, REQUESTS, GROUPS, MODELS>
{
    /// An engine that knows no model yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            planner: Planner::new(),
            lanes: [None; MODELS],
            max_running: u32::MAX,
            running: 0,
            draining: false,
        }
    }

    /// Adds a model, or changes how it is served from now on, requests that wait included.
    ///
    /// Nothing is dispatched here: after a change send [`Event::Tick`], which also tells the new
    /// deadline.
    ///
    /// # Errors
    /// Refuses a [`Lane`] that could never run a request; nothing changes.
    pub fn configure(&mut self, model: ModelId, lane: Lane) -> Result<(), ConfigureError> {
        if lane.limits.max_items == 0 {
            return Err(ConfigureError::NoItems);
        }
        if lane.instances == 0 {
            return Err(ConfigureError::NoInstances);
        }
        if lane.max_queued == 0 {
            return Err(ConfigureError::NoQueue);
        }
        let state = self
            .lanes
            .get_mut(model.0 as usize)
            .ok_or(ConfigureError::TooManyModels { models: MODELS })?;
        let (busy, queued) = state.map_or((0, 0), |state| (state.busy, state.queued));
        *state = Some(LaneState { lane, busy, queued });
        self.planner.set_limits(model, lane.limits);
        Ok(())
    }

    /// Limits the batches that run at once over all models, to the threads or devices there are.
    /// Without it only each lane's `instances` limit them. At least 1 is kept.
    pub const fn set_max_running(&mut self, batches: u32) {
        self.max_running = if batches == 0 { 1 } else { batches };
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
            Event::Arrived(request) => self.admit(now, request, sink),
            Event::Cancelled(ticket) => {
                if let Some(request) = self.planner.cancel(ticket) {
                    self.left_queue(request.key.model, 1);
                    sink.cancelled(request);
                }
            }
            Event::Finished(model) => {
                if let Some(state) = self.lane_mut(model).filter(|state| state.busy > 0) {
                    state.busy -= 1;
                    self.running -= 1;
                }
            }
            Event::Tick => {}
            Event::Drain => self.draining = true,
        }
        self.dispatch_due(now, sink);
        if self.running >= self.max_running {
            return None;
        }
        self.planner.next_deadline(|model| has_idle_instance(&self.lanes, model))
    }

    /// Requests waiting.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.planner.queued()
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

    fn admit(&mut self, now: Instant, request: Request<T>, sink: &mut impl ActionSink<T>) {
        let model = request.key.model;
        let draining = self.draining;
        let why = match self.lane_mut(model) {
            None => Refused::UnknownModel,
            Some(_) if draining => Refused::Draining,
            Some(LaneState { lane, queued, .. }) if *queued >= lane.max_queued => {
                Refused::ModelQueueFull { max_queued: lane.max_queued }
            }
            Some(state) => {
                let limits = state.lane.limits;
                state.queued += 1;
                match self.planner.offer(request, limits, now) {
                    Ok(ticket) => {
                        if let Some(request) = self.planner.waiting(ticket) {
                            sink.queued(ticket, &request.payload);
                        }
                    }
                    Err(rejected) => {
                        self.left_queue(model, 1);
                        sink.refuse(rejected.request, rejected.error.into());
                    }
                }
                return;
            }
        };
        sink.refuse(request, why);
    }

    fn dispatch_due(&mut self, now: Instant, sink: &mut impl ActionSink<T>) {
        while self.running < self.max_running {
            let before = self.planner.queued();
            let lanes = &self.lanes;
            let can_run = |model| has_idle_instance(lanes, model);
            let Some(batch) = self.planner.close(now, self.draining, can_run) else { return };
            let model = batch.key().model;
            sink.dispatch(batch);
            let taken = before - self.planner.queued();
            self.left_queue(model, taken as u32);
            if let Some(state) = self.lane_mut(model) {
                state.busy += 1;
                self.running += 1;
            }
            if taken == 0 {
                return; // asked again at the next event: a sink that takes nothing is no loop
            }
        }
    }

    fn lane_mut(&mut self, model: ModelId) -> Option<&mut LaneState> {
        self.lanes.get_mut(model.0 as usize)?.as_mut()
    }

    fn left_queue(&mut self, model: ModelId, requests: u32) {
        if let Some(state) = self.lane_mut(model) {
            state.queued = state.queued.saturating_sub(requests);
        }
    }
}

impl<T, const REQUESTS: usize, const GROUPS: usize, const MODELS: usize> Default
    for Engine<T, REQUESTS, GROUPS, MODELS>
{
    fn default() -> Self {
        Self::new()
    }
}

fn has_idle_instance(lanes: &[Option<LaneState>], model: ModelId) -> bool {
    let state = lanes.get(model.0 as usize).and_then(Option::as_ref);
    state.is_some_and(|state| state.busy < state.lane.instances)
}

impl Lane {
    /// One instance, and as many waiting requests as the engine has room for.
    #[must_use]
    pub const fn new(limits: BatchLimits) -> Self {
        Self { limits, instances: 1, max_queued: u32::MAX }
    }

    /// A lane without batching: every request runs alone, at once.
    #[must_use]
    pub const fn unbatched() -> Self {
        Self::new(BatchLimits { max_items: 1, max_wait: Duration::ZERO })
    }
}
