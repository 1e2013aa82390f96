//! Drives core's engine with real time, real threads and real models.
//!
//! [`BatchScheduler`] feeds core's [engine](tensorforge_core::Engine) with arrivals, the ends of executions and the passing
//! of deadlines, and runs the batches it dispatches on worker threads. The engine sits behind one
//! lock that is held for a decision (about a microsecond), never while a model runs.

mod assemble;
mod run;
mod signatures;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::concurrency::{JobSender, WorkerPool, job_queue, lock};
use crate::device::ExecuteError;
use crate::models::Tensor;
use crate::registry::LoadedModel;
use crate::workflow::LiveRequest;
use signatures::{Shapes, Signatures};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tensorforge_core::batch::{FailurePolicy, LaneError};
use tensorforge_core::engine::Notice;
use tensorforge_core::{
    ActionSink, Batch, BatchKey, BoxedEngine, ClosingReason, Dropped, Event, Failure, Instant,
    Lane, Queued, Refused, Request, Ticket,
};
use tokio::sync::{oneshot, watch};

/// Requests that may wait at once, over all models.
pub const MAX_QUEUED: usize = 4096;
/// Different batch keys that may wait at once, over all models.
pub const MAX_KEYS: usize = 256;
/// Model versions that can be served at once.
pub const MAX_MODELS: usize = 256;

/// Signature of models whose inputs have one shape only, apart from the batch dimension.
const FIXED_SHAPES: u32 = u32::MAX;

/// Why a request got no answer from its model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The scheduler did not take it.
    #[error("{}", refusal(.0))]
    Refused(Refused),
    /// The model failed on it.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The runtime panicked on it.
    #[error("{backend} panicked while it ran the model: {message}")]
    Panicked {
        /// The runtime.
        backend: &'static str,
        /// The panic's message.
        message: String,
    },
    /// It was admitted and given up before it ran.
    #[error("{}", given_up(.0))]
    Dropped(Dropped),
    /// The scheduler was stopped before the request ran.
    #[error("the server stopped before the request ran")]
    Stopped,
}

impl RunError {
    /// Whether its timeout passed before its turn.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Refused(Refused::Late) | Self::Dropped(Dropped::Expired))
    }

    /// Whether it was turned away because too much waits or the server stops: another time, or another
    /// server, may take it.
    #[must_use]
    pub const fn is_overload(&self) -> bool {
        match self {
            Self::Refused(why) => {
                use Refused::{Empty, Late, Priority, TooLarge, UnknownModel};
                !matches!(why, UnknownModel | Empty | Late | Priority { .. } | TooLarge { .. })
            }
            Self::Dropped(why) => {
                matches!(why, Dropped::Displaced { .. } | Dropped::CircuitOpen { .. })
            }
            Self::Stopped => true,
            Self::Execute(_) | Self::Panicked { .. } => false,
        }
    }
}

const fn closing_reason(reason: ClosingReason) -> &'static str {
    match reason {
        ClosingReason::Full => "the batch was full",
        ClosingReason::MaxWait => "its first request had waited long enough",
        ClosingReason::Deadline => "a request would have missed its deadline",
        ClosingReason::Priority => "work of lower priority must not go first",
        ClosingReason::Retry => "it runs again, with fewer others or alone",
        ClosingReason::Drain => "the server drains",
        _ => "the batch closed",
    }
}

fn given_up(why: &Dropped) -> &'static str {
    match why {
        Dropped::Expired => "the request's timeout passed while it waited",
        Dropped::Displaced { .. } => "a request of higher priority needed the room it waited in",
        Dropped::CircuitOpen { .. } => "the model fails again and again, and is left alone for now",
        Dropped::NoMemory => "the request needs more memory than its device has",
        _ => "the request was given up",
    }
}

