//! Which requests come, and when.

use super::{Arrival, Random};
use tensorforge_core::batch::LEVELS;
use tensorforge_core::{Duration, Instant};

/// The priority of those that are more urgent than the rest, which have priority 0.
pub const HIGH: u8 = LEVELS as u8 - 1;

/// When requests come.
#[derive(Clone, PartialEq, Debug)]
pub enum Process {
    /// Independently of each other.
    Poisson {
        /// Requests a second.
        rate: f64,
    },
    /// At equal gaps.
    Uniform {
        /// Requests a second.
        rate: f64,
    },
    /// Poisson at two rates in turn, for times that are exponentially distributed.
    Bursts {
        /// Requests a second in a burst.
        on_rate: f64,
        /// Requests a second between bursts.
        off_rate: f64,
        /// Mean length of a burst.
        mean_on: Duration,
        /// Mean time between bursts.
        mean_off: Duration,
    },
}

impl Process {
    /// Bursts of 20 ms on average at four times the mean rate, and 80 ms at a quarter of it.
    #[must_use]
    pub fn bursts(rate: f64) -> Self {
        Self::Bursts {
            on_rate: 4.0 * rate,
            off_rate: rate / 4.0,
            mean_on: Duration::from_millis(20),
            mean_off: Duration::from_millis(80),
        }
    }
}

/// The shapes that requests have.
#[derive(Clone, PartialEq, Debug)]
pub enum Shapes {
    /// This many, strictly in turn.
    Alternating(u32),
    /// Each with its weight, at random.
    Random(Vec<f64>),
}

/// The items that requests have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Items {
    /// The same for all.
    Fixed(u32),
    /// Any number from the first to the last, both included.
    Between(u32, u32),
}

/// What is asked of a server. Equal workloads give equal arrivals.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// When requests come.
    pub process: Process,
    /// Their shapes.
    pub shapes: Shapes,
    /// The share of requests with priority [`HIGH`].
    pub high_share: f64,
    /// Their items.
    pub items: Items,
    /// How long after its arrival an answer is of use.
    pub timeout: Option<Duration>,
    /// Decides all that is random.
    pub seed: u64,
}

impl Workload {
    /// Requests of one item, one shape and one priority.
    #[must_use]
    pub const fn new(process: Process, seed: u64) -> Self {
        Self {
            process,
            shapes: Shapes::Alternating(1),
            high_share: 0.0,
            items: Items::Fixed(1),
            timeout: None,
            seed,
        }
    }

    /// The first `count` arrivals.
    ///
    /// # Errors
    /// [`WorkloadError`] names the number that makes no sense.
    pub fn arrivals(&self, count: u32) -> Result<Vec<Arrival>, WorkloadError> {
        self.check()?;
        let mut requests = Requests::new(self);
        Ok(self.instants().take(count as usize).map(|at| requests.next(at)).collect())
    }

    fn check(&self) -> Result<(), WorkloadError> {
        let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
        let (rates, lengths) = match self.process {
            Process::Poisson { rate } | Process::Uniform { rate } => (is_rate(rate), true),
            Process::Bursts { on_rate, off_rate, mean_on, mean_off } => (
                is_rate(on_rate) && (is_rate(off_rate) || off_rate == 0.0),
                mean_on > Duration::ZERO && mean_off > Duration::ZERO,
            ),
        };
        let shapes = match &self.shapes {
            Shapes::Alternating(count) => *count > 0,
            Shapes::Random(weights) => weights.iter().copied().any(is_rate),
        };
        let items = match self.items {
            Items::Fixed(items) => items > 0,
            Items::Between(least, most) => least > 0 && least <= most,
        };
        for (right, error) in [
            (rates, WorkloadError::Rate),
            (lengths, WorkloadError::BurstLength),
            (shapes, WorkloadError::Shapes),
            ((0.0..=1.0).contains(&self.high_share), WorkloadError::HighShare),
            (items, WorkloadError::Items),
            (self.timeout != Some(Duration::ZERO), WorkloadError::Timeout),
        ] {
            if !right {
                return Err(error);
            }
        }
        Ok(())
    }

