//! Batching in virtual time: what a policy does to latency and throughput, before anyone serves it.
//!
//! [`run()`] plays [`Arrival`]s against a [`Batcher`] and executors whose speed is a [`Service`], and
//! tells what came of them in a [`Report`]. No clock is read and no thread started: a million
//! requests take a second or two, and equal seeds give equal reports, bit for bit.
//!
//! The batchers are [`Ours`], which is the engine that the server runs, and models of others, written
//! from their sources: [`Triton`], [`TensorFlowServing`] and the plain [`FixedWindow`]. [`compare()`]
//! plays the same arrivals to all four; [`scenarios()`] are six loads to compare them on.
//!
//! What is *not* modelled: time spent deciding, in sockets and in copying, for anyone; a batcher is
//! told of an event at the instant it happens.
//!
//! ```
//! use tensorforge::simulation::{Curve, Limits, Ours, Process, Service, Workload, run};
//! use tensorforge_core::Duration;
//!
//! let arrivals = Workload::new(Process::Poisson { rate: 2000.0 }, 7).arrivals(10_000).unwrap();
//! let curve = Curve::linear(Duration::from_millis(2), Duration::from_micros(200));
//! let limits = Limits::new(32, Duration::from_millis(5));
//! let mut ours = Ours::new(&limits).unwrap();
//! let report = run(&arrivals, &mut ours, &Service::new(curve), &limits).unwrap();
//! assert_eq!(report.answered, 10_000);
//! assert!(report.mean_batch() > 1.0);
//! ```

mod arrivals;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler;
mod comparison;
mod curve;
mod ours;
mod random;
mod report;
mod run;
mod tensorflow;
mod triton;
mod window;

pub use arrivals::{HIGH, Items, Process, Shapes, Workload, WorkloadError};
pub use comparison::{BatcherKind, Best, ComparisonError, Scenario, compare, scenarios};
pub use curve::{Curve, CurveError, Service, Step};
pub use ours::Ours;
pub use random::Random;
pub use report::{Level, Report};
pub use run::{Violation, run, run_with};
pub use tensorflow::{LowPriority, MixedShapes, TensorFlowServing, TensorFlowServingOptions};
pub use triton::{QueuePolicy, TimeoutAction, Triton, TritonOptions};
pub use window::FixedWindow;

use tensorforge_core::batch::LEVELS;
use tensorforge_core::{Duration, Instant, Lane};

/// A request that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its place among the arrivals, which is its name.
    pub index: u32,
    /// When it comes.
    pub at: Instant,
    /// Its shape: numbered from 0, the smallest, so that padding goes up to the larger number.
    pub shape: u32,
    /// Its priority, below [`LEVELS`]; higher goes first.
    pub priority: u8,
    /// Rows it brings to the batch dimension.
    pub items: u32,
    /// When its answer is no longer of use.
    pub deadline: Option<Instant>,
}

/// What every batcher is held to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most items in one batch.
    pub max_items: u32,
    /// Longest wait for company by priority. A batcher that knows one wait takes that of priority 0.
    pub max_wait: [Duration; LEVELS],
    /// Most items in one batch by the highest priority in it. Only [`Ours`] knows such a limit.
    pub level_items: [u32; LEVELS],
    /// Requests that may wait at once.
    pub max_queued: u32,
    /// Batches that may run at once.
    pub executors: u32,
}

impl Limits {
    /// One executor, the same wait for all, and 1024 waiting requests.
    #[must_use]
    pub const fn new(max_items: u32, max_wait: Duration) -> Self {
        Self {
            max_items,
            max_wait: [max_wait; LEVELS],
            level_items: [u32::MAX; LEVELS],
            max_queued: 1024,
            executors: 1,
        }
    }

    /// The same, as the engine takes it.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let mut lane = Lane::new(self.max_items, self.common_wait());
        lane.instances = self.executors;
        lane.max_queued = self.max_queued;
        for (level, rule) in lane.levels.iter_mut().enumerate() {
            rule.max_wait = self.max_wait[level];
            rule.max_items = self.level_items[level];
        }
        lane
    }

    /// The wait of a batcher that knows only one.
    #[must_use]
    pub const fn common_wait(&self) -> Duration {
        self.max_wait[0]
    }
}

/// A batch that an executor starts on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started {
    /// Its requests.
    pub requests: Vec<u32>,
    /// Rows of the requests.
    pub items: u32,
    /// Rows that run, padding included.
    pub rows: u32,
    /// The shape that it runs at: the largest, where smaller ones are padded.
    pub shape: u32,
    /// Why it was closed: `full`, `max_wait` …
    pub why: &'static str,
}

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Shed {
    /// As many wait as may.
    QueueFull,
    /// It has more items than a batch may hold.
    TooLarge,
    /// Its deadline passed while it waited.
    Expired,
    /// One of higher priority took its place.
    Displaced,
    /// Its batch could not be put together.
    Failed,
}

impl Shed {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Displaced => "displaced",
            Self::Failed => "failed",
        }
    }
}

/// What a batcher decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decisions {
    /// Batches that start now.
    pub started: Vec<Started>,
    /// Requests that left the queue without an answer.
    pub shed: Vec<(u32, Shed)>,
}

/// A batcher in virtual time.
///
/// After every event, and at every deadline, it is asked to [`start`](Self::start) what may start.
pub trait Batcher {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// A request comes in.
    ///
    /// # Errors
    /// Why it is turned away.
    fn arrive(&mut self, now: Instant, request: &Arrival) -> Result<(), Shed>;

    /// Starts what may start now on `idle` executors, and drops what it no longer wants.
    fn start(&mut self, now: Instant, idle: usize, decisions: &mut Decisions);

    /// An executor is idle again: `batch` is done and took so long.
    fn finished(&mut self, now: Instant, batch: &Started, took: Duration);

    /// When to call [`start`](Self::start) if nothing else happens before.
    fn next_deadline(&self) -> Option<Instant>;
}
