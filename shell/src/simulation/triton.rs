//! A model of Triton's dynamic batcher.
//!
//! Written from `src/dynamic_batch_scheduler.cc`, `src/scheduler_utils.cc` and `src/rate_limiter.cc`
//! of [triton-inference-server/core](https://github.com/triton-inference-server/core) at 73aad7c
//! (June 2026), for a model with priorities or a limited queue: the batcher then forms a batch only
//! once an instance waits for one (`RateLimiter::PayloadSlotAvailable`), as ours does.

use super::{Arrival, Batcher, Decisions, Limits, Shed, Started};
use std::collections::VecDeque;
use tensorforge_core::batch::LEVELS;
use tensorforge_core::{Duration, Instant};

/// What becomes of a request whose timeout has passed: `ModelQueuePolicy.timeout_action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeoutAction {
    /// It is turned away.
    #[default]
    Reject,
    /// It goes behind all of its level that are still in time, and waits without a timeout.
    Delay,
}

/// What requests of one priority level may do: `ModelQueuePolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueuePolicy {
    /// Requests of the level that may wait; 0 for any number.
    pub max_queue_size: u32,
    /// The timeout of a request that brings none, and the longest that one may bring; zero for none.
    pub default_timeout: Duration,
    /// What becomes of those whose timeout has passed.
    pub timeout_action: TimeoutAction,
}

/// Triton's `dynamic_batching` for one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TritonOptions {
    /// `max_batch_size`.
    pub max_batch_size: u32,
    /// `preferred_batch_size`; none for `max_batch_size` alone, which Triton then puts there itself
    /// (`NormalizeModelConfig` in `src/model_config_utils.cc`).
    pub preferred: Vec<u32>,
    /// `max_queue_delay_microseconds`: one for all levels, because there is no other.
    pub max_queue_delay: Duration,
    /// `priority_queue_policy`, by our priorities: level 1 of Triton's is our highest.
    pub policies: [QueuePolicy; LEVELS],
}

impl TritonOptions {
    /// All priorities, no preferred sizes, the common wait as the delay, and the whole of `max_queued`
    /// for each level: Triton limits levels only.
    ///
    /// That is what Triton's manual recommends to begin with, and to keep unless certain sizes are
    /// much faster than others, which no straight curve makes them.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let policy = QueuePolicy { max_queue_size: limits.max_queued, ..QueuePolicy::default() };
        Self {
            max_batch_size: limits.max_items,
            preferred: Vec::new(),
            max_queue_delay: limits.common_wait(),
            policies: [policy; LEVELS],
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: Arrival,
    /// From after then on it is late.
    timeout: Option<Instant>,
}

/// One level: `PriorityQueue::PolicyQueue`.
#[derive(Clone, Debug, Default)]
struct Level {
    queue: VecDeque<Waiting>,
    delayed: VecDeque<Waiting>,
}

impl Level {
    fn len(&self) -> usize {
        self.queue.len() + self.delayed.len()
    }

    fn get(&self, place: usize) -> Option<&Waiting> {
        let delayed = || self.delayed.get(place - self.queue.len());
        self.queue.get(place).or_else(delayed)
    }
}

/// The batch that would run now, or when to look again.
struct Pending {
    requests: usize,
    why: &'static str,
    until: Option<Instant>,
}

/// Triton's `DynamicBatchScheduler`.
///
/// Requests are taken level by level and in order of arrival until the batch is full or the next one
/// has another shape: it then *closes* the batch, however small that is. A preferred size runs at
/// once; else what there is runs when its oldest request has waited for the delay. What is late is
/// found when a batch is put together and gets that far.
///
/// Not modelled: `allow_ragged_batch`, with which different shapes share a batch of a model that was
/// made for it. Waits are rounded down to microseconds there, and while no instance is idle for
/// longer than 500 ms late requests are looked for everywhere.
#[derive(Clone, Debug)]
pub struct Triton {
    options: TritonOptions,
    largest_preferred: u32,
    levels: [Level; LEVELS],
    wake: Option<Instant>,
}

impl Triton {
    /// With the settings of [`TritonOptions::new`].
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with(TritonOptions::new(limits))
    }

    /// With any settings.
    #[must_use]
    pub fn with(mut options: TritonOptions) -> Self {
        if options.preferred.is_empty() {
            options.preferred.push(options.max_batch_size);
        }
        let largest_preferred = options.preferred.iter().copied().max().unwrap_or(0);
        Self { options, largest_preferred, levels: Default::default(), wake: None }
    }

