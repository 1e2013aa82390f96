//! A closing rule that holds a latency.

use super::{ClosingReason, ClosingRule, CostModel, Verdict, Waiting};
use crate::quantile::{Estimate, Sketch};
use crate::{Duration, Instant};

/// Waits as long as the 99th percentile of latency, from arrival to answer, stays at a target: what the
/// target leaves of time is spent on fuller batches.
///
/// *Feed forward:* the oldest request of a group waits for the target less the time that its batch will
/// take, which is learned as `a + b * items`. So a change of service time is answered after the three
/// batches that [`CostModel`] needs to see a step. *Feed back:* after each [`ROUND`](Self::ROUND)
/// answers, three quarters of what their 99th percentile was off are made up for. That takes in what the
/// line does not tell: scatter, other groups on the same instance, time outside the engine. A round
/// starts from nothing, so that it judges only what was decided since the last correction. The correction
/// can raise the aim above the target by a twentieth at most, so that little is wound up while full
/// batches keep latencies short.
///
/// It never makes a wait longer than the level's `max_wait`, and so breaks no promise of the engine:
/// give levels that it shall tune the target as `max_wait`. A batch that is full, a preferred size, a
/// deadline close at once as they do without it ([`Waiting::standard_until`]). What it closes itself has
/// the reason [`Custom`](ClosingReason::Custom).
///
/// **What it holds:** in virtual time, with Poisson arrivals and service times 10 % either way, the 99th
/// percentile of 2,000 answers is within 10 % of the target from three rounds after the start or a step
/// of service time on, up to seven tenths of the load at which a batch takes half of the target and as
/// long again brings the items of the next. Near that load and above, batches wait for their instance
/// for longer than for company, and no wait is short enough: [`unreachable`](Self::unreachable) says so.
/// Where batches fill before, latencies stay below the target.
///
/// **Memory:** 2.4 KiB. **Time:** O(1): a judgement some thirty operations, an answer about ten, the end
/// of a round some 500.
///
/// Source: the deadline as a budget less predicted execution is that of Crankshaw et al., *Clipper*, NSDI
/// 2017, and Gujarati et al., *Clockwork*, OSDI 2020; the correction is an integral controller as in
/// Hellerstein et al., *Feedback Control of Computing Systems*, 2004.
///
/// ```
/// use tensorforge_core::batch::{ClosingRule, LatencyTuner};
/// use tensorforge_core::Duration;
///
/// let mut tuner = LatencyTuner::new(Duration::from_millis(20));
/// for _ in 0..10 {
///     for items in [1, 4, 8] {
///         tuner.executed(items, Duration::from_millis(2 + u64::from(items)));
///     }
/// }
/// // Of 20 ms, ten are for the execution of eight items, and a few are kept as a margin.
/// let wait = tuner.wait(8);
/// assert!(wait > Duration::from_millis(8) && wait < Duration::from_millis(10));
/// assert_eq!(tuner.unreachable(), None);
/// ```
#[derive(Clone, Debug)]
pub struct LatencyTuner {
    target: Duration,
    time: CostModel,
    /// Answers of this round, as shares of the target.
    round: Sketch<OCTAVES>,
    answers: u32,
    /// What the oldest request's wait and execution together may take, as a share of the target.
    aim: f64,
    /// The 99th percentile of the last round, as a share of the target.
    last: Option<f64>,
    /// Even without any wait the last round was too slow.
    overloaded: bool,
    /// The fewest items that a batch is run with.
    least: u32,
    /// Batches that ran in this round, and their items.
    batches: u32,
    items: u64,
}

/// Why a [`LatencyTuner`] cannot hold its target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Unreachable {
    /// The smallest batch alone takes longer, by what is known of execution times: where only large ones
    /// have run, that may be little.
    Execution,
    /// Requests come so fast that they wait for an idle instance for longer than the target leaves.
    Load,
}

/// Latencies are told apart from a sixteenth of the target to sixteen times as much.
const OCTAVES: usize = 8;
const LOWEST: f64 = 1.0 / 16.0;
/// Where the 99th percentile is held: a little below the target, as a round of so few answers is off by
/// a few per cent.
const SETPOINT: f64 = 0.96;
/// How much of the difference a round makes up for.
const GAIN: f64 = 0.75;
/// The most that one round is believed to be off, as a share of the target.
const MOST_OFF: f64 = 0.5;
/// The highest aim, as a share of the target.
const HIGHEST: f64 = 1.05;

impl LatencyTuner {
    /// Answers between two corrections: the fewest that leave five above their 99th percentile.
    pub const ROUND: u32 = 500;

    /// Holds the 99th percentile of latency at `target`. A target of zero counts as a nanosecond.
    #[must_use]
    pub const fn new(target: Duration) -> Self {
        let round = match Sketch::starting_at(LOWEST) {
            Ok(sketch) => sketch,
            Err(_) => Sketch::new(), // never: a sixteenth begins a range
        };
        let target = if target.as_nanos() == 0 { Duration::from_nanos(1) } else { target };
        Self {
            target,
            time: CostModel::UNKNOWN,
            round,
            answers: 0,
            aim: SETPOINT,
            last: None,
            overloaded: false,
            least: 1,
            batches: 0,
            items: 0,
        }
    }

