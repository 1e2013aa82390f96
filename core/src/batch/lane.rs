//! How one model is served.

use super::{CostModel, LEVELS, Sizes};
use crate::Duration;
use crate::breaker::BreakerConfig;
use crate::policy::LadderConfig;

/// What to do with a number of items between two allowed sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Padding {
    /// Run them all, padded up to the next allowed size.
    #[default]
    Up,
    /// Run as many as the next lower allowed size; the others wait on. Below the smallest size, as
    /// [`Up`](Self::Up).
    Down,
    /// Whichever of the two takes less time for each item, by what is known of the model's execution
    /// times; as [`Up`](Self::Up) while nothing is.
    Cheapest,
}

/// What is different for requests of one priority level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelRule {
    /// Longest wait for company, counted from the arrival of the level's oldest request in a group.
    /// Zero runs whatever is there as soon as an instance is idle.
    pub max_wait: Duration,
    /// Most items in a batch whose highest priority this is: smaller ones answer it sooner, at the cost
    /// of throughput. One request of more items runs alone.
    pub max_items: u32,
    /// Requests of this level that may wait at once.
    pub max_queued: u32,
    /// The deadline of requests that come without one, from their arrival; [`Duration::MAX`] for none.
    pub timeout: Duration,
}

impl LevelRule {
    /// Waits up to `max_wait`; no limit and no deadline of its own.
    #[must_use]
    pub const fn new(max_wait: Duration) -> Self {
        Self { max_wait, max_items: u32::MAX, max_queued: u32::MAX, timeout: Duration::MAX }
    }
}

/// Devices whose memory is counted.
pub const POOLS: usize = 8;

/// Names a device's memory that several models share: a number below [`POOLS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PoolId(pub u8);

/// What failures of a model lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailurePolicy {
    /// When the ladder goes up; `None` for never. At `watch` batches and waits are halved; at `restricted` only requests
    /// of [`restricted_priority`](Self::restricted_priority) or more are admitted, and run one by one; at
    /// `halted` none is admitted for [`halt_for`](Self::halt_for), then as at `restricted`.
    pub ladder: Option<LadderConfig>,
    /// The least priority that is admitted at `restricted`.
    pub restricted_priority: u8,
    /// How long nothing is admitted at `halted`, from the last failure on.
    pub halt_for: Duration,
    /// When the circuit opens; `None` for never.
    pub breaker: Option<BreakerConfig>,
}

impl FailurePolicy {
    /// The ladder's and the breaker's own defaults; at `restricted` every priority is admitted, and
    /// `halted` lasts a second.
    pub const DEFAULT: Self = Self {
        ladder: Some(LadderConfig { burst: 2, cooldown: Duration::ZERO }),
        restricted_priority: 0,
        halt_for: Duration::from_secs(1),
        breaker: Some(BreakerConfig::DEFAULT),
    };

    /// Failures change nothing.
    pub const NONE: Self = Self { ladder: None, breaker: None, ..Self::DEFAULT };
}

/// How one model is served.
///
/// ```
/// use tensorforge_core::batch::{Lane, Padding, Sizes};
/// use tensorforge_core::Duration;
///
/// let mut lane = Lane::new(16, Duration::from_millis(2));
/// lane.sizes = Sizes::new(&[1, 4, 16]).unwrap();
/// lane.padding = Padding::Cheapest;
/// lane.levels[2].max_wait = Duration::ZERO; // priority 2 waits for nobody
/// assert!(lane.check().is_ok());
/// lane.sizes = Sizes::new(&[1, 4]).unwrap();
/// assert!(lane.check().is_err(), "a batch of 16 has no size to run at");
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lane {
    /// Most items (rows of the batch dimension, not requests) in one batch. At least 1.
    pub max_items: u32,
    /// The sizes that a batch is run at, the last one `max_items`; none for any size.
    pub sizes: Sizes,
    /// What to do between two sizes.
    pub padding: Padding,
    /// Sizes that are run as soon as they are there, without waiting for more.
    pub preferred: Sizes,
    /// How many priority levels there are: priorities are 0 to `priorities` - 1, higher first.
    pub priorities: u8,
    /// The rules of each level.
    pub levels: [LevelRule; LEVELS],
    /// Does not wait where, by the gaps between the last requests, none is expected in time.
    pub eager: bool,
    /// Batches of it that may run at once. At least 1.
    pub instances: u32,
    /// Requests of it that may wait at once. At least 1.
    pub max_queued: u32,
    /// Bytes of it that may wait at once. At least 1.
    pub max_queued_bytes: u64,
    /// Where there is no room, a request takes that of the youngest of the lowest priority below its own.
    pub displace: bool,
    /// Its share of the executors beside other models, in proportion to theirs. At least 1.
    pub weight: u32,
    /// Memory on the device that a batch takes, in bytes.
    pub memory: CostModel,
    /// The memory that is taken from.
    pub pool: PoolId,
    /// Time that a batch takes, in nanoseconds; learned while running.
    pub time: CostModel,
    /// What failures lead to.
    pub failures: FailurePolicy,
}

