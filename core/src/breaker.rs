//! When to stop calling what fails.
//!
//! [`Breaker`] is a circuit breaker that any number of threads share without a lock. Closed, it lets
//! calls pass and watches their outcomes; open, it refuses them, so that what fails gets rest and
//! callers a quick answer; half open, it lets a few calls through as probes and decides by them.
//!
//! # The rules
//! * **Closed → open** at the report after which one of the configured rules holds: so many failures
//!   in a row; or, among the calls of a window that has seen a minimum of them, a share of failures,
//!   or a share of slow calls.
//! * **Open → half open** by the first call after the time is over, which is the first probe. The
//!   time grows by a factor with each opening since the breaker was last closed, up to a limit, and
//!   is shortened by a random part, so that many breakers do not probe at once. The random numbers
//!   follow from the seed: same seed and history, same times.
//! * **Half open → closed** once the wanted share of the probes has succeeded, **→ open** once it
//!   can no longer be reached. There are never more probes than configured.
//! * **A half-open always ends.** Probes that have not reported one probe timeout after the last of
//!   them was admitted count as failed. A probe that is [ignored](Outcome::Ignored) gives its place
//!   back, but only the first 255 in one half-open.
//! * **An answer counts for the state in which its call was admitted.** One that comes after a change
//!   of state, or after its probe's time, is [`Late`](Effect::Late) and changes nothing.
//!
//! There is no gradual return after closing: it would need a decision for each admitted call, where
//! now there is one load. More probes, or a token bucket whose rate grows, does that.
//!
//! # How it counts
//! Two 64-bit words and a window, all in `&self`:
//!
//! | state word | bits | |
//! |---|---|---|
//! | state | 2 | closed, open, half open |
//! | epoch | 24 | one more at each change of state, and when probes expire; permits carry it |
//! | closed: failures in a row | 32 | |
//! | open, half open: openings since closed | 6 | stops at 63 |
//! | half open: ignored, admitted, succeeded, failed | 8 each | |
//!
//! A change of state is one compare-and-swap of that word, so exactly one thread makes it. The other
//! word holds a time and the lowest 14 bits of the epoch it is for: until when the breaker is open,
//! or when the probes expire. The thread that opened writes it next; should it be stopped in between,
//! the first to ask writes it instead, counted from its own `now`. The deadline of probes is moved
//! *before* one is admitted, so it is never early. Times are kept in steps of 2^14 ns, rounded up.
//!
//! The window is a ring of 8 slices of time, each one word: the epoch (8 bits) and the lap (23 bits)
//! it is of, and its calls, failures and slow calls (11 bits each), which change together. So the sum
//! over the window is of whole reports: all that were over before it began, and any of those that
//! were not. A report belongs to the slice of its own `now`; the window reaches 7 slices further back.
//! A slice with 2047 calls halves its counts first, which changes a share by less than 1 in 1000.
//!
//! The permit of a call must not be in flight for 2^24 changes of state. A slice that nobody touched
//! for exactly 2^23 windows is taken for a present one.
//!
//! # What it costs
//! **Memory:** 256 bytes. **Progress:** a call that finds it closed is wait-free, one load; everything
//! else is lock-free, and tries again only when another thread changed something. **Time:** O(1).
//!
//! On one thread a call and its report take 6 ns without a rate and 24 ns with one, which divides once
//! and reads 8 slices; a refusal takes 10 ns.
//!
//! # Sources
//! M. Nygard, *Release It!*, chapter 5, "Circuit Breaker". The words (failure rate, slow call rate,
//! minimum number of calls) and that rates hold from the threshold on are those of
//! [resilience4j](https://resilience4j.readme.io/docs/circuitbreaker). The random numbers are
//! SplitMix64's (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).

mod circuit;
mod config;
mod deadline;
mod window;
mod word;

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod models;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod workflow;

pub use circuit::{Breaker, Effect, Outcome, Permit, Refused, State};
pub use config::{BreakerConfig, ConfigError};
