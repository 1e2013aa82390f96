//! The one place that maps errors to the wire.

use crate::batch_scheduler::RunError;
use crate::contracts::ErrorBody;
use crate::contracts::rest::{DecodeError, EncodeError};
use crate::registry::LookupError;
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

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        let (status, retry_after) = match &error {
            InferError::Lookup(error) => return error.clone().into(),
            InferError::Request(_) => (StatusCode::BAD_REQUEST, None),
            InferError::Run { source, .. } => run_status(source),
        };
        Self { retry_after, ..Self::new(status, error.to_string()) }
    }
}

fn run_status(error: &RunError) -> (StatusCode, Option<Duration>) {
    use Dropped::{CircuitOpen, Displaced, Expired};
    match error {
        RunError::Refused(why) => (refused_status(*why), why.retry_after()),
        RunError::Dropped(Displaced { retry_after, .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, Some(*retry_after))
        }
        RunError::Dropped(CircuitOpen { retry_after }) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after))
        }
        RunError::Dropped(Expired) => (StatusCode::GATEWAY_TIMEOUT, None),
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
