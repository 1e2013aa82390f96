//! Quantiles of a stream in fixed memory.
//!
//! | | answers | memory | error |
//! |---|---|---|---|
//! | [`Sketch`] | over everything inserted | 8 KiB | at most 0.78 % of the value, on any input |
//! | [`Window`] | over the last N values | 8 KiB + 2 N bytes | the same |
//! | [`P2`] | over everything inserted | 112 bytes a quantile | none is promised |
//!
//! Latencies decide routing, batching and alarms. They often come in clusters far apart (a cache that
//! hits or misses, a cold start), and there an estimate of the right *rank* can be wrong in *value*
//! by a factor of a hundred. So [`Sketch`] and [`Window`] bound the error of the value itself.
//!
//! # The buckets
//! A positive `f64` is 2^e × (1 + m), and its bits, read as an integer, grow with the value. The upper
//! bits, down to the sixth of `m`, number the buckets: 64 to an octave (a power of two), each of the
//! same width inside its octave. Finding a value's bucket is a shift and a subtraction.
//!
//! # Why 1 % holds
//! Bucket `k` of an octave holds the values in `[l, u)` with `l = 2^e (64 + k) / 64` and
//! `u = 2^e (65 + k) / 64`. Its answer is the harmonic mean of its edges, `r = 2lu / (l + u)`, whose
//! relative error is the same at both: `(r - l) / l = (u - r) / u = (u - l) / (u + l)`, and less for
//! every value between. That is `1 / (129 + 2k)`, at most 1 / 129 = 0.776 %. The answer is then
//! moved to the nearest of the smallest and the largest value seen, if it lies outside them, which
//! can only bring it nearer. Buckets keep the order of the values, so the bucket that holds the
//! wanted rank is known exactly, and with it the value of that rank to 0.776 %: on every
//! distribution, after every merge, at every step of a window.
//!
//! # What is no value in range
//! | value | answer |
//! |---|---|
//! | 0.0, -0.0 | counted as zeros, exactly |
//! | below the range, subnormals too | counted as [below](Sketch::below); a quantile there is [`Estimate::Below`] |
//! | above the range | counted as [above](Sketch::above); a quantile there is [`Estimate::Above`] |
//! | negative, NaN, infinite or 2^960 and more | dropped, counted as [rejected](Sketch::rejected) |
//!
//! # Ranks
//! The quantile `q` of `n` values is the nearest rank: the smallest value with at least `q n` values
//! at or below it. The quantile 0 is the smallest value, 1 the largest. A `q` outside 0 to 1, or NaN,
//! has no answer, nor has one of no values.
//!
//! Sources: the log-linear layout is that of HdrHistogram (Tene); relative error as the promise, and
//! why rank error is not enough, are from Masson, Rim and Lee, *DDSketch*, VLDB 2019.

mod estimate;
mod grid;
mod p2;
mod sketch;
mod window;

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod statistics;

pub use estimate::Estimate;
pub use grid::RangeError;
pub use p2::P2;
pub use sketch::{Counter, MergeError, Sketch};
pub use window::Window;

/// The rank of quantile `q` among `n` values, counted from 1: the smallest with `rank / n >= q`.
///
/// The quotient decides: 0.07 of 100 is rank 7, though `0.07 * 100.0` is more than 7.
fn nearest_rank(q: f64, n: u64) -> Option<u64> {
    if n == 0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    // A product of 2^53 or more may be wrong by more than 1; no count comes near.
    let below = (q * n as f64) as u64;
    let rank = below + u64::from((below as f64 / (n as f64)) < q);
    Some(rank.clamp(1, n))
}
