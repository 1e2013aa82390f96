//! The engine, and the record of what it is told and decides.

use super::drive::{Actions, BoxedRequest, Requests};
use super::{MAX_KEYS, MAX_MODELS, MAX_QUEUED};
use crate::trace::{Begin, Call, Decision, Event as Told, FORMAT, Judged, Line, Recorder, Said};
use crate::trace::{Served, Setting};
use tensorforge_core::batch::{LaneError, PoolId, Verdict, Waiting};
use tensorforge_core::engine::Notice;
use tensorforge_core::{
    ActionSink, Batch, BoxedEngine, Dropped, Duration, Event, Failure, Instant, ModelId, Queued,
    Refused, Request, Ticket,
};

/// The engine of the scheduler. Whatever changes it goes through here, so that a trace has all of it.
pub(super) struct Recorded {
    engine: BoxedEngine<BoxedRequest>,
    recorder: Option<Recorder>,
}

/// What a trace of this program's scheduler begins with.
pub(super) fn begin() -> Begin {
    Begin {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        requests: MAX_QUEUED,
        groups: MAX_KEYS,
        models: MAX_MODELS,
    }
}

impl Recorded {
    pub(super) fn new(recorder: Option<Recorder>) -> Self {
        let engine = BoxedEngine::boxed(MAX_QUEUED, MAX_KEYS, MAX_MODELS);
        Self { engine, recorder }
    }

    /// Records no further. Whoever drops what this returns has the record complete where it is written.
    pub(super) const fn end_record(&mut self) -> Option<Recorder> {
        self.recorder.take()
    }

    pub(super) fn queued(&self) -> usize {
        self.engine.queued()
    }

    pub(super) const fn is_drained(&self) -> bool {
        self.engine.is_drained()
    }

    pub(super) fn configure(&mut self, served: Served) -> Result<(), LaneError> {
        self.engine.configure(ModelId(served.model), served.lane())?;
        self.record(|| Setting::Model(Box::new(served)));
        Ok(())
    }

    pub(super) fn forget(&mut self, model: ModelId) -> bool {
        let forgotten = self.engine.forget(model);
        if forgotten {
            self.record(|| Setting::Forget(model.0));
        }
        forgotten
    }

    pub(super) fn set_max_running(&mut self, batches: u32) {
        self.engine.set_max_running(batches);
        self.record(|| Setting::MaxRunning(batches));
    }

    pub(super) fn set_max_bytes(&mut self, bytes: u64) {
        self.engine.set_max_bytes(bytes);
        self.record(|| Setting::MaxBytes(bytes));
    }

    pub(super) fn set_memory(&mut self, pool: PoolId, bytes: u64) {
        self.engine.set_memory(pool, bytes);
        self.record(|| Setting::Memory { pool: pool.0, bytes });
    }

    pub(super) fn set_fairness(&mut self, min_share: u16, starve_after: Duration) {
        self.engine.set_fairness(min_share, starve_after);
        let starve_after = starve_after.as_nanos();
        self.record(|| Setting::Fairness { min_share, starve_after });
    }

