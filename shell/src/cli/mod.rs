//! The `tensorforge` program: one file for each subcommand.

mod audit;
mod doctor;
mod infer;
mod load;
mod models;
mod output;
mod remote;
mod replay;
mod routes;
mod serve;
mod simulate;
mod svg;

pub use output::{CliError, Output};

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Inference server for the Open Inference Protocol v2 with dynamic batching.
#[derive(Parser, Debug)]
#[command(
    name = "tensorforge",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  tensorforge serve                                   serve the models in ./models
  tensorforge infer digits models/digits/requests/seven.json
  tensorforge load digits --concurrency 32 --plot load.svg
  tensorforge simulate --rate 2000 --compare          batching in virtual time, no server

Exit codes: 0 done; 1 it failed, or the server answered with an error; 2 wrong usage;
3 no server answers; 4 a file or model cannot be used; 5 the address cannot be listened on."
)]
pub struct Cli {
    /// Print one JSON object for programs instead of text for people
    #[arg(long, global = true)]
    json: bool,

    /// Log more to standard error: -v what happens, -vv every batch [env: TENSORFORGE_LOG=FILTER]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Args),
    Infer(infer::Args),
    Load(load::Args),
    Models(models::Args),
    Doctor(doctor::Args),
    Simulate(Box<simulate::Args>),
    Audit(audit::Args),
    Replay(replay::Args),
    Routes(routes::Args),
}

/// Parses the command line, does what it says, and reports errors.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbose);
    let output = Output::new(cli.json);
    let result = match &cli.command {
        Command::Serve(args) => serve::run(args, &output),
        Command::Infer(args) => infer::run(args, &output),
        Command::Load(args) => load::run(args, &output),
        Command::Models(args) => models::run(args, &output),
        Command::Doctor(args) => doctor::run(args, &output),
        Command::Simulate(args) => simulate::run(args, &output),
        Command::Audit(args) => audit::run(args, &output),
        Command::Replay(args) => replay::run(args, &output),
        Command::Routes(args) => routes::run(args, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    }
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        // ONNX Runtime warns of each bad input; its sender has been told.
        0 => "warn,onnxruntime=error",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("TENSORFORGE_LOG");
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that cannot be written is no reason to write about it there.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(output::colours(&std::io::stderr()))
        .init();
    // A panic inside a model is an error answer, not news for the terminal: it goes to the log,
    // where a client that causes many cannot flood it unasked.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        if thread.starts_with("model-") {
            tracing::info!(thread, "{panic}");
        } else {
            tracing::error!(thread, "{panic}");
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
