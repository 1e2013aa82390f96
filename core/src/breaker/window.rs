//! Calls, failures and slow calls of the last while: a ring of slices of time, each one word.

use crate::sync::{AtomicU64, Ordering, array_of, const_unless_loom};
use crate::{Duration, Instant};

const SLICES: usize = 8;

/// A report for a slice that is up to so many laps older than the one in its place came late. From a
/// greater distance, it is the clock that was set back.
const LATE_LAPS: u32 = 16;

/// The counts of one epoch and, in each place, of one lap. Alone on its cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Window {
    slices: [AtomicU64; SLICES],
}

/// What was seen. None above 8 × 2047 here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Window {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self { slices: array_of![AtomicU64::new(0); SLICES] }
        }
    }

    /// Counts one report, if `is_current` says that the epoch still is, and if it is not late.
    pub(super) fn count(
        &self,
        one: Counts,
        epoch: u32,
        now: Instant,
        window: Duration,
        is_current: impl Fn() -> bool,
    ) {
        let slice = slice_of(now, window);
        let place = &self.slices[(slice % SLICES as u64) as usize];
        let (generation, lap) = (Slice::generation(epoch), Slice::lap(slice / SLICES as u64));
        let mut word = place.load(Ordering::Acquire);
        loop {
            let seen = Slice::unpack(word);
            let counts = if seen.generation != generation {
                // Of another epoch: an earlier one, unless this report's is over.
                if !is_current() {
                    return;
                }
                one
            } else if seen.lap == lap {
                seen.counts.and(one)
            } else if seen.counts.calls > 0 && Slice::laps(seen.lap, lap) <= LATE_LAPS {
                return;
            } else {
                one
            };
            let next = Slice { generation, lap, counts }.pack();
            match place.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
    }

    /// What the slices hold that are of `epoch` and not older than the window.
    pub(super) fn sum(&self, epoch: u32, now: Instant, window: Duration) -> Counts {
        let slice = slice_of(now, window);
        let (laps, newest) = (slice / SLICES as u64, slice % SLICES as u64);
        let generation = Slice::generation(epoch);
        let mut sum = Counts::default();
        for (place, word) in (0..).zip(&self.slices) {
            let seen = Slice::unpack(word.load(Ordering::Relaxed));
            // Places after the newest were last reached one lap ago.
            let lap = Slice::lap(laps.wrapping_sub(u64::from(place > newest)));
            let ahead = Slice::laps(seen.lap, lap);
            // 1: by reports whose `now` is later than this one.
            if seen.generation == generation && ahead <= 1 {
                sum.calls += seen.counts.calls;
                sum.failures += seen.counts.failures;
                sum.slow += seen.counts.slow;
            }
        }
        sum
    }

    /// Empties what looks as if it was of `epoch`, which has not begun while `is_ahead` says so.
    pub(super) fn clear(&self, epoch: u32, is_ahead: impl Fn() -> bool) {
        for place in &self.slices {
            let mut word = place.load(Ordering::Acquire);
            // What is loaded before `is_ahead` is no report of that epoch.
            while Slice::unpack(word).is_left_over(epoch) && is_ahead() {
                match place.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break,
                    Err(newer) => word = newer,
                }
            }
        }
    }
}

const fn slice_of(now: Instant, window: Duration) -> u64 {
    let length = window.as_nanos().div_ceil(SLICES as u64);
    now.as_nanos() / if length > 0 { length } else { 1 }
}

impl Counts {
    const COUNT_BITS: u32 = 11;
    const MOST: u32 = (1 << Self::COUNT_BITS) - 1;

    const fn and(self, one: Self) -> Self {
        let halved = if self.calls < Self::MOST {
            self
        } else {
            Self { calls: self.calls / 2, failures: self.failures / 2, slow: self.slow / 2 }
        };
        Self {
            calls: halved.calls + one.calls,
            failures: halved.failures + one.failures,
            slow: halved.slow + one.slow,
        }
    }
}

/// One slice's word.
#[derive(Clone, Copy)]
struct Slice {
    generation: u32,
    lap: u32,
    counts: Counts,
}

impl Slice {
    const LAP_BITS: u32 = 23;
    const LAPS: u32 = 1 << Self::LAP_BITS;
    const GENERATIONS: u32 = 1 << 8;

    const fn generation(epoch: u32) -> u32 {
        epoch % Self::GENERATIONS
    }

    const fn lap(lap: u64) -> u32 {
        (lap % Self::LAPS as u64) as u32
    }

    /// How many laps `later` is after `earlier`, round the circle of all laps.
    const fn laps(later: u32, earlier: u32) -> u32 {
        later.wrapping_sub(earlier) % Self::LAPS
    }

    const fn is_left_over(self, epoch: u32) -> bool {
        self.generation == Self::generation(epoch) && self.counts.calls > 0
    }

    const fn pack(self) -> u64 {
        let Counts { calls, failures, slow } = self.counts;
        let mut word = self.generation as u64;
        word = word << Self::LAP_BITS | self.lap as u64;
        word = word << Counts::COUNT_BITS | calls as u64;
        word = word << Counts::COUNT_BITS | failures as u64;
        word << Counts::COUNT_BITS | slow as u64
    }

    const fn unpack(word: u64) -> Self {
        Self {
            generation: (word >> (3 * Counts::COUNT_BITS + Self::LAP_BITS)) as u32,
            lap: (word >> (3 * Counts::COUNT_BITS)) as u32 % Self::LAPS,
            counts: Counts {
                calls: (word >> (2 * Counts::COUNT_BITS)) as u32 & Counts::MOST,
                failures: (word >> Counts::COUNT_BITS) as u32 & Counts::MOST,
                slow: word as u32 & Counts::MOST,
            },
        }
    }
}