    /// What it holds.
    #[must_use]
    pub const fn target(&self) -> Duration {
        self.target
    }

    /// The 99th percentile of the last [`ROUND`](Self::ROUND) answers that make a round, to 0.78 %; none
    /// before the first round is over. Above sixteen times the target, the longest of them.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        self.last.map(|share| Duration::from_nanos((share * self.nanos()) as u64))
    }

    /// What is known of execution times, in nanoseconds.
    #[must_use]
    pub const fn execution_time(&self) -> &CostModel {
        &self.time
    }

    /// How long the oldest request of a batch that will run with `items` may wait, from its arrival to
    /// the beginning of the batch: from zero to the target. While nothing is known of execution times,
    /// not at all. O(1).
    #[must_use]
    pub fn wait(&self, items: u32) -> Duration {
        self.wait_with(&self.time, items)
    }

    fn wait_with(&self, time: &CostModel, items: u32) -> Duration {
        let Some(execution) = time.estimate(items) else { return Duration::ZERO };
        // The conversion takes what is negative for 0.
        let wait = Duration::from_nanos((self.aim * self.nanos() - execution as f64) as u64);
        wait.min(self.target)
    }

    /// Why the target cannot be held at present, if it cannot: then no batch of the usual size waits for
    /// company, which is as short as latencies get. `None` also while too little is known.
    ///
    /// ```
    /// use tensorforge_core::batch::{ClosingRule, LatencyTuner, Unreachable};
    /// use tensorforge_core::Duration;
    ///
    /// let mut tuner = LatencyTuner::new(Duration::from_millis(20));
    /// tuner.executed(1, Duration::from_millis(30));
    /// assert_eq!(tuner.unreachable(), Some(Unreachable::Execution));
    /// assert_eq!(tuner.wait(1), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn unreachable(&self) -> Option<Unreachable> {
        if self.time.estimate(self.least)? > self.target.as_nanos() {
            return Some(Unreachable::Execution);
        }
        self.overloaded.then_some(Unreachable::Load)
    }

    const fn nanos(&self) -> f64 {
        self.target.as_nanos() as f64
    }

    /// An aim at which a batch of the usual size does not wait: a lower one would change little, and take
    /// longer to come back from.
    fn lowest_aim(&self) -> f64 {
        let usual = self.items / u64::from(self.batches.max(1));
        let usual = u32::try_from(usual).unwrap_or(u32::MAX).max(self.least);
        let execution = self.time.estimate(usual).unwrap_or(0) as f64;
        (execution / self.nanos()).min(SETPOINT)
    }

    fn correct(&mut self) {
        // An estimate out of range is the side's bound, which `MOST_OFF` cuts.
        let Some(p99) = self.round.quantile(0.99).map(Estimate::value) else { return };
        let off = (SETPOINT - p99).clamp(-MOST_OFF, MOST_OFF);
        let (wanted, lowest) = (self.aim + GAIN * off, self.lowest_aim());
        self.aim = wanted.clamp(lowest, HIGHEST);
        self.overloaded = p99 > 1.0 && wanted <= lowest;
        self.last = Some(p99);
        self.round.clear();
        (self.answers, self.batches, self.items) = (0, 0, 0);
    }
}

impl ClosingRule for LatencyTuner {
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        let sizes = &waiting.lane.sizes;
        self.least = sizes.up(1);
        // Until batches have run, what the lane knows of them will do.
        let time = if self.time.is_known() { &self.time } else { waiting.time };
        let oldest = waiting.oldest.iter().flatten().min().copied().unwrap_or(waiting.now);
        let items = waiting.available().max(1);
        // As if one more had come: it must not find that its batch should have run already.
        let wait = self.wait_with(time, sizes.up(items.saturating_add(1)));
        let tuned = oldest + wait;
        match waiting.standard_until(tuned.min(waiting.wait_ends())) {
            Verdict::Close { reason: ClosingReason::MaxWait, items: sized }
                if tuned <= waiting.now =>
            {
                // A few too many do not lead to a size that takes too long. Where they would not fit in
                // a second batch of the smaller size, throughput counts more.
                let smaller = sizes.down(items).filter(|&smaller| {
                    self.wait_with(time, sizes.up(items)) == Duration::ZERO
                        && items / 2 < smaller
                        && self.wait_with(time, smaller) > Duration::ZERO
                });
                let items = smaller.unwrap_or(sized);
                Verdict::Close { reason: ClosingReason::Custom, items }
            }
            verdict => verdict,
        }
    }

    fn executed(&mut self, items: u32, took: Duration) {
        self.time.observe(items, took.as_nanos());
        self.batches = self.batches.saturating_add(1);
        self.items = self.items.saturating_add(u64::from(items));
    }

    fn answered(&mut self, latency: Duration, _: Instant) {
        self.round.insert(latency.as_nanos() as f64 / self.nanos());
        self.answers = self.answers.saturating_add(1);
        if self.answers >= Self::ROUND {
            self.correct();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod batch_scheduler;
