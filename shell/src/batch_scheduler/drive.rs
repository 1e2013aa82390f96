//! The engine behind its lock: what happens goes in, and what it orders is carried out.
//!
//! A request that comes never waits for that lock. It goes into the *intake*, core's lock-free priority
//! queue, and whoever has the lock takes it from there: its own thread if nobody else is at it, else
//! the one that is, before it leaves.

use super::count::PartTimes;
use super::known::{Audit, Known};
use super::recorded::Recorded;
use super::signatures::{Alike, MOST_KINDS, Signatures};
use super::watch::Watched;
use super::{MAX_QUEUED, RunError};
use crate::clock::Clock;
use crate::concurrency::{JobSender, Threads, lock};
use crate::contracts::Parameters;
use crate::models::Tensor;
use crate::registry::LoadedModel;
use crate::telemetry::FailReason;
use crate::trace::Recorder;
use crate::workflow::LiveRequest;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use tensorforge_core::batch::{Verdict, Waiting};
use tensorforge_core::engine::Notice;
use tensorforge_core::queue::BoxedPriorityQueue;
use tensorforge_core::{
    ActionSink, Batch, BatchKey, ClosingReason, Dropped, Event, Instant, Queued, Refused, Request,
    Ticket,
};
use tokio::sync::{oneshot, watch};

/// Signature of models whose batches need not agree in anything.
pub(super) const ALL_ALIKE: u32 = u32::MAX;

/// Threads that may be inside an operation of the intake at once; one more waits for one of them.
const SEATS: usize = 256;

/// How often a thread looks at the intake again for others, before it leaves that to the timer thread.
const ROUNDS: usize = 16;

/// A waiting request: what core carries as its payload.
pub(super) struct Pending {
    pub(super) model: Arc<LoadedModel>,
    pub(super) inputs: Vec<Tensor>,
    pub(super) rows: usize,
    pub(super) priority: u8,
    pub(super) is_shadow: bool,
    pub(super) arrived: Instant,
    pub(super) deadline: Instant,
    /// What it must agree in with others; taken when it is admitted.
    pub(super) alike: Option<Alike>,
    /// Of its parameters those that a batch agrees in.
    pub(super) parameters: Parameters,
    /// Told how far it is; further parts of one request have none.
    pub(super) life: Option<Arc<LiveRequest>>,
    /// The request that it is a part of, if it is not all of one.
    pub(super) part_of: Option<Arc<PartTimes>>,
    pub(super) ticket: TicketCell,
    pub(super) reply: oneshot::Sender<Result<Vec<Tensor>, RunError>>,
}

/// Where the request waits in the engine, for whoever wants to cancel it.
pub(super) type TicketCell = Arc<Mutex<Option<Ticket>>>;

/// Boxed, because core moves its payloads and a pointer moves fastest.
pub(super) type BoxedRequest = Box<Pending>;
pub(super) type Requests = Vec<Queued<BoxedRequest>>;

/// A closed batch on its way to a worker.
pub(super) struct Job {
    pub(super) model: Arc<LoadedModel>,
    pub(super) batch: Batch,
    pub(super) requests: Requests,
}

pub(super) struct State {
    pub(super) engine: Recorded,
    pub(super) known: Known,
    signatures: Signatures,
    /// When the engine next wants a tick.
    wake: Option<Instant>,
}

/// What the timer thread waits for.
#[derive(Default)]
struct Timer {
    wake: Option<Instant>,
    /// Executions that are given up when their time has come.
    executions: Vec<(Instant, Arc<Watched>)>,
    stopped: bool,
}

impl Timer {
    fn next(&self) -> Option<Instant> {
        self.executions.iter().map(|&(at, _)| at).chain(self.wake).min()
    }

    /// Takes out an execution whose time has come.
    fn overdue(&mut self, now: Instant) -> Option<Arc<Watched>> {
        let place = self.executions.iter().position(|&(at, _)| at <= now)?;
        Some(self.executions.swap_remove(place).1)
    }
}

