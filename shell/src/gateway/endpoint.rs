//! What answers requests: this process's own service, or another server.

use crate::batch_scheduler::RunError;
use crate::contracts::{InferRequest, InferResponse, ModelMetadata, ModelStatistics};
use crate::models::Tensor;
use crate::registry::{DemandError, LookupError};
use crate::service::{InferError, Service};
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tensorforge_core::breaker::Outcome;
use tensorforge_core::{Dropped, Duration, Refused};

/// What an endpoint's work comes to, some time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs requests. Dropping the future of one withdraws it, as far as the endpoint can.
pub trait Endpoint: Send + Sync {
    /// Runs one request.
    fn infer<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
        request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>>;

    /// What a model takes and gives there.
    fn metadata<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>>;

    /// Whether it takes requests, for active probes.
    fn is_ready(&self) -> Answer<'_, bool>;

    /// The same endpoint, for questions about models that came over `hops` gateways, where it passes on how many
    /// that is; `None` where it asks nobody else.
    fn after(&self, _hops: u64) -> Option<Arc<dyn Endpoint>> {
        None
    }

    /// Whether it has the model, or the version, ready to run. Unless it knows better, that is so where it says
    /// what the model takes and gives.
    fn is_model_ready<'a>(&'a self, model: &'a str, version: Option<&'a str>) -> Answer<'a, bool> {
        Box::pin(async move { self.metadata(model, version).await.is_ok() })
    }

    /// A model's configuration there, in Triton's form. Not every endpoint can say.
    fn config<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<serde_json::Value, EndpointError>> {
        Box::pin(std::future::ready(Err(EndpointError::Unsupported("configuration"))))
    }

    /// The figures of one version of a model there, or of all. Not every endpoint has any.
    fn statistics<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<Vec<ModelStatistics>, EndpointError>> {
        Box::pin(std::future::ready(Err(EndpointError::Unsupported("statistics"))))
    }
}

/// Why an endpoint did not answer a request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// This process's own service says so.
    #[error(transparent)]
    Service(#[from] InferError),
    /// It could not be asked, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("{message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// It has as much to do as it can, which speaks neither for nor against its health.
    #[error("{message}")]
    Overloaded {
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
        /// When it may have room, if it says so.
        retry_after: Option<Duration>,
    },
    /// It has no such answers: `configuration`, `statistics`.
    #[error("it does not tell a model's {0}")]
    Unsupported(&'static str),
    /// It answered with something that is no answer to the request.
    #[error("{0}")]
    WrongAnswer(String),
    /// The request's own timeout passed, or what was left of its time was too short for anybody; which says
    /// nothing about who was asked.
    #[error("{0}")]
    Late(String),
    /// It did not answer in the time that an attempt has.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
}

impl EndpointError {
    /// Whether another endpoint may do better. A request is never run to an effect, so it may run twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::WrongAnswer(_) | Self::TimedOut(_) => true,
            Self::Overloaded { .. } | Self::Unsupported(_) => true,
            // Overload, a server that stops, a gateway that reaches nobody; 404: it has not the model.
            Self::Status { status, .. } => matches!(status, 404 | 429 | 500 | 502 | 503 | 504),
            Self::Service(InferError::Lookup(_)) => true,
            Self::Service(InferError::Demand(error)) => *error != DemandError::Late,
            Self::Service(InferError::Request(_)) => false,
            Self::Service(InferError::Run { source, .. }) => match source {
                RunError::TooManyRows { .. }
                | RunError::NotJoined { .. }
                | RunError::Refused(
                    Refused::Empty | Refused::TooLarge { .. } | Refused::Priority { .. },
                )
                | RunError::Dropped(Dropped::NoMemory) => false,
                _ => !source.is_late(),
            },
            Self::Late(_) => false,
        }
    }

    /// Whether it was the request's own time that was over.
    #[must_use]
    pub fn is_late(&self) -> bool {
        match self {
            Self::Late(_) => true,
            Self::Service(InferError::Demand(error)) => *error == DemandError::Late,
            Self::Service(InferError::Run { source, .. }) => source.is_late(),
            _ => false,
        }
    }

    /// Whether the model or version is not there.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
            || matches!(self, Self::Service(InferError::Lookup(error)) if !matches!(error, LookupError::NotReady { .. }))
    }

    /// Whether the model is there and cannot run now.
    #[must_use]
    pub(super) const fn is_not_ready(&self) -> bool {
        matches!(self, Self::Status { status: 503, .. })
            || matches!(self, Self::Service(InferError::Lookup(LookupError::NotReady { .. })))
    }

    /// Whether the endpoint only has too much to do.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Status { status: 429, .. } => true,
            Self::Service(InferError::Run { source, .. }) => source.is_busy(),
            Self::Service(InferError::Demand(error)) => {
                error.is_overload() && *error != DemandError::Draining
            }
            _ => false,
        }
    }

    /// When it may have room, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => *retry_after,
            Self::Service(InferError::Run { source, .. }) => source.retry_after(),
            Self::Service(InferError::Demand(DemandError::Failed { retry_after, .. })) => {
                Some((*retry_after).into())
            }
            _ => None,
        }
    }

    /// What it says about the endpoint's health. Overload says nothing, and a bad request speaks for it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) | Self::WrongAnswer(_) | Self::TimedOut(_) => Outcome::Failure,
            Self::Overloaded { .. } | Self::Unsupported(_) => Outcome::Ignored,
            // Overload; a circle of gateways, which is nobody's fault in particular.
            Self::Status { status: 429 | 508, .. } | Self::Late(_) => Outcome::Ignored,
            Self::Status { status: 500..=599, .. } => Outcome::Failure,
            Self::Status { .. } => Outcome::Success,
            Self::Service(InferError::Lookup(LookupError::NotReady { .. })) => Outcome::Failure,
            // A model that does not load speaks against it, one that is still being loaded does not.
            Self::Service(InferError::Demand(error)) => match error {
                DemandError::Failed { .. } if !error.is_overload() => Outcome::Failure,
                _ => Outcome::Ignored,
            },
            Self::Service(InferError::Run { source, .. }) => match source {
                RunError::Execute(_) | RunError::Panicked { .. } | RunError::Hung { .. } => {
                    Outcome::Failure
                }
                _ => Outcome::Ignored,
            },
            Self::Service(_) => Outcome::Success,
        }
    }
}

