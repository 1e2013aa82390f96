//! `tensorforge simulate`: what a batching policy does to latency and throughput, in virtual time.

mod options;
mod picture;
mod plot;
pub(super) mod recording;
mod trace;

use super::svg::PlotFile;
use super::{CliError, Output};
use crate::simulation::{
    Arrival, Batcher, BatcherKind, ComparisonError, Curve, Limits, Ours, Process, Report, Service,
    Shapes, Triton, TritonOptions, Workload, run_with, scenarios,
};
use indicatif::{ProgressBar, ProgressStyle};
use options::{Arrivals, CurvePoints, Wait, cost, positive_time, rate, share, time_of};
use std::io::IsTerminal;
use std::path::PathBuf;
use tensorforge_core::Duration;
use tensorforge_core::batch::{Lane, Sizes};

/// Runs of fewer requests than this are over before a bar could be read.
const LONG: usize = 300_000;

/// Try a batching policy in virtual time: the server's own engine, no server and no waiting
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge simulate --rate 2000 --base 2ms --per-item 200us
  tensorforge simulate --rate 3000 --high-share 0.1 --max-wait 5ms --max-wait 7=0 --plot policy.svg
  tensorforge simulate --curve 1:2ms,8:3ms,32:8ms --arrivals bursty --instances 2
  tensorforge simulate --arrivals trace.csv --max-batch 16 --max-wait 1ms
  tensorforge simulate --shapes 2 --shape-costs 1,2 --compare       beside models of others
  tensorforge simulate --scenarios                                  the same, on six loads

