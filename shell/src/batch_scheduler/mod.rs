//! Drives core's engine with real time, real threads and real models.
//!
//! [`BatchScheduler`] feeds core's [engine](tensorforge_core::Engine) with arrivals, the ends of executions and the passing
//! of deadlines, and runs the batches it dispatches on worker threads. The engine sits behind one
//! lock that is held for a decision (about a microsecond), never while a model runs.

mod assemble;
mod count;
mod drive;
mod error;
mod known;
mod recorded;
mod run;
mod signatures;
mod split;
mod stop;
#[cfg(test)]
mod tests;
mod tuned;
mod turnstile;
mod watch;

pub use error::RunError;
pub use known::SharedRule;
pub use stop::STOP_GRACE;

use crate::clock::Clock;
use crate::concurrency::{WorkerPool, job_queue, lock};
use crate::contracts::Parameters;
use crate::models::Tensor;
use crate::registry::{Lanes, LoadedModel};
use crate::trace::{Recorder, RecorderError, Served};
use crate::workflow::{LiveRequest, SharedSink};
use count::{PartTimes, Parted};
use drive::{Job, Pending, Shared, TicketCell};
use signatures::Alike;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;
use tensorforge_core::batch::{LaneError, PoolId};
use tensorforge_core::{Event, Instant, ModelId, Refused};
use tokio::sync::oneshot;
use tuned::Tuned;
use turnstile::Turnstile;

/// Requests that may wait at once, over all models.
pub const MAX_QUEUED: usize = 4096;
/// Different batch keys that may wait at once, over all models.
pub const MAX_KEYS: usize = 256;
pub use crate::registry::MAX_MODELS;

/// What a request asks for beside its answer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Demand {
    /// Its priority: higher first, 0 if nothing is said.
    pub priority: u8,
    /// How long the answer is worth waiting for.
    pub timeout: Option<Duration>,
    /// Whether it is a shadow copy, which counts apart and keeps nobody's answers in order.
    pub is_shadow: bool,
    /// Its parameters: of them count those that the model's `batch_by` names.
    pub parameters: Parameters,
}

/// Batches requests of loaded models and runs them.
///
/// Dropping it ends it in bounded time, whatever hangs: it waits for executions until their `hang_timeout`
/// has passed, or for [`STOP_GRACE`] where the model has none. Those that take longer are left to their
/// threads, and the log says so. By then every request is answered or given up, for each borrows the
/// scheduler: [`drain`](Self::drain) first to answer those that wait.
pub struct BatchScheduler {
    shared: Arc<Shared>,
    /// Of the models and priorities that answer in order.
    turnstiles: Mutex<HashMap<(ModelId, u8), Arc<Turnstile>>>,
    counts_memory: AtomicBool,
    stop_grace: Mutex<Duration>,
    timer: Option<JoinHandle<()>>,
    workers: Option<WorkerPool<Job>>,
}

