//! What came of a run, in figures.

use super::{Arrival, Limits, Shed, Started};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tensorforge_core::quantile::Sketch;
use tensorforge_core::{Duration, Instant};

/// Batch sizes that there is room for from the start: more come when they are seen.
const MOST_SIZES: u32 = 1 << 16;

/// Times in milliseconds, from a microsecond up.
const NO_TIMES: Sketch = match Sketch::starting_at(1e-3) {
    Ok(sketch) => sketch,
    Err(_) => panic!("a microsecond is in range"), // while compiling, or never
};

/// What came of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The batcher.
    pub name: &'static str,
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not, by reason.
    pub shed: BTreeMap<Shed, u64>,
    /// Answers that came after their deadline.
    pub late: u64,
    /// By priority, those that occurred.
    pub levels: BTreeMap<u8, Level>,
    /// Batches that ran.
    pub batches: u64,
    /// Batches by their items.
    pub sizes: Vec<u64>,
    /// Batches by why they were closed.
    pub reasons: BTreeMap<&'static str, u64>,
    /// From the start to the last event.
    pub length: Duration,
    max_items: u32,
    executors: u32,
    items: u64,
    /// What the requests' own items and shapes cost, and what was run for them.
    useful: f64,
    run: f64,
    busy: Duration,
}

/// The requests of one priority.
#[derive(Clone, PartialEq, Debug)]
pub struct Level {
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were not answered.
    pub shed: u64,
    /// From arrival to answer, in milliseconds.
    pub latency: Box<Sketch>,
    /// From arrival to the start of the batch, in milliseconds.
    pub wait: Box<Sketch>,
}

impl Level {
    fn new() -> Self {
        Self { arrived: 0, shed: 0, latency: Box::new(NO_TIMES), wait: Box::new(NO_TIMES) }
    }
}

impl Report {
    pub(super) fn new(name: &'static str, limits: &Limits) -> Self {
        Self {
            name,
            arrived: 0,
            answered: 0,
            shed: BTreeMap::new(),
            late: 0,
            levels: BTreeMap::new(),
            batches: 0,
            sizes: vec![0; limits.max_items.min(MOST_SIZES) as usize + 1],
            reasons: BTreeMap::new(),
            length: Duration::ZERO,
            max_items: limits.max_items,
            executors: limits.executors,
            items: 0,
            useful: 0.0,
            run: 0.0,
            busy: Duration::ZERO,
        }
    }

    /// Answers a second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        share(self.answered as f64, seconds(self.length))
    }

    /// Items in a batch on average.
    #[must_use]
    pub fn mean_batch(&self) -> f64 {
        share(self.items as f64, self.batches as f64)
    }

    /// How full batches were on average, 0 to 1.
    #[must_use]
    pub fn fill(&self) -> f64 {
        self.mean_batch() / f64::from(self.max_items.max(1))
    }

    /// The share of what ran that was padding, in rows or in shapes.
    #[must_use]
    pub fn padding(&self) -> f64 {
        share(self.run - self.useful, self.run)
    }

    /// The share of time that executors were busy.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        share(seconds(self.busy), seconds(self.length) * f64::from(self.executors))
    }

    /// Requests that were not answered.
    #[must_use]
    pub fn shed_total(&self) -> u64 {
        self.shed.values().sum()
    }

    /// The quantile `q` of the latency at `priority` in milliseconds, if any was answered.
    #[must_use]
    pub fn latency(&self, priority: u8, q: f64) -> Option<f64> {
        self.levels.get(&priority)?.latency.quantile(q).map(|estimate| estimate.value())
    }

    /// The same as one JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let figures = |sketch: &Sketch| {
            let at = |q| sketch.quantile(q).map(|estimate| estimate.value());
            json!({
                "mean": sketch.mean(), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99),
                "max": sketch.max(),
            })
        };
        let levels = self.levels.iter().map(|(priority, level)| {
            json!({
                "priority": priority,
                "requests": level.arrived,
                "answered": level.latency.count(),
                "shed": level.shed,
                "latency_ms": figures(&level.latency),
                "wait_ms": figures(&level.wait),
            })
        });
        let shed: BTreeMap<_, _> = self.shed.iter().map(|(why, n)| (why.name(), n)).collect();
        json!({
            "batcher": self.name,
            "requests": self.arrived,
            "answered": self.answered,
            "shed": shed,
            "late": self.late,
            "duration_s": seconds(self.length),
            "throughput": self.throughput(),
            "priorities": levels.collect::<Vec<_>>(),
            "batches": self.batches,
            "mean_batch": self.mean_batch(),
            "fill": self.fill(),
            "padding": self.padding(),
            "utilisation": self.utilisation(),
            "closed": self.reasons,
            "sizes": self.sizes,
        })
    }

    pub(super) fn arrived(&mut self, arrival: &Arrival) {
        self.arrived += 1;
        self.level(arrival.priority).arrived += 1;
    }

    pub(super) fn turned_away(&mut self, priority: u8, why: Shed) {
        *self.shed.entry(why).or_default() += 1;
        self.level(priority).shed += 1;
    }

    pub(super) fn started(&mut self, batch: &Started, useful: f64, run: f64, took: Duration) {
        self.batches += 1;
        self.items += u64::from(batch.items);
        self.useful += useful;
        self.run += run;
        self.busy = self.busy + took;
        *self.reasons.entry(batch.why).or_default() += 1;
        let size = batch.items as usize;
        if self.sizes.len() <= size {
            self.sizes.resize(size + 1, 0);
        }
        self.sizes[size] += 1;
    }

    pub(super) fn answered(&mut self, arrival: &Arrival, began: Instant, now: Instant) {
        self.answered += 1;
        self.late += u64::from(arrival.deadline.is_some_and(|deadline| now > deadline));
        let level = self.level(arrival.priority);
        level.latency.insert(millis(now.since(arrival.at)));
        level.wait.insert(millis(began.since(arrival.at)));
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.length = now.since(Instant::ZERO);
    }

    fn level(&mut self, priority: u8) -> &mut Level {
        self.levels.entry(priority).or_insert_with(Level::new)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn seconds(length: Duration) -> f64 {
    length.as_nanos() as f64 / 1e9
}

fn millis(length: Duration) -> f64 {
    length.as_nanos() as f64 / 1e6
}
