mod care;
mod copies;
mod figures;
mod forms;
mod replayed;

use super::*;
use crate::config::ModelConfig;
use crate::device::ExecuteError;
use crate::device::Executor;
use crate::models::{DataType, ModelIo, TensorSpec};
use crate::workflow::RequestLog;
use std::sync::mpsc;
use tensorforge_core::{Dropped, ModelId, Refused};

/// Doubles an FP32 matrix of any shape; misbehaves on certain values.
struct Doubler {
    io: ModelIo,
    /// The shape of every execution, in order.
    executed: Mutex<Vec<Vec<usize>>>,
    /// The parameters of every execution.
    told: Mutex<Vec<Parameters>>,
    gate: Option<Gate>,
    /// Holds only executions with this value.
    gated_value: Option<f32>,
    /// More rows find no memory.
    most_rows: Option<usize>,
    padded_rows: usize,
}

/// Holds every execution until the test lets it go on.
struct Gate {
    entered: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

/// A batch of so many rows makes the executor panic where it is only asked for its sizes.
const PANICKING_ROWS: usize = 13;
const POISON: f32 = -1.0;
const PANIC: f32 = -2.0;
const LOSE_OUTPUT: f32 = -3.0;
const LOSE_ROW: f32 = -4.0;

impl Executor for Doubler {
    fn backend(&self) -> &'static str {
        "doubler"
    }

    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn padded_rows(&self, rows: usize) -> usize {
        assert!(rows != PANICKING_ROWS, "a planted panic beside the execution");
        rows.max(self.padded_rows)
    }

    fn execute_with(
        &self,
        inputs: &[Tensor],
        parameters: &Parameters,
    ) -> Result<Vec<Tensor>, ExecuteError> {
        lock(&self.told).push(parameters.clone());
        self.execute(inputs)
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        lock(&self.executed).push(inputs[0].shape().to_vec());
        let values = inputs[0].to_f32().expect("checked by the caller");
        let is_held = self.gated_value.is_none_or(|value| values.contains(&value));
        if let Some(gate) = self.gate.as_ref().filter(|_| is_held) {
            gate.entered.send(()).expect("the test waits");
            lock(&gate.go_on).recv().expect("the test opens the gate");
        }
        if self.most_rows.is_some_and(|most| inputs[0].shape()[0] > most) {
            let message = "a planted lack".into();
            return Err(ExecuteError::OutOfMemory { backend: "doubler", message });
        }
        if values.contains(&POISON) {
            return Err(ExecuteError::Failed { backend: "doubler", message: "poison".into() });
        }
        assert!(!values.contains(&PANIC), "a planted panic");
        if values.contains(&LOSE_OUTPUT) {
            return Ok(vec![]);
        }
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        let mut shape = inputs[0].shape().to_vec();
        let mut length = doubled.len();
        if values.contains(&LOSE_ROW) {
            shape[0] -= 1;
            length -= shape[1];
        }
        Ok(vec![Tensor::from_f32("y", shape, &doubled[..length])])
    }
}

struct Bench {
    scheduler: Arc<BatchScheduler>,
    model: Arc<LoadedModel>,
    doubler: Arc<Doubler>,
    entered: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

struct Setup {
    config: ModelConfig,
    gated: bool,
    gated_value: Option<f32>,
    most_rows: Option<usize>,
    padded_rows: usize,
    workers: usize,
    trace: Option<replayed::Buffer>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: ModelConfig::default(),
            gated: false,
            gated_value: None,
            most_rows: None,
            padded_rows: 0,
            workers: 2,
            trace: None,
        }
    }
}

fn bench(setup: Setup) -> Bench {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        datatype: DataType::Fp32,
        shape: vec![-1, -1],
    };
    let io = ModelIo { inputs: vec![spec("x")], outputs: vec![spec("y")], batches: true };
    let (entered_sender, entered) = mpsc::channel();
    let (go_on, go_on_receiver) = mpsc::channel();
    let gate = Gate { entered: entered_sender, go_on: Mutex::new(go_on_receiver) };
    let doubler = Arc::new(Doubler {
        io,
        executed: Mutex::default(),
        told: Mutex::default(),
        gate: setup.gated.then_some(gate),
        gated_value: setup.gated_value,
        most_rows: setup.most_rows,
        padded_rows: setup.padded_rows,
    });
    let version = crate::config::Version::whole(1);
    let executor = Arc::clone(&doubler) as _;
    let model = LoadedModel::new("doubler", version, ModelId(0), executor, setup.config);
    let model = Arc::new(model);
    let clock = Clock::start();
    let scheduler = match setup.trace {
        None => BatchScheduler::start(clock, setup.workers).unwrap(),
        Some(trace) => BatchScheduler::start_recorded(clock, setup.workers, trace).unwrap(),
    };
    scheduler.add(&model).unwrap();
    Bench { scheduler: Arc::new(scheduler), model, doubler, entered, go_on }
}

type Answer = tokio::task::JoinHandle<Result<Vec<Tensor>, RunError>>;

