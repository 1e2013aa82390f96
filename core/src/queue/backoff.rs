//! How threads that lose a compare-and-swap stay out of the winner's way, and get their turn.
//!
//! A thread that works alone keeps the queue's state in its cache and is several times faster than
//! two that take it from each other at each operation. So a loser first stays away for a while, then
//! asks for its turn, and whoever sees that stays away in turn. Both pauses are of bounded length
//! whatever the others do, so nobody ever waits for anybody.

use crate::sync::{AtomicU32, Ordering, const_unless_loom, fence, spin_loop};

/// A loser's first pause, in spins; each is sixteen times as long as the one before, up to the last.
const FIRST: u32 = 2;
const LAST: u32 = 1 << 13;
/// How long others let one that asked for its turn pass: in spins.
const COURTESY: u32 = 24;

/// Whether a thread asks for its turn. Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Turn(AtomicU32);

impl Turn {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// At the start of each operation.
    #[inline(always)]
    pub(super) fn give_way(&self) -> Backoff<'_> {
        if !cfg!(any(test, loom)) && self.0.load(Ordering::Relaxed) != 0 {
            self.pause();
        }
        Backoff { turn: self, pause: FIRST, asked: false }
    }

    #[cold]
    fn pause(&self) {
        for _ in 0..COURTESY {
            spin_loop();
            if self.0.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What one operation does when it lost.
pub(super) struct Backoff<'q> {
    turn: &'q Turn,
    pause: u32,
    asked: bool,
}

impl Backoff<'_> {
    #[cold]
    pub(super) fn lost(&mut self) {
        // What was read torn was written by one who had seen a newer root: so will this thread now.
        // Pairs with the fence in `Seated::claim`.
        fence(Ordering::Acquire);
        if cfg!(test) {
            return; // there, the test decides who runs
        }
        if cfg!(loom) {
            return spin_loop();
        }
        if self.pause <= LAST {
            for _ in 0..self.pause {
                spin_loop();
            }
            self.pause *= 16;
        }
        if self.pause > LAST {
            self.asked = true;
            self.turn.0.store(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Backoff<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.asked {
            self.turn.0.store(0, Ordering::Relaxed);
        }
    }
}