    fn record(&self, setting: impl FnOnce() -> Setting) {
        if let Some(recorder) = &self.recorder {
            recorder.put(Line::Set(setting()));
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Instant,
        event: Event<BoxedRequest>,
        actions: &mut Actions,
    ) -> Option<Instant> {
        if self.recorder.is_none() {
            return self.engine.handle(now, event, actions);
        }
        let told = match &event {
            Event::Arrived(request) => Told::Arrived {
                model: request.key.model.0,
                signature: request.key.signature,
                items: request.items,
                priority: request.priority,
                bytes: request.bytes,
                deadline: (request.deadline < Instant::MAX).then(|| request.deadline.as_nanos()),
                shadow: request.payload.is_shadow,
            },
            Event::Cancelled(ticket) => Told::Cancelled { request: ticket.number() },
            Event::Finished { batch, took, memory } => {
                Told::Finished { batch: batch.number(), took: took.as_nanos(), memory: *memory }
            }
            Event::Drain => Told::Drain,
            _ => Told::Tick,
        };
        self.call(now, told, actions, |engine, sink| engine.handle(now, event, sink))
    }

    pub(super) fn failed(
        &mut self,
        now: Instant,
        batch: Batch,
        took: Duration,
        failure: Failure,
        requests: Requests,
        actions: &mut Actions,
    ) -> Option<Instant> {
        let requests = requests.into_iter();
        if self.recorder.is_none() {
            return self.engine.failed(now, batch, took, failure, requests, actions);
        }
        let told = Told::Failed {
            batch: batch.number(),
            took: took.as_nanos(),
            out_of_memory: failure == Failure::OutOfMemory,
            requests: requests.as_slice().iter().map(Queued::number).collect(),
        };
        self.call(now, told, actions, |engine, sink| {
            engine.failed(now, batch, took, failure, requests, sink)
        })
    }

    pub(super) fn overdue(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        actions: &mut Actions,
    ) -> Option<Instant> {
        let told = Told::Overdue { batch: batch.number() };
        self.call(now, told, actions, |engine, sink| engine.overdue(now, batch, sink))
    }

    pub(super) fn withdrawn(
        &mut self,
        now: Instant,
        batch: Batch,
        actions: &mut Actions,
    ) -> Option<Instant> {
        let told = Told::Withdrawn { batch: batch.number() };
        self.call(now, told, actions, |engine, sink| engine.withdrawn(now, batch, sink))
    }

    fn call(
        &mut self,
        now: Instant,
        event: Told,
        actions: &mut Actions,
        tell: impl FnOnce(&mut BoxedEngine<BoxedRequest>, &mut Watching<'_>) -> Option<Instant>,
    ) -> Option<Instant> {
        let mut sink = Watching { actions, decided: Vec::new(), judged: Vec::new() };
        let wake = tell(&mut self.engine, &mut sink);
        let Watching { decided, judged, .. } = sink;
        if let Some(recorder) = &self.recorder {
            let (at, wake) = (now.as_nanos(), wake.map(Instant::as_nanos));
            recorder.put(Line::Call(Call { at, event, judged, decided, wake }));
        }
        wake
    }
}

/// Writes down what goes to the actions.
struct Watching<'a> {
    actions: &'a mut Actions,
    decided: Vec<Decision>,
    judged: Vec<Judged>,
}

impl ActionSink<BoxedRequest> for Watching<'_> {
    fn dispatch(
        &mut self,
        batch: Batch,
        requests: &mut dyn ExactSizeIterator<Item = Queued<BoxedRequest>>,
    ) {
        let requests: Requests = requests.collect();
        self.decided.push(Decision::dispatched(&batch, &requests));
        self.actions.dispatch(batch, &mut requests.into_iter());
    }

    fn refuse(&mut self, request: Request<BoxedRequest>, why: Refused) {
        self.decided.push(Decision::refused(why));
        self.actions.refuse(request, why);
    }

    fn queued(&mut self, ticket: Ticket, payload: &BoxedRequest) {
        self.decided.push(Decision::Queued(ticket.number()));
        self.actions.queued(ticket, payload);
    }

    fn release(&mut self, request: Queued<BoxedRequest>, why: Dropped) {
        self.decided.push(Decision::released(&request, why));
        self.actions.release(request, why);
    }

    fn notice(&mut self, notice: Notice) {
        self.decided.push(Decision::noticed(&notice));
        self.actions.notice(notice);
    }

    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        let model = waiting.key.model;
        let is_its_own = self.actions.known.has_rule(model);
        let verdict = self.actions.judge(waiting);
        if is_its_own {
            self.judged.push(Judged { model: model.0, said: Said::of(verdict) });
        }
        verdict
    }
}