fn refusal(why: &Refused) -> String {
    match why {
        Refused::UnknownModel => "the model is not served here".into(),
        Refused::Draining => "the server is draining and takes no more requests".into(),
        Refused::Empty => "the request has no rows".into(),
        Refused::TooLarge { max_items } => {
            format!("the request has more rows than one batch may hold, which is {max_items}")
        }
        Refused::Priority { priorities } => {
            format!("the model's priorities are 0 to {}", priorities - 1)
        }
        Refused::Late => "the request's timeout had passed when it came".into(),
        Refused::Restricted { priority } => {
            format!("after failures of the model, only priorities from {priority} on are let in")
        }
        Refused::Halted { .. } => "after failures of the model, no request is let in".into(),
        Refused::CircuitOpen { .. } => {
            "the model fails again and again, and is left alone for now".into()
        }
        Refused::ModelQueueFull { max_queued, .. } => {
            format!("the model's queue is full: {max_queued} requests wait already")
        }
        _ => "the server's queue is full: too many requests, or too many different shapes, wait"
            .into(),
    }
}

/// A waiting request: what core carries as its payload.
struct Pending {
    model: Arc<LoadedModel>,
    inputs: Vec<Tensor>,
    rows: usize,
    arrived: Instant,
    life: Arc<LiveRequest>,
    reply: oneshot::Sender<Result<Vec<Tensor>, RunError>>,
}

/// What a request asks for beside its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Its priority: higher first, 0 if nothing is said.
    pub priority: u8,
    /// How long the answer is worth waiting for.
    pub timeout: Option<Duration>,
}

/// Boxed, because core moves its payloads and a pointer moves fastest.
type Requests = Vec<Queued<BoxedRequest>>;
type BoxedRequest = Box<Pending>;

/// A closed batch on its way to a worker.
struct Job {
    model: Arc<LoadedModel>,
    batch: Batch,
    requests: Requests,
}

type ServerEngine = BoxedEngine<BoxedRequest>;

struct State {
    engine: ServerEngine,
    signatures: Signatures,
    /// When the engine next wants a tick.
    wake: Option<Instant>,
    stopped: bool,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Signals the timer thread that `wake` came nearer or the scheduler stops.
    timer: Condvar,
    jobs: JobSender<Job>,
    drained: watch::Sender<bool>,
}

/// Batches requests of loaded models and runs them.
///
/// Dropping it runs what was dispatched and answers the rest with [`RunError::Stopped`];
/// [`drain`](Self::drain) first to answer everything.
pub struct BatchScheduler {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
    workers: Option<WorkerPool<Job>>,
}

impl BatchScheduler {
    /// Starts `workers` worker threads and a timer thread.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(clock: Clock, workers: usize) -> std::io::Result<Self> {
        let (jobs, receiver) = job_queue();
        let mut engine = ServerEngine::boxed(MAX_QUEUED, MAX_KEYS, MAX_MODELS);
        engine.set_max_running(u32::try_from(workers).unwrap_or(u32::MAX));
        let state = State { engine, signatures: Signatures::default(), wake: None, stopped: false };
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(state),
            timer: Condvar::new(),
            jobs,
            drained: watch::Sender::new(false),
        });
        let worker = Arc::clone(&shared);
        let workers =
            WorkerPool::start("model", workers, receiver, move |job| run::run(&worker, job))?;
        let timer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("timer".into()).spawn(move || shared.keep_time())?
        };
        Ok(Self { shared, timer: Some(timer), workers: Some(workers) })
    }

    /// Makes a model known, as its configuration says.
    ///
    /// # Errors
    /// [`LaneError`] when there are more than [`MAX_MODELS`] or the configuration was not
    /// checked.
    pub fn add(&self, model: &LoadedModel) -> Result<(), LaneError> {
        let config = &model.config;
        let max_items = if model.executor.io().batches { config.max_batch } else { 1 };
        let lane = Lane {
            instances: config.instances,
            max_queued: config.max_queued,
            displace: config.displace,
            failures: if config.escalate { FailurePolicy::DEFAULT } else { FailurePolicy::NONE },
            ..Lane::new(max_items, config.max_wait.into())
        };
        lock(&self.shared.state).engine.configure(model.id, lane)
    }

    /// Runs `inputs`, which must be what `model` declares, in one batch with others. `rows` is
    /// their batch dimension, 1 for a model without one. Dropping the future takes the request out
    /// of the queue. `life` is told how far it is; its outcome is the caller's to tell.
    ///
    /// # Errors
    /// [`RunError`]; the requests it shared a batch with never notice.
    pub async fn run(
        &self,
        model: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        rows: usize,
        life: &Arc<LiveRequest>,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run_as(model, inputs, rows, Demand::default(), life).await
    }

    /// As [`run`](Self::run), with a priority and a timeout.
    ///
    /// # Errors
    /// [`RunError`]; the requests it shared a batch with never notice.
    pub async fn run_as(
        &self,
        model: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        rows: usize,
        demand: Demand,
        life: &Arc<LiveRequest>,
    ) -> Result<Vec<Tensor>, RunError> {
        let (reply, answer) = oneshot::channel();
        let ticket = self.shared.arrive(model, inputs, rows, demand, Arc::clone(life), reply);
        let mut waiting = CancelOnDrop { shared: &self.shared, ticket };
        let result = answer.await.unwrap_or(Err(RunError::Stopped));
        waiting.ticket = None;
        result
    }

    /// Refuses what comes from now on, and returns when everything that waited has been answered.
    pub async fn drain(&self) {
        self.shared.handle(Event::Drain);
        let mut drained = self.shared.drained.subscribe();
        // The sender lives as long as `self`.
        let _ = drained.wait_for(|&drained| drained).await;
    }

    /// Requests that wait for a batch.
    #[must_use]
    pub fn queued(&self) -> usize {
        lock(&self.shared.state).engine.queued()
    }
}

