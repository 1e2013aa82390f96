//! The table of routes, over HTTP: what is in force, what was before, where a request would go.
//!
//! Whoever may change the table may send this server's requests anywhere, so that is allowed only where
//! [`ServerLimits::admin`](super::ServerLimits::admin) says so.

use super::error::ApiError;
use super::http::{App, read_body};
use crate::contracts::InferRequest;
use crate::gateway::{ExperimentFigures, Explanation, Gateway, Hints, ShadowFigures};
use crate::routing::{Routes, TableVersion};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v2/routes", get(show).post(publish))
        .route("/v2/routes/rollback", post(rollback))
        .route("/v2/routes/shadows", get(shadows))
        .route("/v2/routes/experiments", get(experiments))
        .route("/v2/routes/explain", post(explain))
}

fn gateway(app: &App) -> Result<&Arc<Gateway>, ApiError> {
    app.gateway.as_ref().ok_or_else(|| {
        let message = "this server has no routes: start it with --routes FILE";
        ApiError::new(StatusCode::NOT_FOUND, message)
    })
}

/// The gateway of a server whose table may be changed from outside.
fn changeable(app: &App) -> Result<&Arc<Gateway>, ApiError> {
    if !app.limits.admin {
        let message = "routes are not changed over HTTP here: start the server with --admin";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    gateway(app)
}

/// What is in force.
#[derive(Serialize)]
struct Table {
    version: u64,
    /// Those that can be rolled back to.
    versions: Vec<u64>,
    routes: Routes,
}

fn table(gateway: &Gateway) -> Table {
    let table = gateway.table();
    let current = table.current();
    let versions = table.versions().into_iter().map(|version| version.0).collect();
    Table { version: current.version().0, versions, routes: current.written() }
}

async fn show(State(app): State<App>) -> Result<Json<Table>, ApiError> {
    Ok(Json(table(gateway(&app)?)))
}

async fn publish(State(app): State<App>, request: Request<Body>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, app.limits).await?;
    let routes: Routes = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("the routes are not valid: {error}")))?;
    gateway.publish(routes)?;
    Ok(Json(table(gateway)))
}

/// `POST /v2/routes/rollback`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackRequest {
    version: u64,
}

async fn rollback(State(app): State<App>, request: Request<Body>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, app.limits).await?;
    let asked: RollbackRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the rollback request is not valid: {error}"))
    })?;
    gateway.rollback(TableVersion(asked.version))?;
    Ok(Json(table(gateway)))
}

async fn experiments(State(app): State<App>) -> Result<Json<Vec<ExperimentFigures>>, ApiError> {
    Ok(Json(gateway(&app)?.experiments()))
}

async fn shadows(State(app): State<App>) -> Result<Json<Vec<ShadowFigures>>, ApiError> {
    Ok(Json(gateway(&app)?.shadows()))
}

/// A request whose way is asked for: `POST /v2/routes/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    /// The model.
    model: String,
    /// Its version.
    version: Option<String>,
    /// Request parameters: `priority`, `sticky_key`, those that rules look at.
    #[serde(default)]
    parameters: crate::contracts::Parameters,
    /// Request headers.
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

async fn explain(
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<Explanation>, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, app.limits).await?;
    let gateway = gateway(&app)?;
    let asked: ExplainRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the explain request is not valid: {error}"))
    })?;
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let hints = Hints { headers: asked.headers.into_iter().map(lower).collect() };
    let sample = InferRequest { parameters: asked.parameters, ..InferRequest::default() };
    Ok(Json(gateway.explain(&asked.model, asked.version.as_deref(), &sample, &hints)?))
}