    /// `PolicyQueue::ApplyPolicy`: takes late requests out at this place of a level.
    fn apply_policy(&mut self, level: usize, place: usize, now: Instant, out: &mut Decisions) {
        let Level { queue, delayed } = &mut self.levels[level];
        while let Some(waiting) = queue.get(place)
            && waiting.timeout.is_some_and(|timeout| now > timeout)
            && let Some(late) = queue.remove(place)
        {
            match self.options.policies[level].timeout_action {
                TimeoutAction::Reject => out.shed.push((late.request.index, Shed::Expired)),
                TimeoutAction::Delay => delayed.push_back(Waiting { timeout: None, ..late }),
            }
        }
    }

    /// `DynamicBatchScheduler::GetDynamicBatch`.
    fn pending(&mut self, now: Instant, out: &mut Decisions) -> Pending {
        let max = self.options.max_batch_size;
        let delay = self.options.max_queue_delay;
        let (mut requests, mut items, mut shape) = (0, 0u32, 0);
        let (mut oldest, mut closest) = (Instant::MAX, None);
        // The last preferred size on the way: requests.
        let mut best: Option<usize> = None;
        let mut closed = None;
        'walk: for level in (0..LEVELS).rev() {
            let mut place = 0;
            loop {
                self.apply_policy(level, place, now, out);
                let Some(&Waiting { request, timeout }) = self.levels[level].get(place) else {
                    break;
                };
                if requests > 0 {
                    if items.saturating_add(request.items) > self.largest_preferred
                        && best.is_none()
                    {
                        best = Some(requests);
                    }
                    if items.saturating_add(request.items) > max {
                        closed = Some("full");
                        break 'walk;
                    }
                    if request.shape != shape {
                        closed = Some("shape");
                        break 'walk;
                    }
                }
                shape = request.shape;
                requests += 1;
                items += request.items;
                oldest = oldest.min(request.at);
                closest = closest.into_iter().chain(timeout).min();
                if self.options.preferred.contains(&items) {
                    best = Some(requests);
                }
                place += 1;
            }
        }
        let run = |requests, why| Pending { requests, why, until: None };
        let ends = oldest + delay;
        let waited = delay > Duration::ZERO && now >= ends;
        match (best, closed) {
            (Some(best), _) if !waited => run(best, "preferred"),
            _ if requests == 0 => run(0, ""),
            (_, Some(why)) => run(requests, why),
            _ if items >= self.largest_preferred => run(requests, "full"),
            _ if waited || delay == Duration::ZERO => run(requests, "max_wait"),
            _ => {
                // A moment after the first of them is late, it is seen to be.
                let late = closest.map(|closest: Instant| closest + Duration::from_nanos(1));
                Pending { requests: 0, why: "", until: late.into_iter().chain([ends]).min() }
            }
        }
    }

    /// Takes so many out of the front.
    fn take(&mut self, mut requests: usize, why: &'static str) -> Started {
        let mut batch = Started { requests: Vec::new(), items: 0, rows: 0, shape: 0, why };
        for Level { queue, delayed } in self.levels.iter_mut().rev() {
            while requests > 0
                && let Some(Waiting { request, .. }) =
                    queue.pop_front().or_else(|| delayed.pop_front())
            {
                requests -= 1;
                batch.requests.push(request.index);
                batch.items += request.items;
                batch.shape = request.shape;
            }
        }
        batch.rows = batch.items;
        batch
    }
}

impl Batcher for Triton {
    fn name(&self) -> &'static str {
        "triton"
    }

    fn arrive(&mut self, now: Instant, request: &Arrival) -> Result<(), Shed> {
        if request.items > self.options.max_batch_size {
            return Err(Shed::TooLarge);
        }
        let level = usize::from(request.priority);
        let policy = self.options.policies[level];
        let waiting = self.levels[level].len();
        if policy.max_queue_size > 0 && waiting >= policy.max_queue_size as usize {
            return Err(Shed::QueueFull);
        }
        let own = request.deadline;
        let default =
            (policy.default_timeout > Duration::ZERO).then(|| now + policy.default_timeout);
        let timeout = own.into_iter().chain(default).min();
        self.levels[level].queue.push_back(Waiting { request: *request, timeout });
        Ok(())
    }

    fn start(&mut self, now: Instant, idle: usize, decisions: &mut Decisions) {
        self.wake = None;
        for _ in 0..idle {
            let Pending { requests, why, until } = self.pending(now, decisions);
            if requests == 0 {
                self.wake = until;
                return;
            }
            let batch = self.take(requests, why);
            decisions.started.push(batch);
        }
    }

    fn finished(&mut self, _now: Instant, _batch: &Started, _took: Duration) {}

    fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }
}