impl Drop for BatchScheduler {
    fn drop(&mut self) {
        lock(&self.shared.state).stopped = true;
        self.shared.timer.notify_all();
        if let Some(timer) = self.timer.take() {
            let _ = timer.join();
        }
        self.workers.take();
    }
}

impl std::fmt::Debug for BatchScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchScheduler").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// Takes a request out of the queue when its sender stops waiting for it.
struct CancelOnDrop<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.handle(Event::Cancelled(ticket));
        }
    }
}

impl Shared {
    fn arrive(
        &self,
        model: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        rows: usize,
        demand: Demand,
        life: Arc<LiveRequest>,
        reply: oneshot::Sender<Result<Vec<Tensor>, RunError>>,
    ) -> Option<Ticket> {
        let shapes = batch_shapes(model, &inputs);
        let arrived = self.clock.now();
        let model = Arc::clone(model);
        let id = model.id;
        let pending = Box::new(Pending { model, inputs, rows, arrived, life, reply });
        self.decide(|state, now, actions| {
            let signature = shapes.map_or(FIXED_SHAPES, |shapes| state.signatures.acquire(shapes));
            let items = u32::try_from(rows).unwrap_or(u32::MAX);
            let bytes = pending.inputs.iter().map(|input| input.data().len() as u64).sum();
            let deadline = demand.timeout.map_or(Instant::MAX, |timeout| arrived + timeout.into());
            let key = BatchKey { model: id, signature };
            let request = Request {
                priority: demand.priority,
                bytes,
                deadline,
                ..Request::new(key, items, pending)
            };
            state.engine.handle(now, Event::Arrived(request), actions)
        })
    }

    fn handle(&self, event: Event<BoxedRequest>) {
        self.decide(|state, now, actions| state.engine.handle(now, event, actions));
    }

