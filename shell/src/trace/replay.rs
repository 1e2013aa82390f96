//! Makes the decisions of a trace again.

use super::{Begin, Call, Decision, Event, FORMAT, Judged, Line, Said, Setting};
use std::collections::{HashMap, VecDeque};
use std::io::BufRead;
use tensorforge_core::batch::{ClosingReason, PoolId, Verdict, Waiting};
use tensorforge_core::engine::{Failure, Notice};
use tensorforge_core::{
    ActionSink, Batch, BatchKey, BoxedEngine, Dropped, Duration, Event as EngineEvent, Instant,
    ModelId, Queued, Refused, Request, Ticket,
};

/// What a replay found: nothing but numbers, as everything was decided as it had been.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Replayed {
    /// Events.
    pub calls: u64,
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Batches.
    pub batches: u64,
    /// Whether the trace has everything to its end.
    pub complete: bool,
}

/// Why a replay ended early.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A line is none, or does not belong there.
    #[error("line {line} is no line of a trace: {problem}")]
    BadLine {
        /// From 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// It is of another version of this program's traces.
    #[error("the trace has format {found}, and this program reads {FORMAT}")]
    Format {
        /// The version found.
        found: u32,
    },
    /// The engine decided otherwise than it did when the trace was recorded.
    #[error("line {line}: decided otherwise\n  then: {then}\n  now:  {now}")]
    Differs {
        /// From 1.
        line: u64,
        /// What was decided when it was recorded.
        then: String,
        /// What is decided now.
        now: String,
    },
}

/// The most places of any kind that a trace may ask for: more would be a mistake, or an attack.
const MOST_PLACES: usize = 1 << 20;

/// Replays `trace` to its end. `progress` is told of bytes read.
///
/// # Errors
/// [`ReplayError`] at the first line that cannot be replayed or is decided otherwise.
pub fn replay(trace: impl BufRead, mut progress: impl FnMut(u64)) -> Result<Replayed, ReplayError> {
    let mut lines = read(trace, &mut progress);
    let bad = |line, problem: &str| ReplayError::BadLine { line, problem: problem.into() };
    let begin = match lines.next() {
        Some((_, Ok(Line::Begin(begin)))) => begin,
        Some((line, Err(problem))) => return Err(ReplayError::BadLine { line, problem }),
        _ => return Err(bad(1, "it does not begin with `begin`")),
    };
    let mut again = Again::new(&begin)?;
    for (line, content) in lines {
        match content.map_err(|problem| ReplayError::BadLine { line, problem })? {
            Line::Set(setting) => again.set(setting).map_err(|problem| bad(line, &problem))?,
            Line::Call(call) => again.call(line, call)?,
            Line::End(end) => {
                again.replayed.complete = end.complete;
                return Ok(again.replayed);
            }
            Line::Begin(_) => return Err(bad(line, "it begins twice")),
        }
    }
    Ok(again.replayed)
}

/// The lines of a trace, each with its number and, if it is none, the problem. A line that was cut at the
/// very end is left out: its server was killed while it wrote.
pub fn read(
    mut trace: impl BufRead,
    progress: &mut dyn FnMut(u64),
) -> impl Iterator<Item = (u64, Result<Line, String>)> {
    let mut text = String::new();
    let (mut number, mut bytes) = (0, 0);
    std::iter::from_fn(move || {
        text.clear();
        number += 1;
        match trace.read_line(&mut text) {
            Ok(0) => None,
            Ok(read) => {
                bytes += read as u64;
                progress(bytes);
                let line = serde_json::from_str(&text).map_err(|error| error.to_string());
                (line.is_ok() || text.ends_with('\n')).then_some((number, line))
            }
            Err(error) => Some((number, Err(error.to_string()))),
        }
    })
}

struct Again {
    engine: BoxedEngine<()>,
    sink: Sink,
    replayed: Replayed,
}

