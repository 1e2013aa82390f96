//! `tensorforge routes`: what a table of routes says, and where a request would go; and the table of a
//! server (`serve --routes`), which can be changed.

mod change;
mod show;

use super::output::table;
use super::remote::{ServerArgs, block_on};
use super::{CliError, Output};
use crate::client::{RemoteEndpoint, Url};
use crate::clock::Clock;
use crate::gateway::{Endpoint, Gateway, GatewayOptions, LocalEndpoint};
use crate::routing::{Routes, RoutesFileError, TableVersion};
use crate::service::Service;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Check a table of routes, or ask a server where a request would go
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(CheckArgs),
    /// Show the table of a server, how its endpoints stand, and the versions that it can go back to
    Show(ShowArgs),
    Publish(change::PublishArgs),
    Rollback(change::RollbackArgs),
    Join(change::JoinArgs),
    Drain(change::DrainArgs),
    Leave(change::LeaveArgs),
    Split(change::SplitArgs),
    /// Show what shadows answered beside their primaries
    Shadows(ShowArgs),
    /// Show what experiments say so far: both versions, how sure it is, the verdict
    Experiments(ShowArgs),
    /// Show how bandits divide requests among versions now, and what for
    Bandits(ShowArgs),
    Explain(ExplainArgs),
}

/// Say whether a table makes sense, or which entry does not
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes check routes.toml
  tensorforge --json routes check routes.json

Exit code 0: it can be served; 4: it cannot, and the message names the entry.")]
struct CheckArgs {
    /// The table, TOML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(clap::Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Ask a server where a request would go now, and why not elsewhere
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes explain digits
  tensorforge routes explain digits --header x-canary=yes --parameter priority=5
  tensorforge routes explain digits --parameter place=eu/a --parameter timeout=50000
  tensorforge --json routes explain digits --version 2")]
struct ExplainArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,

    /// Its version, where the request names one
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,

    /// A header of the request; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,

    /// A parameter of the request; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,

    #[command(flatten)]
    server: ServerArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Checks or explains.
///
/// # Errors
/// [`CliError`] names the entry that makes no sense, or what the server said.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    match &args.command {
        Command::Check(args) => check(args, *output),
        Command::Show(args) => {
            let table = block_on(async { Ok(args.server.client().get("/v2/routes").await?) })?;
            show::show(&table, *output);
            Ok(())
        }
        Command::Publish(args) => change::publish(args, *output),
        Command::Rollback(args) => change::rollback(args, *output),
        Command::Join(args) => change::join(args, *output),
        Command::Drain(args) => change::drain(args, *output),
        Command::Leave(args) => change::leave(args, *output),
        Command::Split(args) => change::split(args, *output),
        Command::Shadows(args) => block_on(shadows(args, *output)),
        Command::Experiments(args) => block_on(experiments(args, *output)),
        Command::Bandits(args) => block_on(bandits(args, *output)),
        Command::Explain(args) => block_on(explain(args, *output)),
    }
}

fn check(args: &CheckArgs, output: Output) -> Result<(), CliError> {
    let routes = read(&args.file)?;
    let (endpoints, models) = (routes.endpoints.len(), routes.models.len());
    if output.is_json() {
        output.json(&serde_json::json!({
            "valid": true, "endpoints": endpoints, "models": models,
        }));
    } else {
        let name = args.file.display();
        output.text(&format!("{name} can be served: {models} models over {endpoints} endpoints"));
    }
    Ok(())
}

async fn shadows(args: &ShowArgs, output: Output) -> Result<(), CliError> {
    let told: Value = args.server.client().get("/v2/routes/shadows").await?;
    if output.is_json() {
        output.json(&told);
        return Ok(());
    }
    let head =
        ["MODEL", "SHADOW", "COPIES", "SHED", "FAILED", "COMPARED", "AGREED", "TOP 1", "SLOWER BY"];
    let mut rows = vec![head.map(str::to_owned)];
    for shadow in told.as_array().into_iter().flatten() {
        let text = |name: &str| shadow[name].as_str().unwrap_or("-").to_owned();
        let number = |name: &str| shadow[name].to_string();
        let share = shadow["top_one_share"].as_f64();
        let delta = shadow["latency_delta_ms"].as_f64();
        rows.push([
            text("model"),
            text("shadow"),
            number("copies"),
            number("shed"),
            number("failed"),
            number("compared"),
            number("agreed"),
            share.map_or_else(|| "-".into(), |share| format!("{:.1} %", share * 100.0)),
            delta.map_or_else(|| "-".into(), |delta| format!("{delta:.2} ms")),
        ]);
    }
    output.text(&table(&rows));
    Ok(())
}

