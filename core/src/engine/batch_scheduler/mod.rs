//! The engine in virtual time: every decision checked by the device it runs on.

mod forget;
mod soak;
mod tuner;
mod world;

use super::*;
use crate::batch::{ClosingReason, CostModel, FailurePolicy, Padding, Request, Sizes};
use crate::policy::Level;
use proptest::prelude::*;
use std::vec::Vec;
use world::{Fate, World, lanes};

#[derive(Clone, Debug)]
enum Step {
    Arrive { model: u32, signature: u32, priority: u8, items: u32, timeout: Option<u64> },
    Cancel(usize),
    Pass(u64),
}

fn steps(most_items: u32) -> impl Strategy<Value = Vec<Step>> {
    let arrive = (0..2u32, 0..3u32, 0..4u8, 1..=most_items, prop::option::of(1..400u64)).prop_map(
        |(model, signature, priority, items, timeout)| Step::Arrive {
            model,
            signature,
            priority,
            items,
            timeout,
        },
    );
    let step = prop_oneof![
        6 => arrive,
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (0..150u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..120)
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Arrive { model, signature, priority, items, timeout } => {
            let deadline =
                timeout.map_or(Instant::MAX, |timeout| world.now() + Duration::from_nanos(timeout));
            world.arrive_until(model, signature, priority, items, deadline);
        }
        Step::Cancel(nth) => {
            let count = world.seen.known.len();
            if count > 0 {
                world.cancel((nth % count) as u64);
            }
        }
        Step::Pass(nanos) => world.pass(nanos),
    }
}

fn play(world: &mut World, steps: Vec<Step>) {
    for step in steps {
        take(world, step);
    }
    world.drain();
    world.check_empty();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Nothing is lost, doubled, late, reordered inside a priority, over memory or over a limit, whatever
    /// comes, goes, expires and fails; see `world::Seen::dispatch`.
    #[test]
    fn every_request_has_one_outcome_whatever_happens(steps in steps(4), share in 0..400u16) {
        let mut world = World::new(lanes());
        world.poison = |payload| payload % 7 == 3;
        world.engine.set_fairness(share, Duration::from_nanos(150));
        play(&mut world, steps);
        for (payload, known) in &world.seen.known {
            let poison = payload % 7 == 3;
            prop_assert!(!(poison && known.fate == Fate::Answered));
            let failed = matches!(known.fate, Fate::Dropped(Dropped::Failed(_)));
            prop_assert!(poison || !failed, "{} failed with another's fault", payload);
        }
    }

    /// The same with breakers and ladders: then others may have to pay, but nobody is forgotten.
    #[test]
    fn nobody_is_forgotten_when_a_model_is_halted(steps in steps(4)) {
        let failures = FailurePolicy {
            halt_for: Duration::from_nanos(300),
            restricted_priority: 2,
            ..FailurePolicy::DEFAULT
        };
        let mut world = World::new(lanes().map(|lane| Lane { failures, ..lane }));
        world.poison = |payload| payload % 3 != 0;
        play(&mut world, steps);
    }

    /// With nothing of its priority or above ahead of it, a request waits for the running batch and its
    /// own max wait at most, whatever the backlog below and whatever that is owed.
    #[test]
    fn high_priority_waits_no_longer_than_the_bound(steps in steps(3), share in 0..1000u16) {
        let mut world = World::new(lanes());
        world.engine.set_max_running(1);
        world.engine.set_fairness(share, Duration::from_nanos(20));
        world.bounded = true;
        play(&mut world, steps);
    }
}

/// One model, batches of up to `max_items`, one instance, no waiting.
fn one(lane: Lane) -> World {
    World::new([Lane { pool: PoolId(1), ..lane }, lanes()[1]])
}

