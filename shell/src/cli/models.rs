//! `tensorforge models`: what a running server has, and what it is to have.

use super::output::table;
use super::remote::{self, ServerArgs};
use super::{CliError, Output};
use crate::client::{Client, ClientError, model_path, repository_path};
use crate::contracts::{ModelMetadata, RepositoryEntry};
use crate::models::TensorSpec;
use serde_json::{Value, json};
use std::path::PathBuf;

/// List the models of a running server, load and unload them
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tensorforge models
  tensorforge models --url http://gpu-1:8000
  tensorforge --json models
  tensorforge models load digits                    as its folder is now, without a gap
  tensorforge models load digits --config fast.json
  tensorforge models unload digits                  when its last request is answered

The server loads and unloads on request only with `serve --model-control explicit` or `on-demand`."
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Load(LoadArgs),
    Unload(UnloadArgs),
}

/// Load a model, or load it again as its folder is now
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge models load digits
  tensorforge models load digits --config fast.json
  tensorforge --json models load digits --timeout 5m

While it is loaded again, requests are answered by what was loaded before. The server warms it up first.")]
struct LoadArgs {
    /// The model
    model: String,

    /// Serve it as this JSON file says, instead of its config.toml: the same keys, or Triton's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Unload a model: it takes no new requests, and those in hand are answered
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge models unload digits
  tensorforge --json models unload digits --url http://gpu-1:8000")]
struct UnloadArgs {
    /// The model
    model: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Prints every model version, ready or not; or loads or unloads one.
///
/// # Errors
/// [`CliError`] when the server does not answer, or refuses.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    match &args.action {
        None => list_all(&args.server, output),
        Some(Action::Load(args)) => {
            let body = match &args.config {
                None => json!({}),
                Some(file) => {
                    let text = std::fs::read_to_string(file).map_err(|error| {
                        let file = file.display();
                        CliError::unusable(format!("cannot read {file}: {error}"))
                    })?;
                    json!({ "parameters": { "config": text } })
                }
            };
            change(&args.server, output, &args.model, "load", &body)
        }
        Some(Action::Unload(args)) => {
            change(&args.server, output, &args.model, "unload", &json!({}))
        }
    }
}

/// Has a model loaded or unloaded, and prints what the server has of it then.
fn change(
    server: &ServerArgs,
    output: &Output,
    model: &str,
    action: &str,
    body: &Value,
) -> Result<(), CliError> {
    remote::block_on(async {
        let mut client = server.client();
        client.post_only(&repository_path(model, action), body).await?;
        let mut models = listed(&mut client).await?;
        models.retain(|(entry, _)| entry.name == model);
        match output.is_json() {
            true => output.json(&json!({ "models": as_json(&models) })),
            false => print(output, &models),
        }
        Ok(())
    })
}

fn list_all(server: &ServerArgs, output: &Output) -> Result<(), CliError> {
    remote::block_on(async {
        let mut client = server.client();
        let models = listed(&mut client).await?;
        match output.is_json() {
            true => output.json(&json!({ "models": as_json(&models) })),
            false => print(output, &models),
        }
        Ok(())
    })
}

/// Every model version, with what it takes and gives if it is ready.
async fn listed(client: &mut Client) -> Result<Vec<Listed>, CliError> {
    let index: Vec<RepositoryEntry> = client.post("/v2/repository/index").await?;
    let mut models = Vec::new();
    for entry in index {
        let metadata = if entry.state == "READY" {
            match client.get(&model_path(&entry.name, Some(&entry.version))).await {
                Ok(metadata) => Some(metadata),
                // Unloaded since.
                Err(ClientError::Refused { .. }) => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        models.push((entry, metadata));
    }
    Ok(models)
}

type Listed = (RepositoryEntry, Option<ModelMetadata>);

fn as_json(models: &[Listed]) -> Vec<serde_json::Value> {
    let model = |(entry, metadata): &Listed| {
        serde_json::json!({
            "name": entry.name,
            "version": entry.version,
            "state": entry.state,
            "reason": entry.reason,
            "metadata": metadata,
        })
    };
    models.iter().map(model).collect()
}

fn print(output: &Output, models: &[Listed]) {
    if models.is_empty() {
        output.text("the server has no models");
        return;
    }
    let mut rows =
        vec![["MODEL", "VERSION", "STATE", "PLATFORM", "INPUTS", "OUTPUTS"].map(str::to_owned)];
    for (entry, metadata) in models {
        let [platform, inputs, outputs] = match metadata {
            Some(metadata) => {
                [metadata.platform.clone(), list(&metadata.inputs), list(&metadata.outputs)]
            }
            None => ["-", "-", "-"].map(str::to_owned),
        };
        let (name, version) = (entry.name.clone(), entry.version.clone());
        rows.push([name, version, entry.state.to_lowercase(), platform, inputs, outputs]);
    }
    output.text(&table(&rows));
    for (entry, _) in models.iter().filter(|(entry, _)| !entry.reason.is_empty()) {
        output.text(&format!("\n{} version {}: {}", entry.name, entry.version, entry.reason));
    }
}

/// Names, types and shapes on one line.
pub(super) fn list(specs: &[TensorSpec]) -> String {
    let specs: Vec<String> = specs
        .iter()
        .map(|TensorSpec { name, datatype, shape }| format!("{name} {datatype} {shape:?}"))
        .collect();
    specs.join(", ")
}