impl BatchScheduler {
    /// Starts `workers` worker threads and a timer thread.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(clock: Clock, workers: usize) -> std::io::Result<Self> {
        Self::start_with(clock, workers, None)
    }

    /// As [`start`](Self::start), and writes everything that the scheduler is told and decides to `out`, as
    /// a [trace](crate::trace), until it is dropped.
    ///
    /// # Errors
    /// The system's, when it gives no more threads, or `out`'s.
    pub fn start_recorded(
        clock: Clock,
        workers: usize,
        out: impl std::io::Write + Send + 'static,
    ) -> Result<Self, RecorderError> {
        let recorder = Recorder::begin(out, recorded::begin())?;
        Ok(Self::start_with(clock, workers, Some(recorder))?)
    }

    fn start_with(
        clock: Clock,
        workers: usize,
        recorder: Option<Recorder>,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = job_queue();
        let shared = Arc::new(Shared::new(clock, jobs, recorder)?);
        let running = u32::try_from(workers).unwrap_or(u32::MAX);
        shared.with_state(|state| state.engine.set_max_running(running));
        let worker = Arc::clone(&shared);
        let workers =
            WorkerPool::start("model", workers, receiver, move |job| run::run(&worker, job))?;
        let timer = {
            let (shared, threads) = (Arc::clone(&shared), workers.threads());
            std::thread::Builder::new()
                .name("timer".into())
                .spawn(move || shared.keep_time(&threads))?
        };
        Ok(Self {
            shared,
            turnstiles: Mutex::default(),
            counts_memory: AtomicBool::new(false),
            stop_grace: Mutex::new(STOP_GRACE),
            timer: Some(timer),
            workers: Some(workers),
        })
    }

    /// Makes a model known, as its configuration says.
    ///
    /// # Errors
    /// [`LaneError`] when there are more than [`MAX_MODELS`] or the configuration was not
    /// checked.
    pub fn add(&self, model: &LoadedModel) -> Result<(), LaneError> {
        let batches = model.executor.io().batches;
        let served = Served {
            model: model.id.0,
            name: format!("{}/{}", model.name, model.version),
            batches,
            sizes: padded_sizes(model),
            memory: measured_memory(model),
            config: model.config.clone(),
        };
        let tuned = |target: Duration| Tuned::new(served.name.clone(), target.into());
        let rule = model.config.target_p99.map(|target| Box::new(tuned(target)) as SharedRule);
        self.shared.with_state(|state| {
            state.engine.configure(served)?;
            state.known.add(model);
            state.known.set_rule(model.id, rule);
            Ok(())
        })?;
        self.shared.tick();
        Ok(())
    }

    /// Forgets a model and all that was learned of it, so that its number may be another's. What comes for it
    /// until then is refused. Whether nothing of it waits or runs; otherwise nothing changes.
    pub fn forget(&self, model: ModelId) -> bool {
        let forgotten = self.shared.with_state(|state| {
            let forgotten = state.engine.forget(model);
            if forgotten {
                state.known.forget(model);
            }
            forgotten
        });
        if forgotten {
            lock(&self.turnstiles).retain(|&(id, _), _| id != model);
            self.shared.tick();
        }
        forgotten
    }

    /// Replaces the rule by which a model's batches close; `None` for what its configuration says. One that
    /// panics is not asked again.
    ///
    /// ```
    /// use tensorforge::batch_scheduler::BatchScheduler;
    /// use tensorforge::clock::Clock;
    /// use tensorforge_core::ModelId;
    /// use tensorforge_core::batch::{ClosingReason, ClosingRule, Verdict, Waiting};
    ///
    /// /// Only even batches, as long as nobody waits too long for one.
    /// struct Pairs;
    ///
    /// impl ClosingRule for Pairs {
    ///     fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
    ///         match waiting.available() / 2 * 2 {
    ///             0 => waiting.standard(),
    ///             items => Verdict::Close { reason: ClosingReason::Custom, items },
    ///         }
    ///     }
    /// }
    ///
    /// let scheduler = BatchScheduler::start(Clock::start(), 1)?;
    /// scheduler.set_rule(ModelId(0), Some(Box::new(Pairs)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_rule(&self, model: ModelId, rule: Option<SharedRule>) {
        self.shared.with_state(|state| state.known.set_rule(model, rule));
        self.shared.tick();
    }

    /// Requests that have waited for `starve_after` are owed `min_share` of all items that run, in
    /// thousandths, whatever waits at higher priorities. 0, as it is from the start, for strict priorities.
    pub fn set_fairness(&self, min_share: u16, starve_after: Duration) {
        let starve_after = starve_after.into();
        self.shared.with_state(|state| state.engine.set_fairness(min_share, starve_after));
        self.shared.tick();
    }

    /// Bytes of memory that running batches may take together, of models whose part is known.
    pub fn set_memory(&self, bytes: u64) {
        self.counts_memory.store(true, Ordering::Relaxed);
        self.shared.with_state(|state| state.engine.set_memory(PoolId(0), bytes));
        self.shared.tick();
    }

    /// Bytes of inputs that may wait over all models; more are refused with status 503.
    pub fn set_max_queued_bytes(&self, bytes: u64) {
        self.shared.with_state(|state| state.engine.set_max_bytes(bytes));
    }

    /// Tells `sink` of every step of a model's level and circuit, unless another is told already.
    pub fn audited(&self, sink: SharedSink) {
        self.shared.audit.begin(sink);
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
        // Taken before the request waits, given back when it is answered or given up.
        let turn = self.turnstile(model, &demand).map(|turnstile| turnstile.enter());
        // Where memory is counted, it may allow fewer rows in a batch than the model does.
        let again = self.counts_memory.load(Ordering::Relaxed).then(|| inputs.clone());
        let most = model.config.max_batch;
        let came = self.shared.clock.now();
        let fits = if again.is_some() { 1 } else { most as usize };
        let may_be_cut = model.config.split && rows > fits;
        let counted = may_be_cut.then(|| Parted::new(self.shared.clock, model, &demand, rows));
        let part_of = counted.as_ref().map(Parted::times);
        let whole = (inputs, rows);
        let result =
            match (self.run_in_parts(model, whole, most, &demand, life, part_of).await, again) {
                (Err(RunError::Refused(Refused::TooLarge { max_items })), Some(inputs))
                    if model.config.split && (1..most).contains(&max_items) =>
                {
                    let whole = (inputs, rows);
                    self.run_in_parts(model, whole, max_items, &demand, life, part_of).await
                }
                (result, _) => result,
            };
        match (counted, &result) {
            (Some(counted), result) => counted.count(result),
            (None, Err(error @ RunError::Stopped)) => {
                // It never left the engine, where it would have been counted.
                let total = self.shared.clock.now().since(came);
                let recorder = model.recorder_of(demand.is_shadow);
                recorder.failed(demand.priority, total, error.fail_reason());
            }
            (None, _) => {}
        }
        if let Some(turn) = turn {
            turn.comes().await;
        }
        result
    }

    /// Runs a request, cut into parts of `most` rows if it has more.
    async fn run_in_parts(
        &self,
        model: &Arc<LoadedModel>,
        (inputs, rows): split::Part,
        most: u32,
        demand: &Demand,
        life: &Arc<LiveRequest>,
        part_of: Option<&Arc<PartTimes>>,
    ) -> Result<Vec<Tensor>, RunError> {
        match split::parts(&model.config, model.executor.io(), &inputs, rows, most)? {
            None => {
                let mut whole = self.start_part(model, inputs, rows, demand, Some(life), part_of);
                poll_fn(|context| whole.poll_answer(context)).await
            }
            Some(parts) => {
                let mut life = Some(life);
                let start = |(inputs, rows)| {
                    self.start_part(model, inputs, rows, demand, life.take(), part_of)
                };
                split::answer(parts.into_iter().map(start).collect()).await
            }
        }
    }

    /// Lets a request, or a part of one, wait for its batch.
    fn start_part(
        &self,
        model: &Arc<LoadedModel>,
        inputs: Vec<Tensor>,
        rows: usize,
        demand: &Demand,
        life: Option<&Arc<LiveRequest>>,
        part_of: Option<&Arc<PartTimes>>,
    ) -> Waiting<'_> {
        let (reply, answer) = oneshot::channel();
        let ticket = TicketCell::default();
        let arrived = self.shared.clock.now();
        let parameters = shared_parameters(model, &demand.parameters);
        let alike = alike(model, &inputs, &parameters);
        let pending = Pending {
            model: Arc::clone(model),
            inputs,
            rows,
            priority: demand.priority,
            is_shadow: demand.is_shadow,
            arrived,
            deadline: demand.timeout.map_or(Instant::MAX, |timeout| arrived + timeout.into()),
            alike,
            parameters,
            life: life.map(Arc::clone),
            part_of: part_of.map(Arc::clone),
            ticket: Arc::clone(&ticket),
            reply,
        };
        // Before it is there, so that it leaves the queue whatever happens.
        let waiting = Waiting { shared: &self.shared, ticket, answer: Some(answer) };
        self.shared.arrive(Box::new(pending));
        waiting
    }

    /// Where the answers of a model's priority wait for those before, if they are to.
    fn turnstile(&self, model: &LoadedModel, demand: &Demand) -> Option<Arc<Turnstile>> {
        if !model.config.preserve_order || demand.is_shadow {
            return None;
        }
        let mut turnstiles = lock(&self.turnstiles);
        Some(Arc::clone(turnstiles.entry((model.id, demand.priority)).or_default()))
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
        self.shared.with_state(|state| state.engine.queued())
    }
}

