//! The service: checks a request against its model, runs it, and forms the answer.
//!
//! What every protocol front end calls, whatever wire it speaks.

mod model_config;

use crate::batch_scheduler::{BatchScheduler, Demand, RunError};
use crate::clock::Clock;
use crate::config::{ModelConfig, Version};
use crate::contracts::{
    InferRequest, InferResponse, ModelFigures, ModelMetadata, ModelStatistics, Parameters,
    RepositoryEntry, is_shadow,
};
use crate::models::{DataType, ModelIo, Tensor};
use crate::registry::{
    ChangeError, DemandError, Lanes, LoadedModel, LookupError, ModelControl, Registry,
    RepositoryError,
};
use crate::telemetry::prometheus::{self, ServerFigures};
use crate::telemetry::{self, FailReason};
use crate::workflow::{LiveRequest, RequestLog, SharedSink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensorforge_core::Instant;
use tensorforge_core::batch::LaneError;

/// Why a request does not fit its model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// An input the model needs is not there.
    #[error("model '{model}' needs the input '{input}' ({datatype}, shape {shape:?})")]
    MissingInput {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// Its type.
        datatype: DataType,
        /// Its shape, -1 for any size.
        shape: Vec<i64>,
    },
    /// An input the model does not have.
    #[error("model '{model}' has no place for the input '{input}'; its inputs are {known}")]
    ExtraInput {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// The inputs it has.
        known: String,
    },
    /// An input sent twice.
    #[error("the input '{input}' of model '{model}' came twice")]
    RepeatedInput {
        /// The model.
        model: String,
        /// The input.
        input: String,
    },
    /// An input of the wrong type.
    #[error("input '{input}' of model '{model}' is {want}, but {got} came")]
    WrongType {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// The model's type.
        want: DataType,
        /// The request's type.
        got: DataType,
    },
    /// An input of the wrong shape.
    #[error("input '{input}' of model '{model}' has shape {want:?} (-1: any), but {got:?} came")]
    WrongShape {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// The model's shape.
        want: Vec<i64>,
        /// The request's shape.
        got: Vec<usize>,
    },
    /// Inputs that disagree in their number of rows.
    #[error("the inputs of model '{model}' must have equally many rows, but {rows:?} came")]
    UnequalRows {
        /// The model.
        model: String,
        /// The rows of each input, in the model's order.
        rows: Vec<usize>,
    },
    /// An output asked for twice.
    #[error("the output '{output}' of model '{model}' is asked for twice")]
    RepeatedOutput {
        /// The model.
        model: String,
        /// The output.
        output: String,
    },
    /// A parameter of the wrong kind.
    #[error("the parameter '{name}' must be {want}, but {got} came")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        want: &'static str,
        /// What came.
        got: String,
    },
    /// An output the model does not have.
    #[error("model '{model}' has no output '{output}'; its outputs are {known}")]
    UnknownOutput {
        /// The model.
        model: String,
        /// The output asked for.
        output: String,
        /// The outputs it has.
        known: String,
    },
}

/// Why a request was not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The model or version is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not loaded, and was not when the request had waited for it.
    #[error(transparent)]
    Demand(DemandError),
    /// The request does not fit the model.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It fits, but was not run or failed.
    #[error("model '{model}' version {version}: {source}")]
    Run {
        /// The model.
        model: String,
        /// Its version.
        version: Version,
        /// What happened.
        source: RunError,
    },
}

impl From<DemandError> for InferError {
    fn from(error: DemandError) -> Self {
        match error {
            DemandError::Lookup(error) => Self::Lookup(error),
            error => Self::Demand(error),
        }
    }
}

/// Models and their scheduler, as one thing to call.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tensorforge::batch_scheduler::BatchScheduler;
/// use tensorforge::clock::Clock;
/// use tensorforge::contracts::InferRequest;
/// use tensorforge::device::cpu::{self, CpuOptions};
/// use tensorforge::models::Tensor;
/// use tensorforge::registry::{Registry, RegistryOptions};
/// use tensorforge::service::Service;
///
/// let clock = Clock::start();
/// let registry = Registry::open(
///     "models".as_ref(),
///     |file, config| cpu::load(file, &CpuOptions { backend: config.backend, ..Default::default() }),
///     |config| config.max_batch = 16,
///     RegistryOptions { clock, ..Default::default() },
/// )?;
/// let service = Service::new(clock, registry, BatchScheduler::start(clock, 2)?)?;
///
/// let image = Tensor::from_f32("image", vec![1, 64], &[0.0; 64]);
/// let request = InferRequest { inputs: vec![image], ..Default::default() };
/// let response = service.infer("digits", None, request).await?;
/// println!("{:?}", response.outputs[1].to_i64());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service {
    clock: Clock,
    registry: Arc<Registry>,
    scheduler: Arc<BatchScheduler>,
    requests: Arc<RequestLog>,
    draining: AtomicBool,
}

