//! No slow decay: after very many requests with timeouts, cancellations and failures, every counter is
//! where it began. A million in each test run; `./ci.sh soak` runs a hundred million.

use super::super::*;
use crate::batch::{Batch, BatchKey, Queued, Request};
use std::vec::Vec;

/// Counts outcomes; cancels some of what waits and fails some of what runs.
#[derive(Default)]
struct Counts {
    running: Vec<(Instant, Batch, Vec<Queued<u64>>)>,
    spare: Vec<Vec<Queued<u64>>>,
    now: Instant,
    refused: u64,
    released: u64,
    last: Option<Ticket>,
}

impl ActionSink<u64> for Counts {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u64>>) {
        let mut taken = self.spare.pop().unwrap_or_default();
        taken.extend(requests);
        let ends = self.now + Duration::from_nanos(200 + 10 * u64::from(batch.padded()));
        self.running.push((ends, batch, taken));
    }

    fn refuse(&mut self, _: Request<u64>, _: Refused) {
        self.refused += 1;
    }

    fn queued(&mut self, ticket: Ticket, _: &u64) {
        self.last = Some(ticket);
    }

    fn release(&mut self, _: Queued<u64>, _: Dropped) {
        self.released += 1;
    }
}

#[test]
fn every_counter_is_at_zero_after_very_many_requests() {
    let requests: u64 = match std::env::var("TENSORFORGE_SOAK") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => 1_000_000,
    };
    let mut engine: StaticEngine<u64, 256, 8, 2> = StaticEngine::new();
    engine.set_max_running(2);
    engine.set_fairness(100, Duration::from_nanos(500));
    for model in 0..2 {
        let mut lane = Lane::new(8, Duration::from_nanos(100));
        lane.max_queued = 100;
        lane.displace = true;
        lane.levels[1].timeout = Duration::from_nanos(700);
        engine.configure(ModelId(model), lane).unwrap();
    }
    let mut counts = Counts::default();
    let (mut random, mut answered, mut wake) = (1u64, 0, None::<Instant>);
    for payload in 0..requests {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = random >> 32;
        let arrives = counts.now + Duration::from_nanos(bits % 60);
        while let Some(next) = next(&counts, wake).filter(|&at| at <= arrives) {
            counts.now = counts.now.max(next);
            wake = step(&mut engine, &mut counts, next, &mut answered);
        }
        counts.now = arrives;
        let key =
            BatchKey { model: ModelId(bits as u32 >> 6 & 1), signature: bits as u32 >> 7 & 3 };
        let deadline = match bits >> 9 & 3 {
            0 => Instant::MAX,
            _ => arrives + Duration::from_nanos(1 + (bits >> 11 & 1023)),
        };
        let (priority, bytes) = ((bits >> 21) as u8 & 3, bits >> 23 & 63);
        let request = Request { priority, bytes, deadline, ..Request::new(key, 1, payload) };
        wake = engine.handle(arrives, Event::Arrived(request), &mut counts);
        if bits >> 29 & 7 == 0
            && let Some(ticket) = counts.last
        {
            wake = engine.handle(arrives, Event::Cancelled(ticket), &mut counts);
        }
    }
    wake = engine.handle(counts.now, Event::Drain, &mut counts);
    while let Some(next) = next(&counts, wake) {
        counts.now = counts.now.max(next);
        wake = step(&mut engine, &mut counts, next, &mut answered);
    }
    assert!(answered > requests / 4 && counts.released > requests / 20, "all ways were gone");
    assert_eq!(answered + counts.refused + counts.released, requests);
    assert!(engine.is_drained());
    assert_eq!((engine.queued(), engine.queued_bytes(), engine.in_flight), (0, 0, 0));
    assert_eq!((engine.running(), engine.running_by_level), (0, [0; LEVELS]));
    assert_eq!(engine.planner.arena.first_timer(), None);
    for model in [0, 1].map(ModelId) {
        let state = engine.lane(model).unwrap();
        assert_eq!((state.busy, state.items), (0, 0));
        assert_eq!((state.waiting.requests, state.waiting.bytes), (0, 0));
        assert!(state.by_level.iter().all(|load| (load.requests, load.bytes) == (0, 0)));
    }
}

fn next(counts: &Counts, wake: Option<Instant>) -> Option<Instant> {
    counts.running.iter().map(|&(ends, ..)| ends).chain(wake).min()
}

fn step(
    engine: &mut StaticEngine<u64, 256, 8, 2>,
    counts: &mut Counts,
    at: Instant,
    answered: &mut u64,
) -> Option<Instant> {
    let now = counts.now;
    let Some(place) = counts.running.iter().position(|&(ends, ..)| ends <= at) else {
        return engine.handle(now, Event::Tick, counts);
    };
    let (_, batch, mut requests) = counts.running.swap_remove(place);
    let took = now.since(batch.started());
    let wake = if requests.iter().any(|queued| queued.request.payload % 101 == 0) {
        engine.failed(now, batch, took, Failure::Failed, requests.drain(..), counts)
    } else {
        *answered += requests.len() as u64;
        requests.clear();
        engine.handle(now, Event::Finished { batch, took, memory: None }, counts)
    };
    counts.spare.push(requests);
    wake
}
