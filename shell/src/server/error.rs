//! The one place that maps errors to the wire.

use crate::batch_scheduler::RunError;
use crate::contracts::rest::{DecodeError, EncodeError};
use crate::contracts::{ErrorBody, REASON_HEADER, RETRY_AFTER_MS, Reason};
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
    /// Why, where the status alone does not tell.
    reason: Option<Reason>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, reason: None }
    }

    fn because(self, reason: impl Into<Option<Reason>>) -> Self {
        Self { reason: reason.into(), ..self }
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
            if let Some(after) = self.retry_after {
                // Most queues are worked off long before a second is over.
                let millis = after.as_nanos().div_ceil(1_000_000).clamp(1, 3_600_000);
                response.headers_mut().insert(RETRY_AFTER_MS, HeaderValue::from(millis));
            }
        }
        if let Some(reason) = self.reason {
            response.headers_mut().insert(REASON_HEADER, HeaderValue::from_static(reason.name()));
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
        let (status, reason) = match error {
            LookupError::NotReady { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(Reason::NotReady))
            }
            _ => (StatusCode::NOT_FOUND, None),
        };
        Self::new(status, error.to_string()).because(reason)
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
        let (status, reason) = match error {
            ChangeError::Lookup(error) => return error.into(),
            ChangeError::Repository(error) => return error.into(),
            ChangeError::NoMemory { .. } => (StatusCode::INSUFFICIENT_STORAGE, None),
            ChangeError::Draining => (StatusCode::SERVICE_UNAVAILABLE, Some(Reason::Draining)),
            _ => (StatusCode::BAD_REQUEST, None),
        };
        Self::new(status, error.to_string()).because(reason)
    }
}

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        let (status, retry_after, reason) = match &error {
            InferError::Lookup(error) => return error.clone().into(),
            InferError::Request(_) => (StatusCode::BAD_REQUEST, None, None),
            InferError::Demand(error) => {
                let (status, retry_after) = demand_status(error);
                (status, retry_after, demand_reason(error))
            }
            InferError::Run { source, .. } => {
                (run_status(source), source.retry_after(), run_reason(source))
            }
        };
        Self { retry_after, ..Self::new(status, error.to_string()) }.because(reason)
    }
}

impl From<GatewayError> for ApiError {
    fn from(error: GatewayError) -> Self {
        let message = error.to_string();
        let as_told = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut again = None;
        let (status, reason) = match error {
            GatewayError::Endpoint { error, .. } => match *error {
                EndpointError::Service(error) => return error.into(),
                EndpointError::Status { status, .. } => (as_told(status), None),
                EndpointError::Overloaded { status, retry_after, .. } => {
                    again = retry_after;
                    (as_told(status), Some(Reason::Overload))
                }
                EndpointError::Late(_) => (StatusCode::GATEWAY_TIMEOUT, Some(Reason::Late)),
                EndpointError::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, None),
                _ => (StatusCode::BAD_GATEWAY, None),
            },
            GatewayError::UnknownModel(_) => (StatusCode::NOT_FOUND, None),
            GatewayError::Loop(_) => (StatusCode::LOOP_DETECTED, Some(Reason::Loop)),
            GatewayError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, None),
            GatewayError::Overloaded { retry_after, .. } => {
                again = Some(retry_after.into());
                (StatusCode::TOO_MANY_REQUESTS, Some(Reason::Overload))
            }
            GatewayError::NoEndpoint { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(Reason::NoEndpoint))
            }
        };
        Self { retry_after: again, ..Self::new(status, message) }.because(reason)
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

fn demand_reason(error: &DemandError) -> Option<Reason> {
    match error {
        DemandError::StillLoading { .. } => Some(Reason::Loading),
        DemandError::Draining => Some(Reason::Draining),
        DemandError::Late => Some(Reason::Late),
        busy if busy.is_overload() => Some(Reason::Overload),
        DemandError::Failed { .. } => Some(Reason::NotReady),
        _ => None,
    }
}

