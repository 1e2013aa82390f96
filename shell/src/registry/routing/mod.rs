//! Models come and go: what is found meanwhile, what is freed and when.

mod concurrency;
mod control;
mod hanging;
mod memory;
mod on_demand;
mod poll;
mod properties;
mod versions;

use super::*;
use crate::config::ConfigError;
use crate::device::ExecuteError;
use crate::models::{DataType, ModelIo, Tensor, TensorSpec};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink, Outcome};

/// Adds the number in its file to an FP32 matrix of one column; files may plant faults instead.
struct Adder {
    io: ModelIo,
    number: f32,
    fault: Fault,
    /// What it says that it takes.
    resident: Option<u64>,
    seen: Arc<Seen>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    Never,
    /// On zeros.
    Cold,
    /// On everything but zeros.
    Warm,
    /// Hangs on zeros, until the test lets it go on.
    Hangs,
}

/// What became of the executors.
#[derive(Default)]
struct Seen {
    alive: AtomicUsize,
    loads: AtomicUsize,
    runs: AtomicUsize,
    /// The threads that executors were dropped on, by name.
    freed_on: Mutex<Vec<String>>,
    /// The rows of each execution.
    rows: Mutex<Vec<usize>>,
    /// Holds loads.
    loading: Gate,
    /// Holds executions that hang.
    hanging: Gate,
}

/// Open, unless a test closes it.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: std::sync::Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    waiting: usize,
}

impl Gate {
    fn close(&self) {
        lock(&self.state).is_closed = true;
    }

    fn open(&self) {
        lock(&self.state).is_closed = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = lock(&self.state);
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.is_closed).unwrap();
        state.waiting -= 1;
    }

    /// Until so many wait before it.
    fn until_waiting(&self, count: usize) {
        drop(self.changed.wait_while(lock(&self.state), |state| state.waiting < count).unwrap());
    }
}

impl Seen {
    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

impl Drop for Adder {
    fn drop(&mut self) {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        lock(&self.seen.freed_on).push(thread);
        self.seen.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Executor for Adder {
    fn backend(&self) -> &'static str {
        "adder"
    }

    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn resident_memory(&self) -> Option<u64> {
        self.resident
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        self.seen.runs.fetch_add(1, Ordering::SeqCst);
        lock(&self.seen.rows).push(inputs[0].shape()[0]);
        let values = inputs[0].to_f32().expect("checked by the caller");
        let zeros = values.iter().all(|&value| value == 0.0);
        if zeros && self.fault == Fault::Hangs {
            self.seen.hanging.pass();
        }
        if (zeros && self.fault == Fault::Cold) || (!zeros && self.fault == Fault::Warm) {
            let message = "a planted fault".into();
            return Err(ExecuteError::Failed { backend: "adder", message });
        }
        let sums: Vec<f32> = values.iter().map(|value| value + self.number).collect();
        Ok(vec![Tensor::from_f32("y", inputs[0].shape().to_vec(), &sums)])
    }
}

/// A repository in a folder of its own, and what happens to its models.
struct Repository {
    folder: tempfile::TempDir,
    seen: Arc<Seen>,
    steps: Arc<Steps>,
}

impl Repository {
    fn new() -> Self {
        let (seen, steps) = Default::default();
        Self { folder: tempfile::tempdir().unwrap(), seen, steps }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Puts a version there whose file has `text`: the number that it adds, or a fault.
    fn put(&self, name: &str, version: &str, text: &str) {
        self.write(&format!("{name}/{version}/model.onnx"), text);
    }

    fn remove(&self, path: &str) {
        std::fs::remove_dir_all(self.path(path)).unwrap();
    }

    fn open(&self, control: ModelControl, memory: Option<u64>) -> Registry {
        let sink: SharedSink = Arc::clone(&self.steps) as _;
        let clock = Clock::start();
        let options = RegistryOptions { control, memory, clock, sink: Some(sink) };
        let loader = loader(Arc::clone(&self.seen));
        Registry::open(self.folder.path(), loader, |_| (), options).unwrap()
    }

    /// One that loads what is asked for, and nothing at the start.
    fn explicit(&self) -> Registry {
        self.open(ModelControl::Explicit(BTreeSet::new()), None)
    }

    /// One that loads what requests ask for.
    fn on_demand(&self, limits: DemandLimits, memory: Option<u64>) -> Arc<Registry> {
        let control = ModelControl::OnDemand { at_start: BTreeSet::new(), limits };
        Arc::new(self.open(control, memory))
    }
}

/// An hour: for what is not to happen while a test runs.
const LONG: Duration = Duration::from_secs(3600);

/// Nothing stands in anyone's way.
const FREE: DemandLimits = DemandLimits {
    min_stay: Duration::ZERO,
    longest_wait: LONG,
    back_off: Duration::ZERO,
    look_every: Duration::ZERO,
};

fn loader(
    seen: Arc<Seen>,
) -> impl Fn(&Path, &ModelConfig) -> Result<Arc<dyn Executor>, LoadError> + Send + Sync {
    move |path, _| {
        seen.loads.fetch_add(1, Ordering::SeqCst);
        seen.loading.pass();
        let file = path.display().to_string();
        let invalid = |message: &str| {
            let (path, message) = (file.clone(), message.into());
            LoadError::Invalid { backend: "adder", path, message }
        };
        let text = std::fs::read_to_string(path).map_err(|error| invalid(&error.to_string()))?;
        let (number, word) = text.trim_end().split_once(' ').unwrap_or((&*text, ""));
        let resident = word.strip_prefix("says ").map(|bytes| bytes.trim().parse().unwrap());
        let fault = match word {
            "cold" => Fault::Cold,
            "warm" => Fault::Warm,
            "hangs" => Fault::Hangs,
            "panic" => panic!("a planted panic"),
            _ => Fault::Never,
        };
        let number = number.trim().parse().map_err(|_| invalid("it is no number"))?;
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            datatype: DataType::Fp32,
            shape: vec![-1, 1],
        };
        let io = ModelIo { inputs: vec![spec("x")], outputs: vec![spec("y")], batches: true };
        seen.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Adder { io, number, fault, resident, seen: Arc::clone(&seen) }) as _)
    }
}

/// The steps of all versions, in order.
#[derive(Default)]
struct Steps(Mutex<Vec<(String, String, bool)>>);

impl AuditSink for Steps {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        let is_applied = record.outcome == Outcome::Applied;
        lock(&self.0).push((record.entity.into(), record.to.into(), is_applied));
        Ok(())
    }
}

impl Steps {
    /// Where a version went, in order. None of its steps was refused.
    fn of(&self, entity: &str) -> Vec<String> {
        let steps = lock(&self.0);
        let mine = steps.iter().filter(|(of, ..)| of == entity);
        mine.map(|(_, to, is_applied)| {
            assert!(is_applied, "{entity} tried to go to {to}");
            to.clone()
        })
        .collect()
    }
}

/// What the version that is found adds.
fn number(registry: &Registry, name: &str, version: Option<&str>) -> Result<f32, LookupError> {
    registry.find(name, version).map(|model| added(&model))
}

fn added(model: &LoadedModel) -> f32 {
    let input = Tensor::from_f32("x", vec![1, 1], &[0.0]);
    model.executor.execute(&[input]).unwrap()[0].to_f32().unwrap()[0]
}

/// Waits until no more than so many models are held, by the table or by anyone else.
fn until_held(registry: &Registry, models: usize) {
    registry.places.until_held(models);
}

const UP: [&str; 4] = ["validating", "staging", "canary", "production"];
