//! `tensorforge load`: a load generator that says what a server can do.

mod input;
mod pace;
mod plot;
mod progress;
mod run;
mod summary;

use super::remote::{self, ServerArgs};
use super::svg::PlotFile;
use super::{CliError, Output};
use crate::config::parse_duration;
use pace::Pace;
use run::Load;
use std::path::PathBuf;
use std::time::Duration;

/// Put load on a model of a running server and measure throughput and latency
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge load digits                             32 connections for 10 s
  tensorforge load digits --concurrency 8 --duration 30s --plot load.svg
  tensorforge load digits --requests 100000           that many, however long it takes
  tensorforge load digits --rate 2000                 2000 requests a second, evenly spaced
  tensorforge load digits --file models/digits/requests/seven.json

Without --rate each connection sends its next request when it has the answer to the last one
(closed loop). With --rate requests are due at fixed times whatever the server does (open loop).
Latency then counts from when a request was due, so a slow server cannot hide behind requests that
were sent late (no coordinated omission). Those sent over 1 ms late, and those still unsent at the
end, are counted. On a machine shared with the server, lateness is often this program's own wait for
a core.

Percentiles are exact, from up to 20 million recorded latencies (8 bytes each); the mean batch is
the server's own count of items and executions during the measurement. Exit code 1 when any request
failed; an unsent one did not.")]
pub(super) struct Args {
    /// The model
    model: String,

    #[command(flatten)]
    server: ServerArgs,

    /// The model's version [default: the newest]
    #[arg(long, value_name = "V")]
    model_version: Option<String>,

    /// JSON requests to send in turn [default: one made up from the model's inputs]
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Connections, each with one request at a time
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// Requests a second, spread over the connections
    #[arg(short, long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,

    /// How long to measure [default: 10s, or until --requests are done]
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Stop after measuring this many requests
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,

    /// How long to send before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,

    /// Send and receive tensors as JSON instead of raw bytes
    #[arg(long)]
    json_tensors: bool,

    /// Draw throughput and latency into an SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Args {
    fn duration(&self) -> Duration {
        let default = if self.requests.is_some() { Duration::MAX } else { Duration::from_secs(10) };
        self.duration.unwrap_or(default)
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("'{text}' is not a positive number")),
    }
}

/// Loads, measures and reports.
///
/// # Errors
/// [`CliError`] when the server does not answer, or answered a request with an error.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    let local = tokio::task::LocalSet::new();
    remote::block_on(local.run_until(async {
        let mut client = args.server.client();
        let version = args.model_version.as_deref();
        let bodies =
            input::bodies(&mut client, &args.model, version, &args.file, !args.json_tensors);
        let load = Load {
            url: args.server.url.clone(),
            model: args.model.clone(),
            version: args.model_version.clone(),
            bodies: bodies.await?,
            binary: !args.json_tensors,
            connections: usize::from(args.concurrency),
            pace: args.rate.map_or(Pace::Closed, Pace::Open),
            warmup: args.warmup.into(),
            duration: args.duration().into(),
            most: args.requests.unwrap_or(u64::MAX),
            timeout: args.server.timeout,
        };
        // Before the load, or a name that cannot be written costs the whole measurement.
        let plot = args.plot.as_deref().map(PlotFile::create).transpose()?;
        let report = load.run(&mut client, !output.is_json()).await?;
        match output.is_json() {
            true => output.json(&report.json()),
            false => output.text(&report.text()),
        }
        if let Some(plot) = plot {
            let name = plot.write(&plot::svg(&report))?;
            if !output.is_json() {
                output.text(&format!("\nplot        {name}"));
            }
        }
        match &report.first_error {
            None => Ok(()),
            Some(first) => {
                let (failed, all) = (report.failed(), report.requests());
                let message = format!("{failed} of {all} requests failed; the first one: {first}");
                Err(CliError::failed(message).printed())
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["tensorforge", "load", "m"].into_iter().chain(line.split_whitespace()))
    }

    fn args(line: &str) -> Args {
        match parse(line).unwrap().command {
            crate::cli::Command::Load(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ten_seconds_unless_a_time_or_a_number_is_given() {
        assert_eq!(args("").duration(), Duration::from_secs(10));
        assert_eq!(args("-n 5").duration(), Duration::MAX);
        assert_eq!(args("-n 5 -d 2m").duration(), Duration::from_secs(120));
        assert_eq!(args("--warmup 500ms").warmup, Duration::from_millis(500));
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for line in [
            "-c 0",
            "-n 0",
            "-r 0",
            "-r -1",
            "-r inf",
            "-r fast",
            "-d 5",
            "-d soon",
            "--url https://a",
            "--url http://a:port",
            "--timeout 5",
            "other",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
