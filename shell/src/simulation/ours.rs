//! Ours: the engine that the server runs, told of virtual time.

use super::{Arrival, Batcher, Decisions, Limits, Shed, Started};
use std::collections::HashMap;
use tensorforge_core::batch::{ClosingRule, LaneError, Verdict, Waiting};
use tensorforge_core::{
    ActionSink, Batch, BatchKey, BoxedEngine, Dropped, Duration, Event, Instant, Lane, ModelId,
    Queued, Refused, Request,
};

const MODEL: ModelId = ModelId(0);

/// Shapes that may wait at once; a request of one more is turned away as by a full queue.
const SHAPES: usize = 1024;

/// Places for waiting and running requests at most, whatever a lane would allow.
const MOST_PLACES: usize = 1 << 20;

/// Core's [`Engine`](tensorforge_core::Engine) as a [`Batcher`]: one model on one [`Lane`].
pub struct Ours {
    engine: BoxedEngine<u32>,
    sink: Sink,
    wake: Option<Instant>,
}

impl Ours {
    /// One model under the limits that all batchers share.
    ///
    /// # Errors
    /// [`LaneError`] where nothing could run under these limits.
    pub fn new(limits: &Limits) -> Result<Self, LaneError> {
        Self::on(limits.lane())
    }

    /// One model served exactly as `lane` says: levels, sizes, displacement and all.
    ///
    /// # Errors
    /// [`LaneError`] where the lane could serve nothing or contradicts itself.
    pub fn on(lane: Lane) -> Result<Self, LaneError> {
        // What runs keeps its place: a batch may come back.
        let running = u64::from(lane.instances) * u64::from(lane.max_items);
        let places = u64::from(lane.max_queued).saturating_add(running);
        let places = usize::try_from(places).unwrap_or(MOST_PLACES).min(MOST_PLACES);
        let mut engine = BoxedEngine::boxed(places, SHAPES.min(places), 1);
        engine.configure(MODEL, lane)?;
        Ok(Self { engine, sink: Sink::default(), wake: None })
    }

    /// Gives requests that waited for `starve_after` a share of all items, in thousandths; see
    /// [`Engine::set_fairness`](tensorforge_core::Engine::set_fairness).
    #[must_use]
    pub fn with_fairness(mut self, min_share: u16, starve_after: Duration) -> Self {
        self.engine.set_fairness(min_share, starve_after);
        self
    }

    /// Closes batches by a rule of one's own instead of the lane's: to try it before a server has it,
    /// see [`set_rule`](crate::batch_scheduler::BatchScheduler::set_rule).
    #[must_use]
    pub fn with_rule(mut self, rule: Box<dyn ClosingRule + Send>) -> Self {
        self.sink.rule = Some(rule);
        self
    }

    fn handle(&mut self, now: Instant, event: Event<u32>) {
        self.wake = self.engine.handle(now, event, &mut self.sink);
    }
}

impl Batcher for Ours {
    fn name(&self) -> &'static str {
        "tensorforge"
    }

    fn arrive(&mut self, now: Instant, request: &Arrival) -> Result<(), Shed> {
        let key = BatchKey { model: MODEL, signature: request.shape };
        let deadline = request.deadline.unwrap_or(Instant::MAX);
        let request = Request {
            priority: request.priority,
            deadline,
            ..Request::new(key, request.items, request.index)
        };
        self.handle(now, Event::Arrived(request));
        self.sink.refused.take().map_or(Ok(()), Err)
    }

    fn start(&mut self, now: Instant, _idle: usize, decisions: &mut Decisions) {
        // The engine counts its instances itself, and has decided with the event. What is left is
        // the tick that it asked for.
        if self.wake.is_some_and(|wake| now >= wake) {
            self.handle(now, Event::Tick);
        }
        decisions.started.append(&mut self.sink.started);
        decisions.shed.append(&mut self.sink.shed);
    }

    fn finished(&mut self, now: Instant, batch: &Started, took: Duration) {
        let first = batch.requests.first();
        let running = first.and_then(|first| self.sink.running.remove(first));
        if let Some(Running { batch, arrived }) = running {
            if let Some(rule) = &mut self.sink.rule {
                rule.executed(batch.padded(), took);
                arrived.iter().for_each(|&arrived| rule.answered(now.since(arrived), now));
            }
            self.handle(now, Event::Finished { batch, took, memory: None });
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }
}

/// What the engine wants back.
#[derive(Debug)]
struct Running {
    batch: Batch,
    /// When its requests came.
    arrived: Vec<Instant>,
}

impl std::fmt::Debug for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ours").field("engine", &self.engine).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Sink {
    started: Vec<Started>,
    shed: Vec<(u32, Shed)>,
    refused: Option<Shed>,
    /// By the first request of each batch.
    running: HashMap<u32, Running>,
    rule: Option<Box<dyn ClosingRule + Send>>,
}

impl ActionSink<u32> for Sink {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u32>>) {
        let (requests, arrived): (Vec<u32>, Vec<Instant>) =
            requests.map(|queued| (queued.request.payload, queued.arrived)).unzip();
        let Some(&first) = requests.first() else { return };
        self.started.push(Started {
            requests,
            items: batch.items(),
            rows: batch.padded(),
            shape: batch.key().signature,
            why: batch.reason().name(),
        });
        self.running.insert(first, Running { batch, arrived });
    }

    fn refuse(&mut self, _request: Request<u32>, why: Refused) {
        self.refused = Some(match why {
            Refused::TooLarge { .. } => Shed::TooLarge,
            Refused::Late => Shed::Expired,
            Refused::ModelQueueFull { .. }
            | Refused::LevelQueueFull { .. }
            | Refused::QueueFull { .. } => Shed::QueueFull,
            // No items, no such priority, a model that failures have shut off.
            _ => Shed::Failed,
        });
    }

    fn release(&mut self, request: Queued<u32>, why: Dropped) {
        let why = match why {
            Dropped::Expired => Shed::Expired,
            Dropped::Displaced { .. } => Shed::Displaced,
            _ => Shed::Failed,
        };
        self.shed.push((request.request.payload, why));
    }

    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        self.rule.as_mut().map_or_else(|| waiting.standard(), |rule| rule.judge(waiting))
    }
}
