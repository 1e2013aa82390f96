//! Changes to the table of a server: as a whole, or one endpoint or split.

use super::super::output::notice;
use super::super::remote::{ServerArgs, block_on};
use super::super::{CliError, Output};
use crate::client::{endpoint_path, split_path};
use crate::config::parse_duration;
use hyper::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Put a table in force on a server (serve --admin)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes publish routes.toml --url http://127.0.0.1:8000
  tensorforge routes publish routes.toml --if-version 7

The server's own file does not change; when it does, it is published over this.")]
pub(super) struct PublishArgs {
    /// The table, TOML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only in place of this version of the table, so that nobody's change is lost
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Put an earlier version of a server's table in force again (serve --admin)
#[derive(clap::Args, Debug)]
pub(super) struct RollbackArgs {
    /// The version, as `routes show` lists them
    #[arg(value_name = "VERSION")]
    version: u64,

    #[command(flatten)]
    server: ServerArgs,
}

/// Add an endpoint to a server's table, or replace the one of that name (serve --admin)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes join gpu-2 http://gpu-2:8000
  tensorforge routes join gpu-2 http://gpu-2:8000 --weight 3 --place eu/a --limit 64

It gets requests for models that name no endpoints, a tenth of its part at first, all of it after
half a minute. To take it back after `routes drain`, let it join again.")]
pub(super) struct JoinArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// Where it is asked; `local` for the server's own models
    #[arg(value_name = "ENDPOINT")]
    address: String,

    /// Its share beside the others'
    #[arg(long, value_name = "WEIGHT", default_value_t = 1)]
    weight: u16,

    /// Where it is, one of the table's places
    #[arg(long, value_name = "PLACE")]
    place: Option<String>,

    /// How many requests it has at once at most
    #[arg(long, value_name = "REQUESTS")]
    limit: Option<u32>,

    /// Only requests of this priority or a higher one go there: 0 to 7
    #[arg(long, value_name = "PRIORITY")]
    least_priority: Option<u8>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Let an endpoint finish what it has; it gets nothing new (serve --admin)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes drain gpu-2 --wait 60s && ssh gpu-2 systemctl stop tensorforge

Exit code 0: it drains, or with --wait, its last request has ended; 1: not within that time.")]
pub(super) struct DrainArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// Wait until its last request has ended, at most so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Take an endpoint out of a server's table; what it has ends as it would have (serve --admin)
#[derive(clap::Args, Debug)]
pub(super) struct LeaveArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Divide a model's requests among versions anew (serve --admin)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge routes split digits 1=90 2=10
  tensorforge routes split digits 1=99.99 2=0.01
  tensorforge routes split digits                 all to the newest version")]
pub(super) struct SplitArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,

    /// A version's part in per cent, to 0.01; those of all add up to 100
    #[arg(value_name = "VERSION=PERCENT", value_parser = part)]
    parts: Vec<(String, f64)>,

    #[command(flatten)]
    server: ServerArgs,
}

fn part(text: &str) -> Result<(String, f64), String> {
    let parsed = text.split_once('=').and_then(|(version, percent)| {
        let percent: f64 = percent.trim_end_matches('%').trim().parse().ok()?;
        (!version.is_empty()).then(|| (version.to_owned(), percent))
    });
    parsed.ok_or_else(|| "write VERSION=PERCENT, such as 2=10".to_owned())
}

pub(super) fn publish(args: &PublishArgs, output: Output) -> Result<(), CliError> {
    let routes = json!(super::read(&args.file)?);
    let path = match args.if_version {
        Some(version) => format!("/v2/routes?if_version={version}"),
        None => "/v2/routes".to_owned(),
    };
    change(&args.server, Method::POST, &path, Some(&routes), output)
}

pub(super) fn rollback(args: &RollbackArgs, output: Output) -> Result<(), CliError> {
    let version = json!({ "version": args.version });
    change(&args.server, Method::POST, "/v2/routes/rollback", Some(&version), output)
}

pub(super) fn join(args: &JoinArgs, output: Output) -> Result<(), CliError> {
    let mut entry = json!({ "name": args.name, "url": args.address, "weight": args.weight });
    if let Some(place) = &args.place {
        entry["place"] = place.clone().into();
    }
    if let Some(limit) = args.limit {
        entry["limit"] = limit.into();
    }
    if let Some(least) = args.least_priority {
        entry["least_priority"] = least.into();
    }
    change(&args.server, Method::POST, "/v2/routes/endpoints", Some(&entry), output)
}

pub(super) fn leave(args: &LeaveArgs, output: Output) -> Result<(), CliError> {
    change(&args.server, Method::DELETE, &endpoint_path(&args.name), None, output)
}

pub(super) fn split(args: &SplitArgs, output: Output) -> Result<(), CliError> {
    let share = |(version, percent): &(String, f64)| {
        // 0.07 × 100 is not 7; what is no whole number to a millionth is refused where it is checked.
        let exact = percent * 100.0;
        let whole = exact.round();
        let basis_points = if (exact - whole).abs() < 1e-6 { whole } else { exact };
        json!({ "version": version, "basis_points": basis_points })
    };
    let shares: Vec<Value> = args.parts.iter().map(share).collect();
    let path = split_path(&args.model);
    change(&args.server, Method::POST, &path, Some(&json!({ "split": shares })), output)
}

pub(super) fn drain(args: &DrainArgs, output: Output) -> Result<(), CliError> {
    let path = endpoint_path(&args.name) + "/drain";
    let table = block_on(async {
        let mut client = args.server.client();
        let mut table: Value = client.ask(Method::POST, &path, None).await?;
        let Some(limit) = args.wait else { return Ok(table) };
        let left = |table: &Value| {
            let of = |at: &&Value| at["name"] == args.name && at["drained"] == false;
            let standings = table["standings"].as_array().into_iter().flatten();
            standings.filter(of).filter_map(|at| at["outstanding"].as_u64()).sum::<u64>()
        };
        let is_drained = |table: &Value| {
            let mut standings = table["standings"].as_array().into_iter().flatten();
            standings.all(|at| at["name"] != args.name || at["drained"] == true)
        };
        let waited = tokio::time::timeout(limit, async {
            let mut told = None;
            while !is_drained(&table) {
                let now = left(&table);
                if told.replace(now) != Some(now) {
                    notice(&format!("'{}' has {now} requests left", args.name));
                }
                tokio::time::sleep(LOOK_EVERY).await;
                table = client.ask(Method::GET, "/v2/routes", None).await?;
            }
            Ok::<(), CliError>(())
        });
        match waited.await {
            Ok(done) => done.map(|()| table),
            Err(_) => Err(CliError::failed(format!(
                "'{}' still has requests after {limit:?}; it takes no new ones",
                args.name
            ))
            .help("wait again, or see `tensorforge routes show`")),
        }
    })?;
    super::show::show(&table, output);
    Ok(())
}

/// How often a drain is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks for a change and shows the table that comes of it.
fn change(
    server: &ServerArgs,
    method: Method,
    path: &str,
    document: Option<&Value>,
    output: Output,
) -> Result<(), CliError> {
    let table = block_on(async { Ok(server.client().ask(method, path, document).await?) })?;
    super::show::show(&table, output);
    Ok(())
}