    fn instants(&self) -> Box<dyn Iterator<Item = Instant> + '_> {
        let mut random = Random::stream(self.seed, 0);
        let at = |seconds: f64| Instant::from_nanos((seconds * 1e9) as u64);
        match self.process {
            Process::Uniform { rate } => {
                Box::new((0u32..).map(move |index| at(f64::from(index) / rate)))
            }
            Process::Poisson { rate } => {
                let mut seconds = 0.0;
                Box::new(std::iter::repeat_with(move || {
                    seconds += random.exponential(1.0 / rate);
                    at(seconds)
                }))
            }
            Process::Bursts { on_rate, off_rate, mean_on, mean_off } => {
                let length = |mean: Duration| mean.as_nanos() as f64 / 1e9;
                let mut phases = [(on_rate, length(mean_on)), (off_rate, length(mean_off))];
                let mut seconds = 0.0;
                let mut phase_ends = random.exponential(phases[0].1);
                Box::new(std::iter::repeat_with(move || {
                    loop {
                        // A rate of zero: infinitely far away, so after the end of the phase.
                        let next = seconds + random.exponential(1.0 / phases[0].0);
                        if next < phase_ends {
                            seconds = next;
                            return at(seconds);
                        }
                        // What is left of an exponential time is exponential again.
                        seconds = phase_ends;
                        phases.swap(0, 1);
                        phase_ends += random.exponential(phases[0].1);
                    }
                }))
            }
        }
    }
}

/// Why a [`Workload`] is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// A rate is not a positive number; between bursts it may be 0.
    #[error("a rate must be a positive number of requests a second")]
    Rate,
    /// Bursts, or the time between them, have no length.
    #[error("bursts and the time between them must be longer than 0")]
    BurstLength,
    /// There is no shape, or none with a positive weight.
    #[error("there must be at least one shape with a positive weight")]
    Shapes,
    /// The share of high priority is no share.
    #[error("the share of high priority must be from 0 to 1")]
    HighShare,
    /// Requests may have no items, or the least is above the most.
    #[error("requests must have at least one item")]
    Items,
    /// Every request would be too late.
    #[error("a timeout must be longer than 0")]
    Timeout,
}

/// Gives arrivals their shapes, priorities and items.
struct Requests<'a> {
    workload: &'a Workload,
    index: u32,
    shapes: Random,
    priorities: Random,
    items: Random,
}

impl<'a> Requests<'a> {
    fn new(workload: &'a Workload) -> Self {
        let stream = |stream| Random::stream(workload.seed, stream);
        Self { workload, index: 0, shapes: stream(1), priorities: stream(2), items: stream(3) }
    }

    fn next(&mut self, at: Instant) -> Arrival {
        let index = self.index;
        self.index += 1;
        let shape = match &self.workload.shapes {
            Shapes::Alternating(count) => index % *count,
            Shapes::Random(weights) => weighted(weights, self.shapes.unit()),
        };
        let high = self.priorities.unit() < self.workload.high_share;
        let items = match self.workload.items {
            Items::Fixed(items) => items,
            Items::Between(least, most) => {
                let span = f64::from(most.saturating_sub(least)) + 1.0;
                least + (self.items.unit() * span) as u32
            }
        };
        let deadline = self.workload.timeout.map(|timeout| at + timeout);
        Arrival { index, at, shape, priority: if high { HIGH } else { 0 }, items, deadline }
    }
}

/// Weights that are no positive numbers count as 0.
fn weighted(weights: &[f64], unit: f64) -> u32 {
    let weights =
        || weights.iter().map(|weight| if weight.is_finite() { weight.max(0.0) } else { 0.0 });
    let mut rest = unit * weights().sum::<f64>();
    for (shape, weight) in (0..).zip(weights()) {
        rest -= weight;
        if rest < 0.0 {
            return shape;
        }
    }
    weights().count().saturating_sub(1) as u32
}
