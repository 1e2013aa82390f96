//! The one place of the benchmarks that reads a clock: the processor's counter for single
//! operations, std's for everything longer.
#![allow(unsafe_code, reason = "the processor's counter is an intrinsic")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time by std's clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the clock reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// A count that rises with time, at [`nanoseconds_per_tick`]. Reading it costs about 10 ns, waits
/// for the instructions before it, and enters no kernel.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    let mut processor = 0;
    // SAFETY: every x86-64 processor of the last fifteen years has RDTSCP; it writes `processor`.
    unsafe { core::arch::x86_64::__rdtscp(&raw mut processor) }
}

/// Nanoseconds since the first call, where the counter is not known to us.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn ticks() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(now);
    ORIGIN.elapsed().as_nanos() as u64
}

/// Measured against std's clock once, at the first call, which takes 50 ms.
#[must_use]
pub fn nanoseconds_per_tick() -> f64 {
    static RATE: LazyLock<f64> = LazyLock::new(|| {
        let (start, first) = (now(), ticks());
        std::thread::sleep(Duration::from_millis(50));
        let (elapsed, last) = (start.elapsed(), ticks());
        elapsed.as_nanos() as f64 / last.saturating_sub(first).max(1) as f64
    });
    *RATE
}
