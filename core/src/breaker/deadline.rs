//! A time and the epoch it is for, in 64 bits.

use crate::Instant;

/// Times are kept in steps of 2^14 ns: 50 bits reach as far as an [`Instant`].
const STEP_BITS: u32 = 14;
const EPOCH_BITS: u32 = 14;
const EPOCHS: u64 = 1 << EPOCH_BITS;
const LAST_STEP: u64 = u64::MAX >> STEP_BITS;

/// `at`, rounded up to a step, for `epoch`. The last step begins before the end of time, so no
/// deadline never comes.
pub(super) const fn pack(epoch: u32, at: Instant) -> u64 {
    let steps = at.as_nanos().div_ceil(1 << STEP_BITS);
    let steps = if steps < LAST_STEP { steps } else { LAST_STEP };
    steps << EPOCH_BITS | (epoch as u64 % EPOCHS)
}

/// The time, if it is for `epoch`.
pub(super) const fn of(epoch: u32, word: u64) -> Option<Instant> {
    if word % EPOCHS != epoch as u64 % EPOCHS {
        return None;
    }
    Some(Instant::from_nanos(word >> EPOCH_BITS << STEP_BITS))
}

/// `at`, as it is when packed.
pub(super) const fn rounded(at: Instant) -> Instant {
    Instant::from_nanos(pack(0, at) >> EPOCH_BITS << STEP_BITS)
}