impl Service {
    /// Serves the models of `registry`, those that are ready and those to come, through `scheduler`.
    ///
    /// # Errors
    /// [`LaneError`] when a model cannot be scheduled.
    pub fn new(
        clock: Clock,
        registry: Registry,
        scheduler: BatchScheduler,
    ) -> Result<Self, LaneError> {
        let scheduler = Arc::new(scheduler);
        registry.attach(&(Arc::clone(&scheduler) as Arc<dyn Lanes>))?;
        let requests = Arc::new(RequestLog::new(clock, None));
        let registry = Arc::new(registry);
        Ok(Self { clock, registry, scheduler, requests, draining: AtomicBool::new(false) })
    }

    /// Tells `sink` of every step of every request, and of every model's level and circuit, from now on. It is called while a request is handled,
    /// so a slow one belongs behind a buffer.
    #[must_use]
    pub fn audited(mut self, sink: SharedSink) -> Self {
        self.scheduler.audited(Arc::clone(&sink));
        self.requests = Arc::new(RequestLog::new(self.clock, Some(sink)));
        self
    }

    /// Runs one request. Dropping the future withdraws it. A model that is not loaded is loaded first where
    /// the registry [loads on demand](crate::registry::ModelControl::OnDemand); that is part of the request's
    /// timeout, and needs tokio's timer.
    ///
    /// # Errors
    /// [`InferError`] names the model and what was wrong.
    pub async fn infer(
        &self,
        name: &str,
        version: Option<&str>,
        request: InferRequest,
    ) -> Result<InferResponse, InferError> {
        let life = Arc::new(match is_shadow(&request.parameters) {
            true => self.requests.receive_copy(name, &request.id),
            false => self.requests.receive(name, &request.id),
        });
        let result = self.infer_alive(name, version, request, &life).await;
        match &result {
            Ok(_) => life.succeeded(),
            Err(InferError::Run { source, .. }) if source.is_overload() => {
                life.shed(&source.to_string());
            }
            Err(InferError::Run { source, .. }) if source.is_late() => {
                life.expired(&source.to_string());
            }
            Err(InferError::Demand(error)) if error.is_overload() => life.shed(&error.to_string()),
            Err(InferError::Demand(DemandError::Late)) => {
                life.expired(&DemandError::Late.to_string());
            }
            Err(error) => life.failed(&error.to_string()),
        }
        result
    }

    async fn infer_alive(
        &self,
        name: &str,
        version: Option<&str>,
        request: InferRequest,
        life: &Arc<LiveRequest>,
    ) -> Result<InferResponse, InferError> {
        let mut asked = demand(&request.parameters);
        // Held until the answer is formed: so long nothing of it is freed.
        let is_shadow = is_shadow(&request.parameters);
        let model = match self.registry.find(name, version) {
            Ok(model) => model,
            // A copy must not take room from what users ask for.
            Err(error) if is_shadow => return Err(error.into()),
            Err(error) => self.loaded((name, version), error, &mut asked).await?,
        };
        let came = self.clock.now();
        model.used(came);
        let recorder = model.recorder_of(is_shadow);
        let _pending = recorder.pending();
        let priority = asked.as_ref().map_or(0, |demand| demand.priority);
        let result = self.infer_on(&model, request, asked, life).await;
        // The scheduler counts what came as far as that.
        if let Err(InferError::Request(_)) = &result {
            recorder.failed(priority, self.clock.now().since(came), FailReason::Invalid);
        }
        result
    }

    /// Waits until the model is loaded that was not found, if requests may have it loaded; that takes from the
    /// request's timeout.
    async fn loaded(
        &self,
        (name, version): (&str, Option<&str>),
        error: LookupError,
        asked: &mut Result<Demand, RequestError>,
    ) -> Result<Arc<LoadedModel>, InferError> {
        if !matches!(self.registry.control(), ModelControl::OnDemand { .. }) {
            return Err(error.into());
        }
        let timeout = match (asked, error) {
            (Ok(demand), _) => &mut demand.timeout,
            // No model is loaded for a request that makes no sense.
            (Err(refused), LookupError::NotReady { .. }) => return Err(refused.clone().into()),
            (Err(_), error) => return Err(error.into()),
        };
        let came = self.clock.now();
        let model = self.registry.demand(name, version, *timeout).await?;
        if let Some(timeout) = timeout {
            let waited = self.clock.now().since(came).into();
            *timeout = timeout.checked_sub(waited).ok_or(DemandError::Late)?;
        }
        Ok(model)
    }