#[test]
fn a_poison_item_in_32_stands_alone_after_ten_more_runs() {
    for poison in 0..32 {
        let mut engine: StaticEngine<u32, 64, 2, 1> = StaticEngine::new();
        let failures = FailurePolicy::DEFAULT;
        engine
            .configure(ModelId(0), Lane { failures, ..Lane::new(32, Duration::from_secs(1)) })
            .unwrap();
        let mut sink = Collect::default();
        let key = crate::BatchKey { model: ModelId(0), signature: 0 };
        for payload in 0..32 {
            engine.handle(Instant::ZERO, Event::Arrived(Request::new(key, 1, payload)), &mut sink);
        }
        let (mut runs, mut answered) = (0, Vec::new());
        while let Some((batch, requests)) = sink.batches.pop() {
            runs += 1;
            let (now, took) = (Instant::from_nanos(runs), Duration::from_nanos(1));
            if requests.iter().any(|queued| queued.request.payload == poison) {
                let requests = requests.into_iter();
                engine.failed(now, batch, took, Failure::Failed, requests, &mut sink);
            } else {
                answered.extend(requests.iter().map(|queued| queued.request.payload));
                let event = Event::Finished { batch, took, memory: None };
                engine.handle(now, event, &mut sink);
            }
        }
        answered.sort_unstable();
        let others: Vec<u32> = (0..32).filter(|&payload| payload != poison).collect();
        assert_eq!(answered, others);
        assert_eq!(sink.released, [(poison, Dropped::Failed(Failure::Failed))]);
        assert!(runs - 1 <= 10, "{runs} runs");
        assert_eq!(
            engine.level(ModelId(0), Instant::MAX),
            Some(Level::Normal),
            "one bad request is no bad model"
        );
    }
}

#[derive(Default)]
struct Collect {
    batches: Vec<(crate::Batch, Vec<crate::Queued<u32>>)>,
    released: Vec<(u32, Dropped)>,
    notices: Vec<Notice>,
}

impl ActionSink<u32> for Collect {
    fn dispatch(
        &mut self,
        batch: crate::Batch,
        requests: &mut dyn ExactSizeIterator<Item = crate::Queued<u32>>,
    ) {
        self.batches.push((batch, requests.collect()));
    }

    fn refuse(&mut self, request: Request<u32>, why: Refused) {
        panic!("{request:?}: {why:?}");
    }

