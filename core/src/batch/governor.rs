//! How large a batch may be after the device ran out of memory.

/// The batch size after out-of-memory answers: additive increase, multiplicative decrease, and a memory
/// of the size that failed.
///
/// There is no limit before the first failure; after one it is half of what failed. Batches as large as
/// the limit raise it by a sixteenth of what failed, each, up to below that size. That size itself is
/// tried again after 256 such batches, and after twice as many each time it failed again, up to 4,096:
/// on a device whose memory stays as it is, less than one run in 4,000 fails in the long run; on one
/// that has room again there is no limit in effect after 4,096 such batches and one for each step.
///
/// **Memory:** 24 bytes. **Time:** O(1).
///
/// Source: Chiu and Jain, *Analysis of the increase and decrease algorithms for congestion avoidance*,
/// Computer Networks and ISDN Systems 17, 1989.
///
/// ```
/// use tensorforge_core::batch::SizeGovernor;
///
/// let mut size = SizeGovernor::new();
/// assert_eq!(size.limit(64), 64);
/// size.out_of_memory(64);
/// assert_eq!(size.limit(64), 32);
/// size.succeeded(31); // proves nothing
/// assert_eq!(size.limit(64), 32);
/// size.succeeded(32);
/// assert_eq!(size.limit(64), 36);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeGovernor {
    limit: u32,
    /// The least size that failed, always above the limit; 0 if none is known.
    failed: u32,
    step: u32,
    /// Successes at the limit, right below the size that failed.
    successes: u32,
    /// Successes before that size is tried again.
    patience: u32,
    /// A batch ran since the last failure, and the limit grew by it.
    grown: bool,
}

/// A step is this part of what failed.
const STEPS: u32 = 16;
const FIRST_PATIENCE: u32 = 1 << 8;
const LAST_PATIENCE: u32 = 1 << 12;

impl Default for SizeGovernor {
    fn default() -> Self {
        Self::new()
    }
}

impl SizeGovernor {
    /// Without a limit.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limit: u32::MAX,
            failed: 0,
            step: 1,
            successes: 0,
            patience: FIRST_PATIENCE,
            grown: false,
        }
    }

    /// The most items for the next batch of a model that allows `max_items`: at least 1, and no more than
    /// `max_items` (of which 0 counts as 1).
    #[must_use]
    pub fn limit(&self, max_items: u32) -> u32 {
        self.limit.min(max_items).max(1)
    }

    /// The device had no memory for a batch of `items`. No items say nothing.
    pub fn out_of_memory(&mut self, items: u32) {
        if items == 0 {
            return;
        }
        // A step further was tried, and that was too far.
        let again = self.grown && items <= self.limit;
        if again {
            self.patience = self.patience.saturating_mul(2).min(LAST_PATIENCE);
        }
        // One that began before the limit fell takes it no further than its own half; one that was tried
        // again by a step goes back by a step.
        let back = if again { items.saturating_sub(self.step) } else { items / 2 };
        self.limit = self.limit.min(back.max(1));
        self.failed = items.max(2);
        self.step = (items / STEPS).max(1);
        self.successes = 0;
        self.grown = false;
    }

    /// A batch of `items` ran. Only one as large as the limit counts.
    pub fn succeeded(&mut self, items: u32) {
        if items < self.limit || self.limit == u32::MAX {
            return;
        }
        let next = self.limit.saturating_add(self.step);
        if self.failed == 0 || next < self.failed {
            self.limit = next;
            self.grown = true;
            return;
        }
        self.successes += 1;
        if self.successes >= self.patience {
            // Whatever comes of it: until it fails again, nothing is known to.
            self.limit = self.failed;
            self.failed = 0;
            self.successes = 0;
            self.grown = true;
        }
    }
}

#[cfg(test)]
mod batch_scheduler {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_what_fits_seldom_fails_and_grows_back(max in 1..300u32, fits in 1..300u32) {
            let mut size = SizeGovernor::new();
            let mut failures = 0;
            let mut run = |size: &mut SizeGovernor, fits: u32| {
                let items = size.limit(max);
                assert!((1..=max).contains(&items));
                if items > fits {
                    size.out_of_memory(items);
                    failures += 1;
                } else {
                    size.succeeded(items);
                }
            };
            for _ in 0..100_000 {
                run(&mut size, fits);
            }
            if fits < max {
                prop_assert!(size.limit(max) >= fits / 2, "{} of {fits}", size.limit(max));
            }
            for _ in 0..10_000 {
                run(&mut size, max);
            }
            prop_assert_eq!(size.limit(max), max);
            prop_assert!(failures < 60, "{} failures in 100,000 runs", failures);
        }
    }
}
