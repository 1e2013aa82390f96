//! The escalation ladder.

use crate::sync::{AtomicU64, Ordering, const_unless_loom};
use crate::{Duration, Instant};

/// How much is restricted. Each is more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is.
    #[default]
    Normal,
    /// Closely watched: smaller batches, shorter waits.
    Watch,
    /// Only what matters.
    Restricted,
    /// Nothing is let in.
    Halted,
}

impl Level {
    /// All of them, from the lowest.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Watch, Self::Restricted, Self::Halted];

    /// `normal`, `watch`, `restricted` or `halted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Watch => "watch",
            Self::Restricted => "restricted",
            Self::Halted => "halted",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// One step up; the highest stays.
    #[must_use]
    pub const fn up(self) -> Self {
        match self {
            Self::Normal => Self::Watch,
            Self::Watch => Self::Restricted,
            Self::Restricted | Self::Halted => Self::Halted,
        }
    }

    /// One step down; the lowest stays.
    #[must_use]
    pub const fn down(self) -> Self {
        match self {
            Self::Normal | Self::Watch => Self::Normal,
            Self::Restricted => Self::Watch,
            Self::Halted => Self::Restricted,
        }
    }

    /// How often what failed may be tried again.
    #[must_use]
    pub const fn max_retries(self) -> u32 {
        3 - self as u32
    }

    /// How many times as long the cooldown is: 1, 2, 4, 8.
    #[must_use]
    pub const fn cooldown_multiplier(self) -> u64 {
        1 << self as u64
    }

    /// Successes in a row after which it goes down from here; `None` from the lowest.
    #[must_use]
    pub const fn streak_down(self) -> Option<u32> {
        match self {
            Self::Normal => None,
            Self::Watch => Some(5),
            Self::Restricted => Some(7),
            Self::Halted => Some(10),
        }
    }
}

/// When a [`Ladder`] goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LadderConfig {
    /// Failures in a row that are a burst: at least 1, at most 65,535.
    pub burst: u16,
    /// The least time between two steps up, times the level's multiplier.
    pub cooldown: Duration,
}

impl Default for LadderConfig {
    /// A burst of 2, and no cooldown.
    fn default() -> Self {
        Self { burst: 2, cooldown: Duration::ZERO }
    }
}

/// A step of a [`Ladder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The level before.
    pub from: Level,
    /// The one since.
    pub to: Level,
    /// How many failures, or successes, in a row have led to it.
    pub run: u32,
    /// When.
    pub at: Instant,
}

/// A level that goes up with bursts of failures and down with streaks of successes.
///
/// A failure ends a streak and a success a burst. A burst goes one step up, unless the last change is less
/// than the cooldown ago, times the multiplier of the level: then it goes on counting and goes up with the
/// first failure after that. A streak goes one step down at any time. Every change begins both anew, and
/// is told to exactly one caller.
///
/// **Progress:** lock-free; the [level](Self::level) is one load. **Memory:** 24 bytes. An earlier `now`
/// than the last change counts as that.
///
/// The state is one word: 2 bits level, 1 bit whether the run is of failures, 16 bits how long it is (it
/// stops at the most), and 45 bits when the last change was, in units of 2^19 ns (0.5 ms), which is 584
/// years. Whoever sees a level sees the time of its change.
#[derive(Debug)]
pub struct Ladder {
    state: AtomicU64,
    config: LadderConfig,
}

const LEVEL: u64 = 0b11;
const FAILURES: u64 = 0b100;
const RUN_SHIFT: u32 = 3;
const MOST_RUN: u64 = 0xFFFF;
const TIME_SHIFT: u32 = 19;
/// The time is what is left of the word above this, and of the nanoseconds above [`TIME_SHIFT`].
const WORD_TIME: u64 = !((1 << TIME_SHIFT) - 1);

#[derive(Clone, Copy)]
struct State {
    level: Level,
    failures: bool,
    run: u64,
    changed: u64,
}

impl State {
    const fn of(word: u64) -> Self {
        let level = match word & LEVEL {
            0 => Level::Normal,
            1 => Level::Watch,
            2 => Level::Restricted,
            _ => Level::Halted,
        };
        Self {
            level,
            failures: word & FAILURES != 0,
            run: word >> RUN_SHIFT & MOST_RUN,
            changed: word & WORD_TIME,
        }
    }

    const fn word(self) -> u64 {
        let failures = if self.failures { FAILURES } else { 0 };
        self.changed | self.run << RUN_SHIFT | failures | self.level as u64
    }
}

impl Ladder {
    const_unless_loom! {
        /// At the lowest level.
        #[must_use]
        pub fn new(config: LadderConfig) -> Self {
            Self { state: AtomicU64::new(0), config }
        }
    }

    /// The level. Wait-free: one load.
    #[must_use]
    pub fn level(&self) -> Level {
        State::of(self.state.load(Ordering::Acquire)).level
    }

    /// Something failed. Tells of the change, if this made one.
    pub fn record_failure(&self, now: Instant) -> Option<Change> {
        self.record(true, now)
    }

    /// Something succeeded. Tells of the change, if this made one.
    pub fn record_success(&self, now: Instant) -> Option<Change> {
        self.record(false, now)
    }

    fn record(&self, failed: bool, now: Instant) -> Option<Change> {
        let mut word = self.state.load(Ordering::Acquire);
        loop {
            let before = State::of(word);
            // The usual case writes nothing: all is well and stays so.
            if !failed && before.level == Level::Normal && (!before.failures || before.run == 0) {
                return None;
            }
            let run = if before.failures == failed { before.run } else { 0 };
            let run = (run + 1).min(MOST_RUN);
            let to = if failed {
                self.after_failure(before, run, now)
            } else {
                after_success(before, run)
            };
            let after = if to == before.level {
                State { failures: failed, run, ..before }
            } else {
                // Rounded up, so that a cooldown is never too short; never 0, which is no change.
                let at = now.as_nanos().max(before.changed).max(1);
                let changed = at.saturating_add(!WORD_TIME) & WORD_TIME;
                State { level: to, failures: failed, run: 0, changed }
            };
            let swapped = self.state.compare_exchange_weak(
                word,
                after.word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) if to == before.level => return None,
                Ok(_) => {
                    return Some(Change { from: before.level, to, run: run as u32, at: now });
                }
                Err(other) => word = other,
            }
        }
    }

    fn after_failure(&self, before: State, run: u64, now: Instant) -> Level {
        let cooldown = self.config.cooldown.as_nanos();
        let wait = cooldown.saturating_mul(before.level.cooldown_multiplier());
        let passed = now.as_nanos().saturating_sub(before.changed);
        // At the beginning nothing has changed yet.
        let cool = before.changed == 0 || passed >= wait;
        if run >= u64::from(self.config.burst.max(1)) && cool {
            before.level.up()
        } else {
            before.level
        }
    }

    /// Back to the lowest level. Tells of the change, if it was not there.
    pub fn reset(&self, now: Instant) -> Option<Change> {
        let before = State::of(self.state.swap(0, Ordering::AcqRel));
        let (from, to) = (before.level, Level::Normal);
        (from != to).then_some(Change { from, to, run: 0, at: now })
    }
}

fn after_success(before: State, run: u64) -> Level {
    match before.level.streak_down() {
        Some(streak) if run >= u64::from(streak) => before.level.down(),
        _ => before.level,
    }
}
