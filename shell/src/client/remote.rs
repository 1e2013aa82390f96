//! Another server of the protocol, as an endpoint of a gateway.

use super::{Client, ClientError, Url, infer_path, model_path};
use crate::concurrency::lock;
use crate::contracts::rest;
use crate::contracts::{
    InferRequest, InferResponse, ModelMetadata, ModelStatistics, Reason, StatisticsResponse,
};
use crate::gateway::{Answer, Endpoint, EndpointError, HOPS_HEADER};
use hyper::Method;
use hyper::header::HeaderValue;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex};

/// Connections that are kept open without a request.
const MOST_IDLE: usize = 64;

/// A server that is asked over REST, tensors as raw bytes. Each request has a connection of its own, which is
/// kept for the next one.
#[derive(Debug)]
pub struct RemoteEndpoint {
    url: Url,
    idle: Arc<Mutex<Vec<Client>>>,
    /// The gateways on the way of a question that is asked here, the one that asks included.
    hops: u64,
}

impl RemoteEndpoint {
    /// A server that is not connected yet.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, idle: Arc::default(), hops: 1 }
    }

    fn connection(&self) -> Client {
        // The one that was used last: the server has not closed it yet, most likely.
        lock(&self.idle).pop().unwrap_or_else(|| Client::new(self.url.clone()))
    }

    /// `GET`s a JSON document.
    async fn read<T: DeserializeOwned>(&self, path: String) -> Result<T, EndpointError> {
        let mut client = self.connection();
        let answer = client.send_with(Method::GET, &path, None, &[self.hops()]).await;
        let document = answer.and_then(|answer| client.parse(&answer));
        if matches!(document, Ok(_) | Err(ClientError::Refused { .. })) {
            self.give_back(client);
        }
        document.map_err(failed)
    }

    /// Whether it answers a `GET` with 200.
    async fn is_good(&self, path: String) -> bool {
        let mut client = self.connection();
        let answer = client.send_with(Method::GET, &path, None, &[self.hops()]).await;
        if matches!(answer, Ok(_) | Err(ClientError::Refused { .. })) {
            self.give_back(client);
        }
        answer.is_ok()
    }

    fn hops(&self) -> (&'static str, HeaderValue) {
        (HOPS_HEADER, self.hops.into())
    }

    fn give_back(&self, client: Client) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE {
            idle.push(client);
        }
    }
}

impl Endpoint for RemoteEndpoint {
    fn infer<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
        mut request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        Box::pin(async move {
            // The caller wants tensors, whatever its own client wants.
            request.binary_outputs = true;
            request.outputs.iter_mut().for_each(|output| output.binary = true);
            let wrong =
                |error: &dyn std::fmt::Display| EndpointError::WrongAnswer(error.to_string());
            let body = rest::encode_request(&request, true).map_err(|error| wrong(&error))?;
            let mut client = self.connection();
            let path = infer_path(model, version);
            // A future that is dropped here takes the connection with it, and the server notices.
            let answer = client.send(Method::POST, &path, Some(&body)).await;
            let response = match answer {
                Ok(answer) => client.decode(&answer).map_err(failed),
                Err(error @ ClientError::Refused { .. }) => Err(failed(error)),
                Err(error) => return Err(failed(error)),
            };
            self.give_back(client);
            response
        })
    }

    fn metadata<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        Box::pin(self.read(model_path(model, version)))
    }

    fn after(&self, hops: u64) -> Option<Arc<dyn Endpoint>> {
        let (url, idle) = (self.url.clone(), Arc::clone(&self.idle));
        Some(Arc::new(Self { url, idle, hops: hops.saturating_add(1) }))
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(self.is_good("/v2/health/ready".into()))
    }

    fn is_model_ready<'a>(&'a self, model: &'a str, version: Option<&'a str>) -> Answer<'a, bool> {
        Box::pin(self.is_good(model_path(model, version) + "/ready"))
    }

    fn config<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<serde_json::Value, EndpointError>> {
        Box::pin(self.read(model_path(model, version) + "/config"))
    }

    fn statistics<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<Vec<ModelStatistics>, EndpointError>> {
        Box::pin(async move {
            let path = model_path(model, version) + "/stats";
            Ok(self.read::<StatisticsResponse>(path).await?.model_stats)
        })
    }
}

/// Whether a server only has too much to do. Those like this one say so. Of others, 429 means nothing else;
/// 503 may mean anything, but who says when to come again is well enough to know. Triton answers 503 to a full
/// queue as to a model that is unloaded, without a time, and so do TorchServe and Knative: that is a failure
/// until it says otherwise.
fn is_overload(status: u16, reason: Option<Reason>, says_when: bool) -> bool {
    match (status, reason) {
        (429 | 503, Some(reason)) => matches!(reason, Reason::Overload | Reason::Loading),
        (429, None) => true,
        (503, None) => says_when,
        _ => false,
    }
}

fn failed(error: ClientError) -> EndpointError {
    match error {
        ClientError::Refused { status, message, reason, retry_after, .. } => {
            let status = status.as_u16();
            if is_overload(status, reason, retry_after.is_some()) {
                let retry_after = retry_after.map(Into::into);
                return EndpointError::Overloaded { status, message, retry_after };
            }
            EndpointError::Status { status, message }
        }
        ClientError::TimedOut { after, .. } => EndpointError::TimedOut(after),
        ClientError::Protocol { .. } | ClientError::Encode(_) => {
            EndpointError::WrongAnswer(error.to_string())
        }
        ClientError::Unreachable { .. } | ClientError::Broken { .. } => {
            EndpointError::Unreachable(error.to_string())
        }
    }
}
