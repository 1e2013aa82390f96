//! Another server of the protocol, as an endpoint of a gateway.

use super::{Client, ClientError, Url, infer_path, model_path};
use crate::concurrency::lock;
use crate::contracts::rest;
use crate::contracts::{InferRequest, InferResponse, ModelMetadata};
use crate::gateway::{Answer, Endpoint, EndpointError};
use hyper::Method;
use std::sync::Mutex;

/// Connections that are kept open without a request.
const MOST_IDLE: usize = 64;

/// A server that is asked over REST, tensors as raw bytes. Each request has a connection of its own, which is
/// kept for the next one.
#[derive(Debug)]
pub struct RemoteEndpoint {
    url: Url,
    idle: Mutex<Vec<Client>>,
}

impl RemoteEndpoint {
    /// A server that is not connected yet.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self { url, idle: Mutex::new(Vec::new()) }
    }

    fn connection(&self) -> Client {
        // The one that was used last: the server has not closed it yet, most likely.
        lock(&self.idle).pop().unwrap_or_else(|| Client::new(self.url.clone()))
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
        Box::pin(async move {
            let mut client = self.connection();
            let metadata = client.get(&model_path(model, version)).await.map_err(failed)?;
            self.give_back(client);
            Ok(metadata)
        })
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(async {
            let mut client = self.connection();
            let ready = client.send(Method::GET, "/v2/health/ready", None).await.is_ok();
            if ready {
                self.give_back(client);
            }
            ready
        })
    }
}

fn failed(error: ClientError) -> EndpointError {
    match error {
        ClientError::Refused { status, message, .. } => {
            EndpointError::Status { status: status.as_u16(), message }
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
