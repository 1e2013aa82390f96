//! The table of routes, over HTTP: what is in force, what was before, where a request would go.
//!
//! Whoever may change the table may send this server's requests anywhere, so that is allowed only where
//! [`ServerLimits::admin`](super::ServerLimits::admin) says so.

use super::error::ApiError;
use super::http::{App, read_body};
use crate::contracts::InferRequest;
use crate::gateway::{
    BanditFigures, EndpointStanding, ExperimentFigures, Explanation, Gateway, Hints, PublishError,
    ShadowFigures,
};
use crate::routing::{EndpointEntry, Routes, SplitEntry, TableVersion};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v2/routes", get(show).post(publish))
        .route("/v2/routes/rollback", post(rollback))
        .route("/v2/routes/endpoints", post(join))
        .route("/v2/routes/endpoints/{name}", delete(leave))
        .route("/v2/routes/endpoints/{name}/drain", post(drain))
        .route("/v2/routes/models/{model}/split", post(split))
        .route("/v2/routes/shadows", get(shadows))
        .route("/v2/routes/experiments", get(experiments))
        .route("/v2/routes/bandits", get(bandits))
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
    /// How the endpoints stand, with those that have left and still have requests.
    standings: Vec<EndpointStanding>,
}

fn table(gateway: &Gateway) -> Table {
    let current = gateway.table();
    Table {
        version: current.version().0,
        versions: gateway.versions().into_iter().map(|version| version.0).collect(),
        routes: current.written(),
        standings: gateway.standings(),
    }
}

/// Reads a JSON document, which the message calls `what`.
async fn document<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
    what: &str,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, app.limits).await?;
    serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("{what} not valid: {error}")))
}

async fn show(State(app): State<App>) -> Result<Json<Table>, ApiError> {
    Ok(Json(table(gateway(&app)?)))
}

/// `POST /v2/routes?if_version=7` replaces version 7, or nothing.
fn expected(query: Option<&str>) -> Result<Option<TableVersion>, ApiError> {
    let Some(query) = query else { return Ok(None) };
    let number = query.strip_prefix("if_version=").and_then(|number| number.parse().ok());
    number.map(|number| Some(TableVersion(number))).ok_or_else(|| {
        ApiError::bad_request(format!("?{query} is not known here; write ?if_version=NUMBER"))
    })
}

async fn publish(State(app): State<App>, request: Request<Body>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    let expected = expected(request.uri().query())?;
    let routes: Routes = document(&app, request, "the routes are").await?;
    gateway.change(expected, |table| {
        *table = routes;
        Ok::<(), PublishError>(())
    })?;
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
    let asked: RollbackRequest = document(&app, request, "the rollback request is").await?;
    gateway.rollback(TableVersion(asked.version))?;
    Ok(Json(table(gateway)))
}

async fn join(State(app): State<App>, request: Request<Body>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    let endpoint: EndpointEntry = document(&app, request, "the endpoint is").await?;
    gateway.join(endpoint)?;
    Ok(Json(table(gateway)))
}

async fn drain(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    gateway.drain(&name)?;
    Ok(Json(table(gateway)))
}

async fn leave(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    gateway.leave(&name)?;
    Ok(Json(table(gateway)))
}

/// `POST /v2/routes/models/M/split`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitRequest {
    split: Vec<SplitEntry>,
}

async fn split(
    State(app): State<App>,
    Path(model): Path<String>,
    request: Request<Body>,
) -> Result<Json<Table>, ApiError> {
    let gateway = changeable(&app)?;
    let SplitRequest { split } = document(&app, request, "the split is").await?;
    gateway.set_split(&model, split)?;
    Ok(Json(table(gateway)))
}

async fn experiments(State(app): State<App>) -> Result<Json<Vec<ExperimentFigures>>, ApiError> {
    Ok(Json(gateway(&app)?.experiments()))
}

async fn bandits(State(app): State<App>) -> Result<Json<Vec<BanditFigures>>, ApiError> {
    Ok(Json(gateway(&app)?.bandits()))
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
    /// Request parameters: `priority`, `timeout`, `place`, `tenant`, `sticky_key`, those that rules look at.
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
    let gateway = gateway(&app)?;
    let asked: ExplainRequest = document(&app, request, "the explain request is").await?;
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let hints = Hints { headers: asked.headers.into_iter().map(lower).collect() };
    let sample = InferRequest { parameters: asked.parameters, ..InferRequest::default() };
    Ok(Json(gateway.explain(&asked.model, asked.version.as_deref(), &sample, &hints)?))
}
