//! When a group closes.

use super::{BatchKey, ClosingReason, CostModel, LEVELS, Lane, Padding};
use crate::{Duration, Instant};

/// What a closing rule says of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Run a batch of up to `items` now. More than [`Waiting::most_items`] are cut to it.
    Close {
        /// Why.
        reason: ClosingReason,
        /// The most items to take. At least 1.
        items: u32,
    },
    /// Not yet: ask again at this instant, or when another request has come.
    Wait {
        /// When to ask again.
        until: Instant,
    },
}

/// A group of waiting requests of one key whose model has an idle instance.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Now.
    pub now: Instant,
    /// What they share.
    pub key: BatchKey,
    /// How the model is served.
    pub lane: &'a Lane,
    /// What is known of the time that its batches take, in nanoseconds.
    pub time: &'a CostModel,
    /// Items waiting.
    pub items: u64,
    /// Requests waiting.
    pub requests: u32,
    /// For each priority, when the oldest that waits came.
    pub oldest: [Option<Instant>; LEVELS],
    /// The most items that can run now: `max_items`, or fewer for want of memory or by policy.
    pub most_items: u32,
    /// Whether it is memory that allows no more.
    pub short_of_memory: bool,
    /// Whether a request would miss its deadline if it waited any longer.
    pub urgent: bool,
    /// Whether no more requests will come.
    pub draining: bool,
    /// The smoothed time between arrivals in this group, once there were two.
    pub gap: Option<Duration>,
    /// When the youngest came.
    pub last_arrival: Instant,
    /// Waits are divided by two to the power of this: 0, or 1 while the model is watched.
    pub(crate) wait_shift: u32,
}

impl Waiting<'_> {
    /// How long the level's oldest request may wait for company; not at all at a level that is none.
    #[must_use]
    pub fn max_wait(&self, level: usize) -> Duration {
        let rule = self.lane.levels.get(level);
        let wait = rule.map_or(Duration::ZERO, |rule| rule.max_wait);
        Duration::from_nanos(wait.as_nanos() >> self.wait_shift)
    }

    /// When the first of the waits ends.
    #[must_use]
    pub fn wait_ends(&self) -> Instant {
        let waits = self
            .oldest
            .iter()
            .enumerate()
            .filter_map(|(level, oldest)| oldest.map(|arrived| arrived + self.max_wait(level)));
        waits.min().unwrap_or(Instant::MAX)
    }

    /// Items waiting, as far as they can run now.
    #[must_use]
    pub fn available(&self) -> u32 {
        u32::try_from(self.items).unwrap_or(u32::MAX).min(self.most_items)
    }

    /// How many of `items` to run, by the allowed sizes and the padding policy.
    #[must_use]
    pub fn sized(&self, items: u32) -> u32 {
        let (up, down) = (self.lane.sizes.up(items), self.lane.sizes.down(items));
        let Some(down) = down.filter(|&down| down < items) else { return items };
        // Memory or policy may allow no larger size.
        if up > self.most_items {
            return down;
        }
        match self.lane.padding {
            Padding::Up => items,
            Padding::Down => down,
            Padding::Cheapest => {
                match (self.time.estimate(up), self.time.estimate(down)) {
                    // time(up) / items against time(down) / down, without dividing.
                    (Some(whole), Some(part))
                        if u128::from(whole) * u128::from(down)
                            > u128::from(part) * u128::from(items) =>
                    {
                        down
                    }
                    _ => items,
                }
            }
        }
    }

    /// What the rules of the model's [`Lane`] say, in this order:
    ///
    /// 1. as many items as can run: [`Full`](ClosingReason::Full), or [`Memory`](ClosingReason::Memory);
    /// 2. no more will come: [`Drain`](ClosingReason::Drain);
    /// 3. a preferred size is there: [`Preferred`](ClosingReason::Preferred);
    /// 4. a deadline would be missed: [`Deadline`](ClosingReason::Deadline);
    /// 5. a level's wait is over: [`MaxWait`](ClosingReason::MaxWait);
    /// 6. nobody is expected before that, and the model is eager: [`Idle`](ClosingReason::Idle).
    #[must_use]
    pub fn standard(&self) -> Verdict {
        self.standard_until(self.wait_ends())
    }

    /// The same rules, where waits are over at `until`: for a [`ClosingRule`] that only chooses how long
    /// to wait. O(1).
    ///
    /// ```
    /// use tensorforge_core::batch::{ClosingRule, Verdict, Waiting};
    /// use tensorforge_core::Duration;
    ///
    /// /// Waits until nothing came for a millisecond, and at most as long as the level says.
    /// struct Lull;
    ///
    /// impl ClosingRule for Lull {
    ///     fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
    ///         let lull = waiting.last_arrival + Duration::from_millis(1);
    ///         waiting.standard_until(lull.min(waiting.wait_ends()))
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn standard_until(&self, until: Instant) -> Verdict {
        let available = self.available();
        let close = |reason, items| Verdict::Close { reason, items };
        if self.items >= u64::from(self.most_items) {
            let reason =
                if self.short_of_memory { ClosingReason::Memory } else { ClosingReason::Full };
            return close(reason, available);
        }
        if self.draining {
            return close(ClosingReason::Drain, self.sized(available));
        }
        if let Some(size) = self.lane.preferred.down(available).filter(|&size| size > 0)
            && self.lane.preferred.largest().is_some()
        {
            return close(ClosingReason::Preferred, size);
        }
        if self.urgent {
            return close(ClosingReason::Deadline, self.sized(available));
        }
        if self.now >= until {
            return close(ClosingReason::MaxWait, self.sized(available));
        }
        if self.lane.eager && self.gap.is_some_and(|gap| self.last_arrival + gap >= until) {
            return close(ClosingReason::Idle, self.sized(available));
        }
        Verdict::Wait { until }
    }
}

/// Replaces the rule by which a model's batches close.
///
/// It is asked about a group whenever that may close: its model has an idle instance, and a request
/// came, a batch ended, or the instant that it named has come. What it may not do is change the order of
/// requests, or go over the limits of memory.
///
/// ```
/// use tensorforge_core::batch::{ClosingReason, ClosingRule, Verdict, Waiting};
///
/// /// Only even batches, whatever time it takes.
/// struct Pairs;
///
/// impl ClosingRule for Pairs {
///     fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
///         let items = waiting.available() / 2 * 2;
///         if items > 0 {
///             return Verdict::Close { reason: ClosingReason::Custom, items };
///         }
///         waiting.standard()
///     }
/// }
/// ```
pub trait ClosingRule {
    /// Whether the group closes now.
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict;

    /// A batch of `items` (padding included) took this long.
    fn executed(&mut self, items: u32, took: Duration) {
        let _ = (items, took);
    }

    /// A request was answered so long after it came.
    fn answered(&mut self, latency: Duration, now: Instant) {
        let _ = (latency, now);
    }
}

/// The rules of the model's [`Lane`]: [`Waiting::standard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StandardRule;

impl ClosingRule for StandardRule {
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        waiting.standard()
    }
}