    /// Lets the engine decide on something that happened, and carries out what it orders. Returns the
    /// ticket of a request that now waits.
    fn decide(
        &self,
        happened: impl FnOnce(&mut State, Instant, &mut Actions) -> Option<Instant>,
    ) -> Option<Ticket> {
        let mut actions = Actions::default();
        let is_drained = {
            let mut state = lock(&self.state);
            // Read under the lock, so that the engine sees time in order.
            let now = self.clock.now();
            let wake = happened(&mut state, now, &mut actions);
            for signature in actions.left.drain(..).filter(|&number| number != FIXED_SHAPES) {
                state.signatures.release(signature);
            }
            let sooner = wake.is_some_and(|at| state.wake.is_none_or(|before| at < before));
            state.wake = wake;
            if sooner {
                self.timer.notify_one();
            }
            state.engine.is_drained()
        };
        if is_drained {
            self.drained.send_replace(true);
        }
        // Told when the lock is released: the audit may take its time.
        if let Some(life) = actions.queued {
            life.queued();
        }
        if let Some(error) = &actions.error {
            let why = error.to_string();
            actions.again.iter().for_each(|life| life.waits_again(&why));
        }
        for job in actions.jobs {
            let reason = closing_reason(job.batch.reason());
            for queued in &job.requests {
                queued.request.payload.life.batched(reason);
            }
            self.jobs.send(job);
        }
        for (pending, why) in actions.refused {
            // Nobody listens when the sender has gone; then nothing is lost.
            let _ = pending.reply.send(Err(RunError::Refused(why)));
        }
        for (queued, why) in actions.released {
            let error = match why {
                Dropped::Failed(_) => actions.error.clone().unwrap_or(RunError::Dropped(why)),
                _ => RunError::Dropped(why),
            };
            let _ = queued.request.payload.reply.send(Err(error));
        }
        actions.notices.iter().for_each(tell);
        actions.ticket
    }

    /// The timer thread: sends a tick whenever the engine's deadline comes.
    fn keep_time(&self) {
        let mut state = lock(&self.state);
        while !state.stopped {
            let now = self.clock.now();
            match state.wake {
                None => {
                    state = self.timer.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(at) if at > now => {
                    let timeout = at.since(now).into();
                    let waited = self.timer.wait_timeout(state, timeout);
                    (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Some(_) => {
                    state.wake = None;
                    drop(state);
                    self.handle(Event::Tick);
                    state = lock(&self.state);
                }
            }
        }
    }
}

/// The input shapes that must agree within a batch, `None` when the model leaves no choice.
fn batch_shapes(model: &LoadedModel, inputs: &[Tensor]) -> Option<Shapes> {
    let io = model.executor.io();
    let free = |shape: &[i64]| shape.iter().skip(1).any(|&size| size < 0);
    let choice = io.batches && io.inputs.iter().any(|spec| free(&spec.shape));
    choice.then(|| inputs.iter().map(|input| input.shape()[1..].to_vec()).collect())
}

/// Says what the engine noticed to whoever reads the log.
fn tell(notice: &Notice) {
    match notice {
        Notice::Split { batch, requests } => {
            tracing::debug!(batch, ?requests, "a batch failed and runs again in halves");
        }
        notice => tracing::warn!(?notice, "the scheduler takes care"),
    }
}

/// What the engine ordered, to be carried out once the lock is released.
#[derive(Default)]
struct Actions {
    jobs: Vec<Job>,
    refused: Vec<(BoxedRequest, Refused)>,
    /// Kept until the lock is released: freeing large tensors takes its time.
    released: Vec<(Queued<BoxedRequest>, Dropped)>,
    /// Signatures of the requests that are done with.
    left: Vec<u32>,
    notices: Vec<Notice>,
    ticket: Option<Ticket>,
    queued: Option<Arc<LiveRequest>>,
    /// Those that wait for another run.
    again: Vec<Arc<LiveRequest>>,
    /// What the batch at hand failed with.
    error: Option<RunError>,
}

impl ActionSink<BoxedRequest> for Actions {
    fn dispatch(
        &mut self,
        batch: Batch,
        requests: &mut dyn ExactSizeIterator<Item = Queued<BoxedRequest>>,
    ) {
        let requests: Requests = requests.collect();
        if let Some(first) = requests.first() {
            let model = Arc::clone(&first.request.payload.model);
            self.jobs.push(Job { model, batch, requests });
        }
    }

    fn refuse(&mut self, request: Request<BoxedRequest>, why: Refused) {
        self.left.push(request.key.signature);
        self.refused.push((request.payload, why));
    }

    fn queued(&mut self, ticket: Ticket, request: &BoxedRequest) {
        match &self.error {
            None => {
                self.ticket = Some(ticket);
                self.queued = Some(Arc::clone(&request.life));
            }
            Some(_) => self.again.push(Arc::clone(&request.life)),
        }
    }

    fn release(&mut self, queued: Queued<BoxedRequest>, why: Dropped) {
        self.left.push(queued.request.key.signature);
        self.released.push((queued, why));
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}
