//! Who is measured.

use tensorforge::workflow::audit::{Buffered, Ring};
use tensorforge::workflow::{Clearance, Engine, EngineOptions};
use tensorforge_core::Instant;
use tensorforge_core::machine::{
    AuditFailure, AuditRecord, AuditSink, Job, JobState, TransitionValidator,
};

use crate::load::{Load, Subject};
use crate::one_lock::OneLock;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Validated,
    Audited,
    Chained,
    Buffered,
    OneShard,
    OneLock,
}

impl Kind {
    /// Ours first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Ours,
        Self::Validated,
        Self::Audited,
        Self::Chained,
        Self::Buffered,
        Self::OneShard,
        Self::OneLock,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "tensorforge",
            Self::Validated => "tensorforge, a validator of one permission",
            Self::Audited => "tensorforge, an audit that counts",
            Self::Chained => "tensorforge, an audit chained in memory",
            Self::Buffered => "tensorforge, the same behind a buffer",
            Self::OneShard => "tensorforge, one shard",
            Self::OneLock => "HashMap behind one Mutex",
        }
    }
}

pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) speeds: Vec<f64>,
    pub(crate) refused: Vec<f64>,
}

impl Row {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, speeds: vec![], refused: vec![] }
    }

    pub(crate) fn measure(&mut self, load: Load) {
        let options = || EngineOptions::default();
        let (speed, refused) = match self.kind {
            Kind::Ours => load.run(&Ours(Engine::new(Job, (), (), options()))),
            Kind::Validated => {
                load.run(&Ours(Engine::new(Job, Clearance::new("move"), (), options())))
            }
            Kind::Audited => load.run(&Ours(Engine::new(Job, (), Counting::default(), options()))),
            Kind::Chained => load.run(&Ours(Engine::new(Job, (), Ring::new(1000), options()))),
            Kind::Buffered => {
                // It drops what finds no room: that is what it is for.
                let sink = Buffered::new(Ring::new(1000), 10_000).expect("a thread");
                load.run(&Ours(Engine::new(Job, (), sink, options())))
            }
            Kind::OneShard => {
                let options = EngineOptions { shards: 1, ..options() };
                load.run(&Ours(Engine::new(Job, (), (), options)))
            }
            Kind::OneLock => load.run(&OneLock::default()),
        };
        self.speeds.push(speed);
        self.refused.push(refused);
    }
}

struct Ours<V, A>(Engine<Job, V, A, [&'static str]>);

impl<V, A> Subject for Ours<V, A>
where
    V: TransitionValidator<JobState, [&'static str]> + Sync + 'static,
    A: AuditSink + Sync,
{
    fn register(&self, id: &str) {
        self.0.register(id, Instant::ZERO);
    }

    fn transition(&self, id: &str, to: JobState, now: u64) -> bool {
        let now = Instant::from_nanos(now);
        self.0.transition(id, to, "bench", &["move"], now).is_ok()
    }
}

/// The least that a sink can do.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

impl AuditSink for Counting {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let bytes = record.entity.len() + record.cause.len();
        self.0.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}