impl Bench {
    /// Sends a request of the given rows, all of width 1.
    fn send(&self, rows: &[f32]) -> Answer {
        self.send_tensor(Tensor::from_f32("x", vec![rows.len(), 1], rows))
    }

    /// Sends a request of one row, 1 wide.
    fn demand(&self, value: f32, demand: Demand) -> Answer {
        self.spawn(Tensor::from_f32("x", vec![1, 1], &[value]), demand)
    }

    fn send_tensor(&self, tensor: Tensor) -> Answer {
        self.spawn(tensor, Demand::default())
    }

    fn spawn(&self, tensor: Tensor, demand: Demand) -> Answer {
        let (scheduler, model) = (Arc::clone(&self.scheduler), Arc::clone(&self.model));
        tokio::spawn(async move {
            let rows = tensor.shape()[0];
            let log = Arc::new(RequestLog::new(Clock::start(), None));
            let life = Arc::new(log.receive("doubler", ""));
            scheduler.run_as(&model, vec![tensor], rows, demand, &life).await
        })
    }

    /// Waits until `count` requests are in the queue.
    async fn until_queued(&self, count: usize) {
        while self.scheduler.queued() != count {
            tokio::task::yield_now().await;
        }
    }

    /// Sends a first request that keeps the only instance busy until [`Self::open`].
    fn occupy(&self) -> Answer {
        let first = self.send(&[0.0]);
        self.entered.recv().unwrap();
        first
    }

    fn open(&self, executions: usize) {
        (0..executions).for_each(|_| self.go_on.send(()).unwrap());
    }

    fn executed_rows(&self) -> Vec<usize> {
        lock(&self.doubler.executed).iter().map(|shape| shape[0]).collect()
    }
}

