//! What the engine keeps of each model, and of each device's memory.

use crate::batch::{Batch, CostModel, LEVELS, Lane, LaneError, ModelId, POOLS, SizeGovernor};
use crate::breaker::{Breaker, State};
use crate::policy::{Ladder, Level};
use crate::{Duration, Instant};

/// Room for one model. Its contents are the engine's own.
#[derive(Debug)]
pub struct LaneState {
    pub(super) lane: Lane,
    pub(super) time: CostModel,
    pub(super) memory: CostModel,
    pub(super) governor: SizeGovernor,
    pub(super) ladder: Option<Ladder>,
    /// When `halted` is over.
    pub(super) halted_until: Instant,
    pub(super) breaker: Option<Breaker>,
    /// Until then the breaker has said no.
    pub(super) refused_until: Instant,
    pub(super) busy: u32,
    pub(super) waiting: Load,
    pub(super) by_level: [Load; LEVELS],
    /// Items waiting.
    pub(super) items: u64,
    /// Time that its batches took, by its weight: the model with the least of it has its turn.
    pub(super) turn: u64,
}

/// Requests and their bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Load {
    pub(super) requests: u32,
    pub(super) bytes: u64,
}

impl Load {
    const fn add(&mut self, bytes: u64) {
        self.requests = self.requests.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    const fn remove(&mut self, bytes: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Time is charged in units of a sixteenth of a nanosecond at weight 1, so that weights divide well.
const TURN_UNITS: u64 = 16;

impl LaneState {
    pub(super) fn new(lane: Lane, model: ModelId) -> Result<Self, LaneError> {
        let breaker = match lane.failures.breaker {
            None => None,
            // Each its own seed, so that those that open together do not come back together.
            Some(config) => {
                let seed = u64::from(model.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                Some(Breaker::new(config, seed).map_err(|_| LaneError::Breaker)?)
            }
        };
        Ok(Self {
            time: lane.time,
            memory: lane.memory,
            governor: SizeGovernor::new(),
            ladder: lane.failures.ladder.map(Ladder::new),
            halted_until: Instant::ZERO,
            breaker,
            refused_until: Instant::ZERO,
            busy: 0,
            waiting: Load { requests: 0, bytes: 0 },
            by_level: [Load { requests: 0, bytes: 0 }; LEVELS],
            items: 0,
            turn: 0,
            lane,
        })
    }

    /// Changes how the model is served from now on; what is waiting, running and known stays.
    pub(super) fn reconfigure(&mut self, lane: Lane, model: ModelId) -> Result<(), LaneError> {
        let fresh = Self::new(lane, model)?;
        if lane.time != self.lane.time {
            self.time = fresh.time;
        }
        if lane.memory != self.lane.memory {
            self.memory = fresh.memory;
        }
        if lane.failures != self.lane.failures {
            self.ladder = fresh.ladder;
            self.breaker = fresh.breaker;
            self.refused_until = Instant::ZERO;
        }
        self.lane = lane;
        Ok(())
    }

    pub(super) fn entered(&mut self, priority: u8, items: u32, bytes: u64) {
        self.waiting.add(bytes);
        self.by_level[usize::from(priority)].add(bytes);
        self.items = self.items.saturating_add(u64::from(items));
    }

    pub(super) fn left(&mut self, priority: u8, items: u32, bytes: u64) {
        self.waiting.remove(bytes);
        self.by_level[usize::from(priority)].remove(bytes);
        self.items = self.items.saturating_sub(u64::from(items));
    }

    /// When what waits should be worked off, by what is known of execution times.
    pub(super) fn backlog(&self) -> Duration {
        let max_items = self.lane.max_items;
        let Some(batch) = self.time.estimate(max_items) else { return Duration::ZERO };
        let batches =
            self.items.div_ceil(u64::from(max_items)).saturating_add(u64::from(self.busy));
        Duration::from_nanos(batches.saturating_mul(batch) / u64::from(self.lane.instances))
    }

    /// The level that counts now: where `halted` is over, a few requests are let in to try.
    pub(super) fn level(&self, now: Instant) -> Level {
        match self.ladder.as_ref().map_or(Level::Normal, Ladder::level) {
            Level::Halted if now >= self.halted_until => Level::Restricted,
            level => level,
        }
    }

    /// When an open circuit is tried again.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        match self.breaker.as_ref()?.state(now) {
            State::Open { until } if until > now => Some(until),
            _ => None,
        }
    }

    /// Charges the model for a batch before it runs. Returns how much.
    pub(super) fn charge(&mut self, padded: u32) -> u64 {
        // Without an estimate, a microsecond an item; the end of the batch sets it right.
        let time = self.time.estimate(padded).unwrap_or(u64::from(padded) * 1_000);
        let charged = self.turn_units(time);
        self.turn = self.turn.saturating_add(charged);
        charged
    }

    /// Sets right what was charged for a batch that took this long.
    pub(super) fn settle(&mut self, charged: u64, took: Duration) {
        self.turn =
            self.turn.saturating_sub(charged).saturating_add(self.turn_units(took.as_nanos()));
    }

    const fn turn_units(&self, nanos: u64) -> u64 {
        nanos.saturating_mul(TURN_UNITS) / self.lane.weight as u64
    }

    /// How much may run now.
    pub(super) fn status(&self, now: Instant, pools: &[Pool; POOLS]) -> Status {
        if self.busy >= self.lane.instances {
            return Status::Busy;
        }
        if self.refused_until > now {
            return Status::RefusedUntil(self.refused_until);
        }
        let Lane { max_items, sizes, .. } = self.lane;
        let mut most = self.governor.limit(max_items);
        let mut wait_shift = 0;
        match self.level(now) {
            Level::Normal => {}
            Level::Watch => {
                most = (most / 2).max(1);
                wait_shift = 1;
            }
            Level::Restricted | Level::Halted => most = 1,
        }
        if most < max_items {
            let smallest = sizes.as_slice().first().copied().unwrap_or(1);
            most = sizes.down(most).unwrap_or(smallest);
        }
        // What memory allows holds for a single request too, unlike the others.
        let mut by_memory = u32::MAX;
        let mut short_of_memory = false;
        let pool = &pools[usize::from(self.lane.pool.0)];
        if let Some(fit) = self.memory.most_items_within(pool.free()) {
            by_memory = sizes.down(fit).unwrap_or(0);
            if by_memory < most {
                most = by_memory;
                short_of_memory = true;
            }
        }
        Status::Ready(Room { most, by_memory, short_of_memory, wait_shift })
    }

    /// The items that a batch of `items` is run with.
    pub(super) fn padded(&self, items: u32) -> u32 {
        self.lane.sizes.up(items)
    }

    /// The most items of one request that could ever run.
    pub(super) fn largest_request(&self, pools: &[Pool; POOLS]) -> u32 {
        let pool = &pools[usize::from(self.lane.pool.0)];
        match self.memory.most_items_within(pool.capacity) {
            None => self.lane.max_items,
            Some(fit) => self.lane.sizes.down(fit).unwrap_or(0).min(self.lane.max_items),
        }
    }

    /// Whether a batch may begin; tells the breaker if so.
    pub(super) fn permit(
        &mut self,
        now: Instant,
    ) -> Result<Option<crate::breaker::Permit>, Instant> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        match breaker.try_call(now) {
            Ok(permit) => Ok(Some(permit)),
            Err(refused) => {
                self.refused_until = refused.retry_at.max(now + Duration::from_nanos(1));
                Err(self.refused_until)
            }
        }
    }

    pub(super) fn ended(&mut self, batch: &Batch, took: Duration) {
        self.busy = self.busy.saturating_sub(1);
        // A report may have made way for the next.
        self.refused_until = Instant::ZERO;
        self.settle(batch.charged, took);
    }
}

/// How much of a model may run now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    /// Every instance is busy.
    Busy,
    /// The breaker lets nothing pass before that.
    RefusedUntil(Instant),
    /// An instance is idle.
    Ready(Room),
}

/// What fits in an idle instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The most items of a batch; 0 when memory allows none.
    pub(super) most: u32,
    /// The most items that memory allows.
    pub(super) by_memory: u32,
    pub(super) short_of_memory: bool,
    pub(super) wait_shift: u32,
}

impl Room {
    /// What fits where `level` is the highest priority.
    pub(super) fn of_level(self, lane: &Lane, level: Option<u8>) -> Self {
        let rule = level.and_then(|level| lane.levels.get(usize::from(level)));
        let Some(rule) = rule.filter(|rule| rule.max_items < self.most) else { return self };
        let smallest = lane.sizes.as_slice().first().copied().unwrap_or(1);
        let most = lane.sizes.down(rule.max_items).unwrap_or(smallest).min(self.most);
        Self { most, short_of_memory: false, ..self }
    }
}

/// A device's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) capacity: u64,
    pub(super) taken: u64,
}

impl Pool {
    pub(super) const UNLIMITED: Self = Self { capacity: u64::MAX, taken: 0 };

    pub(super) const fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.taken)
    }
}