impl Again {
    fn new(begin: &Begin) -> Result<Self, ReplayError> {
        if begin.format != FORMAT {
            return Err(ReplayError::Format { found: begin.format });
        }
        let places = [begin.requests, begin.groups, begin.models];
        if places.iter().any(|places| !(1..=MOST_PLACES).contains(places)) {
            let problem = format!("places for {places:?} requests, keys and models");
            return Err(ReplayError::BadLine { line: 1, problem });
        }
        let [requests, groups, models] = places;
        Ok(Self {
            engine: BoxedEngine::boxed(requests, groups, models),
            sink: Sink::default(),
            replayed: Replayed::default(),
        })
    }

    fn set(&mut self, setting: Setting) -> Result<(), String> {
        let engine = &mut self.engine;
        match setting {
            Setting::Model(served) => {
                served.config.check().map_err(|error| error.to_string())?;
                engine
                    .configure(ModelId(served.model), served.lane())
                    .map_err(|error| error.to_string())?;
            }
            Setting::Forget(model) => {
                if !engine.forget(ModelId(model)) {
                    return Err(format!(
                        "model {model} is forgotten while requests of it are there"
                    ));
                }
            }
            Setting::MaxRunning(batches) => engine.set_max_running(batches),
            Setting::MaxBytes(bytes) => engine.set_max_bytes(bytes),
            Setting::Memory { pool, bytes } => engine.set_memory(PoolId(pool), bytes),
            Setting::Fairness { min_share, starve_after } => {
                engine.set_fairness(min_share, Duration::from_nanos(starve_after));
            }
        }
        Ok(())
    }

    fn call(&mut self, line: u64, call: Call) -> Result<(), ReplayError> {
        let now = Instant::from_nanos(call.at);
        self.replayed.calls += 1;
        self.sink.judged = call.judged.into();
        self.sink.decided.clear();
        let wake = self
            .tell(now, call.event)
            .map_err(|problem| ReplayError::BadLine { line, problem: problem.into() })?;
        let wake = wake.map(Instant::as_nanos);
        if self.sink.decided != call.decided || wake != call.wake {
            let then = format!("{:?}, wake {:?}", call.decided, call.wake);
            let now = format!("{:?}, wake {wake:?}", self.sink.decided);
            return Err(ReplayError::Differs { line, then, now });
        }
        for decision in &call.decided {
            match decision {
                Decision::Dispatched { .. } => self.replayed.batches += 1,
                Decision::Refused(_) => self.replayed.refused += 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, now: Instant, event: Event) -> Result<Option<Instant>, &'static str> {
        const NO_BATCH: &str = "it names a batch that does not run";
        let Self { engine, sink, replayed } = self;
        let duration = Duration::from_nanos;
        Ok(match event {
            Event::Arrived { model, signature, items, priority, bytes, deadline, shadow: _ } => {
                replayed.arrived += 1;
                let key = BatchKey { model: ModelId(model), signature };
                let deadline = deadline.map_or(Instant::MAX, Instant::from_nanos);
                let request = Request { priority, bytes, deadline, ..Request::new(key, items, ()) };
                engine.handle(now, EngineEvent::Arrived(request), sink)
            }
            Event::Cancelled { request } => {
                // One that is gone already is as good as any other look at the time.
                let event = sink.tickets.remove(&request).map(EngineEvent::Cancelled);
                engine.handle(now, event.unwrap_or(EngineEvent::Tick), sink)
            }
            Event::Finished { batch, took, memory } => {
                let (batch, requests) = sink.running.remove(&batch).ok_or(NO_BATCH)?;
                sink.forget(&requests);
                let took = duration(took);
                engine.handle(now, EngineEvent::Finished { batch, took, memory }, sink)
            }
            Event::Failed { batch, took, out_of_memory, requests: wanted } => {
                let (batch, requests) = sink.running.remove(&batch).ok_or(NO_BATCH)?;
                sink.forget(&requests);
                let failure = if out_of_memory { Failure::OutOfMemory } else { Failure::Failed };
                let mut wanted = wanted.into_iter().peekable();
                let back: Vec<Queued<()>> = requests
                    .into_iter()
                    .filter(|queued| wanted.next_if_eq(&queued.number()).is_some())
                    .collect();
                if wanted.next().is_some() {
                    return Err("it gives requests back that were not in the batch");
                }
                engine.failed(now, batch, duration(took), failure, back.into_iter(), sink)
            }
            Event::Overdue { batch } => {
                let (mut running, requests) = sink.running.remove(&batch).ok_or(NO_BATCH)?;
                sink.forget(&requests);
                let wake = engine.overdue(now, &mut running, sink);
                sink.running.insert(batch, (running, Vec::new()));
                wake
            }
            Event::Withdrawn { batch } => {
                let (batch, requests) = sink.running.remove(&batch).ok_or(NO_BATCH)?;
                sink.forget(&requests);
                engine.withdrawn(now, batch, sink)
            }
            Event::Tick => engine.handle(now, EngineEvent::Tick, sink),
            Event::Drain => engine.handle(now, EngineEvent::Drain, sink),
        })
    }
}

#[derive(Default)]
struct Sink {
    decided: Vec<Decision>,
    /// What rules said that are not here.
    judged: VecDeque<Judged>,
    tickets: HashMap<u64, Ticket>,
    running: HashMap<u64, (Batch, Vec<Queued<()>>)>,
}

impl Sink {
    fn forget(&mut self, requests: &[Queued<()>]) {
        for queued in requests {
            self.tickets.remove(&queued.number());
        }
    }
}

impl ActionSink<()> for Sink {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<()>>) {
        let requests: Vec<Queued<()>> = requests.collect();
        self.decided.push(Decision::dispatched(&batch, &requests));
        self.running.insert(batch.number(), (batch, requests));
    }

