//! The one place that maps errors to the wire.

use crate::batch_scheduler::RunError;
use crate::contracts::ErrorBody;
use crate::contracts::rest::{DecodeError, EncodeError};
use crate::registry::LookupError;
use crate::service::InferError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tensorforge_core::Refused;

/// An error answer: status and message.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        tracing::debug!(status = %self.status, message = self.message, "request refused");
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
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
        let status = match &error {
            InferError::Lookup(error) => return error.clone().into(),
            InferError::Request(_) => StatusCode::BAD_REQUEST,
            InferError::Run { source, .. } => run_status(source),
        };
        Self::new(status, error.to_string())
    }
}

fn run_status(error: &RunError) -> StatusCode {
    match error {
        RunError::Refused(Refused::TooLarge { .. } | Refused::Empty) => StatusCode::BAD_REQUEST,
        RunError::Refused(_) | RunError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        RunError::Execute(_) | RunError::Panicked { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
