//! How long to stay away after losing a compare-and-swap.

use crate::sync::spin_loop;

/// Doubles the pause at each loss, up to a limit. A pause of bounded length is no wait: nothing has
/// to happen for it to end.
pub(super) struct Backoff(u32);

impl Backoff {
    const FIRST: u32 = 2;
    const LAST: u32 = 6;

    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    #[inline]
    pub(super) fn lost(&mut self) {
        if cfg!(test) {
            return; // there, the test decides who runs
        }
        if cfg!(loom) {
            return spin_loop();
        }
        for _ in 0..1 << self.0 {
            spin_loop();
        }
        self.0 = (self.0 + 1).min(Self::LAST);
    }
}
