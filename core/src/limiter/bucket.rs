//! The bucket.

use super::quota::{MOST_PARTS, Quota};
use crate::sync::{AtomicU32, AtomicU64, Ordering, const_unless_loom, fence, spin_loop};
use crate::{Duration, Instant};

/// A token bucket that any number of threads share without a lock.
///
/// Times are the caller's, and come in any order. A bucket is full at time zero. It knows of time
/// only what takes tell it, so an earlier `now` than the last one refills nothing: it sees the
/// bucket as it was then, less all that was taken since.
///
/// **Progress:** takes, refunds and changes of the quota are lock-free: they try again only when
/// another one succeeded; peeks are lock-free too, and try again only when the quota changed. A
/// change of the quota that meets another in progress is refused, and delays nobody.
///
/// ```
/// use tensorforge_core::{Duration, Instant, limiter::{Quota, TokenBucket}};
///
/// let bucket = TokenBucket::new(Quota::per_second(3, 2).unwrap());
/// let start = Instant::from_nanos(1_000);
/// assert!(bucket.try_acquire(start) && bucket.try_acquire(start) && !bucket.try_acquire(start));
///
/// let decision = bucket.peek(1, start);
/// assert!(decision.limited);
/// // A third of a second, to within the 4 ns that a part of a token takes.
/// let wait = decision.retry_after.unwrap();
/// assert!(wait.as_nanos().abs_diff(333_333_334) <= 8);
/// assert!(bucket.try_acquire(start + wait));
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    word: Word,
    configurations: [Configuration; 2],
    /// Twice the number of changes of the quota so far, and one more while one is in progress.
    changes: AtomicU32,
}

/// The parts at which the bucket is full, and in the lowest bit which configuration they are of.
/// Alone on its cache line: the configurations stay in every processor's cache.
#[derive(Debug)]
#[repr(align(64))]
struct Word(AtomicU64);

#[derive(Debug)]
struct Configuration {
    parts_per_nano: AtomicU64,
    token_bits: AtomicU32,
    burst: AtomicU64,
}

impl Configuration {
    const_unless_loom! {
        fn new(quota: Quota) -> Self {
            Self {
                parts_per_nano: AtomicU64::new(quota.parts_per_nano),
                token_bits: AtomicU32::new(quota.token_bits),
                burst: AtomicU64::new(quota.burst),
            }
        }
    }

    #[inline(always)]
    fn load(&self) -> Quota {
        Quota {
            parts_per_nano: self.parts_per_nano.load(Ordering::Relaxed),
            token_bits: self.token_bits.load(Ordering::Relaxed) & 63,
            burst: self.burst.load(Ordering::Relaxed),
        }
    }

    fn store(&self, quota: Quota) {
        self.parts_per_nano.store(quota.parts_per_nano, Ordering::Relaxed);
        self.token_bits.store(quota.token_bits, Ordering::Relaxed);
        self.burst.store(quota.burst, Ordering::Relaxed);
    }
}

/// What a bucket says to a cost: everything from the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the cost is refused.
    pub limited: bool,
    /// Whole tokens in the bucket; after the take, if it was one that passed.
    pub remaining: u64,
    /// How long to wait until the cost would pass, if nobody else takes: zero if it passes now,
    /// `None` for never, because it is more than the burst or nothing refills.
    pub retry_after: Option<Duration>,
    /// How long until the bucket is full, if nobody takes; `None` for never.
    pub reset_after: Option<Duration>,
}

/// Another thread is changing the quota at this moment, or was stopped while it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeInProgress;

impl core::fmt::Display for ChangeInProgress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("another change of this bucket's quota is in progress; try again")
    }
}

impl core::error::Error for ChangeInProgress {}

/// One coherent look at a bucket.
#[derive(Clone, Copy)]
struct View {
    word: u64,
    /// The word's lowest bit, known without the word.
    configuration: u64,
    quota: Quota,
}

impl View {
    /// The parts at which the bucket is full.
    #[inline(always)]
    const fn full_at(self) -> u64 {
        self.word >> 1
    }

    /// The word after taking `parts` at a time when `accrued` had accrued, or `None` if refused.
    #[inline(always)]
    fn after_taking(self, parts: u64, accrued: u64) -> Option<u64> {
        // All of it fits: `accrued` is at most 2^62, `parts` and what the bucket was short of below
        // 2^61. In the word's own scale and with its lowest bit, so that only a comparison and an
        // addition are left to do once the word is loaded.
        let accrued = accrued << 1 | self.configuration;
        let full_at = self.word.max(accrued).wrapping_add(parts << 1);
        (full_at.wrapping_sub(accrued) <= self.quota.burst_parts() << 1).then_some(full_at)
    }

    /// `accrued` is what `now` brought; `taken` the parts taken if the cost passed.
    fn decision(self, tokens: u64, now: Instant, takes: bool) -> Decision {
        let (quota, accrued) = (self.quota, self.quota.accrued(now));
        let burst = quota.burst_parts();
        let (limited, full_at, wait) = match quota.parts(tokens) {
            None => (true, self.full_at(), None),
            // Nothing costs nothing, also where the bucket is overdrawn.
            Some(0) => (false, self.full_at(), Some(Duration::ZERO)),
            Some(parts) => match self.after_taking(parts, accrued) {
                Some(word) if takes => (false, word >> 1, Some(Duration::ZERO)),
                Some(_) => (false, self.full_at(), Some(Duration::ZERO)),
                None => {
                    let enough = (self.full_at() + parts).saturating_sub(burst);
                    (true, self.full_at(), quota.until_accrued(enough, now))
                }
            },
        };
        let missing = full_at.saturating_sub(accrued);
        Decision {
            limited,
            remaining: burst.saturating_sub(missing) >> quota.token_bits,
            retry_after: wait,
            reset_after: quota.until_accrued(full_at, now),
        }
    }
}

