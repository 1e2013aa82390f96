//! The batchers side by side, on the same arrivals.

use super::{
    Arrival, Batcher, Curve, FixedWindow, HIGH, Limits, Ours, Process, Report, Service, Shapes,
    TensorFlowServing, Triton, Violation, Workload, WorkloadError, run_with,
};
use tensorforge_core::Duration;
use tensorforge_core::batch::LaneError;

/// The batchers there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatcherKind {
    /// [`Ours`].
    TensorForge,
    /// [`Triton`].
    Triton,
    /// [`TensorFlowServing`].
    TensorFlowServing,
    /// [`FixedWindow`].
    FixedWindow,
}

impl BatcherKind {
    /// All of them, ours first.
    pub const ALL: [Self; 4] =
        [Self::TensorForge, Self::Triton, Self::TensorFlowServing, Self::FixedWindow];

    /// One under these limits, with the best of its documented settings otherwise.
    ///
    /// # Errors
    /// [`LaneError`] where nothing could run under these limits.
    pub fn batcher(self, limits: &Limits) -> Result<Box<dyn Batcher>, LaneError> {
        limits.lane().check()?;
        Ok(match self {
            Self::TensorForge => Box::new(Ours::new(limits)?),
            Self::Triton => Box::new(Triton::new(limits)),
            Self::TensorFlowServing => Box::new(TensorFlowServing::new(limits)),
            Self::FixedWindow => Box::new(FixedWindow::new(limits)),
        })
    }
}

/// Why there is no comparison.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// Nothing could run under these limits.
    #[error("{0}")]
    Limits(LaneError),
    /// There are no such arrivals.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A batcher broke a rule.
    #[error("{batcher}: {violation}")]
    Violation {
        /// Its name.
        batcher: &'static str,
        /// What it did.
        violation: Violation,
    },
}

/// Every batcher on the same arrivals: reports in the order of [`BatcherKind::ALL`].
///
/// `progress` is told how many arrivals have been played, over all batchers.
///
/// # Errors
/// [`ComparisonError`] when the limits allow nothing, or a batcher breaks what is promised to every
/// request.
pub fn compare(
    arrivals: &[Arrival],
    service: &Service,
    limits: &Limits,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Report>, ComparisonError> {
    let mut reports = Vec::new();
    for (turn, kind) in BatcherKind::ALL.into_iter().enumerate() {
        let mut batcher = kind.batcher(limits).map_err(ComparisonError::Limits)?;
        let before = turn * arrivals.len();
        let report = run_with(arrivals, &mut *batcher, service, limits, &mut |done| {
            progress(before + done);
        });
        let name = batcher.name();
        let report =
            report.map_err(|violation| ComparisonError::Violation { batcher: name, violation })?;
        reports.push(report);
    }
    Ok(reports)
}

/// Something that batchers are compared on.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What is asked.
    pub workload: Workload,
    /// How fast the executors are.
    pub service: Service,
    /// What is allowed. High priority waits for nobody, where a batcher knows priorities apart.
    pub limits: Limits,
    /// The waits for company to try.
    pub waits: Vec<Duration>,
}

/// What a batcher does in a [`Scenario`] with the wait that suits it best.
#[derive(Clone, PartialEq, Debug)]
pub struct Best {
    /// That wait.
    pub wait: Duration,
    /// What came of it.
    pub report: Report,
}

impl Scenario {
    /// Every batcher on the first `requests` arrivals, in the order of [`BatcherKind::ALL`], each with
    /// the wait with which it turns away least, then answers high priority soonest, then the rest, in
    /// 99 of 100 cases; the shorter wait among equals.
    ///
    /// # Errors
    /// As [`compare()`].
    pub fn compare(
        &self,
        requests: u32,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Best>, ComparisonError> {
        let arrivals = self.workload.arrivals(requests)?;
        let mut best: Vec<Best> = Vec::new();
        for (turn, &wait) in self.waits.iter().enumerate() {
            let before = turn * BatcherKind::ALL.len() * arrivals.len();
            let reports =
                compare(&arrivals, &self.service, &self.limits_with(wait), &mut |done| {
                    progress(before + done);
                })?;
            let tried = reports.into_iter().map(|report| Best { wait, report });
            if best.is_empty() {
                best.extend(tried);
                continue;
            }
            for (best, tried) in best.iter_mut().zip(tried) {
                if rank(&tried.report) < rank(&best.report) {
                    *best = tried;
                }
            }
        }
        Ok(best)
    }

    fn limits_with(&self, wait: Duration) -> Limits {
        let mut limits = self.limits.clone();
        let (lower, high) = limits.max_wait.split_at_mut(usize::from(HIGH));
        lower.fill(wait);
        high.fill(Duration::ZERO);
        limits
    }
}

/// The lower, the better.
fn rank(report: &Report) -> (u64, f64, f64) {
    let p99 = |priority| report.latency(priority, 0.99).unwrap_or(0.0);
    (report.shed_total(), p99(HIGH), p99(0))
}

/// The scenarios: arrivals at equal gaps, in bursts, with two shapes in turn (an item of the second costs
/// twice as much), and with 10 % of high priority; these two at 90 % of what full batches of one shape
/// each can do. Then high priority again: at the same load with batches of at most 24 items for it, and at
/// half of that load where low priority waits 10 ms to fill its batches.
///
/// At 90 % all executors are always busy, so that nobody waits for company; whoever then takes the highest
/// first and fills up with the rest runs the same batches, and [`Triton`], [`TensorFlowServing`] and
/// [`Ours`] do. Smaller batches for high priority answer that sooner and the rest later. With time to
/// spare, whoever has one wait for all priorities makes the high ones wait, too.
///
/// Padding different shapes into one batch, as [`TensorFlowServing`] does, is the better answer where
/// it costs little: with shapes that cost the same, or far below what full batches can do.
#[must_use]
pub fn scenarios(seed: u64) -> [Scenario; 6] {
    let curve = Curve::linear(Duration::from_millis(2), Duration::from_micros(200));
    let service = Service::new(curve);
    let limits = Limits::new(32, Duration::ZERO);
    let capacity = service.capacity(limits.max_items);
    let plain = Scenario {
        name: "uniform",
        workload: Workload::new(Process::Uniform { rate: 0.8 * capacity }, seed),
        service,
        limits,
        waits: [0, 1, 2, 5, 10, 20].map(Duration::from_millis).to_vec(),
    };
    let mut bursts = plain.clone();
    bursts.name = "bursts";
    bursts.workload.process = Process::bursts(0.5 * capacity);

    let mut shapes = plain.clone();
    shapes.name = "two shapes in turn";
    shapes.service.shape_costs = vec![1.0, 2.0];
    // Full batches of both in turn: the harmonic mean of what each does alone.
    let dear = shapes.service.capacity(2 * shapes.limits.max_items) / 2.0;
    let both = 2.0 / (1.0 / capacity + 1.0 / dear);
    shapes.workload.process = Process::Poisson { rate: 0.9 * both };
    shapes.workload.shapes = Shapes::Alternating(2);

    let mut high = plain.clone();
    high.name = "10 % high priority";
    high.workload.process = Process::Poisson { rate: 0.9 * capacity };
    high.workload.high_share = 0.1;

    let mut small = high.clone();
    small.name = "the same, its batches small";
    small.limits.level_items[usize::from(HIGH)] = 24;

    let mut patient = high.clone();
    patient.name = "10 % high, low fills";
    patient.workload.process = Process::Poisson { rate: 0.45 * capacity };
    patient.waits = vec![Duration::from_millis(10)];
    [plain, bursts, shapes, high, small, patient]
}