pub(super) struct Shared {
    pub(super) clock: Clock,
    intake: BoxedPriorityQueue<BoxedRequest>,
    state: Mutex<State>,
    timer: Mutex<Timer>,
    /// Signals the timer thread that `wake` is another or the scheduler stops.
    timer_changed: Condvar,
    jobs: JobSender<Job>,
    pub(super) drained: watch::Sender<bool>,
    pub(super) audit: Audit,
    /// Room for what the engine orders, so that not every decision asks for its own.
    spare: Mutex<Option<Box<Actions>>>,
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        jobs: JobSender<Job>,
        recorder: Option<Recorder>,
    ) -> std::io::Result<Self> {
        let engine = Recorded::new(recorder);
        let intake = BoxedPriorityQueue::with_capacity(MAX_QUEUED, SEATS);
        Ok(Self {
            clock,
            intake: intake.map_err(|error| std::io::Error::other(error.to_string()))?,
            state: Mutex::new(State {
                engine,
                known: Known::default(),
                signatures: Signatures::default(),
                wake: None,
            }),
            timer: Mutex::default(),
            timer_changed: Condvar::new(),
            jobs,
            drained: watch::Sender::new(false),
            audit: Audit::default(),
            spare: Mutex::default(),
        })
    }

    /// A request came in.
    pub(super) fn arrive(&self, request: BoxedRequest) {
        match self.intake.enqueue(request.priority.into(), request) {
            Ok(()) => self.take_in(),
            // So many came at once that the engine has no room for more either: it says so.
            Err(request) => self.decide(|state, now, actions| state.admit(now, request, actions)),
        }
    }

    pub(super) fn handle(&self, event: Event<BoxedRequest>) {
        self.decide(|state, now, actions| state.engine.handle(now, event, actions));
    }

    /// Takes a request out of the queue, wherever it waits.
    pub(super) fn cancel(&self, ticket: &TicketCell) {
        self.decide(|state, now, actions| match lock(ticket).take() {
            Some(ticket) => state.engine.handle(now, Event::Cancelled(ticket), actions),
            None => state.wake,
        });
    }

    /// Lets the engine decide on something that happened, and on whatever has come in. What it returns
    /// is when the engine wants to be woken.
    pub(super) fn decide(
        &self,
        happened: impl FnOnce(&mut State, Instant, &mut Actions) -> Option<Instant>,
    ) {
        self.decide_locked(lock(&self.state), happened);
        self.take_in();
    }

    /// Changes or reads the state without an event.
    pub(super) fn with_state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let result = look(&mut lock(&self.state));
        self.take_in();
        result
    }

    /// Lets the engine have what has come in, unless another thread has it in its hands: that one looks
    /// at the intake again after it has let go.
    fn take_in(&self) {
        for _ in 0..ROUNDS {
            // Either that thread sees what was put in before this, or this one sees its lock open.
            fence(Ordering::SeqCst);
            if self.intake.is_empty() {
                return;
            }
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.decide_locked(state, |state, _, _| state.wake);
        }
        self.set_timer(Some(Instant::ZERO));
    }

    fn decide_locked(
        &self,
        mut state: MutexGuard<'_, State>,
        happened: impl FnOnce(&mut State, Instant, &mut Actions) -> Option<Instant>,
    ) {
        let mut actions = lock(&self.spare).take().unwrap_or_default();
        actions.known = std::mem::take(&mut state.known);
        // Read under the lock, so that the engine sees time in order.
        let now = self.clock.now();
        let before = state.wake;
        // As many as there is room for; those that come meanwhile are seen to afterwards.
        for _ in 0..MAX_QUEUED {
            let Some(request) = self.intake.dequeue() else { break };
            state.wake = state.admit(now, request, &mut actions);
        }
        state.wake = happened(&mut state, now, &mut actions);
        for signature in actions.left.drain(..).filter(|&number| number != ALL_ALIKE) {
            state.signatures.release(signature);
        }
        for notice in &actions.notices {
            if let Some(step) = actions.known.step(notice, now) {
                self.audit.add(step);
                actions.has_steps = true;
            }
        }
        state.known = std::mem::take(&mut actions.known);
        if state.wake != before {
            self.set_timer(state.wake);
        }
        let is_drained = state.engine.is_drained();
        drop(state);
        self.carry_out(now, &mut actions);
        // Empty again but for its room.
        *lock(&self.spare) = Some(actions);
        // Told last: who waits for it finds everyone answered and counted.
        if is_drained {
            self.drained.send_replace(true);
        }
    }

    /// What was ordered, once the lock is released: the audit may take its time.
    fn carry_out(&self, now: Instant, actions: &mut Actions) {
        // First, so that whoever has an answer finds what it led to on record.
        if std::mem::take(&mut actions.has_steps) {
            self.audit.tell();
        }
        actions.queued.drain(..).for_each(|life| life.queued());
        let error = actions.error.take();
        let why = error.as_ref().map(ToString::to_string).unwrap_or_default();
        actions.again.drain(..).for_each(|life| life.waits_again(&why));
        for job in actions.jobs.drain(..) {
            let reason = closing_reason(job.batch.reason());
            for queued in &job.requests {
                if let Some(life) = &queued.request.payload.life {
                    life.batched(reason);
                }
            }
            self.jobs.send(job);
        }
        for (pending, why) in actions.refused.drain(..) {
            let error = RunError::Refused(why);
            pending.failed(now, error.fail_reason());
            // Nobody listens when the sender has gone; then nothing is lost.
            let _ = pending.reply.send(Err(error));
        }
        for pending in actions.of_too_many_kinds.drain(..) {
            let error = RunError::TooManyKinds { most: MOST_KINDS };
            pending.failed(now, error.fail_reason());
            let _ = pending.reply.send(Err(error));
        }
        for (queued, why) in actions.released.drain(..) {
            let error = match why {
                Dropped::Failed(_) => error.clone().unwrap_or(RunError::Dropped(why)),
                _ => RunError::Dropped(why),
            };
            queued.request.payload.failed(now, error.fail_reason());
            let _ = queued.request.payload.reply.send(Err(error));
        }
        actions.notices.drain(..).for_each(|notice| tell(&notice));
    }

    fn set_timer(&self, wake: Option<Instant>) {
        lock(&self.timer).wake = wake;
        self.timer_changed.notify_one();
    }

    /// Gives `execution` up at `at`, unless [`unwatch`](Self::unwatch) comes before.
    pub(super) fn watch(&self, at: Instant, execution: Arc<Watched>) {
        lock(&self.timer).executions.push((at, execution));
        self.timer_changed.notify_one();
    }

    pub(super) fn unwatch(&self, execution: &Arc<Watched>) {
        lock(&self.timer).executions.retain(|(_, other)| !Arc::ptr_eq(other, execution));
    }

    /// When the last of the executions that are watched is given up; `None` if none is.
    pub(super) fn last_given_up(&self) -> Option<Instant> {
        lock(&self.timer).executions.iter().map(|&(at, _)| at).max()
    }

    /// Ends the timer thread.
    pub(super) fn stop_timer(&self) {
        lock(&self.timer).stopped = true;
        self.timer_changed.notify_one();
    }

    /// The timer thread: sends a tick whenever the engine's deadline comes, and puts another thread in the
    /// place of one whose execution hangs.
    pub(super) fn keep_time(&self, threads: &Arc<Threads<Job>>) {
        let mut timer = lock(&self.timer);
        while !timer.stopped {
            let now = self.clock.now();
            match timer.next() {
                None => {
                    let waited = self.timer_changed.wait(timer);
                    timer = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Some(at) if at > now => {
                    let waited = self.timer_changed.wait_timeout(timer, at.since(now).into());
                    (timer, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Some(_) => {
                    let overdue = timer.overdue(now);
                    let is_due = timer.wake.take_if(|wake| *wake <= now).is_some();
                    drop(timer);
                    if let Some(thread) = overdue.and_then(|execution| execution.give_up(self))
                        && let Err(error) = threads.replace(thread)
                    {
                        tracing::error!(%error, "no thread in the place of one that hangs");
                    }
                    if is_due {
                        self.tick();
                    }
                    timer = lock(&self.timer);
                }
            }
        }
    }

    /// Lets the engine look at the time, and at what was changed in it.
    pub(super) fn tick(&self) {
        self.decide(|state, now, actions| {
            let wake = state.engine.handle(now, Event::Tick, actions);
            // Told in any case: it may want the instant again that it was just woken at.
            self.set_timer(wake);
            wake
        });
    }
}

impl State {
    /// Offers a request to the engine.
    fn admit(
        &mut self,
        now: Instant,
        mut pending: BoxedRequest,
        actions: &mut Actions,
    ) -> Option<Instant> {
        if pending.reply.is_closed() {
            // Its sender has gone while it was in the intake.
            pending.failed(now, FailReason::Canceled);
            return self.wake;
        }
        let signature = match pending.alike.take() {
            None => ALL_ALIKE,
            Some(alike) => match self.signatures.acquire(alike) {
                Some(number) => number,
                None => {
                    actions.of_too_many_kinds.push(pending);
                    return self.wake;
                }
            },
        };
        let bytes = pending.inputs.iter().map(|input| input.data().len() as u64).sum();
        let request = Request {
            key: BatchKey { model: pending.model.id, signature },
            items: u32::try_from(pending.rows).unwrap_or(u32::MAX),
            priority: pending.priority,
            bytes,
            deadline: pending.deadline,
            payload: pending,
        };
        self.engine.handle(now, Event::Arrived(request), actions)
    }
}

const fn closing_reason(reason: ClosingReason) -> &'static str {
    match reason {
        ClosingReason::Full => "the batch was full",
        ClosingReason::Preferred => "the batch had a preferred size",
        ClosingReason::Memory => "the device has no memory for more",
        ClosingReason::Idle => "no company was expected in time",
        ClosingReason::Custom => "the model's own rule said so",
        ClosingReason::MaxWait => "its first request had waited long enough",
        ClosingReason::Deadline => "a request would have missed its deadline",
        ClosingReason::Priority => "work of lower priority must not go first",
        ClosingReason::Retry => "it runs again, with fewer others or alone",
        ClosingReason::Drain => "the server drains",
        _ => "the batch closed",
    }
}

/// Says what the engine noticed to whoever reads the log.
fn tell(notice: &Notice) {
    match notice {
        Notice::Split { batch, requests } => {
            tracing::debug!(batch, ?requests, "a batch failed and runs again in halves");
        }
        Notice::OutOfMemory { model, items, limit } => {
            tracing::warn!(?model, items, limit, "no memory for a batch; smaller ones for now");
        }
        // The steps of a model's level and circuit are told with their names.
        _ => {}
    }
}

/// What the engine ordered, to be carried out once the lock is released.
#[derive(Default)]
pub(super) struct Actions {
    pub(super) jobs: Vec<Job>,
    refused: Vec<(BoxedRequest, Refused)>,
    of_too_many_kinds: Vec<BoxedRequest>,
    /// Kept until the lock is released: freeing large tensors takes its time.
    released: Vec<(Queued<BoxedRequest>, Dropped)>,
    /// Signatures of the requests that are done with.
    pub(super) left: Vec<u32>,
    notices: Vec<Notice>,
    /// The audit has something to tell.
    has_steps: bool,
    /// Lent while the engine decides.
    pub(super) known: Known,
    queued: Vec<Arc<LiveRequest>>,
    /// Those that wait for another run.
    again: Vec<Arc<LiveRequest>>,
    /// What the batch at hand failed with.
    pub(super) error: Option<RunError>,
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
        let before = lock(&request.ticket).replace(ticket);
        let Some(life) = &request.life else { return };
        let told = if before.is_none() { &mut self.queued } else { &mut self.again };
        told.push(Arc::clone(life));
    }

    fn release(&mut self, queued: Queued<BoxedRequest>, why: Dropped) {
        self.left.push(queued.request.key.signature);
        self.released.push((queued, why));
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        self.known.judge(waiting)
    }
}
