//! Endpoints that do what a test says, and gateways over them.

use super::*;
use crate::contracts::{ModelStatistics, Parameters};
use crate::models::{DataType, TensorSpec};

type Infer =
    dyn Fn(Option<&str>, &InferRequest) -> Result<InferResponse, EndpointError> + Send + Sync;

/// An endpoint, part by part.
pub(super) struct Scripted {
    pub(super) infer: Mutex<Arc<Infer>>,
    pub(super) metadata: Mutex<Result<ModelMetadata, EndpointError>>,
    /// Of versions that have others.
    pub(super) metadata_of: Mutex<HashMap<String, ModelMetadata>>,
    pub(super) config: Mutex<Result<serde_json::Value, EndpointError>>,
    pub(super) statistics: Mutex<Result<Vec<ModelStatistics>, EndpointError>>,
    pub(super) has_model: AtomicBool,
    pub(super) is_ready: AtomicBool,
    pub(super) asked: Mutex<Vec<Option<String>>>,
    /// Metadata and configurations that it was asked for, of which version.
    pub(super) asked_about: Mutex<Vec<(&'static str, Option<String>)>>,
    /// Over how many gateways questions came.
    pub(super) hops: Mutex<Vec<u64>>,
}

impl Scripted {
    /// One that answers 200 to all, with one output `y`.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            infer: Mutex::new(Arc::new(|version, request| {
                Ok(answer(version, request, vec![output(&[1, 2])]))
            })),
            metadata: Mutex::new(Ok(metadata("1", &[spec("y", &[-1, 2])]))),
            metadata_of: Mutex::default(),
            config: Mutex::new(Err(EndpointError::Unsupported("configuration"))),
            statistics: Mutex::new(Err(EndpointError::Unsupported("statistics"))),
            has_model: AtomicBool::new(true),
            is_ready: AtomicBool::new(true),
            asked: Mutex::default(),
            asked_about: Mutex::default(),
            hops: Mutex::default(),
        })
    }

    /// From now on it does this.
    pub(super) fn does(
        &self,
        infer: impl Fn(Option<&str>, &InferRequest) -> Result<InferResponse, EndpointError>
        + Send
        + Sync
        + 'static,
    ) {
        *lock(&self.infer) = Arc::new(infer);
    }

    pub(super) fn asked(&self) -> usize {
        lock(&self.asked).len()
    }
}

impl Endpoint for Scripted {
    fn infer<'a>(
        &'a self,
        _model: &'a str,
        version: Option<&'a str>,
        request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        lock(&self.asked).push(version.map(str::to_owned));
        let infer = Arc::clone(&lock(&self.infer));
        Box::pin(async move { infer(version, &request) })
    }

    fn metadata<'a>(
        &'a self,
        _model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        lock(&self.asked_about).push(("metadata", version.map(str::to_owned)));
        let own = version.and_then(|version| lock(&self.metadata_of).get(version).cloned());
        let all = lock(&self.metadata).clone();
        Box::pin(ready(own.map_or(all, Ok)))
    }

    fn after(&self, hops: u64) -> Option<Arc<dyn Endpoint>> {
        lock(&self.hops).push(hops);
        None
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(ready(self.is_ready.load(Ordering::Relaxed)))
    }

    fn is_model_ready<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> Answer<'a, bool> {
        Box::pin(ready(self.has_model.load(Ordering::Relaxed)))
    }

    fn config<'a>(
        &'a self,
        _model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<serde_json::Value, EndpointError>> {
        lock(&self.asked_about).push(("config", version.map(str::to_owned)));
        Box::pin(ready(lock(&self.config).clone()))
    }

    fn statistics<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<Vec<ModelStatistics>, EndpointError>> {
        Box::pin(ready(lock(&self.statistics).clone()))
    }
}

/// A gateway over `a`, `b` …, with `models` in its table, that gives no earlier answers.
pub(super) fn over(endpoints: &[Arc<Scripted>], models: &str) -> Arc<Gateway> {
    gateway(endpoints, models, GatewayOptions { answers: None, ..GatewayOptions::default() })
}

/// The same, and it keeps answers.
pub(super) fn keeping(endpoints: &[Arc<Scripted>], models: &str) -> Arc<Gateway> {
    gateway(endpoints, models, GatewayOptions::default())
}

fn gateway(endpoints: &[Arc<Scripted>], models: &str, options: GatewayOptions) -> Arc<Gateway> {
    let table: String =
        ["a", "b", "c", "d"].iter().zip(endpoints).map(|(it, _)| entry(it)).collect();
    let known: HashMap<String, Arc<Scripted>> = ["a", "b", "c", "d"]
        .iter()
        .zip(endpoints)
        .map(|(name, endpoint)| (format!("http://{name}:1"), Arc::clone(endpoint)))
        .collect();
    let connect = move |url: &str| {
        let found =
            known.get(url).cloned().ok_or_else(|| format!("{url} is none of the test's"))?;
        Ok(found as Arc<dyn Endpoint>)
    };
    let local = Fake::new(Does::Says(status(404)));
    let gateway = Gateway::new(Clock::start(), options, local, Box::new(connect)).unwrap();
    gateway.publish(Routes::from_toml(&(table + models)).unwrap()).unwrap();
    Arc::new(gateway)
}

pub(super) fn answer(
    version: Option<&str>,
    request: &InferRequest,
    outputs: Vec<Tensor>,
) -> InferResponse {
    InferResponse {
        model_name: "digits".into(),
        model_version: version.unwrap_or("1").to_owned(),
        id: request.id.clone(),
        parameters: Parameters::new(),
        outputs,
    }
}

/// `y` of zeros.
pub(super) fn output(shape: &[usize]) -> Tensor {
    Tensor::from_f32("y", shape.to_vec(), &vec![0.0; shape.iter().product()])
}

pub(super) fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype: DataType::Fp32, shape: shape.to_vec() }
}

/// Of a model that takes rows of three and gives these.
pub(super) fn metadata(version: &str, outputs: &[TensorSpec]) -> ModelMetadata {
    ModelMetadata {
        name: "digits".into(),
        versions: vec![version.into()],
        platform: "scripted".into(),
        inputs: vec![spec("x", &[-1, 3])],
        outputs: outputs.to_vec(),
    }
}

/// A request of so many rows, for `digits`.
pub(super) fn rows(rows: usize) -> InferRequest {
    let input = Tensor::from_f32("x", vec![rows, 3], &vec![0.0; rows * 3]);
    InferRequest { inputs: vec![input], ..InferRequest::default() }
}

pub(super) async fn send(
    gateway: &Gateway,
    version: Option<&str>,
    request: InferRequest,
) -> Result<(InferResponse, RouteTaken), GatewayError> {
    gateway.infer("digits", version, request, &Hints::default()).await
}

/// What an explanation says of one endpoint's health, for requests for this version.
pub(super) fn health(gateway: &Gateway, version: Option<&str>, name: &str) -> String {
    explained(gateway, version, name).health
}

pub(super) fn explained(gateway: &Gateway, version: Option<&str>, name: &str) -> Explained {
    let (request, hints) = (InferRequest::default(), Hints::default());
    let explanation = gateway.explain("digits", version, &request, &hints).unwrap();
    explanation.candidates.into_iter().find(|candidate| candidate.name == name).unwrap()
}