async fn values(answer: Answer) -> Vec<f32> {
    answer.await.unwrap().unwrap()[0].to_f32().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_while_the_model_is_busy_share_its_next_batch() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let others: Vec<Answer> = (1..=4).map(|i| bench.send(&[i as f32, 10.0])).collect();
    bench.until_queued(4).await;
    bench.open(2);
    assert_eq!(values(first).await, [0.0]);
    for (i, other) in others.into_iter().enumerate() {
        assert_eq!(values(other).await, [2.0 * (i + 1) as f32, 20.0]);
    }
    assert_eq!(bench.executed_rows(), [1, 8]);
    let figures = bench.model.recorder.statistics("doubler", "1");
    assert_eq!((figures.inference_count, figures.execution_count), (9, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_fault_does_not_fail_its_batch_mates() {
    for (fault, message) in [
        (POISON, "poison"),
        (PANIC, "a planted panic"),
        (LOSE_OUTPUT, "0 outputs instead of 1"),
        (LOSE_ROW, "'y' has shape"),
    ] {
        let bench = bench(Setup { gated: true, ..Default::default() });
        let first = bench.occupy();
        let good = bench.send(&[1.0]);
        bench.until_queued(1).await;
        let bad = bench.send(&[fault]);
        bench.until_queued(2).await;
        let also_good = bench.send(&[2.0]);
        bench.until_queued(3).await;
        // The first request, the batch, its first two, and each of the three alone.
        bench.open(6);
        assert_eq!(values(first).await, [0.0]);
        assert_eq!(values(good).await, [2.0]);
        assert_eq!(values(also_good).await, [4.0]);
        let error = bad.await.unwrap().unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("doubler"), "{error}");
        assert_eq!(bench.executed_rows(), [1, 3, 2, 1, 1, 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn different_shapes_fill_batches_of_their_own() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let wide = |i: usize| Tensor::from_f32("x", vec![1, 2], &[i as f32, 0.5]);
    let tall = |i: usize| Tensor::from_f32("x", vec![2, 1], &[i as f32, 0.5]);
    let mut answers = Vec::new();
    for i in 0..6 {
        answers.push(bench.send_tensor(if i % 2 == 0 { wide(i) } else { tall(i) }));
        bench.until_queued(i + 1).await;
    }
    bench.open(3);
    values(first).await;
    for (i, answer) in answers.into_iter().enumerate() {
        let outputs = answer.await.unwrap().unwrap();
        assert_eq!(outputs[0].shape(), if i % 2 == 0 { [1, 2] } else { [2, 1] });
        assert_eq!(outputs[0].to_f32().unwrap(), [2.0 * i as f32, 1.0]);
    }
    let executed = lock(&bench.doubler.executed).clone();
    assert_eq!(executed, [vec![1, 1], vec![3, 2], vec![6, 1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_reaches_the_model_and_never_the_answer() {
    let bench = bench(Setup { padded_rows: 8, ..Default::default() });
    let answer = bench.send(&[1.0, 2.0, 3.0]);
    assert_eq!(values(answer).await, [2.0, 4.0, 6.0]);
    assert_eq!(bench.executed_rows(), [8]);
    let figures = bench.model.recorder.statistics("doubler", "1");
    assert_eq!(figures.batch_stats[0].batch_size, 3, "padding is not inference");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_request_runs_once_its_wait_is_over() {
    let max_wait = std::time::Duration::from_millis(2);
    let config = ModelConfig { max_wait, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    for i in 0..3 {
        assert_eq!(values(bench.send(&[i as f32])).await, [2.0 * i as f32]);
    }
    let figures = bench.model.recorder.statistics("doubler", "1");
    let queue = figures.inference_stats.queue;
    assert!(queue.ns >= 3 * 2_000_000, "nobody ran before the window closed: {queue:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_leaves_the_queue() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let gone = bench.send(&[1.0]);
    let stays = bench.send(&[2.0]);
    bench.until_queued(2).await;
    gone.abort();
    bench.until_queued(1).await;
    bench.open(2);
    values(first).await;
    assert_eq!(values(stays).await, [4.0]);
    assert_eq!(bench.executed_rows(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_how_full() {
    let config = ModelConfig { max_queued: 2, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let waiting = [bench.send(&[1.0]), bench.send(&[2.0])];
    bench.until_queued(2).await;
    let refused = bench.send(&[3.0]).await.unwrap().unwrap_err();
    let full =
        Refused::ModelQueueFull { max_queued: 2, retry_after: tensorforge_core::Duration::ZERO };
    assert_eq!(refused, RunError::Refused(full));
    bench.open(2);
    values(first).await;
    for answer in waiting {
        values(answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_answers_all_that_waits_and_refuses_the_rest() {
    let max_wait = std::time::Duration::from_secs(3600);
    let config = ModelConfig { max_wait, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let waiting = [bench.send(&[1.0]), bench.send(&[2.0])];
    bench.until_queued(2).await;
    bench.scheduler.drain().await;
    for (i, answer) in waiting.into_iter().enumerate() {
        assert_eq!(values(answer).await, [2.0 * (i + 1) as f32]);
    }
    let refused = bench.send(&[3.0]).await.unwrap().unwrap_err();
    assert_eq!(refused, RunError::Refused(Refused::Draining));
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_oversized_requests_are_refused() {
    let config = ModelConfig { max_batch: 2, split: false, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let empty = bench.send(&[]).await.unwrap().unwrap_err();
    assert_eq!(empty, RunError::Refused(Refused::Empty));
    let oversized = bench.send(&[1.0; 3]).await.unwrap().unwrap_err();
    assert_eq!(oversized, RunError::Refused(Refused::TooLarge { max_items: 2 }));
    assert_eq!(values(bench.send(&[1.0; 2])).await, [2.0, 2.0]);
}

fn priority(priority: u8) -> Demand {
    Demand { priority, ..Demand::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn higher_priority_runs_before_what_came_first() {
    let config = ModelConfig { max_batch: 1, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let mut low = bench.demand(1.0, priority(0));
    bench.until_queued(1).await;
    let high = bench.demand(2.0, priority(7));
    bench.until_queued(2).await;
    bench.open(2);
    values(first).await;
    tokio::select! {
        biased;
        _ = &mut low => panic!("it ran before the one of higher priority"),
        outputs = high => assert_eq!(outputs.unwrap().unwrap()[0].to_f32().unwrap(), [4.0]),
    }
    bench.open(1);
    assert_eq!(values(low).await, [2.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_timeout_passes_while_it_waits_never_runs() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let timeout = Some(std::time::Duration::from_millis(1));
    let late = bench.demand(1.0, Demand { timeout, ..Demand::default() }).await.unwrap();
    assert_eq!(late.unwrap_err(), RunError::Dropped(Dropped::Expired));
    bench.open(1);
    values(first).await;
    assert_eq!(bench.executed_rows(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_room_for_higher_priority_where_it_may() {
    let config = ModelConfig { max_queued: 1, displace: true, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let low = bench.demand(1.0, priority(0));
    bench.until_queued(1).await;
    let high = bench.demand(2.0, priority(1));
    let displaced = low.await.unwrap().unwrap_err();
    assert!(matches!(displaced, RunError::Dropped(Dropped::Displaced { by: 1, .. })));
    bench.open(2);
    values(first).await;
    assert_eq!(values(high).await, [4.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_that_the_model_has_not_is_refused() {
    let bench = bench(Setup::default());
    let error = bench.demand(1.0, priority(8)).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the model's priorities are 0 to 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_keeps_failing_is_left_alone_for_a_while() {
    let config = ModelConfig { escalate: true, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let mut errors = Vec::new();
    for _ in 0..8 {
        errors.push(bench.send(&[POISON]).await.unwrap().unwrap_err());
    }
    assert!(errors[..4].iter().all(|error| matches!(error, RunError::Execute(_))));
    let Some(RunError::Refused(why)) = errors.last() else { panic!("{errors:?}") };
    assert!(why.retry_after().is_some(), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_beside_the_execution_costs_its_own_request_and_no_instance() {
    let bench = bench(Setup::default());
    for _ in 0..3 {
        let error = bench.send(&[1.0; PANICKING_ROWS]).await.unwrap().unwrap_err();
        assert!(matches!(error, RunError::Panicked { backend: "doubler", .. }), "{error}");
    }
    assert_eq!(values(bench.send(&[1.0])).await, [2.0], "its only instance is idle again");
}