/// This process's own service.
#[derive(Clone)]
pub struct LocalEndpoint(pub Arc<Service>);

impl fmt::Debug for LocalEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalEndpoint")
    }
}

impl Endpoint for LocalEndpoint {
    fn infer<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
        request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        Box::pin(async move { Ok(self.0.infer(model, version, request).await?) })
    }

    fn metadata<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        let found = self.0.metadata(model, version);
        Box::pin(std::future::ready(found.map_err(|error| InferError::from(error).into())))
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(async { self.0.is_ready() })
    }

    fn config<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<serde_json::Value, EndpointError>> {
        let config = self.0.model_config(model, version);
        Box::pin(std::future::ready(config.map_err(|error| InferError::from(error).into())))
    }

    fn statistics<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
    ) -> Answer<'a, Result<Vec<ModelStatistics>, EndpointError>> {
        let figures = self.0.statistics(Some(model), version);
        Box::pin(std::future::ready(figures.map_err(|error| InferError::from(error).into())))
    }
}

/// Whether an answer is one to the request: of its model, with the outputs that it asks for, each once.
///
/// # Errors
/// [`EndpointError::WrongAnswer`] says what is not.
pub(super) fn check_answer(
    model: &str,
    wanted: &[String],
    response: &InferResponse,
) -> Result<(), EndpointError> {
    if response.model_name != model {
        let other = &response.model_name;
        let message = format!("it answered for model '{other}' instead of '{model}'");
        return Err(EndpointError::WrongAnswer(message));
    }
    let mut seen = HashSet::with_capacity(response.outputs.len());
    let mut names = response.outputs.iter().map(Tensor::name);
    if let Some(twice) = names.find(|name| !seen.insert(*name)) {
        let message = format!("its answer for model '{model}' has output '{twice}' twice");
        return Err(EndpointError::WrongAnswer(message));
    }
    match wanted.iter().find(|name| !seen.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("its answer for model '{model}' has no output '{name}'");
            Err(EndpointError::WrongAnswer(message))
        }
    }
}

#[cfg(test)]
mod routing {
    use super::*;
    use crate::registry::ChangeError;
    use std::time::Duration;

    #[test]
    fn an_endpoint_that_lacks_room_or_time_for_a_model_is_not_at_fault_and_one_whose_model_is_broken_is()
     {
        let failed = |error| DemandError::Failed {
            error: Arc::new(error),
            retry_after: Duration::from_secs(1),
        };
        let name = || "m".to_owned();
        let no_memory =
            ChangeError::NoMemory { name: name(), needs: 2, limit: 3, held: 3, reason: name() };
        let broken = ChangeError::Failed { name: name(), versions: Vec::new() };
        for (error, outcome, is_retryable) in [
            (failed(no_memory), Outcome::Ignored, true),
            (failed(broken), Outcome::Failure, true),
            (DemandError::StillLoading { after: Duration::ZERO }, Outcome::Ignored, true),
            (DemandError::TooManyWaiting { most: 1 }, Outcome::Ignored, true),
            (DemandError::Draining, Outcome::Ignored, true),
            (DemandError::Late, Outcome::Ignored, false),
        ] {
            let told = EndpointError::from(InferError::from(error.clone()));
            assert_eq!((told.outcome(), told.is_retryable()), (outcome, is_retryable), "{error:?}");
            assert!(!told.is_unknown(), "{error:?}");
        }
    }
}
