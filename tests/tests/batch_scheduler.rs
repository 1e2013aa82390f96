//! `cargo test batch_scheduler`: what the batch scheduler decides, in virtual time.

mod batch_scheduler {
    use tensorforge_core::{
        ActionSink, Batch, BatchKey, ClosingReason, Duration, Event, Instant, Lane, ModelId,
        Queued, Refused, Request, StaticEngine,
    };

    const DIGITS: ModelId = ModelId(0);
    const FACES: ModelId = ModelId(1);
    const WINDOW: Duration = Duration::from_micros(500);

    /// Drives an engine and writes down what it does, as `reason: payloads`.
    struct Server {
        engine: StaticEngine<u32, 64, 8, 2>,
        seen: Seen,
        now: Instant,
        wake: Option<Instant>,
    }

    #[derive(Default)]
    struct Seen {
        batches: Vec<(ModelId, ClosingReason, Vec<u32>)>,
        refused: Vec<(u32, Refused)>,
        running: Vec<Batch>,
    }

    impl ActionSink<u32> for Seen {
        fn dispatch(
            &mut self,
            batch: Batch,
            requests: &mut dyn ExactSizeIterator<Item = Queued<u32>>,
        ) {
            let payloads = requests.map(|queued| queued.request.payload).collect();
            self.batches.push((batch.key().model, batch.reason(), payloads));
            self.running.push(batch);
        }

        fn refuse(&mut self, request: Request<u32>, why: Refused) {
            self.refused.push((request.payload, why));
        }
    }

    impl Server {
        fn new(max_items: u32) -> Self {
            let mut engine = StaticEngine::new();
            let lane = Lane::new(max_items, WINDOW);
            for model in [DIGITS, FACES] {
                engine.configure(model, lane).expect("the lane can run requests");
            }
            Self { engine, seen: Seen::default(), now: Instant::ZERO, wake: None }
        }

        fn handle(&mut self, event: Event<u32>) {
            self.wake = self.engine.handle(self.now, event, &mut self.seen);
        }

        fn arrive(&mut self, model: ModelId, signature: u32, priority: u8, payload: u32) {
            let key = BatchKey { model, signature };
            self.handle(Event::Arrived(Request { priority, ..Request::new(key, 1, payload) }));
        }

        /// The batch that began first has ended.
        fn finish(&mut self) {
            let batch = self.seen.running.remove(0);
            let took = self.now.since(batch.started());
            self.handle(Event::Finished { batch, took, memory: None });
        }

        fn pass(&mut self, length: Duration) {
            self.now = self.now + length;
            self.handle(Event::Tick);
        }

        fn ran(&self) -> Vec<&[u32]> {
            self.seen.batches.iter().map(|(_, _, payloads)| &payloads[..]).collect()
        }
    }

    #[test]
    fn a_full_batch_runs_at_once() {
        let mut server = Server::new(3);
        for payload in 0..3 {
            server.arrive(DIGITS, 0, 0, payload);
        }
        assert_eq!(server.seen.batches, [(DIGITS, ClosingReason::Full, vec![0, 1, 2])]);
        assert_eq!(server.wake, None);
    }

    #[test]
    fn a_lone_request_waits_for_its_window_and_no_longer() {
        let mut server = Server::new(3);
        server.arrive(DIGITS, 0, 0, 7);
        assert_eq!(server.wake, Some(Instant::ZERO + WINDOW));
        server.pass(Duration::from_nanos(WINDOW.as_nanos() - 1));
        assert!(server.ran().is_empty());
        server.pass(Duration::from_nanos(1));
        assert_eq!(server.seen.batches, [(DIGITS, ClosingReason::MaxWait, vec![7])]);
    }

    #[test]
    fn models_and_shapes_never_share_a_batch() {
        let mut server = Server::new(2);
        for (model, signature, payload) in [(DIGITS, 0, 0), (FACES, 0, 1), (DIGITS, 1, 2)] {
            server.arrive(model, signature, 0, payload);
        }
        assert!(server.ran().is_empty());
        server.arrive(FACES, 0, 0, 3);
        assert_eq!(server.ran(), [[1, 3]]);
    }

    #[test]
    fn alternating_shapes_fill_their_batches() {
        let mut server = Server::new(8);
        for payload in 0..32 {
            server.arrive(DIGITS, payload % 2, 0, payload);
        }
        for _ in 0..3 {
            server.finish();
        }
        assert_eq!(server.ran().iter().map(|batch| batch.len()).collect::<Vec<_>>(), [8; 4]);
    }

    #[test]
    fn a_batch_grows_while_every_instance_is_busy() {
        let mut server = Server::new(4);
        server.arrive(DIGITS, 0, 0, 0);
        server.pass(WINDOW);
        for payload in 1..=6 {
            server.arrive(DIGITS, 0, 0, payload);
            server.pass(WINDOW);
        }
        assert_eq!(server.wake, None, "no instance is idle, so no time is worth waking for");
        server.finish();
        assert_eq!(server.ran(), [&[0][..], &[1, 2, 3, 4]]);
    }

    #[test]
    fn a_high_priority_request_overtakes_a_backlog_of_its_own_model() {
        let mut server = Server::new(2);
        for payload in 0..20 {
            server.arrive(DIGITS, 0, 0, payload);
        }
        server.arrive(DIGITS, 0, 7, 99);
        server.finish();
        assert_eq!(server.ran(), [[0, 1], [99, 2]]);
    }

    #[test]
    fn a_busy_model_does_not_hold_up_another() {
        let mut server = Server::new(1);
        for payload in 0..5 {
            server.arrive(DIGITS, 0, 7, payload);
        }
        server.arrive(FACES, 0, 0, 5);
        assert_eq!(server.ran(), [[0], [5]]);
    }

    #[test]
    fn a_drain_runs_what_waits_and_refuses_what_comes() {
        let mut server = Server::new(4);
        server.arrive(DIGITS, 0, 0, 0);
        server.handle(Event::Drain);
        assert_eq!(server.seen.batches, [(DIGITS, ClosingReason::Drain, vec![0])]);
        server.arrive(DIGITS, 0, 0, 1);
        assert_eq!(server.seen.refused, [(1, Refused::Draining)]);
        assert!(!server.engine.is_drained());
        server.finish();
        assert!(server.engine.is_drained());
    }
}
