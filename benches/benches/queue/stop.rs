//! What the others still do while one thread is stopped inside an operation.
//!
//! Per stop: the others alone (the victim parked outside any operation), then the victim runs
//! until a signal catches it inside, then windows of the same length while it is held. A ratio is
//! a window's throughput over the mean of the undisturbed windows before and after the stop. The
//! undisturbed windows against each other give the noise: a worst ratio above it says nothing.
//!
//! A stop may fall anywhere in the call, the allocator's locks included: a lock-free structure that
//! allocates per operation can stand still behind one of those.

use std::collections::BTreeSet;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tensorforge_benches::clock;
use tensorforge_benches::median;

use crate::load::{Load, Priorities, Random, step};
use crate::signal::Victim;
use crate::subject::{Subject, Visit};

/// Operations between two publications of a worker's count.
const STRIDE: u64 = 16;

/// How often to stop a thread, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) load: Load,
    pub(crate) window: Duration,
    /// Stops of two windows each.
    pub(crate) short_stops: usize,
    /// Stops of `long_windows`, to see what gets worse with time.
    pub(crate) long_stops: usize,
    pub(crate) long_windows: usize,
}

#[derive(Default)]
pub(crate) struct Outcome {
    /// Stops that caught the thread inside; the instructions at which it stood, counted once each.
    pub(crate) stops: usize,
    pub(crate) missed: usize,
    pub(crate) positions: usize,
    pub(crate) median: f64,
    pub(crate) worst: f64,
    /// The worst ratio of an undisturbed window to its neighbours.
    pub(crate) noise: f64,
    /// Window by window of the long stop that ended worst.
    pub(crate) long: Vec<f64>,
    /// How much the process grew during that stop.
    pub(crate) grown_mib: f64,
}

#[repr(align(128))]
struct Count(AtomicU64);

/// What the victim is told and says.
#[derive(Default)]
struct Orders {
    run: AtomicBool,
    parked: AtomicBool,
    over: AtomicBool,
}

impl Visit for Plan {
    type Output = Outcome;

    fn visit<S: Subject>(self, subject: &S) -> Outcome {
        let Load { threads, priorities, .. } = self.load;
        self.load.fill(subject);
        let counts: Vec<Count> = (0..threads).map(|_| Count(AtomicU64::new(0))).collect();
        let (orders, victim) = (Orders::default(), Victim::new());
        thread::scope(|scope| {
            for (index, count) in counts.iter().enumerate() {
                let over = &orders.over;
                scope.spawn(move || {
                    let mut random = Random::new(index as u64);
                    while !over.load(Ordering::Relaxed) {
                        for _ in 0..STRIDE {
                            step(subject, &mut random, priorities);
                        }
                        count.0.store(count.0.load(Ordering::Relaxed) + STRIDE, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| be_the_victim(subject, &orders, &victim, priorities));
            let outcome = self.measure(&counts, &orders, &victim);
            orders.over.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

fn be_the_victim<S: Subject>(
    subject: &S,
    orders: &Orders,
    victim: &Victim,
    priorities: Priorities,
) {
    victim.introduce();
    let mut random = Random::new(1234);
    while !orders.over.load(Ordering::Relaxed) {
        orders.parked.store(true, Ordering::Release);
        while !orders.run.load(Ordering::Acquire) && !orders.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_micros(500));
        }
        orders.parked.store(false, Ordering::Release);
        while orders.run.load(Ordering::Acquire) {
            Victim::inside(|| step(subject, black_box(&mut random), priorities));
        }
    }
}

impl Plan {
    fn measure(&self, counts: &[Count], orders: &Orders, victim: &Victim) -> Outcome {
        let mut jitter = Random::new(7);
        let mut jitter = || Duration::from_micros(20 + jitter.draw() % 500);
        thread::sleep(self.window / 2); // until all run
        let mut outcome = Outcome { worst: f64::INFINITY, noise: f64::INFINITY, ..<_>::default() };
        let (mut positions, mut ratios) = (BTreeSet::new(), vec![]);
        let mut undisturbed = vec![self.window(counts)];
        for stop in 0..self.short_stops + self.long_stops {
            let long = stop >= self.short_stops;
            let windows = if long { self.long_windows } else { 2 };
            let mut held = Vec::with_capacity(windows);
            orders.run.store(true, Ordering::Release);
            // From here to the release nothing may allocate: the victim may hold the allocator.
            let caught = victim.stop(&mut jitter);
            let memory = resident_mib();
            if caught.is_some() {
                (0..windows).for_each(|_| held.push(self.window(counts)));
            }
            let grown = resident_mib() - memory;
            orders.run.store(false, Ordering::Release);
            victim.release();
            while !orders.parked.load(Ordering::Acquire) {
                thread::sleep(Duration::from_micros(200));
            }
            let before = undisturbed[undisturbed.len() - 1];
            undisturbed.push(self.window(counts));
            let after = undisturbed[undisturbed.len() - 1];
            let Some(position) = caught else {
                outcome.missed += 1;
                continue;
            };
            outcome.stops += 1;
            positions.insert(position);
            let alone = f64::midpoint(before, after).max(1.0);
            let held: Vec<f64> = held.into_iter().map(|rate| rate / alone).collect();
            ratios.extend(&held);
            if long && (outcome.long.is_empty() || held.last() < outcome.long.last()) {
                (outcome.long, outcome.grown_mib) = (held, grown);
            }
        }
        for three in undisturbed.windows(3) {
            let neighbours = f64::midpoint(three[0], three[2]).max(1.0);
            outcome.noise = outcome.noise.min(three[1] / neighbours);
        }
        outcome.positions = positions.len();
        if !ratios.is_empty() {
            outcome.worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            outcome.median = median(ratios);
        }
        outcome
    }

    /// The others' operations per second in one window.
    fn window(&self, counts: &[Count]) -> f64 {
        let sum = || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum::<u64>();
        let (start, before) = (clock::now(), sum());
        thread::sleep(self.window);
        (sum() - before) as f64 / start.elapsed().as_secs_f64()
    }
}

/// Memory the process has in use; 0 where the system does not say. Allocates nothing.
fn resident_mib() -> f64 {
    let mut text = [0; 128];
    let read = File::open("/proc/self/statm").and_then(|mut statm| statm.read(&mut text));
    let text = str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or("");
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / f64::from(1 << 20)
}
