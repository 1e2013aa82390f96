//! How busy an endpoint is, and how long it takes.

use super::Candidate;
use crate::sync::{AtomicU64, Ordering, const_unless_loom};
use crate::{Duration, Instant};

/// Ages are kept in steps of 2^20 ns, about a millisecond.
const STEP_BITS: u32 = 20;

/// What is outstanding at an endpoint and its Peak-EWMA latency, shared by any number of threads.
///
/// A latency above the average becomes the average; one below draws it down, the more the longer ago the
/// last one came: see [`PeakEwma`](crate::stats::PeakEwma). The average is kept to 24 bits, its time to a
/// millisecond; an endpoint that was idle for 26 days counts as just heard of.
///
/// **Progress:** [`begin`](Self::begin) and reads are wait-free, the rest is lock-free. **Memory:** 24
/// bytes.
///
/// ```
/// use tensorforge_core::route::EndpointLoad;
/// use tensorforge_core::{Duration, Instant};
///
/// let load = EndpointLoad::new(Duration::from_secs(10));
/// let call = load.begin();
/// assert_eq!(load.outstanding(), 1);
/// let now = Instant::ZERO + Duration::from_secs(1);
/// load.finish(call, Some(Duration::from_millis(20)), now);
/// let latency = load.latency(now).unwrap().0.as_nanos();
/// assert!(latency.abs_diff(20_000_000) < 2); // 24 bits
/// ```
#[derive(Debug)]
pub struct EndpointLoad {
    outstanding: AtomicU64,
    /// The average in nanoseconds as an `f32`, and the step of its time; 0 before the first.
    average: AtomicU64,
    time_constant: Duration,
}

/// A request under way, to be given back to [`EndpointLoad::finish`]. One that is dropped stays
/// outstanding.
#[must_use = "a request that does not finish stays outstanding"]
#[derive(Debug, PartialEq, Eq)]
pub struct InFlight(());

impl EndpointLoad {
    const_unless_loom! {
        /// Nothing outstanding, nothing known. What was known `time_constant` ago counts 1 / e.
        #[must_use]
        pub fn new(time_constant: Duration) -> Self {
            Self { outstanding: AtomicU64::new(0), average: AtomicU64::new(0), time_constant }
        }
    }

    /// A request is sent.
    pub fn begin(&self) -> InFlight {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        InFlight(())
    }

    /// A request is sent, unless `limit` are outstanding. Between choosing an endpoint and sending to it
    /// others may have come; this holds the limit all the same.
    pub fn try_begin(&self, limit: u32) -> Option<InFlight> {
        let mut outstanding = self.outstanding.load(Ordering::Relaxed);
        while outstanding < u64::from(limit) {
            let swapped = self.outstanding.compare_exchange_weak(
                outstanding,
                outstanding + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Some(InFlight(())),
                Err(other) => outstanding = other,
            }
        }
        None
    }

    /// It is over. `latency` is how long it took, if that says something about the endpoint.
    pub fn finish(&self, call: InFlight, latency: Option<Duration>, now: Instant) {
        let InFlight(()) = call;
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        if let Some(latency) = latency {
            self.record(latency, now);
        }
    }

    /// How many requests are outstanding.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        u32::try_from(self.outstanding.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// The average, and when it was measured, as seen from `now`; `None` before the first.
    #[inline]
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<(Duration, Instant)> {
        let average = Average::unpack(self.average.load(Ordering::Relaxed))?;
        let age = u64::from(average.age(step_of(now))) << STEP_BITS;
        let measured_at = now.as_nanos().saturating_sub(age);
        Some((Duration::from_nanos(average.nanos as u64), Instant::from_nanos(measured_at)))
    }

    /// `candidate` with these figures in place of its own.
    #[inline]
    #[must_use]
    pub fn fill(&self, candidate: Candidate, now: Instant) -> Candidate {
        let latency = self.latency(now);
        Candidate {
            outstanding: self.outstanding(),
            latency: latency.map(|(latency, _)| latency),
            measured_at: latency.map_or(now, |(_, measured_at)| measured_at),
            ..candidate
        }
    }

    fn record(&self, latency: Duration, now: Instant) {
        // Not 0, which stands for none.
        let (nanos, step) = (latency.as_nanos().max(1) as f32, step_of(now));
        let mut seen = self.average.load(Ordering::Relaxed);
        loop {
            let next = match Average::unpack(seen) {
                None => Average { nanos, step },
                Some(before) => before.and(nanos, step, self.time_constant),
            };
            let swapped = self.average.compare_exchange_weak(
                seen,
                next.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Average {
    nanos: f32,
    step: u32,
}

impl Average {
    #[inline]
    fn unpack(word: u64) -> Option<Self> {
        (word != 0).then(|| Self { nanos: f32::from_bits((word >> 32) as u32), step: word as u32 })
    }

    fn pack(self) -> u64 {
        u64::from(self.nanos.to_bits()) << 32 | u64::from(self.step)
    }

    /// How many steps `now` is later; 0 when it is earlier.
    #[inline]
    fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.step);
        if age < 1 << 31 { age } else { 0 }
    }

    fn and(self, nanos: f32, now: u32, time_constant: Duration) -> Self {
        let age = self.age(now);
        let passed = (u64::from(age) << STEP_BITS) as f64;
        let drawn_down = || {
            let left = match time_constant.as_nanos() {
                0 => 0.0,
                constant => libm::exp(-(passed / constant as f64)) as f32,
            };
            nanos + (self.nanos - nanos) * left
        };
        let nanos = if nanos >= self.nanos { nanos } else { drawn_down() };
        Self { nanos, step: self.step.wrapping_add(age) }
    }
}

const fn step_of(now: Instant) -> u32 {
    (now.as_nanos() >> STEP_BITS) as u32
}
