//! The one place that maps errors to the wire.

use crate::batch_scheduler::RunError;
use crate::contracts::ErrorBody;
use crate::contracts::rest::{DecodeError, EncodeError};
use crate::gateway::{EndpointError, GatewayError, PublishError, TableChangeError};
use crate::registry::{ChangeError, DemandError, LookupError, RepositoryError};
use crate::service::InferError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tensorforge_core::{Dropped, Duration, Refused};

/// An error answer: status and message.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    /// When to come again, where that is known.
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        tracing::debug!(status = %self.status, message = self.message, "request refused");
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        let again = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if again.contains(&self.status) {
            // The header counts whole seconds.
            let nanos = self.retry_after.unwrap_or_default().as_nanos();
            let seconds = nanos.div_ceil(1_000_000_000).clamp(1, 3600);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<EncodeError> for ApiError {
    fn from(error: EncodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let status = match error {
            LookupError::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NOT_FOUND,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// 400 for what is wrong with the model or the request, as Triton answers both.
impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let status = match error {
            ChangeError::Lookup(error) => return error.into(),
            ChangeError::Repository(error) => return error.into(),
            ChangeError::NoMemory { .. } => StatusCode::INSUFFICIENT_STORAGE,
            ChangeError::Draining => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        let (status, retry_after) = match &error {
            InferError::Lookup(error) => return error.clone().into(),
            InferError::Request(_) => (StatusCode::BAD_REQUEST, None),
            InferError::Demand(error) => demand_status(error),
            InferError::Run { source, .. } => run_status(source),
        };
        Self { retry_after, ..Self::new(status, error.to_string()) }
    }
}

impl From<GatewayError> for ApiError {
    fn from(error: GatewayError) -> Self {
        let message = error.to_string();
        let status = match error {
            GatewayError::Endpoint { error, .. } => match *error {
                EndpointError::Service(error) => return error.into(),
                EndpointError::Status { status, .. } => {
                    StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)
                }
                EndpointError::Late(_) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            GatewayError::UnknownModel(_) => StatusCode::NOT_FOUND,
            GatewayError::Loop(_) => StatusCode::LOOP_DETECTED,
            GatewayError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            GatewayError::NoEndpoint { .. } => StatusCode::SERVICE_UNAVAILABLE,
            GatewayError::Overloaded { retry_after, .. } => {
                let retry_after = Some(retry_after.into());
                return Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) };
            }
        };
        Self::new(status, message)
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        use crate::routing::PublishError::Conflict;
        let status = match error {
            PublishError::Table(Conflict { .. }) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<TableChangeError> for ApiError {
    fn from(error: TableChangeError) -> Self {
        match error {
            TableChangeError::Publish(error) => error.into(),
            TableChangeError::UnknownEndpoint { .. } | TableChangeError::UnknownModel { .. } => {
                Self::new(StatusCode::NOT_FOUND, error.to_string())
            }
        }
    }
}

fn demand_status(error: &DemandError) -> (StatusCode, Option<Duration>) {
    match error {
        DemandError::Failed { retry_after, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, Some((*retry_after).into()))
        }
        DemandError::Late => (StatusCode::GATEWAY_TIMEOUT, None),
        DemandError::TooManyWaiting { .. } => (StatusCode::TOO_MANY_REQUESTS, None),
        _ => (StatusCode::SERVICE_UNAVAILABLE, None),
    }
}

fn run_status(error: &RunError) -> (StatusCode, Option<Duration>) {
    use Dropped::{CircuitOpen, Displaced, Expired, NoMemory};
    match error {
        RunError::Refused(why) => (refused_status(*why), why.retry_after()),
        RunError::Dropped(Displaced { retry_after, .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, Some(*retry_after))
        }
        RunError::Dropped(CircuitOpen { retry_after }) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after))
        }
        RunError::Dropped(Expired) | RunError::Hung { .. } => (StatusCode::GATEWAY_TIMEOUT, None),
        RunError::TooManyRows { .. } | RunError::Dropped(NoMemory) => {
            (StatusCode::BAD_REQUEST, None)
        }
        RunError::TooManyKinds { .. } => (StatusCode::TOO_MANY_REQUESTS, None),
        RunError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, None),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

/// 429 where the model's own limits are met, 503 where the server takes nothing more or waits for the
/// model to recover.
const fn refused_status(why: Refused) -> StatusCode {
    use Refused::{
        Empty, Late, LevelQueueFull, ModelBytesFull, ModelQueueFull, Priority, TooLarge,
    };
    match why {
        TooLarge { .. } | Empty | Priority { .. } => StatusCode::BAD_REQUEST,
        Late => StatusCode::GATEWAY_TIMEOUT,
        ModelQueueFull { .. } | ModelBytesFull { .. } | LevelQueueFull { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;

    #[test]
    fn overload_says_whose_it_is_and_when_to_come_again() {
        let retry_after = Duration::from_millis(2_300);
        let refused = |why| RunError::Refused(why);
        for (error, status, header) in [
            (refused(Refused::ModelQueueFull { max_queued: 1, retry_after }), 429, Some("3")),
            (refused(Refused::ModelBytesFull { max_bytes: 1, retry_after }), 429, Some("3")),
            (RunError::Dropped(Dropped::Displaced { by: 1, retry_after }), 429, Some("3")),
            (refused(Refused::QueueFull { retry_after: Duration::ZERO }), 503, Some("1")),
            (refused(Refused::Halted { retry_after }), 503, Some("3")),
            (refused(Refused::Draining), 503, Some("1")),
            (refused(Refused::Priority { priorities: 2 }), 400, None),
            (refused(Refused::Late), 504, None),
            (RunError::Dropped(Dropped::Expired), 504, None),
            (RunError::Dropped(Dropped::NoMemory), 400, None),
            (RunError::TooManyRows { most: 1 }, 400, None),
            (RunError::TooManyKinds { most: 1 }, 429, Some("1")),
            (RunError::Hung { after: std::time::Duration::from_secs(1) }, 504, None),
        ] {
            let source = error.clone();
            let error_response =
                ApiError::from(InferError::Run { model: "m".into(), version: 1.into(), source });
            let response = error_response.into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            let after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(after.map(|value| value.to_str().unwrap()), header, "{error:?}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn endpoints_that_are_full_are_429_with_when_to_come_again() {
        let retry_after = Duration::from_millis(1_200);
        let (model, taken) = ("digits".into(), Box::default());
        let error = GatewayError::Overloaded { model, retry_after, taken };
        let response = ApiError::from(error).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn a_request_whose_model_is_not_loaded_is_told_when_to_come_again() {
        let failed = |error| DemandError::Failed {
            error: Arc::new(error),
            retry_after: Duration::from_millis(2_300),
        };
        let name = || "m".to_owned();
        let no_memory =
            ChangeError::NoMemory { name: name(), needs: 2, limit: 3, held: 3, reason: name() };
        let unknown = LookupError::UnknownModel { name: name(), known: Vec::new() };
        for (error, status, header) in [
            (failed(no_memory), 503, Some("3")),
            (failed(ChangeError::Failed { name: name(), versions: Vec::new() }), 503, Some("3")),
            (DemandError::StillLoading { after: Duration::from_secs(60) }, 503, Some("1")),
            (DemandError::Draining, 503, Some("1")),
            (DemandError::TooManyWaiting { most: 1 }, 429, Some("1")),
            (DemandError::Late, 504, None),
            (DemandError::Lookup(unknown), 404, None),
        ] {
            let response = ApiError::from(InferError::from(error.clone())).into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            let after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(after.map(|value| value.to_str().unwrap()), header, "{error:?}");
        }
    }
}
