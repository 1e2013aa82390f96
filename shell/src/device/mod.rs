//! Devices that run models.
//!
//! [`Executor`] is the seam: one loaded model version on one device. Everything above it (batching,
//! splitting, retries, statistics) is the same for every device.

pub mod cpu;

use crate::contracts::Parameters;
use crate::models::{ModelIo, Tensor};

/// Why a model did not run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The runtime refused or failed; its own words.
    #[error("{backend} could not run the model: {message}")]
    Failed {
        /// The runtime.
        backend: &'static str,
        /// What it said.
        message: String,
    },
    /// The device had not enough memory for a batch of this size. A smaller one is tried.
    #[error("{backend} has not enough memory: {message}")]
    OutOfMemory {
        /// The runtime.
        backend: &'static str,
        /// What it said.
        message: String,
    },
    /// The runtime gave something other than the model promised.
    #[error("{backend} answered with something else than the model declares: {message}")]
    BadOutput {
        /// The runtime.
        backend: &'static str,
        /// What was wrong with the answer.
        message: String,
    },
}

/// Why a model file could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {message}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        message: String,
    },
    /// The file is not a model this runtime understands: not ONNX, an unknown operator …
    #[error("{backend} cannot load {path}: {message}")]
    Invalid {
        /// The runtime.
        backend: &'static str,
        /// The file.
        path: String,
        /// What was wrong, naming the operator or tensor.
        message: String,
    },
    /// The runtime asked for is not on this machine.
    #[error("{backend} is not available: {message}")]
    Unavailable {
        /// The runtime.
        backend: &'static str,
        /// What is missing and how to get it.
        message: String,
    },
}

/// One loaded model version, ready to run.
///
/// Several threads may call [`execute`](Self::execute) at once.
pub trait Executor: Send + Sync {
    /// The runtime behind it: `tract`, `onnxruntime` …
    fn backend(&self) -> &'static str;

    /// What the model takes and gives.
    fn io(&self) -> &ModelIo;

    /// The row count to pad a batch of `rows` up to, because this executor has it ready.
    /// Never below `rows`.
    fn padded_rows(&self, rows: usize) -> usize {
        rows
    }

    /// Runs the model once. `inputs` come in the order of `io().inputs`, already checked against
    /// it; outputs go back in the order of `io().outputs`.
    ///
    /// # Errors
    /// [`ExecuteError`]; the executor stays usable.
    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError>;

    /// As [`execute`](Self::execute), for an executor whose work depends on request parameters: those that
    /// the model's `batch_by` names, in which all requests of the batch agree.
    ///
    /// # Errors
    /// [`ExecuteError`]; the executor stays usable.
    fn execute_with(
        &self,
        inputs: &[Tensor],
        parameters: &Parameters,
    ) -> Result<Vec<Tensor>, ExecuteError> {
        let _ = parameters;
        self.execute(inputs)
    }

    /// Bytes of memory that the model takes for as long as it is loaded, whether anything runs or not: weights,
    /// plans, caches. Asked once, after its warm-up. `None` where it is not known; then `serve --model-memory`
    /// counts the bytes of its files.
    fn resident_memory(&self) -> Option<u64> {
        None
    }

    /// Device memory in bytes that a batch of `rows` takes, as measured when the model was loaded; `None`
    /// where it is not known.
    fn memory(&self, rows: usize) -> Option<u64> {
        let _ = rows;
        None
    }
}
