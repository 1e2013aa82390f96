//! The engine against a plain model in virtual time, and single promises.

use super::*;
use crate::batch::reference::Reference;
use crate::{BatchKey, ClosingReason};
use proptest::prelude::*;
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

/// The engine's rules over [`Reference`] and plain counters.
struct Model {
    queue: Reference,
    lanes: [Option<Lane>; 2],
    busy: [u32; 2],
    max_running: u32,
    draining: bool,
}

impl Model {
    fn can_run(&self, model: ModelId) -> bool {
        let place = model.0 as usize;
        let instances = self.lanes[place].map_or(0, |lane| lane.instances);
        self.busy.iter().sum::<u32>() < self.max_running && self.busy[place] < instances
    }

    fn refusal(&mut self, now: Instant, request: &Request<u32>) -> Option<Refused> {
        let model = request.key.model;
        let Some(&Some(lane)) = self.lanes.get(model.0 as usize) else {
            return Some(Refused::UnknownModel);
        };
        if self.draining {
            return Some(Refused::Draining);
        }
        if self.queue.queued_of(model) >= lane.max_queued as usize {
            return Some(Refused::ModelQueueFull { max_queued: lane.max_queued });
        }
        self.queue.offer(request.clone(), lane.limits, now).err().map(Refused::from)
    }

    /// What the engine must do, except for [`Action::Queued`], which carries tickets.
    fn handle(&mut self, now: Instant, event: &What) -> (Vec<Action>, Option<Instant>) {
        let mut actions = Vec::new();
        match event {
            What::Arrived(request) => {
                if let Some(why) = self.refusal(now, request) {
                    actions.push(Action::Refused { request: request.clone(), why });
                }
            }
            What::Cancelled(payload) => {
                actions.extend(self.queue.cancel(*payload).map(Action::Cancelled));
            }
            What::Finished(model) => {
                if let Some(busy) = self.busy.get_mut(model.0 as usize) {
                    *busy = busy.saturating_sub(1);
                }
            }
            What::Tick => {}
            What::Drain => self.draining = true,
        }
        while let Some(batch) = self.queue.close(now, self.draining, |model| self.can_run(model)) {
            self.queue.take(&batch.requests);
            self.busy[batch.key.model.0 as usize] += 1;
            actions.push(Action::Ran {
                key: batch.key,
                items: batch.requests.iter().map(|request| request.items).sum(),
                why: batch.reason,
                payloads: batch.requests.iter().map(|request| request.payload).collect(),
            });
        }
        (actions, self.queue.next_deadline(|model| self.can_run(model)))
    }
}

/// An event whose request is named by its payload, which both sides know.
#[derive(Clone, Debug)]
enum What {
    Arrived(Request<u32>),
    Cancelled(u32),
    Finished(ModelId),
    Tick,
    Drain,
}

#[derive(Clone, Debug)]
enum Step {
    Arrive {
        key: BatchKey,
        items: u32,
        priority: i32,
    },
    /// Cancels the nth request that was ever queued, waiting or not.
    Cancel(prop::sample::Index),
    Finish(ModelId),
    Tick,
    Configure(ModelId, Lane),
    Pass(u64),
    Rewind(u64),
}

