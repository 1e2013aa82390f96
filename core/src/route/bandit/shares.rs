//! Shares that one thread at a time writes and all read.

use super::super::split::{MAX_ARMS, Weights};
use crate::sync::{AtomicU64, Ordering, array_of, fence};

/// Four shares to a word.
const WORDS: usize = MAX_ARMS / 4;

/// The shares in force, and a place for the next ones. Who reads looks again only where they changed
/// meanwhile.
#[derive(Debug)]
pub(super) struct Shares {
    /// How often they changed: those in force are in the first place where this is even.
    changes: AtomicU64,
    places: [[AtomicU64; WORDS]; 2],
}

impl Shares {
    pub(super) fn new(weights: &Weights) -> Self {
        let (changes, places) =
            (AtomicU64::new(0), array_of![array_of![AtomicU64::new(0); WORDS]; 2]);
        let shares = Self { changes, places };
        shares.publish(weights); // into the second place
        shares
    }

    /// Those in force, of so many arms.
    pub(super) fn current(&self, arms: usize) -> Weights {
        loop {
            let changes = self.changes.load(Ordering::Acquire);
            let words = self.place(changes).each_ref().map(|word| word.load(Ordering::Relaxed));
            // If a word is of a later change, that change's number is seen now.
            fence(Ordering::Acquire);
            if self.changes.load(Ordering::Relaxed) == changes {
                return Weights::unpack(words, arms);
            }
        }
    }

    /// For one thread at a time.
    pub(super) fn publish(&self, weights: &Weights) {
        let changes = self.changes.load(Ordering::Relaxed).wrapping_add(1);
        // Who sees a word of this change sees the number of the one before, which put the other place in
        // force.
        fence(Ordering::Release);
        for (place, word) in self.place(changes).iter().zip(weights.pack()) {
            place.store(word, Ordering::Relaxed);
        }
        self.changes.store(changes, Ordering::Release);
    }

    fn place(&self, changes: u64) -> &[AtomicU64; WORDS] {
        let [even, odd] = &self.places;
        if changes.is_multiple_of(2) { even } else { odd }
    }
}
