//! The model repository extension over REST, as Triton's clients speak it: index, load, unload.
//!
//! Source: Triton's `extension_model_repository`.

use super::error::ApiError;
use super::http::{App, Target, blocking, read_body};
use super::model_config::sent_config;
use crate::config::ModelConfig;
use crate::contracts::{Parameters, RepositoryEntry};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What `POST /v2/repository/index` may ask for.
#[derive(Default, Deserialize)]
struct IndexRequest {
    /// Only what can run.
    #[serde(default)]
    ready: bool,
}

pub(super) async fn index(
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<Vec<RepositoryEntry>>, ApiError> {
    let request: IndexRequest = read(&app, request, "index").await?;
    let service = Arc::clone(&app.service);
    let mut entries = blocking(move || service.look().map(|()| service.index())).await??;
    entries.retain(|entry| !request.ready || entry.state == "READY");
    Ok(Json(entries))
}

/// What a request to load or unload may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    #[serde(default)]
    parameters: Parameters,
}

pub(super) async fn load(
    State(app): State<App>,
    target: Target,
    request: Request<Body>,
) -> Result<(), ApiError> {
    let ChangeRequest { parameters } = read(&app, request, "load").await?;
    let mut sent: Option<ModelConfig> = None;
    for (name, value) in &parameters {
        match (&**name, value.as_str()) {
            ("config", Some(text)) => {
                let config = sent_config(&target.model, text).map_err(|problem| {
                    let message =
                        format!("the configuration sent for the load is refused: {problem}");
                    ApiError::bad_request(message)
                })?;
                sent = Some(config);
            }
            ("config", None) => {
                let message = "the parameter 'config' must be a text that holds a JSON object";
                return Err(ApiError::bad_request(message));
            }
            (file, _) if file.starts_with("file:") => {
                return Err(ApiError::bad_request(
                    "this server takes no files with a load: put them into the repository",
                ));
            }
            _ => return Err(unknown_parameter(name, "load", "config")),
        }
    }
    let (service, model) = (Arc::clone(&app.service), target.model.clone());
    blocking(move || service.load(&model, sent)).await??;
    Ok(())
}

pub(super) async fn unload(
    State(app): State<App>,
    target: Target,
    request: Request<Body>,
) -> Result<(), ApiError> {
    let ChangeRequest { parameters } = read(&app, request, "unload").await?;
    for (name, value) in &parameters {
        match (&**name, value.as_bool()) {
            // No model depends on another here.
            ("unload_dependents", Some(_)) => {}
            ("unload_dependents", None) => {
                let message = "the parameter 'unload_dependents' must be true or false";
                return Err(ApiError::bad_request(message));
            }
            _ => return Err(unknown_parameter(name, "unload", "unload_dependents")),
        }
    }
    let (service, model) = (Arc::clone(&app.service), target.model.clone());
    blocking(move || service.unload(&model)).await??;
    Ok(())
}

fn unknown_parameter(name: &str, what: &str, known: &str) -> ApiError {
    let name = name.escape_debug();
    ApiError::bad_request(format!("a request to {what} has no parameter '{name}', only '{known}'"))
}

/// Reads a request's JSON body; an empty one asks for nothing special.
async fn read<T: DeserializeOwned + Default>(
    app: &App,
    request: Request<Body>,
    what: &str,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, app.limits).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("the {what} request is not valid: {error}")))
}