async fn experiments(args: &ShowArgs, output: Output) -> Result<(), CliError> {
    let told: Value = args.server.client().get("/v2/routes/experiments").await?;
    if output.is_json() {
        output.json(&told);
        return Ok(());
    }
    let head =
        ["MODEL", "VERSION", "REQUESTS", "SUCCESS", "LATENCY MS", "P BETTER", "P WORSE", "VERDICT"];
    let mut rows = vec![head.map(str::to_owned)];
    for experiment in told.as_array().into_iter().flatten() {
        for side in ["control", "candidate"] {
            let arm = &experiment[side];
            let is_candidate = side == "candidate";
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let number = |value: &Value, digits: usize| {
                value.as_f64().map_or_else(|| "-".into(), |number| format!("{number:.digits$}"))
            };
            // What is of both stands beside the candidate.
            let of_both = |text: String| if is_candidate { text } else { String::new() };
            let because = experiment["because"].as_str();
            let verdict = text(&experiment["verdict"]);
            rows.push([
                if is_candidate { String::new() } else { text(&experiment["model"]) },
                format!("{} ({side})", text(&arm["version"])),
                arm["requests"].to_string(),
                number(&arm["success_rate"], 4),
                number(&arm["latency_ms"], 2),
                of_both(number(&experiment["p_better"], 4)),
                of_both(number(&experiment["p_worse"], 4)),
                of_both(because.map_or_else(|| verdict.clone(), |why| format!("{verdict}: {why}"))),
            ]);
        }
    }
    output.text(&table(&rows));
    Ok(())
}

async fn bandits(args: &ShowArgs, output: Output) -> Result<(), CliError> {
    let told: Value = args.server.client().get("/v2/routes/bandits").await?;
    if output.is_json() {
        output.json(&told);
        return Ok(());
    }
    let mut rows = vec![["MODEL", "VERSION", "PART", "REQUESTS", "WORTH"].map(str::to_owned)];
    for bandit in told.as_array().into_iter().flatten() {
        let model = bandit["model"].as_str().unwrap_or("-");
        for version in bandit["versions"].as_array().into_iter().flatten() {
            let number = |name: &str, digits: usize| {
                version[name].as_f64().map_or_else(|| "-".into(), |it| format!("{it:.digits$}"))
            };
            rows.push([
                model.to_owned(),
                version["version"].as_str().unwrap_or("-").to_owned(),
                format!("{} %", number("percent", 2)),
                number("requests", 0),
                number("reward", 4),
            ]);
        }
    }
    output.text(&table(&rows));
    Ok(())
}

async fn explain(args: &ExplainArgs, output: Output) -> Result<(), CliError> {
    let parameters: Map<String, Value> = args
        .parameters
        .iter()
        .map(|(name, value)| {
            // A number stays one: priorities are.
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.clone().into());
            (name.clone(), value)
        })
        .collect();
    let headers: Map<String, Value> =
        args.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let mut asked = serde_json::json!({
        "model": args.model, "parameters": parameters, "headers": headers,
    });
    if let Some(version) = &args.version {
        asked["version"] = version.clone().into();
    }
    let mut client = args.server.client();
    let explained: Value = client.post_json("/v2/routes/explain", &asked).await?;
    if output.is_json() {
        output.json(&explained);
    } else {
        output.text(&text_of(&explained));
    }
    Ok(())
}