impl Lanes for BatchScheduler {
    fn add(&self, model: &LoadedModel) -> Result<(), LaneError> {
        Self::add(self, model)
    }

    fn forget(&self, model: ModelId) -> bool {
        Self::forget(self, model)
    }
}

impl std::fmt::Debug for BatchScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchScheduler").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// A request that waits for its answer. Dropped before that, it leaves the queue.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: TicketCell,
    answer: Option<oneshot::Receiver<Result<Vec<Tensor>, RunError>>>,
}

impl Waiting<'_> {
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Tensor>, RunError>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(RunError::Stopped)) };
        let result = ready!(Pin::new(answer).poll(context)).unwrap_or(Err(RunError::Stopped));
        self.answer = None;
        Poll::Ready(result)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // First the sender sees that nobody listens, then the engine is told.
        if self.answer.take().is_some() {
            self.shared.cancel(&self.ticket);
        }
    }
}

/// The sizes that batches of `model` are padded up to; empty if they are not.
fn padded_sizes(model: &LoadedModel) -> Vec<u32> {
    let sizes = model.config.batch_sizes();
    let pads = sizes.iter().any(|&size| {
        let below = size as usize - 1;
        below > 0 && model.executor.padded_rows(below) != below
    });
    if pads || model.config.batch_sizes.is_some() { sizes } else { Vec::new() }
}