    fn refuse(&mut self, _: Request<()>, why: Refused) {
        self.decided.push(Decision::refused(why));
    }

    fn queued(&mut self, ticket: Ticket, (): &()) {
        self.decided.push(Decision::Queued(ticket.number()));
        self.tickets.insert(ticket.number(), ticket);
    }

    fn release(&mut self, request: Queued<()>, why: Dropped) {
        self.decided.push(Decision::released(&request, why));
        self.tickets.remove(&request.number());
    }

    fn notice(&mut self, notice: Notice) {
        self.decided.push(Decision::noticed(&notice));
    }

    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        // Of a model without a rule of its own nothing is on record.
        match self.judged.front() {
            Some(judged) if judged.model == waiting.key.model.0 => {}
            _ => return waiting.standard(),
        }
        let judged = self.judged.pop_front();
        judged.map_or_else(|| waiting.standard(), |judged| judged.said.verdict())
    }
}

impl Decision {
    pub(crate) fn dispatched<T>(batch: &Batch, requests: &[Queued<T>]) -> Self {
        Self::Dispatched {
            batch: batch.number(),
            reason: batch.reason().name().into(),
            padded: batch.padded(),
            requests: requests.iter().map(Queued::number).collect(),
        }
    }

    pub(crate) fn refused(why: Refused) -> Self {
        Self::Refused(format!("{why:?}"))
    }

    pub(crate) fn released<T>(request: &Queued<T>, why: Dropped) -> Self {
        Self::Released { request: request.number(), why: format!("{why:?}") }
    }

    pub(crate) fn noticed(notice: &Notice) -> Self {
        Self::Noticed(format!("{notice:?}"))
    }
}

impl Said {
    pub(crate) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Close { reason, items } => Self::Close { reason: reason.name().into(), items },
            Verdict::Wait { until } => Self::Wait(until.as_nanos()),
            // Whatever comes to be later, the engine asks again at once for now.
            _ => Self::Wait(0),
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Close { reason, items } => {
                let reason = ClosingReason::from_name(&reason).unwrap_or(ClosingReason::Custom);
                Verdict::Close { reason, items }
            }
            Self::Wait(until) => Verdict::Wait { until: Instant::from_nanos(until) },
        }
    }
}
