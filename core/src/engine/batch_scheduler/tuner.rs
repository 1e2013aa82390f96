//! The self-tuning rule around a device in virtual time: Poisson arrivals, scattered service times.

use super::super::*;
use crate::batch::{
    Batch, BatchKey, ClosingRule, LatencyTuner, Queued, Request, Sizes, Unreachable, Verdict,
    Waiting,
};
use std::vec::Vec;

const TARGET: Duration = Duration::from_millis(20);
/// Answers from the start, or from a step on, after which the target is held.
const SETTLED: u32 = 3 * LatencyTuner::ROUND;

/// Evenly spread numbers below 1: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

/// What the engine ordered, and the rule it asks.
struct Device {
    tuner: LatencyTuner,
    running: Option<(Instant, Batch, Vec<Queued<()>>)>,
    now: Instant,
    /// What a batch takes: nanoseconds, and as many for each item.
    line: (f64, f64),
    random: Random,
    latencies: Vec<u64>,
    items: u64,
    batches: u64,
}

impl ActionSink<()> for Device {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<()>>) {
        let exact = self.line.0 + self.line.1 * f64::from(batch.padded());
        let took = exact * (0.9 + 0.2 * self.random.share());
        let ends = self.now + Duration::from_nanos(took as u64);
        self.items += u64::from(batch.items());
        self.batches += 1;
        self.running = Some((ends, batch, requests.collect()));
    }

    fn refuse(&mut self, _: Request<()>, why: Refused) {
        panic!("{why:?}");
    }

    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        self.tuner.judge(waiting)
    }
}

struct Bench {
    engine: StaticEngine<(), 4096, 8, 1>,
    device: Device,
    wake: Option<Instant>,
    random: Random,
    keys: u32,
}

impl Bench {
    fn new(lane: Lane, line: (f64, f64), keys: u32, seed: u64) -> Self {
        let mut engine = StaticEngine::new();
        engine.configure(ModelId(0), lane).unwrap();
        let device = Device {
            tuner: LatencyTuner::new(TARGET),
            running: None,
            now: Instant::ZERO,
            line,
            random: Random(!seed),
            latencies: Vec::new(),
            items: 0,
            batches: 0,
        };
        Self { engine, device, wake: None, random: Random(seed), keys }
    }

    /// Lets so many more requests come, at random, so many a second; their latencies' 99th percentile as
    /// a share of the target, and the items of a batch.
    fn run(&mut self, requests: u32, per_second: f64) -> (f64, f64) {
        self.device.latencies.clear();
        (self.device.items, self.device.batches) = (0, 0);
        for _ in 0..requests {
            let gap = -libm::log(1.0 - self.random.share()) * 1e9 / per_second;
            self.pass(self.device.now + Duration::from_nanos(gap as u64));
            let signature = (self.random.share() * f64::from(self.keys)) as u32;
            let request = Request::new(BatchKey { model: ModelId(0), signature }, 1, ());
            self.wake =
                self.engine.handle(self.device.now, Event::Arrived(request), &mut self.device);
        }
        let latencies = &mut self.device.latencies;
        latencies.sort_unstable();
        let p99 = latencies[latencies.len() * 99 / 100] as f64 / TARGET.as_nanos() as f64;
        (p99, self.device.items as f64 / self.device.batches as f64)
    }

    fn pass(&mut self, until: Instant) {
        loop {
            let ends = self.device.running.as_ref().map(|&(ends, ..)| ends);
            let Some(next) = ends.into_iter().chain(self.wake).min().filter(|&at| at <= until)
            else {
                self.device.now = until;
                return;
            };
            self.device.now = self.device.now.max(next);
            let now = self.device.now;
            let event = match self.device.running.take_if(|&mut (ends, ..)| ends <= now) {
                None => Event::Tick,
                Some((_, batch, requests)) => {
                    let took = now.since(batch.started());
                    self.device.tuner.executed(batch.padded(), took);
                    for queued in requests {
                        let latency = now.since(queued.arrived);
                        self.device.latencies.push(latency.as_nanos());
                        self.device.tuner.answered(latency, now);
                    }
                    Event::Finished { batch, took, memory: None }
                }
            };
            self.wake = self.engine.handle(now, event, &mut self.device);
        }
    }
}

/// What a batch takes by this device.
const DEAR_ITEMS: (f64, f64) = (4e6, 0.25e6);
const CHEAP_ITEMS: (f64, f64) = (2e6, 0.05e6);

/// The target is held in each of some windows of 2,000 answers, by waiting neither too long nor too
/// short.
fn holds(bench: &mut Bench, per_second: f64) {
    for window in 0..4 {
        let (p99, items) = bench.run(2_000, per_second);
        assert!(
            (0.9..=1.1).contains(&p99),
            "window {window} at {per_second}/s: {p99:.2} of the target, {items:.0} items"
        );
        assert_eq!(bench.device.tuner.unreachable(), None);
    }
}