impl TokenBucket {
    const_unless_loom! {
        /// A full bucket.
        pub fn new(quota: Quota) -> Self {
            Self {
                word: Word(AtomicU64::new(0)),
                configurations: [Configuration::new(quota), Configuration::new(quota)],
                changes: AtomicU32::new(0),
            }
        }
    }

    /// Takes one token, if there is one at `now`.
    #[inline]
    pub fn try_acquire(&self, now: Instant) -> bool {
        self.take(1, now).is_some()
    }

    /// Takes `tokens` at `now`, all or none. Zero tokens are always there.
    #[inline]
    pub fn try_acquire_n(&self, tokens: u64, now: Instant) -> bool {
        tokens == 0 || self.take(tokens, now).is_some()
    }

    /// [`try_acquire_n`](Self::try_acquire_n) with the whole answer, for which it divides.
    pub fn acquire(&self, tokens: u64, now: Instant) -> Decision {
        let mut backoff = Backoff::new();
        loop {
            let view = self.view();
            let Some(parts) = view.quota.parts(tokens).filter(|&parts| parts > 0) else {
                return view.decision(tokens, now, true);
            };
            let taken = view.after_taking(parts, view.quota.accrued(now));
            if taken.is_none_or(|word| self.replace(view.word, word)) {
                return view.decision(tokens, now, true);
            }
            backoff.lost();
        }
    }

    /// What [`acquire`](Self::acquire) would say, without taking.
    pub fn peek(&self, tokens: u64, now: Instant) -> Decision {
        self.view().decision(tokens, now, false)
    }

    /// Gives `tokens` back that were taken and not used. The bucket never holds more than the burst.
    pub fn refund(&self, tokens: u64) {
        let mut backoff = Backoff::new();
        loop {
            let view = self.view();
            // More than the burst fill the bucket at once.
            let parts = view.quota.parts(tokens).unwrap_or(MOST_PARTS);
            let full_at = view.full_at().saturating_sub(parts);
            if self.replace(view.word, full_at << 1 | view.word & 1) {
                return;
            }
            backoff.lost();
        }
    }

    /// Changes rate and burst at `now`. What was taken and has not been refilled by then stays taken:
    /// with 3 of 10 tokens left, a burst of 20 leaves 13, and a burst of 5 leaves none until more than
    /// two are refilled.
    ///
    /// A take that overlaps with changes is decided wholly under one of the quotas that were in force
    /// during it, never under the rate of one and the burst of another.
    pub fn change(&self, quota: Quota, now: Instant) -> Result<(), ChangeInProgress> {
        let changes = self.changes.load(Ordering::Relaxed);
        let (idle, begun) = (changes & !1, changes | 1);
        let begins =
            self.changes.compare_exchange(idle, begun, Ordering::Acquire, Ordering::Relaxed);
        if begins.is_err() {
            return Err(ChangeInProgress);
        }
        // Whoever reads what is stored from here on also reads that a change has begun. Pairs with
        // the fence in `view`.
        fence(Ordering::Release);
        // Only this thread changes which configuration is current.
        let current = (self.word.0.load(Ordering::Relaxed) & 1) as usize;
        let old = self.configurations[current].load();
        self.configurations[current ^ 1].store(quota);
        loop {
            let word = self.word.0.load(Ordering::Relaxed);
            let used = (word >> 1).saturating_sub(old.accrued(now));
            let used = u128::from(used) << quota.token_bits >> old.token_bits;
            let used = u64::try_from(used).unwrap_or(MOST_PARTS).min(MOST_PARTS);
            let full_at = quota.accrued(now) + used;
            if self.replace(word, full_at << 1 | (current ^ 1) as u64) {
                break;
            }
        }
        self.changes.store(idle.wrapping_add(2), Ordering::Release);
        Ok(())
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.view().quota
    }

    #[inline(always)]
    fn take(&self, tokens: u64, now: Instant) -> Option<()> {
        let mut backoff = Backoff::new();
        loop {
            let view = self.view();
            let word = view.after_taking(view.quota.parts(tokens)?, view.quota.accrued(now))?;
            if self.replace(view.word, word) {
                return Some(());
            }
            backoff.lost();
        }
    }

    #[inline(always)]
    fn view(&self) -> View {
        loop {
            let changes = self.changes.load(Ordering::Acquire);
            // Known without the word, so that the processor need not wait for it.
            let expected = (changes >> 1 & 1) as usize;
            let mut configuration = expected;
            let mut quota = self.configurations[expected].load();
            let word = self.word.0.load(Ordering::Acquire);
            let actual = (word & 1) as usize;
            if changes & 1 == 1 || actual != expected {
                configuration = actual;
                quota = self.configurations[actual].load();
            }
            fence(Ordering::Acquire);
            if self.changes.load(Ordering::Relaxed) == changes {
                return View { word, configuration: configuration as u64, quota };
            }
        }
    }

    #[inline(always)]
    fn replace(&self, word: u64, with: u64) -> bool {
        self.word.0.compare_exchange(word, with, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// A loser stays away for a bounded time, longer the more often it loses: two processors that take
/// the word from each other at each take do less together than one alone.
struct Backoff(u32);

impl Backoff {
    const LAST: u32 = 1 << 9;

    const fn new() -> Self {
        Self(2)
    }

    #[cold]
    fn lost(&mut self) {
        if cfg!(any(test, loom)) {
            return; // there, the test decides who runs
        }
        for _ in 0..self.0 {
            spin_loop();
        }
        self.0 = (self.0 * 16).min(Self::LAST);
    }
}
