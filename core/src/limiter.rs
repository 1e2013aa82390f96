//! How much may pass in how much time.
//!
//! [`TokenBucket`] is a bucket of tokens that refills at a steady rate, shared by any number of
//! threads without a lock; [`acquire_all`] takes from several at once.
//!
//! # How it counts
//! The generic cell rate algorithm (ITU-T I.371), on one 64-bit word, counted in parts of a token
//! and not in time: `accrued(now)` is how many parts the rate has brought since time zero, and the
//! word is the number of parts at which the bucket is full again. A take moves the word up by the
//! cost's parts, and is refused if that leaves it further above `accrued(now)` than the burst.
//! A token has 2^k parts, the largest power of two with which a part takes at least 4 ns to accrue.
//! `accrued(now)` is one multiplication by a 64-bit fraction, wrong by less than one part over all
//! of time, however often it is computed: so nothing drifts, whether or not the rate divides a second.
//!
//! # What it costs
//! An admission is one load and one compare-and-swap; a refusal writes nothing; neither divides. On
//! one thread an admission takes 3.6 ns, of which a bare load and compare-and-swap take 2.4.

mod bucket;
mod group;
mod quota;

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod models;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod queue;

pub use bucket::{ChangeInProgress, Decision, TokenBucket};
pub use group::{Refusal, acquire_all};
pub use quota::{Quota, QuotaError};