impl Lane {
    /// Batches of up to `max_items` that wait up to `max_wait`, on one instance; nothing else is limited.
    #[must_use]
    pub const fn new(max_items: u32, max_wait: Duration) -> Self {
        Self {
            max_items,
            sizes: Sizes::ANY,
            padding: Padding::Up,
            preferred: Sizes::ANY,
            priorities: LEVELS as u8,
            levels: [LevelRule::new(max_wait); LEVELS],
            eager: false,
            instances: 1,
            max_queued: u32::MAX,
            max_queued_bytes: u64::MAX,
            displace: false,
            weight: 1,
            memory: CostModel::UNKNOWN,
            pool: PoolId(0),
            time: CostModel::UNKNOWN,
            failures: FailurePolicy::NONE,
        }
    }

    /// No batching: every request runs alone, at once.
    #[must_use]
    pub const fn unbatched() -> Self {
        Self::new(1, Duration::ZERO)
    }

    /// Whether it could serve anything, and contradicts itself nowhere.
    ///
    /// # Errors
    /// [`LaneError`] names the first part that could not work.
    pub fn check(&self) -> Result<(), LaneError> {
        let last_is_max = |sizes: Sizes| sizes.largest().is_none_or(|last| last == self.max_items);
        let within_max = |sizes: Sizes| sizes.largest().is_none_or(|last| last <= self.max_items);
        for (wrong, error) in [
            (self.max_items == 0, LaneError::NoItems),
            (self.instances == 0, LaneError::NoInstances),
            (self.max_queued == 0 || self.max_queued_bytes == 0, LaneError::NoQueue),
            (self.weight == 0, LaneError::NoWeight),
            (usize::from(self.pool.0) >= POOLS, LaneError::Pool),
            (self.priorities == 0 || usize::from(self.priorities) > LEVELS, LaneError::Priorities),
            (!last_is_max(self.sizes), LaneError::LargestSize { max_items: self.max_items }),
            (!within_max(self.preferred), LaneError::PreferredSize { max_items: self.max_items }),
            (self.failures.breaker.is_some_and(|config| !config.is_valid()), LaneError::Breaker),
        ] {
            if wrong {
                return Err(error);
            }
        }
        for (level, rule) in (0u8..).zip(&self.levels[..usize::from(self.priorities)]) {
            if rule.max_items == 0 {
                return Err(LaneError::NoLevelItems { level });
            }
            if rule.max_queued == 0 {
                return Err(LaneError::NoLevelQueue { level });
            }
            if rule.timeout == Duration::ZERO {
                return Err(LaneError::NoTimeout { level });
            }
        }
        Ok(())
    }
}

/// Why a model cannot be served as its [`Lane`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LaneError {
    /// `max_items` is 0.
    NoItems,
    /// `instances` is 0.
    NoInstances,
    /// `max_queued` or `max_queued_bytes` is 0.
    NoQueue,
    /// `weight` is 0.
    NoWeight,
    /// `pool` is not below [`POOLS`].
    Pool,
    /// `priorities` is not 1 to [`LEVELS`].
    Priorities,
    /// The last of `sizes` is not `max_items`.
    LargestSize {
        /// What it would have to be.
        max_items: u32,
    },
    /// One of `preferred` is above `max_items`.
    PreferredSize {
        /// The most it may be.
        max_items: u32,
    },
    /// A level's `max_items` is 0.
    NoLevelItems {
        /// The level.
        level: u8,
    },
    /// A level's `max_queued` is 0.
    NoLevelQueue {
        /// The level.
        level: u8,
    },
    /// A level's `timeout` is zero.
    NoTimeout {
        /// The level.
        level: u8,
    },
    /// The breaker's configuration makes no sense.
    Breaker,
    /// The model's number is not below the engine's number of models.
    TooManyModels {
        /// That number.
        models: usize,
    },
}

impl core::fmt::Display for LaneError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoItems => f.write_str("max_items is 0: no request could ever run"),
            Self::NoInstances => f.write_str("instances is 0: no request could ever run"),
            Self::NoQueue => {
                f.write_str("max_queued or max_queued_bytes is 0: no request would be admitted")
            }
            Self::NoWeight => f.write_str("weight is 0: the model would never have its turn"),
            Self::Pool => write!(f, "memory pools are numbered below {POOLS}"),
            Self::Priorities => write!(f, "there are 1 to {LEVELS} priorities"),
            Self::LargestSize { max_items } => {
                write!(f, "the largest allowed size must be max_items, which is {max_items}")
            }
            Self::PreferredSize { max_items } => {
                write!(f, "a preferred size is above max_items, which is {max_items}")
            }
            Self::NoLevelItems { level } => {
                write!(f, "max_items of priority {level} is 0: no request could ever run")
            }
            Self::NoLevelQueue { level } => {
                write!(f, "max_queued of priority {level} is 0: no request would be admitted")
            }
            Self::NoTimeout { level } => {
                write!(f, "timeout of priority {level} is zero: every request would be too late")
            }
            Self::Breaker => f.write_str("the breaker's configuration makes no sense"),
            Self::TooManyModels { models } => write!(f, "there is room for {models} models only"),
        }
    }
}

impl core::error::Error for LaneError {}