fn some_lane() -> impl Strategy<Value = Lane> {
    let window = prop_oneof![Just(0), 1..60u64];
    let max_queued = prop_oneof![1..4u32, Just(u32::MAX)];
    (1..6u32, window, 1..4u32, max_queued).prop_map(|(max_items, nanos, instances, max_queued)| {
        let max_wait = Duration::from_nanos(nanos);
        Lane { limits: BatchLimits { max_items, max_wait }, instances, max_queued }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let served = || (0..2u32).prop_map(ModelId);
    let key = (prop_oneof![12 => 0..2u32, 1 => Just(2)], 0..3u32)
        .prop_map(|(model, signature)| BatchKey { model: ModelId(model), signature });
    let items = prop_oneof![12 => 1..4u32, 1 => Just(0), 1 => Just(7)];
    prop_oneof![
        12 => (key, items, -1..3i32)
            .prop_map(|(key, items, priority)| Step::Arrive { key, items, priority }),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        6 => served().prop_map(Step::Finish),
        2 => Just(Step::Tick),
        1 => (served(), some_lane()).prop_map(|(model, lane)| Step::Configure(model, lane)),
        6 => (0..30u64).prop_map(Step::Pass),
        1 => (0..60u64).prop_map(Step::Rewind),
    ]
}

/// Both sides of the comparison, and what has become of every request.
struct Side {
    engine: Small,
    model: Model,
    now: Instant,
    /// Payload and ticket of everything that was ever queued.
    tickets: Vec<(u32, Ticket)>,
    arrived: Vec<Request<u32>>,
    outcomes: Vec<u32>,
    deadline: Option<Instant>,
}

impl Side {
    fn new(lanes: [Lane; 2], max_running: u32) -> Self {
        let mut engine = Small::new();
        engine.set_max_running(max_running);
        for (id, lane) in (0..).zip(lanes) {
            engine.configure(ModelId(id), lane).unwrap();
        }
        let model = Model {
            queue: Reference::new(8, 4),
            lanes: lanes.map(Some),
            busy: [0; 2],
            max_running,
            draining: false,
        };
        let (tickets, arrived, outcomes) = Default::default();
        Self { engine, model, now: at(1_000), tickets, arrived, outcomes, deadline: None }
    }

    /// Sends one event to both sides, compares, and checks each action on its own.
    fn handle(&mut self, what: What) -> Result<Vec<Action>, TestCaseError> {
        let event = match what.clone() {
            What::Arrived(request) => {
                self.arrived.push(request.clone());
                Event::Arrived(request)
            }
            What::Cancelled(payload) => {
                let ticket = self.tickets.iter().find(|(queued, _)| *queued == payload);
                Event::Cancelled(ticket.expect("only queued requests are cancelled").1)
            }
            What::Finished(model) => Event::Finished(model),
            What::Tick => Event::Tick,
            What::Drain => Event::Drain,
        };
        let mut log = Log::default();
        self.deadline = self.engine.handle(self.now, event, &mut log);
        let actions: Vec<Action> = log
            .0
            .into_iter()
            .filter_map(|action| match action {
                Action::Queued { ticket, payload } => {
                    self.tickets.push((payload, ticket));
                    None
                }
                other => Some(other),
            })
            .collect();
        let (expected, deadline) = self.model.handle(self.now, &what);
        prop_assert_eq!(&actions, &expected);
        prop_assert_eq!(self.deadline, deadline);
        prop_assert_eq!(self.engine.queued(), self.model.queue.queued());
        prop_assert_eq!(self.engine.running(), self.model.busy.iter().sum::<u32>() as usize);
        self.check_invariants(&actions)?;
        Ok(actions)
    }

    /// Promises that need no model to check.
    fn check_invariants(&mut self, actions: &[Action]) -> Result<(), TestCaseError> {
        for action in actions {
            match action {
                Action::Ran { key, items, payloads, .. } => {
                    let requests: Vec<_> =
                        payloads.iter().map(|&payload| self.request(payload)).collect();
                    prop_assert!(requests.iter().all(|request| request.key == *key));
                    let rank = |r: &&Request<u32>| (std::cmp::Reverse(r.priority), r.payload);
                    prop_assert!(requests.is_sorted_by_key(rank));
                    let lane = self.model.lanes[key.model.0 as usize].expect("both are served");
                    let fits = *items <= lane.limits.max_items || requests.len() == 1;
                    prop_assert!(fits, "{} items, {:?}", items, lane);
                    let busy = self.model.busy[key.model.0 as usize];
                    prop_assert!(busy <= lane.instances, "{} run, {:?}", busy, lane);
                    self.outcomes.extend(payloads);
                }
                Action::Refused { request, .. } | Action::Cancelled(request) => {
                    prop_assert_eq!(request, self.request(request.payload));
                    self.outcomes.push(request.payload);
                }
                Action::Queued { .. } => {}
            }
        }
        Ok(())
    }

    fn request(&self, payload: u32) -> &Request<u32> {
        let found = self.arrived.iter().find(|request| request.payload == payload);
        found.expect("only what arrived can come out")
    }

    /// Lets the time pass and ticks on the way at each deadline, and one nanosecond before it.
    fn pass(&mut self, nanos: u64) -> Result<(), TestCaseError> {
        let end = self.now + Duration::from_nanos(nanos);
        while let Some(deadline) = self.deadline.filter(|&deadline| deadline <= end) {
            prop_assert!(deadline > self.now, "a deadline in the past");
            self.now = at(deadline.as_nanos() - 1);
            prop_assert_eq!(self.handle(What::Tick)?, [], "something was due before the deadline");
            prop_assert_eq!(self.deadline, Some(deadline));
            self.now = deadline;
            prop_assert_ne!(self.handle(What::Tick)?, [], "nothing was due at the deadline");
        }
        self.now = end;
        Ok(())
    }

    fn step(&mut self, payload: u32, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Arrive { key, items, priority } => {
                self.handle(What::Arrived(Request { key, items, priority, payload }))?;
            }
            Step::Cancel(nth) if !self.tickets.is_empty() => {
                let (payload, _) = *nth.get(&self.tickets);
                self.handle(What::Cancelled(payload))?;
            }
            Step::Finish(model) => {
                self.handle(What::Finished(model))?;
            }
            Step::Tick => {
                self.handle(What::Tick)?;
            }
            Step::Configure(model, lane) => {
                self.engine.configure(model, lane).unwrap();
                self.model.lanes[model.0 as usize] = Some(lane);
                self.model.queue.set_limits(model, lane.limits);
                self.handle(What::Tick)?;
            }
            Step::Pass(nanos) => self.pass(nanos)?,
            Step::Rewind(nanos) => {
                self.now = at(self.now.as_nanos().saturating_sub(nanos));
            }
            Step::Cancel(_) => {}
        }
        Ok(())
    }

    /// Drains and lets every batch finish; nothing may be left, lost or doubled.
    fn drain(mut self) -> Result<(), TestCaseError> {
        self.handle(What::Drain)?;
        prop_assert_eq!(self.deadline, None, "a drain waits for instances only");
        while self.engine.running() > 0 {
            prop_assert!(!self.engine.is_drained());
            let busy = usize::from(self.model.busy[0] == 0);
            self.handle(What::Finished(ModelId(busy as u32)))?;
        }
        prop_assert!(self.engine.is_drained());
        let late = Request::new(BatchKey { model: MODEL, signature: 0 }, 1, u32::MAX);
        let refused = Action::Refused { request: late.clone(), why: Refused::Draining };
        prop_assert_eq!(self.handle(What::Arrived(late))?, [refused]);

        self.outcomes.sort_unstable();
        let mut arrived: Vec<u32> = self.arrived.iter().map(|request| request.payload).collect();
        arrived.sort_unstable();
        prop_assert_eq!(self.outcomes, arrived);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_acts_like_its_rules_over_a_plain_list(
        lanes in [some_lane(), some_lane()],
        max_running in 1..5u32,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut side = Side::new(lanes, max_running);
        for (payload, step) in (0..).zip(steps) {
            side.step(payload, step)?;
        }
        side.drain()?;
    }
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
