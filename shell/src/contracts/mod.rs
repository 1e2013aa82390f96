//! The messages of the Open Inference Protocol v2 and their REST form.
//!
//! [`rest`] turns bodies into messages and back, for the server and for clients alike; this module
//! holds the messages. Sources: the protocol's `inference_rest` specification and Triton's
//! extensions `binary_tensor_data` and `statistics`.

mod figures;
mod json_data;
mod parameters;
mod reason;
pub mod rest;

pub use figures::{BatchFigures, LevelFigures, ModelFigures, RecentFigures, TimeFigures};
pub use parameters::{SHADOW, is_shadow};
pub use reason::{REASON_HEADER, RETRY_AFTER_MS, Reason};

use crate::models::{Tensor, TensorSpec};
use serde::{Deserialize, Serialize};

/// Request and response parameters: strings, numbers and booleans by name.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// A request to run a model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InferRequest {
    /// The sender's name for it, sent back with the answer; may be empty.
    pub id: String,
    /// Request-level parameters, as sent.
    pub parameters: Parameters,
    /// The input tensors.
    pub inputs: Vec<Tensor>,
    /// The outputs wanted, in this order; empty for all of them.
    pub outputs: Vec<RequestedOutput>,
    /// Form of the outputs when `outputs` is empty.
    pub binary_outputs: bool,
}

/// An output that a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestedOutput {
    /// The output's name.
    pub name: String,
    /// Whether to send it as binary instead of JSON.
    pub binary: bool,
}

/// The answer to an [`InferRequest`].
#[derive(Clone, PartialEq, Debug)]
pub struct InferResponse {
    /// The model that ran.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// The request's id.
    pub id: String,
    /// Response-level parameters.
    pub parameters: Parameters,
    /// The output tensors.
    pub outputs: Vec<Tensor>,
}

/// `GET /v2`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// The server's name.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// Protocol extensions it speaks.
    pub extensions: Vec<String>,
}

/// `GET /v2/models/MODEL`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// The model's name.
    pub name: String,
    /// The versions being served, oldest first.
    pub versions: Vec<String>,
    /// Format and runtime, such as `onnx_tract`.
    pub platform: String,
    /// Its inputs.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs.
    pub outputs: Vec<TensorSpec>,
}

/// `POST /v2/repository/index`: one line for each model version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepositoryEntry {
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`. One that is loaded again stays ready meanwhile.
    pub state: String,
    /// Why it is not ready; empty when it is.
    pub reason: String,
}

/// How often something happened and how long that took in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DurationStatistic {
    /// Times it happened.
    pub count: u64,
    /// Nanoseconds it took in all.
    pub ns: u64,
}

/// Where requests spent their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InferStatistics {
    /// Requests answered with outputs, end to end.
    pub success: DurationStatistic,
    /// Requests answered with an error, end to end.
    pub fail: DurationStatistic,
    /// Waiting for company or for an idle instance.
    pub queue: DurationStatistic,
    /// Joining the requests' rows into a batch.
    pub compute_input: DurationStatistic,
    /// The model.
    pub compute_infer: DurationStatistic,
    /// Splitting the batch into answers.
    pub compute_output: DurationStatistic,
    /// Answers from a response cache.
    #[serde(default)]
    pub cache_hit: DurationStatistic,
    /// Lookups that missed the cache.
    #[serde(default)]
    pub cache_miss: DurationStatistic,
}

/// Executions of one batch size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// Items in the batch, padding not counted.
    pub batch_size: u64,
    /// Joining the rows.
    pub compute_input: DurationStatistic,
    /// The model.
    pub compute_infer: DurationStatistic,
    /// Splitting the answers.
    pub compute_output: DurationStatistic,
}

/// One model version's figures since it was loaded.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ModelStatistics {
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Milliseconds since the Unix epoch of the last request; 0 for none.
    pub last_inference: u64,
    /// Items inferred successfully.
    pub inference_count: u64,
    /// Times the model ran.
    pub execution_count: u64,
    /// Requests in hand: waiting or running. Not in Triton's extension.
    #[serde(default)]
    pub pending: u64,
    /// Time by phase, for each request.
    pub inference_stats: InferStatistics,
    /// Executions by batch size.
    pub batch_stats: Vec<BatchStatistics>,
    /// What Triton's extension has no place for. Its clients leave out what they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensorforge: Option<Box<ModelFigures>>,
}

/// `GET /v2/models/MODEL/stats`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct StatisticsResponse {
    /// One entry for each model version asked for.
    pub model_stats: Vec<ModelStatistics>,
}

/// The body of every error answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was wrong, and where.
    pub error: String,
}
