//! No choice of an endpoint asks the allocator for anything, whichever policy makes it.
//!
//! `unsafe` here: an allocator has to be, to count.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![cfg(not(loom))] // it is no model, and loom's atomics work in models only

mod routing {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use tensorforge_core::batch::ModelId;
    use tensorforge_core::breaker::Outcome;
    use tensorforge_core::route::{
        Affinity, Candidate, Candidates, Cheapest, EjectionCap, EndpointHealth, EndpointId,
        EndpointLoad, Filtered, Gate, Gated, Geographic, Headroom, Health, HealthConfig, Latency,
        LeastRequest, Outstanding, Place, Priority, RoundRobin, RouteContext, RoutingPolicy, Rule,
        Rules, SmoothWeighted, Split, Target, WeightedRandom, stable_hash,
    };
    use tensorforge_core::{Duration, Instant};

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

    #[test]
    fn what_asks_for_memory_is_counted() {
        assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7_u64)))), 1);
    }

    /// Endpoints of several places, weights and healths, with figures that threads might share.
    struct Endpoints(Vec<(Candidate, EndpointHealth, EndpointLoad)>);

    impl Endpoints {
        fn new(endpoints: u64) -> Self {
            let config = HealthConfig::DEFAULT;
            let each = (0..endpoints).map(|number| {
                let id = EndpointId(stable_hash(&number.to_le_bytes()));
                let zone = 1 + (number % 4) as u16;
                let plain = Candidate {
                    weight: 1 + (number % 5) as u16,
                    place: Place { region: 1, zone, ..Place::UNKNOWN },
                    loaded: number % 3 == 0,
                    ..Candidate::new(id, ModelId(7))
                };
                let health = EndpointHealth::new(config, number, Instant::ZERO);
                let load = EndpointLoad::new(Duration::from_secs(10));
                (plain, health.expect("the default makes sense"), load)
            });
            Self(each.collect())
        }
    }

    /// The endpoints at one moment.
    struct View<'a>(&'a Endpoints, Instant);

    impl Candidates for View<'_> {
        fn count(&self) -> usize {
            self.0.0.len()
        }

        fn candidate(&self, index: usize) -> Option<Candidate> {
            let (plain, health, load) = self.0.0.get(index)?;
            Some(load.fill(health.fill(*plain, self.1), self.1))
        }
    }

    fn policies<'a>() -> Vec<Box<dyn RoutingPolicy<View<'a>>>> {
        let rule = Rule::new(&[], Target::Version(ModelId(7))).expect("no condition is few");
        let filters =
            (Rules([rule]), (Priority::DEFAULT, (Geographic::DEFAULT, Headroom::default())));
        vec![
            Box::new(RoundRobin::new()),
            Box::new(SmoothWeighted::<128>::new()),
            Box::new(WeightedRandom),
            Box::new(LeastRequest::default()),
            Box::new(Cheapest(Outstanding)),
            Box::new(Affinity::STICKY),
            Box::new(Affinity::MODEL),
            Box::new(Gated { gate: Gate::DEFAULT, policy: Latency::default() }),
            Box::new(Filtered {
                filter: filters,
                policy: Gated { gate: Gate::DEFAULT, policy: Latency::default() },
            }),
        ]
    }

    #[test]
    fn no_choice_among_a_hundred_endpoints_allocates_whatever_becomes_of_the_requests() {
        for which in 0..policies().len() {
            let endpoints = Endpoints::new(100);
            let policy = policies().swap_remove(which);
            let (cap, split) = (EjectionCap::new(500), Split::new(&[9_000, 1_000], 1).unwrap());
            let (mut chosen, mut failed, mut ill) = (0, 0, 0);
            let asked = allocations(|| {
                for number in 0..10_000_u64 {
                    let now = Instant::from_nanos(number * 1_000_000);
                    let request = RouteContext {
                        version: Some(ModelId(7)),
                        place: Place { region: 1, zone: 2, ..Place::UNKNOWN },
                        sticky: Some(number % 50),
                        priority: (number % 8) as u8,
                        deadline: Some(now + Duration::from_millis(number % 100)),
                        ..RouteContext::new(now, stable_hash(&number.to_le_bytes()))
                    };
                    split.arm(request.sticky);
                    let Ok(choice) = policy.choose(&request, &View(&endpoints, now), &mut ())
                    else {
                        continue;
                    };
                    let (_, health, load) = &endpoints.0[choice.index];
                    let Ok(call) = health.try_call(now) else { continue };
                    let in_flight = load.begin();
                    // There are good and bad times: some are ejected, and tried again.
                    let fails = number % 4_000 < 1_000;
                    let outcome = if fails { Outcome::Failure } else { Outcome::Success };
                    health.report(call, outcome, &cap, 100, now);
                    load.finish(in_flight, Some(Duration::from_micros(number % 900)), now);
                    (chosen, failed) = (chosen + 1, failed + u64::from(fails));
                    ill += u64::from(health.health(now) == Health::Ejected);
                }
            });
            assert_eq!(asked, 0);
            assert!(chosen > 2_000 && failed > 0 && ill > 0, "{chosen} {failed} {ill}");
        }
    }
}