    async fn infer_on(
        &self,
        model: &Arc<LoadedModel>,
        request: InferRequest,
        demand: Result<Demand, RequestError>,
        life: &Arc<LiveRequest>,
    ) -> Result<InferResponse, InferError> {
        let io = model.executor.io();
        let wanted = wanted_outputs(&model.name, io, &request)?;
        let (inputs, rows) = check_inputs(&model.name, io, request.inputs)?;
        let demand = demand?;
        life.admitted();
        let outputs =
            self.scheduler.run_as(model, inputs, rows, demand, life).await.map_err(|source| {
                let (model, version) = (model.name.clone(), model.version.clone());
                InferError::Run { model, version, source }
            })?;
        let outputs = match wanted {
            None => outputs,
            Some(wanted) => wanted.into_iter().map(|index| outputs[index].clone()).collect(),
        };
        Ok(InferResponse {
            model_name: model.name.clone(),
            model_version: model.version.to_string(),
            id: request.id,
            parameters: Parameters::new(),
            outputs,
        })
    }

    /// The models it serves.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What a model takes and gives.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn metadata(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<ModelMetadata, LookupError> {
        let model = self.registry.find(name, version)?;
        let io = model.executor.io();
        let versions = match version {
            Some(_) => vec![model.version.to_string()],
            None => {
                let ready = self.registry.ready_versions(name)?;
                ready.iter().map(|model| model.version.to_string()).collect()
            }
        };
        Ok(ModelMetadata {
            name: name.to_owned(),
            versions,
            platform: format!("onnx_{}", model.executor.backend()),
            inputs: io.inputs.clone(),
            outputs: io.outputs.clone(),
        })
    }

    /// How a model is served, in the form of Triton's model configuration: `name`, `max_batch_size`, `input` …
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn model_config(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<serde_json::Value, LookupError> {
        Ok(model_config::model_config(&*self.registry.find(name, version)?))
    }

    /// The figures of one version, of all versions of a model, or of all models.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn statistics(
        &self,
        name: Option<&str>,
        version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>, LookupError> {
        let models: Vec<Arc<LoadedModel>> = match (name, version) {
            (None, _) => self.registry.ready(),
            (Some(name), None) => self.registry.ready_versions(name)?,
            (Some(name), version) => vec![self.registry.find(name, version)?],
        };
        let now = self.clock.now();
        let statistics = |model: &Arc<LoadedModel>| {
            let shadow = model.copies().map(|copies| Box::new(copies.figures(now)));
            let figures = ModelFigures { shadow, ..model.recorder.figures(now) };
            ModelStatistics {
                tensorforge: Some(Box::new(figures)),
                ..model.recorder.statistics(&model.name, &model.version.to_string())
            }
        };
        Ok(models.iter().map(statistics).collect())
    }

    /// The figures of the server and of all models, as Prometheus reads them. Takes some
    /// milliseconds when there are hundreds of models.
    #[must_use]
    pub fn metrics(&self) -> String {
        let now = self.clock.now();
        let mut models = self.registry.ready();
        // In the order in which they came.
        models.sort_by_key(|model| model.serial());
        let named = models.iter().map(|model| (&*model.name, &model.version, &model.recorder));
        let copies =
            models.iter().filter_map(|model| Some((&*model.name, &model.version, model.copies()?)));
        let mut copies: Vec<_> = copies.collect();
        copies.sort_by_key(|(_, _, recorder)| recorder.began());
        let server = ServerFigures {
            version: env!("CARGO_PKG_VERSION"),
            uptime: now.since(Instant::ZERO).as_nanos() as f64 / 1e9,
            ready_models: if self.is_ready() { models.len() as u64 } else { 0 },
            queued: self.scheduler.queued() as u64,
        };
        let mut series = telemetry::collect(named, now);
        series.extend(telemetry::collect_copies(copies, now));
        prometheus::render(&server, &series)
    }

    /// Every model version in the repository, ready or not.
    #[must_use]
    pub fn index(&self) -> Vec<RepositoryEntry> {
        self.registry.index()
    }

    /// Loads a model; see [`Registry::load`]. Blocks while it is loaded.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn load(&self, name: &str, sent: Option<ModelConfig>) -> Result<(), ChangeError> {
        self.check_not_draining()?;
        self.registry.load(name, sent)
    }

    /// Unloads a model; see [`Registry::unload`].
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn unload(&self, name: &str) -> Result<(), ChangeError> {
        self.check_not_draining()?;
        self.registry.unload(name)
    }

    fn check_not_draining(&self) -> Result<(), ChangeError> {
        match self.draining.load(Ordering::Relaxed) {
            true => Err(ChangeError::Draining),
            false => Ok(()),
        }
    }

    /// Looks for models that have come into the repository, so that the index has them; see
    /// [`Registry::look`].
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn look(&self) -> Result<(), RepositoryError> {
        self.registry.look()
    }

    /// Whether it takes requests: it has a model, or one may be loaded on request, and it is not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.registry.is_ready()
    }

    /// Whether it takes no more requests.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Requests in hand: waiting or running.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.registry.held().iter().map(|model| model.count_pending()).sum()
    }

    /// Takes no more requests, and returns when all that it holds are answered.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.registry.close_demand();
        self.scheduler.drain().await;
    }
}