A trace is CSV with a head, or one JSON object a line; only `at` has to be there:
  at,shape,priority,items,deadline             {\"at\": 0.0021, \"priority\": 7}
  0.0021,0,7,1,0.0521                          {\"at\": \"2.5ms\", \"shape\": 1, \"items\": 4}
Times are seconds from the start, or have a unit; they ascend. What `tensorforge serve --record FILE`
wrote is a trace too: its requests are played to the policy given here, not to that of the server.

Equal options give equal figures, to the last bit. Time spent deciding, in sockets and in copying is
not part of it. The others are models written from their sources, at their best documented settings:
the documentation of tensorforge::simulation says which. What is high priority is 7, the rest 0.")]
pub(super) struct Args {
    /// When requests come: poisson, uniform, bursty, or a trace's file
    #[arg(long, value_name = "KIND|FILE", default_value = "poisson")]
    arrivals: Arrivals,

    // A value with a hyphen is a value: what is wrong with it is said, and of which option.
    /// Requests a second [default: 2000]
    #[arg(allow_hyphen_values = true, short, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// The model whose requests to take, where a server recorded those of several
    #[arg(long, value_name = "NAME[/VERSION]")]
    model: Option<String>,

    /// How many requests [default: 100000, or the whole trace]
    #[arg(allow_hyphen_values = true, short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(trace::MOST)))]
    requests: Option<u32>,

    /// Decides all that is random [default: 1]
    #[arg(allow_hyphen_values = true, long, value_name = "N")]
    seed: Option<u64>,

    /// The share of requests with high priority [default: 0]
    #[arg(allow_hyphen_values = true, long, value_name = "SHARE", value_parser = share)]
    high_share: Option<f64>,

    /// Different shapes, strictly in turn [default: 1]
    #[arg(allow_hyphen_values = true, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(trace::SHAPES)))]
    shapes: Option<u32>,

    /// How long after its arrival an answer is of use [default: for ever]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", value_parser = positive_time)]
    timeout: Option<Duration>,

    /// What every batch takes [default: 2ms]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", value_parser = time_of)]
    base: Option<Duration>,

    /// What each item adds [default: 200us]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", value_parser = time_of)]
    per_item: Option<Duration>,

    /// Execution time through points of items:time, instead
    #[arg(allow_hyphen_values = true, long, value_name = "POINTS", conflicts_with_all = ["base", "per_item"])]
    curve: Option<CurvePoints>,

    /// What an item of each shape counts for [default: 1 each]
    #[arg(allow_hyphen_values = true, long, value_name = "COSTS", value_delimiter = ',', value_parser = cost)]
    shape_costs: Vec<f64>,

    /// Most items in a batch
    #[arg(allow_hyphen_values = true, long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_batch: u32,

    /// Longest wait for company, of all priorities or of one (7=0); may be repeated [default: 0]
    #[arg(allow_hyphen_values = true, long, value_name = "[PRIORITY=]TIME")]
    max_wait: Vec<Wait>,

    /// Sizes that run at once, without waiting for more
    #[arg(allow_hyphen_values = true, long, value_name = "SIZES", value_delimiter = ',')]
    preferred: Vec<u32>,

    /// Does not wait where, by the gaps between requests, none is expected in time
    #[arg(long)]
    eager: bool,

    /// Batches that may run at once
    #[arg(allow_hyphen_values = true, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    instances: u32,

    /// Requests that may wait at once
    #[arg(allow_hyphen_values = true, long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_queued: u32,

    /// A full queue makes room for higher priority
    #[arg(long)]
    displace: bool,

    /// Run models of Triton, TensorFlow Serving and a fixed window on the same arrivals
    #[arg(long)]
    compare: bool,

    /// Compare them on the scenarios of tensorforge::simulation instead
    #[arg(long, conflicts_with_all = [
        "compare", "plot", "arrivals", "model", "rate", "high_share", "shapes", "timeout", "base", "per_item",
        "curve", "shape_costs", "max_batch", "max_wait", "preferred", "eager", "instances",
        "max_queued", "displace",
    ])]
    scenarios: bool,

    /// Draw latency by priority and how full batches were into an SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Args {
    fn arrivals(&self) -> Result<Vec<Arrival>, CliError> {
        let rate = self.rate.unwrap_or(2000.0);
        let process = match &self.arrivals {
            Arrivals::Poisson => Process::Poisson { rate },
            Arrivals::Uniform => Process::Uniform { rate },
            Arrivals::Bursty => Process::bursts(rate),
            Arrivals::Trace(path) => {
                for (given, option) in [
                    (self.rate.is_some(), "--rate"),
                    (self.seed.is_some(), "--seed"),
                    (self.high_share.is_some(), "--high-share"),
                    (self.shapes.is_some(), "--shapes"),
                    (self.timeout.is_some(), "--timeout"),
                ] {
                    if given {
                        return Err(CliError::usage(format!(
                            "a trace says itself what {option} would"
                        ))
                        .help(format!("leave {option} out, or the trace")));
                    }
                }
                let mut arrivals = trace::read(path, self.model.as_deref())?;
                arrivals.truncate(self.requests.unwrap_or(u32::MAX) as usize);
                return Ok(arrivals);
            }
        };
        if self.model.is_some() {
            return Err(CliError::usage("--model chooses from a recording, and there is none")
                .help("name what `tensorforge serve --record FILE` wrote with --arrivals FILE"));
        }
        let workload = Workload {
            shapes: Shapes::Alternating(self.shapes.unwrap_or(1)),
            high_share: self.high_share.unwrap_or(0.0),
            timeout: self.timeout,
            ..Workload::new(process, self.seed())
        };
        let arrivals = workload.arrivals(self.requests.unwrap_or(100_000));
        arrivals.map_err(|error| CliError::usage(error.to_string()))
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    fn service(&self) -> Result<Service, CliError> {
        let curve = match &self.curve {
            Some(CurvePoints(curve)) => curve.clone(),
            None => {
                let base = self.base.unwrap_or(Duration::from_millis(2));
                let per_item = self.per_item.unwrap_or(Duration::from_micros(200));
                if base == Duration::ZERO && per_item == Duration::ZERO {
                    return Err(CliError::usage(
                        "--base and --per-item are both 0: no batch would take any time",
                    )
                    .help("give at least one of them a length such as 2ms"));
                }
                Curve::linear(base, per_item)
            }
        };
        Ok(Service { shape_costs: self.shape_costs.clone(), ..Service::new(curve) })
    }

    fn limits(&self) -> Limits {
        let of_all = |wait: &&Wait| wait.priority.is_none();
        let common =
            self.max_wait.iter().rev().find(of_all).map_or(Duration::ZERO, |wait| wait.wait);
        let mut limits = Limits::new(self.max_batch, common);
        for wait in &self.max_wait {
            if let Some(level) = wait.priority {
                limits.max_wait[usize::from(level)] = wait.wait;
            }
        }
        limits.executors = self.instances;
        limits.max_queued = self.max_queued;
        limits
    }

    /// The others, told as much of what is asked for as they understand.
    fn rivals(&self, limits: &Limits) -> Result<Vec<Box<dyn Batcher>>, CliError> {
        let [_ours, rivals @ ..] = BatcherKind::ALL;
        let rival = |kind: BatcherKind| match kind {
            BatcherKind::Triton => {
                let preferred = self.preferred.clone();
                let options = TritonOptions { preferred, ..TritonOptions::new(limits) };
                Ok(Box::new(Triton::with(options)) as Box<dyn Batcher>)
            }
            kind => kind.batcher(limits).map_err(|error| CliError::usage(error.to_string())),
        };
        rivals.into_iter().map(rival).collect()
    }

    fn lane(&self, limits: &Limits) -> Result<Lane, CliError> {
        let mut lane = limits.lane();
        lane.preferred = Sizes::new(&self.preferred).map_err(|error| {
            CliError::usage(format!("--preferred: {error}")).help("write sizes such as 8,16,32")
        })?;
        lane.eager = self.eager;
        lane.displace = self.displace;
        lane.check().map_err(|error| CliError::usage(error.to_string()))?;
        Ok(lane)
    }
}