#[test]
fn it_holds_its_target_after_a_step_in_service_time() {
    for (line, loads) in
        [(DEAR_ITEMS, [50.0, 200.0, 500.0, 700.0]), (CHEAP_ITEMS, [100.0, 1e3, 3e3, 6e3])]
    {
        let slower = (line.0 * 1.5, line.1 * 1.5);
        let dearer = (line.0, line.1 * 2.0);
        for per_second in loads {
            for seed in 0..20 {
                let lane = Lane::new(256, TARGET);
                let mut bench = Bench::new(lane, line, 1, seed);
                for step in [line, slower, line, dearer, line] {
                    bench.device.line = step;
                    bench.run(SETTLED, per_second);
                    holds(&mut bench, per_second);
                }
            }
        }
    }
}

#[test]
fn it_holds_its_target_up_to_seven_tenths_of_the_load_that_allows_it() {
    for line in [DEAR_ITEMS, CHEAP_ITEMS, (6e6, 0.375e6)] {
        // Where a batch takes half of the target, and as long again brings its items.
        let half = TARGET.as_nanos() as f64 / 2.0;
        let highest = (half - line.0) / line.1 / half * 1e9;
        for seed in 0..20 {
            let mut bench = Bench::new(Lane::new(256, TARGET), line, 1, seed);
            bench.run(SETTLED, 0.7 * highest);
            holds(&mut bench, 0.7 * highest);
        }
    }
}

#[test]
fn it_holds_its_target_with_several_keys_and_with_padding() {
    let mut padded = Lane::new(64, TARGET);
    padded.sizes = Sizes::new(&[1, 4, 16, 64]).unwrap();
    for (lane, keys, per_second) in
        [(Lane::new(256, TARGET), 4, 100.0), (padded, 1, 200.0), (padded, 1, 700.0)]
    {
        for seed in 0..20 {
            let mut bench = Bench::new(lane, DEAR_ITEMS, keys, seed);
            bench.run(SETTLED, per_second);
            holds(&mut bench, per_second);
        }
    }
}

#[test]
fn what_is_left_of_the_target_makes_batches_fuller() {
    let mut bench = Bench::new(Lane::new(256, TARGET), DEAR_ITEMS, 1, 1);
    let mut at_once = Bench::new(Lane::new(256, Duration::ZERO), DEAR_ITEMS, 1, 1);
    for bench in [&mut bench, &mut at_once] {
        bench.run(SETTLED, 500.0);
    }
    let (waiting, alone) = (bench.run(5_000, 500.0).1, at_once.run(5_000, 500.0).1);
    assert!(waiting > 2.0 * alone, "{waiting:.1} items in a batch, and without waits {alone:.1}");
}

#[test]
fn full_batches_wind_nothing_up() {
    let lane = Lane::new(16, TARGET);
    for seed in 0..20 {
        let mut bench = Bench::new(lane, (2e6, 0.1e6), 1, seed);
        bench.run(SETTLED, 2_500.0);
        let (p99, items) = bench.run(10_000, 2_500.0);
        assert!(p99 < 0.9 && items > 15.0, "{items:.1} items fill before {p99:.2} of the target");
        // From the first request of less load on.
        let (p99, _) = bench.run(LatencyTuner::ROUND, 300.0);
        assert!((0.9..=1.1).contains(&p99), "{p99:.2} of the target");
    }
}

#[test]
fn what_cannot_be_reached_is_told_and_is_no_slower_than_without_waits() {
    let slow = (25e6, 0.1e6);
    for (line, per_second, why) in
        [(slow, 100.0, Unreachable::Execution), (DEAR_ITEMS, 3_000.0, Unreachable::Load)]
    {
        let mut bench = Bench::new(Lane::new(256, TARGET), line, 1, 3);
        let mut at_once = Bench::new(Lane::new(256, Duration::ZERO), line, 1, 3);
        for bench in [&mut bench, &mut at_once] {
            bench.run(SETTLED, per_second);
        }
        let (p99, least) = (bench.run(20_000, per_second).0, at_once.run(20_000, per_second).0);
        assert_eq!(bench.device.tuner.unreachable(), Some(why));
        assert!(p99 < 1.05 * least, "{p99:.2} of the target, and without waits {least:.2}");
    }
}

#[test]
fn it_comes_back_from_what_cannot_be_reached() {
    for line in [(25e6, 0.1e6), (6e6, 0.375e6)] {
        for seed in 0..20 {
            let mut bench = Bench::new(Lane::new(256, TARGET), line, 1, seed);
            bench.run(3 * SETTLED, 1_500.0);
            assert!(bench.device.tuner.unreachable().is_some());
            bench.device.line = DEAR_ITEMS;
            bench.run(SETTLED, 1_500.0);
            holds(&mut bench, 1_500.0);
        }
    }
}

#[test]
fn a_level_waits_no_longer_than_it_may() {
    let max_wait = Duration::from_millis(3);
    let mut bench = Bench::new(Lane::new(256, max_wait), DEAR_ITEMS, 1, 1);
    let (p99, _) = bench.run(5_000, 20.0);
    // 3 ms, at most 6 ms of another batch, as much of its own.
    assert!(p99 * 20.0 < 15.0, "{p99:.2} of the target");
}
