//! Once it is made, the engine asks the allocator for nothing, whatever becomes of requests.
//!
//! `unsafe` here: an allocator has to be, to count.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![cfg(not(loom))] // it is no model, and loom's atomics work in models only

mod batch_scheduler {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use tensorforge_core::batch::{
        ClosingRule, CostModel, Entry, FailurePolicy, Group, LatencyTuner, PoolId, Sizes, Store,
        Verdict, Waiting,
    };
    use tensorforge_core::breaker::BreakerConfig;
    use tensorforge_core::engine::{LaneState, Notice};
    use tensorforge_core::{
        ActionSink, Batch, BatchKey, Dropped, Duration, Engine, Event, Failure, Instant, Lane,
        ModelId, Queued, Refused, Request, StaticEngine, Ticket,
    };

    /// Counts what the current thread asks for.
    struct Counting;

    std::thread_local! {
        static ASKED: Cell<u64> = const { Cell::new(0) };
    }

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ASKED.with(|asked| asked.set(asked.get() + 1));
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(memory, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// How often `run` asked for memory.
    fn allocations(run: impl FnOnce()) -> u64 {
        let before = ASKED.with(Cell::get);
        run();
        ASKED.with(Cell::get) - before
    }

    const MODELS: u32 = 2;
    const REQUESTS: usize = 256;
    const GROUPS: usize = 8;
    /// More batches than ever run at once.
    const RUNNING: usize = 8;

    /// A shell that has its room from the start.
    struct Shell {
        now: Instant,
        running: Vec<(Instant, Batch, Vec<Queued<u64>>)>,
        spare: Vec<Vec<Queued<u64>>>,
        tuner: LatencyTuner,
        last: Option<Ticket>,
        seen: Seen,
    }

    /// How often what happened, so that nothing was left out.
    #[derive(Default, Debug)]
    struct Seen {
        answered: u64,
        refused: u64,
        cancelled: u64,
        expired: u64,
        displaced: u64,
        circuit_open: u64,
        failed: u64,
        split: u64,
        out_of_memory: u64,
        levels: u64,
        overdue: u64,
        withdrawn: u64,
    }

    impl Shell {
        fn new() -> Self {
            Self {
                now: Instant::ZERO,
                running: Vec::with_capacity(RUNNING),
                spare: (0..RUNNING).map(|_| Vec::with_capacity(REQUESTS)).collect(),
                tuner: LatencyTuner::new(Duration::from_micros(600)),
                last: None,
                seen: Seen::default(),
            }
        }
    }

    impl ActionSink<u64> for Shell {
        fn dispatch(
            &mut self,
            batch: Batch,
            requests: &mut dyn ExactSizeIterator<Item = Queued<u64>>,
        ) {
            let mut taken = self.spare.pop().expect("so many never run at once");
            taken.extend(requests);
            let ends = self.now + Duration::from_micros(250 + 5 * u64::from(batch.padded()));
            self.running.push((ends, batch, taken));
        }

        fn refuse(&mut self, _: Request<u64>, _: Refused) {
            self.seen.refused += 1;
        }

        fn queued(&mut self, ticket: Ticket, _: &u64) {
            self.last = Some(ticket);
        }

        fn release(&mut self, _: Queued<u64>, why: Dropped) {
            *match why {
                Dropped::Cancelled => &mut self.seen.cancelled,
                Dropped::Expired => &mut self.seen.expired,
                Dropped::Displaced { .. } => &mut self.seen.displaced,
                Dropped::CircuitOpen { .. } => &mut self.seen.circuit_open,
                _ => &mut self.seen.failed,
            } += 1;
        }

        fn notice(&mut self, notice: Notice) {
            match notice {
                Notice::Split { .. } => self.seen.split += 1,
                Notice::OutOfMemory { .. } => self.seen.out_of_memory += 1,
                Notice::Level { .. } => self.seen.levels += 1,
                _ => {}
            }
        }

        fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
            match waiting.key.model {
                ModelId(0) => waiting.standard(),
                _ => self.tuner.judge(waiting),
            }
        }
    }

    /// One model with everything that limits it, one with a closing rule of its own.
    fn configure<E, G, M>(engine: &mut Engine<u64, E, G, M>)
    where
        E: Store<Entry<u64>>,
        G: Store<Group>,
        M: Store<Option<LaneState>>,
    {
        engine.set_max_running(3);
        engine.set_memory(PoolId(0), 300);
        engine.set_fairness(100, Duration::from_micros(500));
        let breaker = BreakerConfig {
            open_for: Duration::from_millis(2),
            open_at_most: Duration::from_millis(10),
            ..BreakerConfig::DEFAULT
        };
        for model in 0..MODELS {
            let mut lane = Lane::new(8, Duration::from_micros(300));
            lane.max_queued = 40;
            lane.displace = true;
            lane.levels[1].timeout = Duration::from_micros(700);
            // One is restricted by its failures, the other cut off.
            let failures = match model {
                0 => FailurePolicy { breaker: None, ..FailurePolicy::DEFAULT },
                _ => {
                    FailurePolicy { ladder: None, breaker: Some(breaker), ..FailurePolicy::DEFAULT }
                }
            };
            lane.failures = FailurePolicy { halt_for: Duration::from_millis(1), ..failures };
            if model == 0 {
                lane.instances = 2;
                lane.sizes = Sizes::new(&[1, 2, 4, 8]).expect("they ascend");
                lane.memory = CostModel::new(20.0, 10.0).expect("both are positive");
            }
            engine.configure(ModelId(model), lane).expect("the lane can run requests");
        }
    }

