use super::*;
use crate::{BatchKey, ClosingReason};
use std::vec;
use std::vec::Vec;

const WINDOW: Duration = Duration::from_nanos(100);
const MODEL: ModelId = ModelId(0);

type Small = Engine<u32, 8, 4, 2>;

/// What the engine asked for, in order.
#[derive(PartialEq, Eq, Debug)]
enum Action {
    Ran { key: BatchKey, items: u32, why: ClosingReason, payloads: Vec<u32> },
    Refused { request: Request<u32>, why: Refused },
    Queued { ticket: Ticket, payload: u32 },
    Cancelled(Request<u32>),
}

#[derive(Default)]
struct Log(Vec<Action>);

impl Log {
    fn ran(&self) -> Vec<&[u32]> {
        let ran = self.0.iter().filter_map(|action| match action {
            Action::Ran { payloads, .. } => Some(&payloads[..]),
            _ => None,
        });
        ran.collect()
    }
}

impl ActionSink<u32> for Log {
    fn dispatch(&mut self, batch: Batch<'_, u32>) {
        let (key, items, why) = (batch.key(), batch.items(), batch.reason());
        let payloads = batch.map(|request| request.payload).collect();
        self.0.push(Action::Ran { key, items, why, payloads });
    }

    fn refuse(&mut self, request: Request<u32>, why: Refused) {
        self.0.push(Action::Refused { request, why });
    }

    fn queued(&mut self, ticket: Ticket, &payload: &u32) {
        self.0.push(Action::Queued { ticket, payload });
    }

    fn cancelled(&mut self, request: Request<u32>) {
        self.0.push(Action::Cancelled(request));
    }
}

const fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

const fn lane(max_items: u32, max_wait: Duration) -> Lane {
    Lane::new(BatchLimits { max_items, max_wait })
}

const fn arrived(payload: u32) -> Event<u32> {
    Event::Arrived(Request::new(BatchKey { model: MODEL, signature: 0 }, 1, payload))
}

#[test]
fn changed_limits_hold_for_requests_that_already_wait() {
    let mut engine = Small::new();
    let mut log = Log::default();
    engine.configure(MODEL, lane(8, WINDOW)).unwrap();
    engine.handle(at(0), arrived(1), &mut log);
    engine.handle(at(0), arrived(2), &mut log);

    engine.configure(MODEL, lane(8, Duration::from_nanos(40))).unwrap();
    assert_eq!(engine.handle(at(10), Event::Tick, &mut log), Some(at(40)));
    engine.configure(MODEL, lane(2, WINDOW)).unwrap();
    engine.handle(at(10), Event::Tick, &mut log);
    assert_eq!(log.ran(), [[1, 2]]);
}

#[test]
fn a_lane_that_could_never_run_a_request_is_refused_and_changes_nothing() {
    let mut engine = Small::new();
    let mut log = Log::default();
    let good = lane(1, WINDOW);
    engine.configure(MODEL, good).unwrap();
    for (model, bad, error) in [
        (MODEL, lane(0, WINDOW), ConfigureError::NoItems),
        (MODEL, Lane { instances: 0, ..good }, ConfigureError::NoInstances),
        (MODEL, Lane { max_queued: 0, ..good }, ConfigureError::NoQueue),
        (ModelId(2), good, ConfigureError::TooManyModels { models: 2 }),
    ] {
        assert_eq!(engine.configure(model, bad), Err(error));
    }
    engine.handle(at(0), arrived(1), &mut log);
    assert_eq!(log.ran(), [[1]]);
}

#[test]
fn a_sink_that_takes_nothing_is_asked_once_and_the_request_goes_on_waiting() {
    #[derive(Default)]
    struct Declines(u32);
    impl ActionSink<u32> for Declines {
        fn dispatch(&mut self, _: Batch<'_, u32>) {
            self.0 += 1;
        }
        fn refuse(&mut self, _: Request<u32>, _: Refused) {}
    }

    let mut engine = Small::new();
    let mut declines = Declines::default();
    engine.configure(MODEL, Lane { instances: u32::MAX, ..lane(1, WINDOW) }).unwrap();
    engine.handle(at(0), arrived(1), &mut declines);
    assert_eq!((declines.0, engine.queued(), engine.running()), (1, 1, 1));

    engine.handle(at(0), Event::Finished(MODEL), &mut declines);
    assert_eq!((declines.0, engine.queued(), engine.running()), (2, 1, 1));

    let mut log = Log::default();
    engine.handle(at(0), Event::Tick, &mut log);
    assert_eq!((log.ran(), engine.queued(), engine.running()), (vec![&[1][..]], 0, 2));
}