    fn release(&mut self, queued: crate::Queued<u32>, why: Dropped) {
        self.released.push((queued.request.payload, why));
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

#[test]
fn a_model_that_always_fails_is_halted_after_few_runs_and_says_when_to_come_back() {
    let failures = FailurePolicy { breaker: None, ..FailurePolicy::DEFAULT };
    let mut world = one(Lane { failures, ..Lane::new(4, Duration::from_nanos(100)) });
    world.poison = |_| true;
    for _ in 0..20 {
        for _ in 0..4 {
            world.arrive(0, 0, 0, 1);
        }
        world.pass(1_000);
    }
    assert!(world.seen.batches.len() < 20, "{} runs", world.seen.batches.len());
    let last = world.arrive(0, 0, 0, 1);
    let fate = world.seen.known[&last].fate;
    assert!(
        matches!(fate, Fate::Refused(Refused::Halted { retry_after }) if retry_after > Duration::ZERO),
        "{fate:?}"
    );
    // It recovers: let in again, one by one, streaks of successes step down to normal.
    world.poison = |_| false;
    world.pass(1_000_000_000);
    for _ in 0..30 {
        world.arrive(0, 0, 0, 1);
        world.pass(1_000);
    }
    assert_eq!(world.engine.level(ModelId(0), world.now()), Some(Level::Normal));
}

#[test]
fn an_open_circuit_gives_up_what_waits_and_refuses_what_comes() {
    let failures = FailurePolicy { ladder: FailurePolicy::NONE.ladder, ..FailurePolicy::DEFAULT };
    let mut world = one(Lane { failures, ..Lane::new(1, Duration::ZERO) });
    world.poison = |_| true;
    let all: Vec<u64> = (0..9).map(|_| world.arrive(0, 0, 0, 1)).collect();
    world.pass(1_000);
    let count = |wanted: fn(Fate) -> bool| {
        all.iter().filter(|payload| wanted(world.seen.known[payload].fate)).count()
    };
    assert_eq!(count(|fate| matches!(fate, Fate::Dropped(Dropped::Failed(_)))), 5);
    assert_eq!(count(|fate| matches!(fate, Fate::Dropped(Dropped::CircuitOpen { .. }))), 4);
    let late = world.arrive(0, 0, 0, 1);
    assert!(matches!(world.seen.known[&late].fate, Fate::Refused(Refused::CircuitOpen { .. })));
}

#[test]
fn low_priority_keeps_its_share_of_a_saturated_device() {
    for same_key in [true, false] {
        let mut world = one(Lane::new(4, Duration::ZERO));
        world.engine.set_max_running(1);
        world.engine.set_fairness(250, Duration::from_nanos(500));
        let signature = u32::from(!same_key);
        let mut served = [0u32; 2];
        for _ in 0..2_000 {
            for (priority, signature) in [(3, 0), (0, signature)] {
                let waiting = |world: &World| {
                    let state = world.engine.lane(ModelId(0)).unwrap();
                    state.by_level[usize::from(priority)].requests
                };
                while waiting(&world) < 12 {
                    world.arrive(0, signature, priority, 1);
                }
            }
            world.pass(90);
        }
        for known in world.seen.known.values().filter(|known| known.fate == Fate::Answered) {
            served[usize::from(known.request.priority == 3)] += known.request.items;
        }
        let share = f64::from(served[0]) / f64::from(served[0] + served[1]);
        assert!((0.23..0.30).contains(&share), "{share} of {served:?}, same key: {same_key}");
    }
}

#[test]
fn models_share_the_executor_by_weight() {
    let lane = |weight| Lane { weight, pool: PoolId(1), ..Lane::new(3, Duration::ZERO) };
    let mut world = World::new([lane(3), lane(1)]);
    world.engine.set_max_running(1);
    for _ in 0..2_000 {
        for model in [0, 1] {
            while world.engine.queued_of(ModelId(model)) < 6 {
                world.arrive(model, 0, 0, 1);
            }
        }
        world.pass(80);
    }
    let of = |model| world.seen.batches.iter().filter(|(key, ..)| key.model.0 == model).count();
    let ratio = of(0) as f64 / of(1) as f64;
    assert!((2.9..3.1).contains(&ratio), "{ratio}");
}

#[test]
fn higher_priority_displaces_the_youngest_of_the_lowest() {
    let lane = Lane { max_queued: 3, displace: true, ..Lane::new(1, Duration::ZERO) };
    let mut world = one(lane);
    let first = world.arrive(0, 0, 0, 1);
    let waiting: Vec<u64> = [1, 0, 0].map(|priority| world.arrive(0, 0, priority, 1)).into();
    let equal = world.arrive(0, 0, 0, 1);
    assert!(matches!(world.seen.known[&equal].fate, Fate::Refused(Refused::ModelQueueFull { .. })));
    let high = world.arrive(0, 0, 2, 1);
    let fate = |payload: u64| world.seen.known[&payload].fate;
    assert_eq!(fate(high), Fate::Waits);
    assert!(matches!(fate(waiting[2]), Fate::Dropped(Dropped::Displaced { by: 2, .. })));
    assert_eq!([first, waiting[0], waiting[1]].map(fate), [Fate::Runs, Fate::Waits, Fate::Waits]);
}

#[test]
fn memory_that_runs_out_makes_smaller_batches_that_grow_back() {
    let mut engine: StaticEngine<u32, 64, 2, 1> = StaticEngine::new();
    engine.configure(ModelId(0), Lane::new(16, Duration::from_secs(1))).unwrap();
    let key = crate::BatchKey { model: ModelId(0), signature: 0 };
    let (mut sink, mut now, mut out, mut answered, mut sent) = (Collect::default(), 0, 0, 0, 0);
    let mut largest = 0;
    for round in 0..20_000 {
        let capacity = if round < 1_000 { 5 } else { 16 };
        while engine.queued() + sink.batches.iter().map(|(_, r)| r.len()).sum::<usize>() < 32 {
            let event = Event::Arrived(Request::new(key, 1, sent));
            engine.handle(Instant::from_nanos(now), event, &mut sink);
            sent += 1;
        }
        now += 10;
        let Some((batch, requests)) = sink.batches.pop() else { continue };
        let (at, took) = (Instant::from_nanos(now), Duration::from_nanos(10));
        if batch.padded() > capacity {
            out += 1;
            let requests = requests.into_iter();
            engine.failed(at, batch, took, Failure::OutOfMemory, requests, &mut sink);
        } else {
            answered += requests.len();
            if round > 19_000 {
                largest = largest.max(batch.padded());
            }
            let event = Event::Finished { batch, took, memory: None };
            engine.handle(at, event, &mut sink);
        }
    }
    assert!(sink.released.is_empty(), "nobody is given up for want of memory");
    assert!(out < 60, "{out} times out of memory");
    assert_eq!(largest, 16, "it grew back");
    assert!(answered > 4_000);
    assert!(sink.notices.iter().any(|notice| matches!(notice, Notice::OutOfMemory { .. })));
}

#[test]
fn sizes_between_two_are_padded_or_cut_by_policy() {
    let time = CostModel::new(0.0, 10.0).unwrap();
    let steep = CostModel::new(1_000.0, 1.0).unwrap();
    for (padding, time, first) in [
        (Padding::Up, time, 6),
        (Padding::Down, time, 4),
        (Padding::Cheapest, time, 4), // 8 for 6 costs more an item than 4 for 4
        (Padding::Cheapest, steep, 6), // a second batch costs more than padding
    ] {
        let sizes = Sizes::new(&[1, 2, 3, 4]).unwrap();
        let lane = Lane { padding, time, sizes, ..Lane::new(4, Duration::from_nanos(100)) };
        let lane = Lane { max_items: 8, sizes: Sizes::new(&[1, 4, 8]).unwrap(), ..lane };
        let mut engine: StaticEngine<u32, 16, 2, 1> = StaticEngine::new();
        engine.configure(ModelId(0), lane).unwrap();
        let mut sink = Collect::default();
        let key = crate::BatchKey { model: ModelId(0), signature: 0 };
        for payload in 0..6 {
            engine.handle(Instant::ZERO, Event::Arrived(Request::new(key, 1, payload)), &mut sink);
        }
        engine.handle(Instant::from_nanos(100), Event::Tick, &mut sink);
        let (batch, requests) = sink.batches.pop().unwrap();
        assert_eq!((batch.reason(), requests.len()), (ClosingReason::MaxWait, first));
        assert_eq!(batch.padded(), if first == 6 { 8 } else { 4 });
    }
}

#[test]
fn each_reason_to_close_is_told() {
    let wait = Duration::from_nanos(100);
    let known = CostModel::new(20.0, 1.0).unwrap();
    let reason = |lane: Lane, arrivals: &[(u64, u64)], ends: u64| {
        let mut engine: StaticEngine<u32, 16, 2, 1> = StaticEngine::new();
        engine.configure(ModelId(0), lane).unwrap();
        let mut sink = Collect::default();
        let key = crate::BatchKey { model: ModelId(0), signature: 0 };
        for &(at, deadline) in arrivals {
            let deadline = Instant::from_nanos(deadline);
            let request = Request { deadline, ..Request::new(key, 1, 0) };
            engine.handle(Instant::from_nanos(at), Event::Arrived(request), &mut sink);
        }
        engine.handle(Instant::from_nanos(ends), Event::Tick, &mut sink);
        sink.batches.first().map(|(batch, requests)| (batch.reason(), requests.len()))
    };
    let lane = Lane::new(4, wait);
    let never = u64::MAX;
    let quick = [(0, never), (1, never), (2, never)];
    assert_eq!(reason(Lane { max_items: 3, ..lane }, &quick, 3), Some((ClosingReason::Full, 3)));
    assert_eq!(reason(lane, &quick, 99), None);
    assert_eq!(reason(lane, &quick, 100), Some((ClosingReason::MaxWait, 3)));
    let preferred = Sizes::new(&[2]).unwrap();
    assert_eq!(reason(Lane { preferred, ..lane }, &quick, 3), Some((ClosingReason::Preferred, 2)));
    // Twice 21 ns before its deadline, as its batch takes that long.
    let time = Lane { time: known, ..lane };
    assert_eq!(reason(time, &[(0, 80)], 37), None);
    assert_eq!(reason(time, &[(0, 80)], 38), Some((ClosingReason::Deadline, 1)));
}

#[test]
fn an_eager_model_does_not_wait_where_nobody_is_expected() {
    let lane = Lane { eager: true, instances: 3, ..Lane::new(4, Duration::from_nanos(100)) };
    let mut world = World::new([lane, lanes()[1]]);
    let reasons = |world: &World| -> Vec<ClosingReason> {
        world.seen.batches.iter().map(|&(_, reason, _)| reason).collect()
    };
    world.arrive(0, 0, 0, 1);
    world.pass(300);
    assert_eq!(reasons(&world), [ClosingReason::MaxWait], "nothing is known of the first");
    world.arrive(0, 0, 0, 1);
    assert_eq!(reasons(&world)[1..], [ClosingReason::Idle], "the gap is 300, the wait 100");
}

/// Takes one request of a batch, and leaves the others.
#[derive(Default)]
struct TakesOne(Vec<crate::Batch>, Vec<u32>);

impl ActionSink<u32> for TakesOne {
    fn dispatch(
        &mut self,
        batch: crate::Batch,
        requests: &mut dyn ExactSizeIterator<Item = crate::Queued<u32>>,
    ) {
        self.0.push(batch);
        self.1.extend(requests.next().map(|queued| queued.request.payload));
    }

    fn refuse(&mut self, request: Request<u32>, why: Refused) {
        panic!("{request:?}: {why:?}");
    }
}

fn first_key() -> crate::BatchKey {
    crate::BatchKey { model: ModelId(0), signature: 0 }
}

#[test]
fn requests_that_are_not_taken_go_back_to_their_places() {
    let mut engine: StaticEngine<u32, 16, 2, 1> = StaticEngine::new();
    engine.configure(ModelId(0), Lane::new(8, Duration::from_nanos(100))).unwrap();
    let mut sink = TakesOne::default();
    for (payload, priority) in [(0, 0), (1, 2), (2, 0), (3, 2), (4, 1)] {
        let request = Request { priority, ..Request::new(first_key(), 1, payload) };
        engine.handle(Instant::ZERO, Event::Arrived(request), &mut sink);
    }
    let mut now = Instant::from_nanos(100);
    engine.handle(now, Event::Tick, &mut sink);
    while let Some(batch) = sink.0.pop() {
        now = now + Duration::from_nanos(10);
        let took = Duration::from_nanos(10);
        engine.handle(now, Event::Finished { batch, took, memory: None }, &mut sink);
    }
    assert_eq!(sink.1, [1, 3, 4, 0, 2]);
    assert_eq!((engine.queued(), engine.running(), engine.in_flight), (0, 0, 0));
}

#[test]
fn a_request_above_a_limit_that_was_lowered_runs_alone() {
    let mut world = one(Lane::new(4, Duration::from_nanos(100)));
    for items in [3, 1] {
        world.arrive(0, 0, 0, items);
    }
    assert_eq!(world.seen.batches.len(), 1, "four are a batch");
    let waiting = [3, 1].map(|items| world.arrive(0, 0, 0, items));
    let lowered = Lane { pool: PoolId(1), ..Lane::new(2, Duration::from_nanos(100)) };
    world.engine.configure(ModelId(0), lowered).unwrap();
    world.drain();
    let ran: Vec<&[u64]> = world.seen.batches[1..].iter().map(|batch| &batch.2[..]).collect();
    assert_eq!(ran, [&waiting[..1], &waiting[1..]]);
}

#[test]
fn a_clock_that_steps_back_loses_nothing() {
    let mut world = one(Lane::new(4, Duration::from_nanos(100)));
    world.pass(1_000);
    let first = world.arrive(0, 0, 0, 1);
    world.seen.now = Instant::from_nanos(10);
    let second = world.arrive(0, 0, 0, 1);
    world.pass(2_000);
    for payload in [first, second] {
        assert_eq!(world.seen.known[&payload].fate, Fate::Answered);
    }
}

#[test]
fn memory_is_given_back_where_it_was_taken() {
    let memory = CostModel::new(0.0, 10.0).unwrap();
    let lane = Lane { memory, ..Lane::new(1, Duration::ZERO) };
    let mut world = World::new([lane, lanes()[1]]);
    world.engine.set_memory(PoolId(2), 100);
    world.arrive(0, 0, 0, 1);
    assert_eq!(world.engine.memory_taken(PoolId(0)), 10);
    world.engine.configure(ModelId(0), Lane { pool: PoolId(2), ..lane }).unwrap();
    world.drain();
    assert_eq!([0, 2].map(|pool| world.engine.memory_taken(PoolId(pool))), [0, 0]);
}

#[test]
fn no_policy_is_none_however_often_it_fails() {
    let mut engine: StaticEngine<u32, 4, 2, 1> = StaticEngine::new();
    engine.configure(ModelId(0), Lane::new(1, Duration::ZERO)).unwrap();
    let mut sink = Collect::default();
    // More than the ladder's word can count.
    for payload in 0..70_000 {
        let now = Instant::from_nanos(u64::from(payload));
        let request = Request::new(first_key(), 1, payload);
        engine.handle(now, Event::Arrived(request), &mut sink);
        let (batch, requests) = sink.batches.pop().unwrap();
        let (took, requests) = (Duration::ZERO, requests.into_iter());
        engine.failed(now, batch, took, Failure::Failed, requests, &mut sink);
    }
    assert_eq!(engine.level(ModelId(0), Instant::MAX), Some(Level::Normal));
    assert_eq!((sink.released.len(), sink.notices.len()), (70_000, 0));
}

#[test]
fn what_comes_back_changed_leads_nowhere_else() {
    let mut engine: StaticEngine<u32, 16, 2, 1> = StaticEngine::new();
    engine.configure(ModelId(0), Lane::new(2, Duration::from_nanos(100))).unwrap();
    let mut sink = Collect::default();
    for payload in 0..2 {
        let request = Request::new(first_key(), 1, payload);
        engine.handle(Instant::ZERO, Event::Arrived(request), &mut sink);
    }
    let (batch, mut requests) = sink.batches.pop().unwrap();
    for queued in &mut requests {
        queued.request.priority = u8::MAX;
        queued.request.key.model = ModelId(9);
    }
    let (now, took) = (Instant::from_nanos(10), Duration::from_nanos(10));
    engine.failed(now, batch, took, Failure::Failed, requests.into_iter(), &mut sink);
    let (again, requests) = sink.batches.pop().unwrap();
    assert_eq!((again.key(), requests.len()), (first_key(), 1));
}

#[test]
fn a_lane_that_contradicts_itself_is_refused_by_name() {
    use crate::batch::{LaneError, SizesError};
    let lane = Lane::new(8, Duration::ZERO);
    let sizes = |list| Sizes::new(list).unwrap();
    let mut no_level_queue = lane;
    no_level_queue.levels[3].max_queued = 0;
    let mut no_level_items = lane;
    no_level_items.levels[2].max_items = 0;
    let mut no_timeout = lane;
    no_timeout.levels[1].timeout = Duration::ZERO;
    for (lane, error) in [
        (no_level_items, LaneError::NoLevelItems { level: 2 }),
        (Lane { max_items: 0, ..lane }, LaneError::NoItems),
        (Lane { instances: 0, ..lane }, LaneError::NoInstances),
        (Lane { max_queued: 0, ..lane }, LaneError::NoQueue),
        (Lane { max_queued_bytes: 0, ..lane }, LaneError::NoQueue),
        (Lane { weight: 0, ..lane }, LaneError::NoWeight),
        (Lane { pool: PoolId(8), ..lane }, LaneError::Pool),
        (Lane { priorities: 0, ..lane }, LaneError::Priorities),
        (Lane { priorities: 9, ..lane }, LaneError::Priorities),
        (Lane { sizes: sizes(&[1, 4]), ..lane }, LaneError::LargestSize { max_items: 8 }),
        (Lane { preferred: sizes(&[9]), ..lane }, LaneError::PreferredSize { max_items: 8 }),
        (no_level_queue, LaneError::NoLevelQueue { level: 3 }),
        (no_timeout, LaneError::NoTimeout { level: 1 }),
    ] {
        let mut engine: StaticEngine<u32, 4, 2, 1> = StaticEngine::new();
        assert_eq!(engine.configure(ModelId(0), lane), Err(error));
    }
    assert_eq!(Sizes::new(&[0, 1]), Err(SizesError::Zero));
    assert_eq!(Sizes::new(&[2, 1]), Err(SizesError::Order { size: 1 }));
    assert_eq!(Sizes::new(&[1; 34]), Err(SizesError::TooMany));
}