    struct World<E, G, M> {
        engine: Engine<u64, E, G, M>,
        shell: Shell,
        wake: Option<Instant>,
        random: u64,
    }

    impl<E, G, M> World<E, G, M>
    where
        E: Store<Entry<u64>>,
        G: Store<Group>,
        M: Store<Option<LaneState>>,
    {
        fn new(mut engine: Engine<u64, E, G, M>) -> Self {
            configure(&mut engine);
            Self { engine, shell: Shell::new(), wake: None, random: 1 }
        }

        fn bits(&mut self) -> u64 {
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.random >> 32
        }

        /// Lets so many more requests come, and ends batches in every way there is.
        fn run(&mut self, requests: u64) {
            for payload in 0..requests {
                let bits = self.bits();
                self.pass(self.shell.now + Duration::from_micros(bits % 60));
                let now = self.shell.now;
                let model = ModelId(bits as u32 >> 6 & 1);
                let deadline = match bits >> 9 & 3 {
                    0 => now + Duration::from_micros(1 + (bits >> 11 & 1023)),
                    _ => Instant::MAX,
                };
                let (priority, bytes) = ((bits >> 21) as u8 & 3, bits >> 23 & 63);
                // More keys than there are groups, so that groups change their keys.
                let signature = if bits & 7 == 0 { (bits >> 24) as u32 % 5 } else { 0 };
                let key = BatchKey { model, signature };
                let request = Request {
                    priority,
                    bytes,
                    deadline,
                    ..Request::new(key, 1 + (bits >> 29 & 1) as u32, payload)
                };
                self.wake = self.engine.handle(now, Event::Arrived(request), &mut self.shell);
                if bits >> 27 & 7 == 0
                    && let Some(ticket) = self.shell.last
                {
                    self.wake = self.engine.handle(now, Event::Cancelled(ticket), &mut self.shell);
                }
            }
        }

        fn pass(&mut self, until: Instant) {
            loop {
                let ends = self.shell.running.iter().map(|&(ends, ..)| ends).min();
                let next = ends.into_iter().chain(self.wake).min().filter(|&at| at <= until);
                let Some(next) = next else { break };
                self.shell.now = self.shell.now.max(next);
                match self.shell.running.iter().position(|&(ends, ..)| ends <= next) {
                    Some(place) => self.end(place),
                    None => {
                        let now = self.shell.now;
                        self.wake = self.engine.handle(now, Event::Tick, &mut self.shell);
                    }
                }
            }
            self.shell.now = until;
        }

        fn end(&mut self, place: usize) {
            let (_, mut batch, mut requests) = self.shell.running.swap_remove(place);
            let (now, bits) = (self.shell.now, self.bits());
            let took = now.since(batch.started());
            let (engine, shell) = (&mut self.engine, &mut self.shell);
            // Some requests are at fault, and now and then, for a while, all of a model.
            let at_fault = |queued: &Queued<u64>| {
                let (payload, model) = (queued.request.payload, queued.request.key.model);
                payload % 211 == 0
                    || payload % 2_000 < 300 && payload / 2_000 % 4 == u64::from(model.0)
            };
            let failure = match bits % 307 {
                0 => Some(Failure::OutOfMemory),
                _ if requests.iter().any(at_fault) => Some(Failure::Failed),
                _ => None,
            };
            if bits % 89 == 0 {
                shell.seen.overdue += 1;
                let _ = engine.overdue(now, &mut batch, shell);
            }
            self.wake = if let Some(failure) = failure {
                engine.failed(now, batch, took, failure, requests.drain(..), shell)
            } else if bits % 83 == 0 {
                shell.seen.withdrawn += 1;
                requests.clear();
                engine.withdrawn(now, batch, shell)
            } else {
                shell.seen.answered += requests.len() as u64;
                shell.tuner.executed(batch.padded(), took);
                for queued in requests.drain(..) {
                    shell.tuner.answered(now.since(queued.arrived), now);
                }
                let memory = Some(20 + 10 * u64::from(batch.padded()));
                engine.handle(now, Event::Finished { batch, took, memory }, shell)
            };
            shell.spare.push(requests);
        }

        fn asks_for_nothing(mut self) {
            self.run(10_000);
            self.shell.seen = Seen::default();
            assert_eq!(allocations(|| self.run(100_000)), 0);
            let Seen {
                answered,
                refused,
                cancelled,
                expired,
                displaced,
                circuit_open,
                failed,
                split,
                out_of_memory,
                levels,
                overdue,
                withdrawn,
            } = self.shell.seen;
            let some = [
                answered / 100,
                refused,
                cancelled,
                expired,
                displaced,
                circuit_open,
                failed,
                split,
                out_of_memory,
                levels,
                overdue,
                withdrawn,
            ];
            assert!(some.iter().all(|&count| count > 10), "all ways were gone: {some:?}");
        }
    }

    #[test]
    fn the_counter_counts() {
        assert_eq!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))), 1);
    }

    #[test]
    fn a_static_engine_asks_for_nothing() {
        World::new(StaticEngine::<u64, REQUESTS, GROUPS, 2>::new()).asks_for_nothing();
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn a_boxed_engine_asks_for_nothing_once_it_is_made() {
        use tensorforge_core::BoxedEngine;

        World::new(BoxedEngine::boxed(REQUESTS, GROUPS, MODELS as usize)).asks_for_nothing();
    }
}