const fn run_status(error: &RunError) -> StatusCode {
    use Dropped::{CircuitOpen, Displaced, Expired, NoMemory};
    match error {
        RunError::Refused(why) => refused_status(*why),
        RunError::Dropped(Displaced { .. }) => StatusCode::TOO_MANY_REQUESTS,
        RunError::Dropped(CircuitOpen { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        RunError::Dropped(Expired) | RunError::Hung { .. } => StatusCode::GATEWAY_TIMEOUT,
        RunError::TooManyRows { .. } | RunError::Dropped(NoMemory) => StatusCode::BAD_REQUEST,
        RunError::TooManyKinds { .. } => StatusCode::TOO_MANY_REQUESTS,
        RunError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn run_reason(error: &RunError) -> Option<Reason> {
    use Refused::{CircuitOpen, Draining, Halted, Restricted};
    match error {
        busy if busy.is_busy() => Some(Reason::Overload),
        late if late.is_late() => Some(Reason::Late),
        RunError::Refused(Draining) | RunError::Stopped => Some(Reason::Draining),
        RunError::Refused(Restricted { .. } | Halted { .. } | CircuitOpen { .. })
        | RunError::Dropped(Dropped::CircuitOpen { .. }) => Some(Reason::Unhealthy),
        _ => None,
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
        let (full, ill) = (Some("overload"), Some("unhealthy"));
        for (error, status, header, reason) in [
            (refused(Refused::ModelQueueFull { max_queued: 1, retry_after }), 429, Some("3"), full),
            (refused(Refused::ModelBytesFull { max_bytes: 1, retry_after }), 429, Some("3"), full),
            (RunError::Dropped(Dropped::Displaced { by: 1, retry_after }), 429, Some("3"), full),
            (refused(Refused::QueueFull { retry_after: Duration::ZERO }), 503, Some("1"), full),
            (refused(Refused::Halted { retry_after }), 503, Some("3"), ill),
            (refused(Refused::Restricted { priority: 1 }), 503, Some("1"), ill),
            (refused(Refused::CircuitOpen { retry_after }), 503, Some("3"), ill),
            (refused(Refused::Draining), 503, Some("1"), Some("draining")),
            (refused(Refused::Priority { priorities: 2 }), 400, None, None),
            (refused(Refused::Late), 504, None, Some("late")),
            (RunError::Dropped(Dropped::Expired), 504, None, Some("late")),
            (RunError::Dropped(Dropped::NoMemory), 400, None, None),
            (RunError::TooManyRows { most: 1 }, 400, None, None),
            (RunError::TooManyKinds { most: 1 }, 429, Some("1"), full),
            (RunError::Hung { after: std::time::Duration::from_secs(1) }, 504, None, None),
        ] {
            let source = error.clone();
            let error_response =
                ApiError::from(InferError::Run { model: "m".into(), version: 1.into(), source });
            let response = error_response.into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            let after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(after.map(|value| value.to_str().unwrap()), header, "{error:?}");
            let told = response.headers().get(REASON_HEADER);
            assert_eq!(told.map(|value| value.to_str().unwrap()), reason, "{error:?}");
            let millis = response.headers().get(RETRY_AFTER_MS);
            assert_eq!(millis.is_some_and(|millis| millis == "2300"), header == Some("3"));
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
        let broken = ChangeError::Failed { name: name(), versions: Vec::new() };
        let unknown = LookupError::UnknownModel { name: name(), known: Vec::new() };
        for (error, status, header, reason) in [
            (failed(no_memory), 503, Some("3"), Some("overload")),
            (failed(broken), 503, Some("3"), Some("not_ready")),
            (
                DemandError::StillLoading { after: Duration::from_secs(60) },
                503,
                Some("1"),
                Some("loading"),
            ),
            (DemandError::Draining, 503, Some("1"), Some("draining")),
            (DemandError::TooManyWaiting { most: 1 }, 429, Some("1"), Some("overload")),
            (DemandError::Late, 504, None, Some("late")),
            (DemandError::Lookup(unknown), 404, None, None),
        ] {
            let response = ApiError::from(InferError::from(error.clone())).into_response();
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            let after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(after.map(|value| value.to_str().unwrap()), header, "{error:?}");
            let told = response.headers().get(REASON_HEADER);
            assert_eq!(told.map(|value| value.to_str().unwrap()), reason, "{error:?}");
        }
    }

    /// What a gateway's client sees: status, reason, and when to come again in milliseconds.
    fn told(error: GatewayError) -> (u16, Option<String>, Option<String>) {
        let response = ApiError::from(error).into_response();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        (response.status().as_u16(), header(REASON_HEADER), header(RETRY_AFTER_MS))
    }

    #[test]
    fn a_gateway_says_whether_its_endpoints_are_busy_or_gone() {
        let model = || "m".to_owned();
        let taken = Box::default();
        assert_eq!(
            told(GatewayError::NoEndpoint { model: model(), taken }),
            (503, Some("no_endpoint".into()), None)
        );
        let (taken, retry_after) = (Box::default(), Duration::from_micros(1_500));
        assert_eq!(
            told(GatewayError::Overloaded { model: model(), retry_after, taken }),
            (429, Some("overload".into()), Some("2".into()))
        );
        let endpoint =
            |error| GatewayError::Endpoint { error: Box::new(error), taken: Box::default() };
        let retry_after = Some(tensorforge_core::Duration::from_millis(20));
        let busy = EndpointError::Overloaded { status: 429, message: "full".into(), retry_after };
        assert_eq!(told(endpoint(busy)), (429, Some("overload".into()), Some("20".into())));
        let late = EndpointError::Late("late".into());
        assert_eq!(told(endpoint(late)), (504, Some("late".into()), None));
        assert_eq!(told(endpoint(EndpointError::Unsupported("x"))), (501, None, None));
        assert_eq!(told(GatewayError::Loop(9)), (508, Some("loop".into()), None));
    }
}
