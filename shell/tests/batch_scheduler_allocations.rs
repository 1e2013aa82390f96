//! How often a request of the service asks the allocator for memory, all threads together.
//!
//! `unsafe` here: an allocator has to be, to count.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod batch_scheduler {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tensorforge::batch_scheduler::BatchScheduler;
    use tensorforge::clock::Clock;
    use tensorforge::config::ModelConfig;
    use tensorforge::contracts::InferRequest;
    use tensorforge::device::{ExecuteError, Executor};
    use tensorforge::models::{DataType, ModelIo, Tensor, TensorSpec};
    use tensorforge::registry::{Registry, RegistryOptions};
    use tensorforge::service::Service;

    /// What the documentation says a request costs: from the call of `Service::infer` to its answer, its
    /// share of its batch included.
    const MOST_PER_REQUEST: f64 = 24.0;

    struct Counting;

    static ASKED: AtomicU64 = AtomicU64::new(0);

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ASKED.fetch_add(1, Ordering::Relaxed);
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

    /// Gives back what it gets: its own allocations are a handful for each batch.
    struct Echo(ModelIo);

    impl Executor for Echo {
        fn backend(&self) -> &'static str {
            "echo"
        }

        fn io(&self) -> &ModelIo {
            &self.0
        }

        fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
            Ok(inputs.to_vec())
        }
    }

    const CLIENTS: usize = 16;
    const REQUESTS: usize = 500;

    fn requests() -> Vec<InferRequest> {
        let input = || Tensor::from_f32("x", vec![1, 8], &[0.5; 8]);
        let request = || InferRequest { inputs: vec![input()], ..InferRequest::default() };
        (0..REQUESTS).map(|_| request()).collect()
    }

    /// Every client sends its requests one after the other.
    async fn serve(service: &Arc<Service>, clients: Vec<Vec<InferRequest>>) -> usize {
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|requests| {
                let service = Arc::clone(service);
                tokio::spawn(async move {
                    let mut answered = 0;
                    for request in requests {
                        answered += usize::from(service.infer("echo", None, request).await.is_ok());
                    }
                    answered
                })
            })
            .collect();
        let mut answered = 0;
        for task in tasks {
            answered += task.await.expect("a client never panics");
        }
        answered
    }

    #[test]
    fn a_request_costs_the_service_few_allocations() {
        let folder = tempfile::tempdir().expect("a folder for the models");
        let version = folder.path().join("echo/1");
        std::fs::create_dir_all(&version).expect("a model's folder");
        std::fs::write(version.join("model.onnx"), b"echo").expect("a model's file");
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            datatype: DataType::Fp32,
            shape: vec![-1, 8],
        };
        let io = ModelIo { inputs: vec![spec("x")], outputs: vec![spec("x")], batches: true };
        let executor = move || Arc::new(Echo(io.clone())) as Arc<dyn Executor>;
        let adjust = |config: &mut ModelConfig| config.max_batch = 8;
        let loader = move |_: &Path, _: &ModelConfig| Ok(executor());
        let registry = Registry::open(folder.path(), loader, adjust, RegistryOptions::default())
            .expect("the folder is there");
        let clock = Clock::start();
        let scheduler = BatchScheduler::start(clock, 2).expect("threads");
        let service = Arc::new(Service::new(clock, registry, scheduler).expect("a model"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

        let clients = || (0..CLIENTS).map(|_| requests()).collect::<Vec<_>>();
        let (warm_up, measured) = (clients(), clients());
        let count = CLIENTS * REQUESTS;
        runtime.block_on(async {
            assert_eq!(serve(&service, warm_up).await, count);
            let before = ASKED.load(Ordering::Relaxed);
            let answered = serve(&service, measured).await;
            let asked = ASKED.load(Ordering::Relaxed) - before;
            assert_eq!(answered, count);
            let each = asked as f64 / count as f64;
            println!("{each:.1} allocations for each request, its share of its batch included");
            assert!(each <= MOST_PER_REQUEST, "{each} allocations for each request");
        });
    }
}