/// Simulates and reports.
///
/// # Errors
/// [`CliError`] names the option or the line of the trace that makes no sense, or the file that cannot
/// be read or written.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    if args.scenarios {
        return run_scenarios(args, *output);
    }
    let limits = args.limits();
    let lane = args.lane(&limits)?;
    let service = args.service()?;
    let arrivals = args.arrivals()?;
    // Before the run, or a name that cannot be written costs all of it.
    let plot = args.plot.as_deref().map(PlotFile::create).transpose()?;
    let ours = Ours::on(lane).map_err(|error| CliError::usage(error.to_string()))?;
    let mut batchers: Vec<Box<dyn Batcher>> = vec![Box::new(ours)];
    if args.compare {
        batchers.extend(args.rivals(&limits)?);
    }
    let bar = progress_bar(arrivals.len() * batchers.len());
    let mut reports = Vec::new();
    for (turn, mut batcher) in batchers.into_iter().enumerate() {
        let before = turn * arrivals.len();
        let report = run_with(&arrivals, &mut *batcher, &service, &limits, &mut |done| {
            bar.set_position((before + done) as u64);
        });
        let name = batcher.name();
        reports.push(report.map_err(|violation| broken(&format!("{name}: {violation}")))?);
    }
    let [report, rivals @ ..] = &reports[..] else { return Ok(()) };
    bar.finish_and_clear();
    match (output.is_json(), args.compare) {
        (true, false) => output.json(&report.json()),
        (true, true) => {
            let all: Vec<_> = reports.iter().map(Report::json).collect();
            output.json(&serde_json::json!({ "reports": all }));
        }
        (false, _) => {
            output.text(&picture::text(report));
            if args.compare {
                output.text("");
                output.text(&picture::comparison(&reports));
            }
        }
    }
    if let Some(plot) = plot {
        let name = plot.write(&plot::svg(report, rivals))?;
        if !output.is_json() {
            output.text(&format!("\nplot  {name}"));
        }
    }
    Ok(())
}

fn run_scenarios(args: &Args, output: Output) -> Result<(), CliError> {
    let requests = args.requests.unwrap_or(50_000);
    let scenarios = scenarios(args.seed());
    let runs = |waits: usize| waits * BatcherKind::ALL.len() * requests as usize;
    let bar = progress_bar(scenarios.iter().map(|scenario| runs(scenario.waits.len())).sum());
    let mut before = 0;
    let mut all = Vec::new();
    for scenario in &scenarios {
        let best = scenario.compare(requests, &mut |done| bar.set_position((before + done) as u64));
        all.push((scenario.name, best.map_err(|error| not_compared(&error))?));
        before += runs(scenario.waits.len());
    }
    bar.finish_and_clear();
    if output.is_json() {
        let scenarios = all.iter().map(|(name, best)| {
            let reports = best.iter().map(|best| {
                let wait = best.wait.as_nanos() as f64 / 1e6;
                serde_json::json!({ "max_wait_ms": wait, "report": best.report.json() })
            });
            serde_json::json!({ "scenario": name, "batchers": reports.collect::<Vec<_>>() })
        });
        output.json(&serde_json::json!({ "scenarios": scenarios.collect::<Vec<_>>() }));
    } else {
        output.text(&picture::scenarios(&all));
    }
    Ok(())
}

fn not_compared(error: &ComparisonError) -> CliError {
    match error {
        ComparisonError::Violation { .. } => broken(&error.to_string()),
        _ => CliError::usage(error.to_string()),
    }
}

/// What the simulator promises did not hold.
fn broken(what: &str) -> CliError {
    CliError::failed(format!("the simulation broke its own rules: {what}"))
        .help("please report it, with the options and the trace")
}

/// Only on a terminal, and only where there is something to wait for.
fn progress_bar(requests: usize) -> ProgressBar {
    if requests < LONG || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {human_pos} of {human_len} requests, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(requests as u64).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use tensorforge_core::batch::LEVELS;

    fn args(line: &str) -> Box<Args> {
        let words = ["tensorforge", "simulate"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Simulate(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_wait_of_one_priority_goes_before_that_of_all() {
        let waits = |line| args(line).limits().max_wait.map(|wait| wait.as_nanos() / 1_000_000);
        let mut expected = [5; LEVELS];
        expected[7] = 0;
        assert_eq!(waits("--max-wait 7=0 --max-wait 5ms"), expected);
        assert_eq!(waits("--max-wait 5ms --max-wait 7=0"), expected);
        assert_eq!(waits(""), [0; LEVELS]);
    }
}
