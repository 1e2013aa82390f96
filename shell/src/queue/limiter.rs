//! The token bucket, in one word.

use portable_atomic::{AtomicU128, Ordering};

/// Below this, `f64` tells every whole number from the next.
const EXACT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

/// A token bucket that any number of threads share without a lock.
///
/// Holds up to `capacity` tokens, full at time 0, and gains `refill_rate` tokens in each unit of the
/// caller's time. The clock of the limiter is the latest `now` that any call passed: an earlier one
/// counts as that, so it refills nothing and takes nothing back.
///
/// **Precision:** tokens are an `f64`. Each refill rounds to the nearest, so one of less than 2^-53
/// of what is there adds nothing. From 2^53 tokens up, where `f64` skips whole tokens, all rounding
/// is down: nothing is admitted that was not there.
///
/// **Atomicity:** tokens and clock change together, in one compare-and-swap of 128 bits.
///
/// **Progress:** lock-free and O(1): a call tries again only when another one succeeded. The few
/// processors without such an instruction (the first x86-64 ones) take a short lock instead.
///
/// ```
/// use tensorforge::queue::RateLimiter;
///
/// let limiter = RateLimiter::new(5.0, 1.0);
/// assert!(limiter.try_acquire_batch(3, 0));
/// assert_eq!(limiter.available(), 2.0);
/// assert!(!limiter.try_acquire_batch(3, 0)); // and takes nothing
/// assert!(limiter.try_acquire_batch(3, 1));
/// ```
pub struct RateLimiter {
    capacity: f64,
    refill_rate: f64,
    /// A [`Bucket`], packed. Nothing else is published with it, so its own order is enough.
    bucket: AtomicU128,
}

/// How many tokens there were at the latest time known.
#[derive(Clone, Copy)]
struct Bucket {
    /// Never NaN, from 0 to the capacity.
    tokens: f64,
    latest: u64,
}

impl RateLimiter {
    /// A full bucket at time 0.
    ///
    /// A negative or NaN argument counts as 0: without capacity only batches of 0 pass; at rate 0
    /// nothing is ever refilled. An infinite capacity never refuses. An infinite rate refills fully
    /// whenever time moves on.
    #[must_use]
    pub fn new(capacity: f64, refill_rate: f64) -> Self {
        let (capacity, refill_rate) = (or_zero(capacity), or_zero(refill_rate));
        let full = Bucket { tokens: capacity, latest: 0 };
        Self { capacity, refill_rate, bucket: AtomicU128::new(full.pack()) }
    }

    /// Takes one token at time `now`. `false`, with nothing taken, if there is less than one.
    pub fn try_acquire(&self, now: u64) -> bool {
        self.try_acquire_batch(1, now)
    }

    /// Takes `count` tokens at time `now`, all or none: `false`, with nothing taken, if there are
    /// fewer. A count of 0 always passes.
    pub fn try_acquire_batch(&self, count: usize, now: u64) -> bool {
        let needed = round_up(count as u64);
        self.update(now, |tokens| {
            if tokens >= needed { (difference(tokens, needed), true) } else { (tokens, false) }
        })
    }

    /// Moves the clock to `now`, if that is later, and adds what was gained since.
    pub fn refill(&self, now: u64) {
        self.update(now, |tokens| (tokens, ()));
    }

    /// The tokens that were there at the latest time passed to any call. Never NaN; infinite only if
    /// the capacity is.
    #[must_use]
    pub fn available(&self) -> f64 {
        self.bucket().tokens
    }

    fn bucket(&self) -> Bucket {
        Bucket::unpack(self.bucket.load(Ordering::Relaxed))
    }

    /// Refills, lets `take` say how many tokens are left then, and stores both at once.
    fn update<R>(&self, now: u64, take: impl Fn(f64) -> (f64, R)) -> R {
        let mut seen = self.bucket.load(Ordering::Relaxed);
        loop {
            let Bucket { tokens, latest } = self.refilled(Bucket::unpack(seen), now);
            let (tokens, answer) = take(tokens);
            let next = Bucket { tokens, latest }.pack();
            if next == seen {
                return answer;
            }
            let order = Ordering::Relaxed;
            match self.bucket.compare_exchange_weak(seen, next, order, order) {
                Ok(_) => return answer,
                Err(newer) => seen = newer,
            }
        }
    }

    fn refilled(&self, bucket: Bucket, now: u64) -> Bucket {
        if now <= bucket.latest {
            return bucket;
        }
        let gained = product(self.refill_rate, round_down(now - bucket.latest));
        Bucket { tokens: sum(bucket.tokens, gained).min(self.capacity), latest: now }
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Bucket { tokens, latest } = self.bucket();
        f.debug_struct("RateLimiter")
            .field("capacity", &self.capacity)
            .field("refill_rate", &self.refill_rate)
            .field("available", &tokens)
            .field("latest", &latest)
            .finish()
    }
}

impl Bucket {
    fn pack(self) -> u128 {
        u128::from(self.latest) << 64 | u128::from(self.tokens.to_bits())
    }

    fn unpack(word: u128) -> Self {
        Self { tokens: f64::from_bits(word as u64), latest: (word >> 64) as u64 }
    }
}

/// Negative numbers and NaN count as 0.
fn or_zero(number: f64) -> f64 {
    if number > 0.0 { number } else { 0.0 }
}

// Arithmetic on what is neither negative nor NaN, with every result from `EXACT` up rounded down.

fn round_up(whole: u64) -> f64 {
    let nearest = whole as f64;
    if (nearest as u128) < u128::from(whole) { nearest.next_up() } else { nearest }
}

fn round_down(whole: u64) -> f64 {
    let nearest = whole as f64;
    if nearest as u128 > u128::from(whole) { nearest.next_down() } else { nearest }
}

/// `units` is at least 1: 0 × infinity would be NaN.
fn product(rate: f64, units: f64) -> f64 {
    let nearest = rate * units;
    lowered(nearest, || rate.mul_add(units, -nearest))
}

fn sum(a: f64, b: f64) -> f64 {
    let nearest = a + b;
    lowered(nearest, || error_of_sum(a, b, nearest))
}

/// `from` is not less than `taken`, which is finite.
fn difference(from: f64, taken: f64) -> f64 {
    let nearest = from - taken;
    lowered(nearest, || error_of_sum(from, -taken, nearest))
}

fn lowered(nearest: f64, error: impl FnOnce() -> f64) -> f64 {
    if nearest >= EXACT && error() < 0.0 { nearest.next_down() } else { nearest }
}

/// Exactly a + b − `nearest`, the rounded sum (Knuth's TwoSum).
fn error_of_sum(a: f64, b: f64, nearest: f64) -> f64 {
    let b_part = nearest - a;
    let a_part = nearest - b_part;
    (a - a_part) + (b - b_part)
}

#[cfg(test)]
mod tests;
