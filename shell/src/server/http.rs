//! Open Inference Protocol v2 over REST.

use super::ServerLimits;
use super::error::ApiError;
use super::repository;
use crate::contracts::rest::{self, HEADER_LENGTH};
use crate::contracts::{InferResponse, ModelMetadata, ServerMetadata, StatisticsResponse};
use crate::gateway::{Gateway, HOPS_HEADER, Hints};
use crate::service::Service;
use crate::telemetry::prometheus;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use tower_http::compression::{CompressionLayer, CompressionLevel};
use tower_http::decompression::RequestDecompressionLayer;

/// From this size on, converting JSON is left to a blocking thread: it would hold up the
/// connections that share an async thread for more than about a tenth of a millisecond.
const LARGE: usize = 64 << 10;

#[derive(Clone)]
pub(super) struct App {
    pub(super) service: Arc<Service>,
    pub(super) gateway: Option<Arc<Gateway>>,
    pub(super) limits: ServerLimits,
}

/// The header that says which way a request took.
const ROUTE_HEADER: &str = "x-tensorforge-route";

/// The model and version in a path.
#[derive(Deserialize)]
pub(super) struct Target {
    pub(super) model: String,
    version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<Self>::from_request_parts(parts, state).await;
        path.map(|Path(target)| target).map_err(|error| ApiError::bad_request(error.body_text()))
    }
}

impl Target {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// Over how many gateways a question came, as its header says; none where that is not a number.
struct Hops(u64);

impl<S: Send + Sync> FromRequestParts<S> for Hops {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.headers.get(HOPS_HEADER).and_then(|value| value.to_str().ok());
        Ok(Self(said.and_then(|text| text.trim().parse().ok()).unwrap_or(0)))
    }
}

pub(super) fn router(
    service: Arc<Service>,
    gateway: Option<Arc<Gateway>>,
    limits: ServerLimits,
) -> Router {
    let model = |prefix: &str| {
        Router::new()
            .route(prefix, get(model_metadata))
            .route(&format!("{prefix}/ready"), get(model_ready))
            .route(&format!("{prefix}/config"), get(config))
            .route(&format!("{prefix}/stats"), get(model_statistics))
            .route(&format!("{prefix}/infer"), post(infer))
    };
    Router::new()
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(|| async {}))
        .route("/v2/health/ready", get(server_ready))
        .route("/v2/models/stats", get(statistics))
        .route("/metrics", get(metrics))
        .merge(super::routes::router())
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route("/v2/repository/models/{model}/unload", post(repository::unload))
        .merge(model("/v2/models/{model}"))
        .merge(model("/v2/models/{model}/versions/{version}"))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // What it does not know is refused in `read_body`, with a message.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .with_state(App { service, gateway, limits })
}

async fn no_such_path(method: Method, uri: Uri) -> ApiError {
    let message = format!("nothing answers {method} {}; see GET /v2", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

async fn server_metadata() -> Json<ServerMetadata> {
    let extensions = [
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "model_repository(unload_dependents)",
        "statistics",
    ];
    Json(ServerMetadata {
        name: "tensorforge".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: extensions.map(String::from).into(),
    })
}

async fn server_ready(State(app): State<App>) -> Result<(), ApiError> {
    // A gateway without models of its own is ready for those of others.
    match app.service.is_ready() || (app.gateway.is_some() && !app.service.is_draining()) {
        true => Ok(()),
        false => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the server is draining or has no model that can run",
        )),
    }
}

async fn model_ready(State(app): State<App>, target: Target, hops: Hops) -> Result<(), ApiError> {
    match &app.gateway {
        Some(gateway) => {
            gateway.inquiry(hops.0)?.model_ready(&target.model, target.version()).await?;
        }
        None => {
            app.service.registry().find(&target.model, target.version())?;
        }
    }
    server_ready(State(app)).await
}

async fn model_metadata(
    State(app): State<App>,
    target: Target,
    hops: Hops,
) -> Result<Json<ModelMetadata>, ApiError> {
    Ok(Json(match &app.gateway {
        Some(gateway) => gateway.inquiry(hops.0)?.metadata(&target.model, target.version()).await?,
        None => app.service.metadata(&target.model, target.version())?,
    }))
}

async fn config(
    State(app): State<App>,
    target: Target,
    hops: Hops,
) -> Result<Json<serde_json::Value>, ApiError> {
    Ok(Json(match &app.gateway {
        Some(gateway) => gateway.inquiry(hops.0)?.config(&target.model, target.version()).await?,
        None => app.service.model_config(&target.model, target.version())?,
    }))
}

async fn model_statistics(
    State(app): State<App>,
    target: Target,
    hops: Hops,
) -> Result<Json<StatisticsResponse>, ApiError> {
    let model_stats = match &app.gateway {
        Some(gateway) => {
            gateway.inquiry(hops.0)?.statistics(&target.model, target.version()).await?
        }
        None => app.service.statistics(Some(&target.model), target.version())?,
    };
    Ok(Json(StatisticsResponse { model_stats }))
}