/// An [`Explanation`](crate::gateway::Explanation) that came as JSON, for people.
fn text_of(explained: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let head = [
        "ENDPOINT",
        "PLACE",
        "HEALTH",
        "LOADED",
        "WEIGHT",
        "REQUESTS",
        "LIMIT",
        "LATENCY MS",
        "COST",
        "EXCLUDED",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for candidate in explained["candidates"].as_array().into_iter().flatten() {
        let latency = candidate["latency_ms"].as_f64();
        rows.push([
            text(&candidate["name"]),
            text(&candidate["place"]),
            text(&candidate["health"]),
            if candidate["loaded"] == true { "yes" } else { "no" }.to_owned(),
            text(&candidate["weight"]),
            text(&candidate["outstanding"]),
            text(&candidate["limit"]),
            latency.map_or_else(|| "-".into(), |latency| format!("{latency:.2}")),
            text(&candidate["cost"]),
            text(&candidate["excluded"]),
        ]);
    }
    let version = match explained["version"].as_str() {
        Some(version) => format!(" version {version} (by {})", text(&explained["version_by"])),
        None => String::new(),
    };
    let goes = match explained["endpoint"].as_str() {
        Some(endpoint) => format!(
            "goes to {endpoint}: {}, of the {}",
            text(&explained["reason"]),
            text(&explained["admission"])
        ),
        None => format!("goes nowhere; fallbacks: {}", text(&explained["fallbacks"])),
    };
    let parts: Vec<String> = explained["parts"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| format!("{} {} %", text(&it["version"]), text(&it["percent"])))
        .collect();
    let parts = match &parts[..] {
        [] => String::new(),
        parts => format!("\nparts of versions now: {}", parts.join(", ")),
    };
    let from = match explained["place"].as_str() {
        Some(place) => format!(" from {place}"),
        None => String::new(),
    };
    let notes: Vec<&str> =
        explained["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let notes = match &notes[..] {
        [] => String::new(),
        notes => format!("\nnotes: {}", notes.join(", ")),
    };
    format!(
        "{}{version}{from} by {} {goes}{notes}{parts}\n\n{}",
        text(&explained["model"]),
        text(&explained["policy"]),
        table(&rows)
    )
}

fn read(file: &Path) -> Result<Routes, CliError> {
    Routes::from_file(file).map_err(|error| {
        let message = error.to_string();
        match error {
            RoutesFileError::Unreadable { .. } => CliError::unusable(message)
                .help("name the file with the routes, such as routes.toml"),
            _ => CliError::unusable(message)
                .help("`tensorforge routes check FILE` tells when it is right"),
        }
    })
}

/// The gateway of a server with the routes in `file`.
///
/// # Errors
/// [`CliError`] names the entry of the file that makes no sense.
pub(super) fn gateway(
    file: &Path,
    options: GatewayOptions,
    clock: Clock,
    service: &Arc<Service>,
) -> Result<Arc<Gateway>, CliError> {
    let connect = |url: &str| {
        let url: Url = url.parse()?;
        Ok(Arc::new(RemoteEndpoint::new(url)) as Arc<dyn Endpoint>)
    };
    let local = Arc::new(LocalEndpoint(Arc::clone(service)));
    let gateway = Gateway::new(clock, options, local, Box::new(connect))
        .map_err(|error| CliError::usage(error.to_string()))?;
    publish(&gateway, file)?;
    Ok(Arc::new(gateway))
}

fn publish(gateway: &Gateway, file: &Path) -> Result<TableVersion, CliError> {
    gateway.publish(read(file)?).map_err(|error| CliError::unusable(error.to_string()))
}

/// How often a file of routes is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Publishes the file again whenever its content changes, for ever. One that makes no sense is told in the log,
/// and the table before stays.
pub(super) async fn follow(gateway: Arc<Gateway>, file: PathBuf) {
    let mut last = std::fs::read(&file).ok();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let content = std::fs::read(&file).ok();
        if content == last {
            continue;
        }
        last = content;
        match publish(&gateway, &file) {
            Ok(table) => tracing::warn!(%table, "new routes from {}", file.display()),
            Err(error) => tracing::error!("the routes stay as they are: {error}"),
        }
    }
}
