//! The load: threads that put in and take out at random, half and half, over a queue that starts
//! half full.
//!
//! The capacity is twice the prefill, so the random walk of the queue's size stays between empty
//! and full and touches either seldom. Throughput and latency have rounds of their own; in a
//! latency round every eighth operation is timed.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tensorforge_benches::clock;

use crate::histogram::Histogram;
use crate::subject::{Subject, Visit};

/// Operations between two looks at the flag that ends a round.
const STRIDE: u64 = 32;
/// One in this many operations of a latency round is timed.
const TIMED_ONE_IN: u64 = 8;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Priorities {
    EightLevels,
    FullRange,
}

impl Priorities {
    #[inline(always)]
    const fn draw(self, random: u64) -> i32 {
        match self {
            Self::EightLevels => (random >> 61) as i32,
            Self::FullRange => (random >> 32) as i32,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EightLevels => "8 levels",
            Self::FullRange => "full i32 range",
        }
    }
}

/// Marsaglia's xorshift: three instructions a number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    #[inline(always)]
    pub(crate) const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) priorities: Priorities,
    pub(crate) prefill: usize,
    pub(crate) threads: usize,
    pub(crate) duration: Duration,
}

impl Load {
    pub(crate) const fn capacity(&self) -> usize {
        2 * self.prefill
    }

    pub(crate) fn fill<S: Subject>(&self, subject: &S) {
        let mut random = Random::new(99);
        for _ in 0..self.prefill {
            let drawn = random.draw();
            assert!(subject.enqueue(self.priorities.draw(drawn), drawn), "half of it fits");
        }
    }
}

/// One operation, chosen by chance.
#[inline(always)]
pub(crate) fn step<S: Subject>(subject: &S, random: &mut Random, priorities: Priorities) {
    let drawn = random.draw();
    if drawn & 1 == 0 {
        black_box(subject.enqueue(priorities.draw(drawn), drawn));
    } else {
        black_box(subject.dequeue());
    }
}

/// Starts `threads` of `work(index, over)` together, ends them after `duration` and returns what
/// they returned with the time they had.
pub(crate) fn together<R: Send>(
    threads: usize,
    duration: Duration,
    work: impl Fn(usize, &AtomicBool) -> R + Sync,
) -> (Vec<R>, Duration) {
    let (over, start) = (AtomicBool::new(false), Barrier::new(threads + 1));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let (over, start, work) = (&over, &start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(index, over)
                })
            })
            .collect();
        start.wait();
        let began = clock::now();
        thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
        let elapsed = began.elapsed();
        let joined = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        (joined.collect(), elapsed)
    })
}

/// A throughput round.
pub(crate) struct Throughput(pub(crate) Load);

/// Operations per microsecond, and how evenly the threads had them.
#[derive(Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) mops: f64,
    /// The slowest and the fastest thread's operations, as a multiple of an even share.
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
    /// Jain's index: 1 when all are equal, 1/n when one thread has everything.
    pub(crate) jain: f64,
}

impl Speed {
    pub(crate) fn new(counts: &[u64], elapsed: Duration) -> Self {
        let counts: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        let total: f64 = counts.iter().sum();
        let even = (total / counts.len() as f64).max(1.0);
        let squares: f64 = counts.iter().map(|count| count * count).sum();
        Self {
            mops: total / elapsed.as_secs_f64() / 1e6,
            smallest: counts.iter().copied().fold(f64::INFINITY, f64::min) / even,
            largest: counts.iter().copied().fold(0.0, f64::max) / even,
            jain: total * total / (counts.len() as f64 * squares).max(1.0),
        }
    }
}

impl Visit for Throughput {
    type Output = Speed;

    fn visit<S: Subject>(self, subject: &S) -> Speed {
        let Self(load) = self;
        load.fill(subject);
        let (counts, elapsed) = together(load.threads, load.duration, |index, over| {
            let (mut random, mut done) = (Random::new(index as u64), 0);
            while !over.load(Ordering::Relaxed) {
                for _ in 0..STRIDE {
                    step(subject, &mut random, load.priorities);
                }
                done += STRIDE;
            }
            done
        });
        Speed::new(&counts, elapsed)
    }
}

/// A latency round.
pub(crate) struct Latency(pub(crate) Load);

/// One operation's time in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Visit for Latency {
    type Output = Quantiles;

    fn visit<S: Subject>(self, subject: &S) -> Quantiles {
        let Self(load) = self;
        load.fill(subject);
        let (histograms, _) = together(load.threads, load.duration, |index, over| {
            let (mut random, mut histogram) = (Random::new(index as u64), Histogram::new());
            while !over.load(Ordering::Relaxed) {
                for _ in 0..STRIDE / TIMED_ONE_IN {
                    for _ in 1..TIMED_ONE_IN {
                        step(subject, &mut random, load.priorities);
                    }
                    let before = clock::ticks();
                    step(subject, &mut random, load.priorities);
                    histogram.record(clock::ticks().saturating_sub(before));
                }
            }
            histogram
        });
        let mut all = Histogram::new();
        histograms.iter().for_each(|histogram| all.add(histogram));
        let microseconds = clock::nanoseconds_per_tick() / 1e3;
        Quantiles {
            p50: all.quantile(0.5) * microseconds,
            p99: all.quantile(0.99) * microseconds,
            p999: all.quantile(0.999) * microseconds,
            max: all.largest() as f64 * microseconds,
        }
    }
}