async fn statistics(State(app): State<App>) -> Result<Json<StatisticsResponse>, ApiError> {
    Ok(Json(StatisticsResponse { model_stats: app.service.statistics(None, None)? }))
}

async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    // With many models this takes longer than connections that share a thread should wait.
    let all = move || app.service.metrics() + &app.gateway.map_or(String::new(), |it| it.metrics());
    let text = blocking(all).await?;
    let mut response = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static(prometheus::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

async fn infer(
    State(app): State<App>,
    target: Target,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let header_length = header_length(&parts.headers)?;
    let body = read_body(&parts.headers, body, app.limits).await?;

    let large = body.len() >= LARGE;
    let request = blocking_if(large, move || rest::decode_request(&body, header_length)).await??;
    let binary_default = request.binary_outputs;
    let forms: Vec<(String, bool)> =
        request.outputs.iter().map(|output| (output.name.clone(), output.binary)).collect();
    let (response, route) = match &app.gateway {
        None => (app.service.infer(&target.model, target.version(), request).await?, None),
        Some(gateway) => {
            let hints = Hints { headers: text_headers(&parts.headers) };
            let routed = gateway.infer(&target.model, target.version(), request, &hints).await;
            let (mut response, taken) = routed?;
            response.parameters.append(&mut taken.parameters());
            (response, Some(taken.header()))
        }
    };
    let is_binary = move |name: &str| {
        let form = forms.iter().find(|(output, _)| output == name);
        form.map_or(binary_default, |&(_, binary)| binary)
    };
    let mut response = encode(response, is_binary).await?;
    if let Some(value) = route.and_then(|route| HeaderValue::from_str(&route).ok()) {
        response.headers_mut().insert(ROUTE_HEADER, value);
    }
    Ok(response)
}

/// Headers as text, for the rules of routes; one that is none is left out.
fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let named = headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    named.collect()
}

async fn encode(
    response: InferResponse,
    is_binary: impl Fn(&str) -> bool + Send + 'static,
) -> Result<Response, ApiError> {
    let large = response.outputs.iter().map(|output| output.data().len()).sum::<usize>() >= LARGE;
    let body = blocking_if(large, move || rest::encode_response(&response, is_binary)).await??;
    let content_type = match body.header_length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let mut response = Response::new(Body::from(body.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = body.header_length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// Runs `convert` here when it is short, on a blocking thread when it is not.
async fn blocking_if<R: Send + 'static>(
    large: bool,
    convert: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ApiError> {
    if large { blocking(convert).await } else { Ok(convert()) }
}

/// Runs `work` on a thread that no connection waits for.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("it did not go through: {error}"))
    })
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(ApiError::bad_request(format!(
            "Inference-Header-Content-Length must be a number of bytes, not {value:?}"
        ))),
    }
}

/// Reads the whole body, up to `limits.max_body` bytes.
///
/// A body that is too long is read on and thrown away for a while: most clients look for an answer
/// only once they have sent everything.
pub(super) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limits: ServerLimits,
) -> Result<Bytes, ApiError> {
    let limit = limits.max_body;
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let stated = stated.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Encoding must be gzip, deflate or identity, not {encoding:?}"),
        ));
    }
    let mut too_long = stated > limit;
    let mut read = 0usize;
    let mut whole = BytesMut::new();
    let mut first: Option<Bytes> = None;
    let end = tokio::time::sleep(limits.body_timeout);
    let mut end = std::pin::pin!(end);
    loop {
        let late = |message| Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message));
        let frame = tokio::select! {
            frame = tokio::time::timeout(limits.read_timeout, body.frame()) => frame,
            () = &mut end => {
                return late(format!("the body took longer than {:?}", limits.body_timeout));
            }
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(_) => {
                let silence = limits.read_timeout;
                return late(format!("nothing more of the body came for {silence:?}"));
            }
        };
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        too_long |= read > limit;
        if too_long {
            whole = BytesMut::new();
            first = None;
            if read > limit.saturating_mul(4) {
                break;
            }
        } else if whole.is_empty() && first.is_none() {
            // Most bodies come in one piece, which then needs no copy.
            first = Some(data);
        } else {
            if let Some(first) = first.take() {
                whole.reserve(stated.min(limit).max(first.len() + data.len()));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    if too_long {
        let size = if stated > limit { stated } else { read };
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body has {size} bytes or more, but this server takes at most {limit} \
                 (serve --max-body)"
            ),
        ));
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A client that sends one piece and then falls silent.
    struct FallsSilent(Option<Bytes>);

    impl hyper::body::Body for FallsSilent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(piece) => Poll::Ready(Some(Ok(hyper::body::Frame::data(piece)))),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_is_told_so() {
        let body = Body::new(FallsSilent(Some(Bytes::from_static(b"{"))));
        let read = read_body(&HeaderMap::new(), body, ServerLimits::default()).await;
        let response = read.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