/// What the executor knows of the memory that batches of one item and of the most take: the fixed part,
/// and that of each item.
fn measured_memory(model: &LoadedModel) -> Option<(u64, u64)> {
    let most_items = u64::from(model.config.max_batch.max(2));
    let one = model.executor.memory(1)?;
    let most = model.executor.memory(most_items as usize)?.max(one);
    let per_item = (most - one).div_ceil(most_items - 1);
    Some((one.saturating_sub(per_item), per_item))
}

/// Of `parameters` those that a batch of `model` agrees in.
fn shared_parameters(model: &LoadedModel, parameters: &Parameters) -> Parameters {
    let named = |name: &String| parameters.get_key_value(name);
    let shared = model.config.batch_by.iter().filter_map(named);
    shared.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a request must agree in with others of its batch; `None` if the model leaves no choice.
fn alike(model: &LoadedModel, inputs: &[Tensor], parameters: &Parameters) -> Option<Alike> {
    let io = model.executor.io();
    if !io.batches {
        return None;
    }
    let free = |shape: &[i64]| shape.iter().skip(1).any(|&size| size < 0);
    let shapes = if io.inputs.iter().any(|spec| free(&spec.shape)) {
        inputs.iter().map(|input| input.shape()[1..].to_vec()).collect()
    } else {
        Vec::new()
    };
    let parameters = match parameters.is_empty() {
        true => String::new(),
        false => serde_json::Value::Object(parameters.clone()).to_string(),
    };
    (!shapes.is_empty() || !parameters.is_empty()).then_some(Alike {
        model: model.id.0,
        shapes,
        parameters,
    })
}
