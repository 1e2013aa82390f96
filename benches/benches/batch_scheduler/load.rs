//! An engine at a steady depth.

use std::time::Duration as StdDuration;
use tensorforge_benches::clock;
use tensorforge_core::{
    ActionSink, Batch, BatchKey, BoxedEngine, Duration, Event, Instant, Lane, ModelId, Queued,
    Refused, Request,
};

const KEYS: u64 = 16;

/// An engine with so many requests waiting, one model, one instance.
pub(crate) struct Load {
    engine: BoxedEngine<u64>,
    running: Running,
    depth: usize,
    now: u64,
    random: u64,
}

/// What the engine ordered.
#[derive(Default)]
struct Running {
    batch: Option<Batch>,
    requests: u64,
    refused: u64,
}

impl ActionSink<u64> for Running {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u64>>) {
        self.requests += requests.map(|queued| u64::from(queued.request.items)).sum::<u64>();
        self.batch = Some(batch);
    }

    fn refuse(&mut self, _: Request<u64>, _: Refused) {
        self.refused += 1;
    }
}

/// What the decisions of one round took: nanoseconds, and requests in a second.
pub(crate) struct Decisions {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Load {
    pub(crate) fn new(depth: usize) -> Self {
        let mut engine = BoxedEngine::boxed(depth + 64, KEYS as usize, 1);
        let lane = Lane::new(32, Duration::from_millis(1));
        engine.configure(ModelId(0), lane).expect("the lane can run requests");
        let mut load = Self { engine, running: Running::default(), depth, now: 0, random: 7 };
        while load.engine.queued() < depth {
            load.arrive();
        }
        load
    }

    /// Lets `requests` more come, one at a time, and a batch end whenever there are enough.
    pub(crate) fn run(&mut self, requests: usize) -> Decisions {
        // First without a look at each decision, as that costs about as much as an arrival.
        let (start, before) = (clock::now(), self.running.requests);
        for _ in 0..requests {
            self.arrive();
            if self.engine.queued() > self.depth {
                self.end();
            }
        }
        let elapsed = start.elapsed().max(StdDuration::from_nanos(1));
        let planned = self.running.requests - before;
        let mut ticks = Vec::with_capacity(requests * 2);
        for _ in 0..requests {
            let start = clock::ticks();
            self.arrive();
            ticks.push(clock::ticks() - start);
            if self.engine.queued() > self.depth {
                let start = clock::ticks();
                self.end();
                ticks.push(clock::ticks() - start);
            }
        }
        ticks.sort_unstable();
        assert_eq!(self.running.refused, 0, "there is room for all");
        let at = |share: f64| {
            let rank = (ticks.len() as f64 * share) as usize;
            ticks[rank.min(ticks.len() - 1)] as f64 * clock::nanoseconds_per_tick()
        };
        Decisions {
            per_second: planned as f64 / elapsed.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }

    fn arrive(&mut self) {
        self.now += 1_000;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let key = BatchKey { model: ModelId(0), signature: (self.random % KEYS) as u32 };
        let priority = (self.random >> 32) as u8 % 4;
        let request = Request { priority, ..Request::new(key, 1, self.random) };
        self.engine.handle(
            Instant::from_nanos(self.now),
            Event::Arrived(request),
            &mut self.running,
        );
    }

    fn end(&mut self) {
        if let Some(batch) = self.running.batch.take() {
            let took = Duration::from_nanos(20_000);
            let event = Event::Finished { batch, took, memory: None };
            self.engine.handle(Instant::from_nanos(self.now), event, &mut self.running);
        }
    }
}