/// The priority and the timeout (in microseconds, 0 for none) of a request, as Triton's clients send them.
fn demand(parameters: &Parameters) -> Result<Demand, RequestError> {
    let number = |name: &'static str| match parameters.get(name) {
        None => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| RequestError::Parameter {
            name,
            want: "a whole number that is not negative",
            got: value.to_string(),
        }),
    };
    // Above the levels that there are it is refused by number: see `Refused::Priority`.
    let asked_for = u8::try_from(number("priority")?).unwrap_or(u8::MAX);
    // Copies go behind everyone, whoever sends them.
    let is_shadow = is_shadow(parameters);
    let priority = if is_shadow { 0 } else { asked_for };
    let timeout = Some(number("timeout")?).filter(|&micros| micros > 0);
    let timeout = timeout.map(std::time::Duration::from_micros);
    Ok(Demand { priority, timeout, is_shadow, parameters: parameters.clone() })
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}

/// Positions of the outputs asked for, `None` for all of them.
fn wanted_outputs(
    model: &str,
    io: &ModelIo,
    request: &InferRequest,
) -> Result<Option<Vec<usize>>, RequestError> {
    if request.outputs.is_empty() {
        return Ok(None);
    }
    let position = |output: &crate::contracts::RequestedOutput| {
        io.outputs.iter().position(|spec| spec.name == output.name).ok_or_else(|| {
            RequestError::UnknownOutput {
                model: model.to_owned(),
                output: output.name.clone(),
                known: names(io.outputs.iter().map(|spec| &spec.name)),
            }
        })
    };
    let mut wanted = Vec::new();
    for output in &request.outputs {
        let index = position(output)?;
        // Each repeat would be sent again: a small request must not make a huge answer.
        if wanted.contains(&index) {
            let (model, output) = (model.to_owned(), output.name.clone());
            return Err(RequestError::RepeatedOutput { model, output });
        }
        wanted.push(index);
    }
    Ok(Some(wanted))
}

/// Puts the inputs in the model's order and checks each; also gives the number of rows.
fn check_inputs(
    model: &str,
    io: &ModelIo,
    mut inputs: Vec<Tensor>,
) -> Result<(Vec<Tensor>, usize), RequestError> {
    let model = || model.to_owned();
    let mut ordered = Vec::with_capacity(io.inputs.len());
    for spec in &io.inputs {
        let input = || spec.name.clone();
        let Some(place) = inputs.iter().position(|tensor| tensor.name() == spec.name) else {
            // A misspelt input is both missing and extra; the extra one tells the sender more.
            if let Some(extra) = first_extra(io, &inputs) {
                return Err(extra_input(model(), io, extra));
            }
            let (datatype, shape) = (spec.datatype, spec.shape.clone());
            let (model, input) = (model(), input());
            return Err(RequestError::MissingInput { model, input, datatype, shape });
        };
        let tensor = inputs.swap_remove(place);
        if tensor.datatype() != spec.datatype {
            return Err(RequestError::WrongType {
                model: model(),
                input: input(),
                want: spec.datatype,
                got: tensor.datatype(),
            });
        }
        if !spec.accepts_shape(tensor.shape()) {
            return Err(RequestError::WrongShape {
                model: model(),
                input: input(),
                want: spec.shape.clone(),
                got: tensor.shape().to_vec(),
            });
        }
        ordered.push(tensor);
    }
    if let Some(extra) = first_extra(io, &inputs) {
        return Err(extra_input(model(), io, extra));
    }
    if let Some(again) = inputs.first() {
        let input = again.name().to_owned();
        return Err(RequestError::RepeatedInput { model: model(), input });
    }
    if !io.batches {
        return Ok((ordered, 1));
    }
    let rows: Vec<usize> = ordered.iter().map(|tensor| tensor.shape()[0]).collect();
    match rows.first() {
        Some(&first) if rows.iter().all(|&rows| rows == first) => Ok((ordered, first)),
        _ => Err(RequestError::UnequalRows { model: model(), rows }),
    }
}

fn first_extra<'a>(io: &ModelIo, inputs: &'a [Tensor]) -> Option<&'a Tensor> {
    inputs.iter().find(|tensor| io.inputs.iter().all(|spec| spec.name != tensor.name()))
}

fn extra_input(model: String, io: &ModelIo, extra: &Tensor) -> RequestError {
    RequestError::ExtraInput {
        model,
        input: extra.name().to_owned(),
        known: names(io.inputs.iter().map(|spec| &spec.name)),
    }
}
