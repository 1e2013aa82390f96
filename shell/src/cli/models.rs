//! `tensorforge models`: what a running server has.

use super::output::table;
use super::remote::{self, ServerArgs};
use super::{CliError, Output};
use crate::client::model_path;
use crate::contracts::{ModelMetadata, RepositoryEntry};
use crate::models::TensorSpec;

/// List the models of a running server
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge models
  tensorforge models --url http://gpu-1:8000
  tensorforge --json models")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints every model version, ready or not.
///
/// # Errors
/// [`CliError`] when the server does not answer.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    remote::block_on(async {
        let mut client = args.server.client();
        let index: Vec<RepositoryEntry> = client.post("/v2/repository/index").await?;
        let mut models = Vec::new();
        for entry in index {
            let metadata = if entry.state == "READY" {
                Some(client.get(&model_path(&entry.name, Some(&entry.version))).await?)
            } else {
                None
            };
            models.push((entry, metadata));
        }
        match output.is_json() {
            true => output.json(&serde_json::json!({ "models": as_json(&models) })),
            false => print(output, &models),
        }
        Ok(())
    })
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
