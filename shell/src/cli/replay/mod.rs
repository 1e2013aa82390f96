//! `tensorforge replay`: makes a server's decisions again.

mod what_if;

use super::output::progress_of_bytes;
use super::{CliError, Output};
use crate::trace::replay::{ReplayError, replay};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use what_if::{Assignment, WhatIf, assignment};

/// Make every decision of a recorded server again (serve --record FILE)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge serve --record trace.jsonl       then send requests, and stop it
  tensorforge replay trace.jsonl               the same events, to a new engine: the same decisions?
  tensorforge --json replay trace.jsonl
  tensorforge replay trace.jsonl --set max_wait=2ms --set max_batch=16      what would have been?

With --set the requests are played in virtual time: to the settings that were recorded, so that the
figures can be compared with what was, and to those with the changes. Batches take as long as those of
their size did; sockets and copying are not part of it.
A trace holds times, models, sizes and priorities of requests, and nothing of what is in them.
Exit code 0: every decision was the same, to the last bit; 1: one was not; 4: it is no trace.")]
pub(super) struct Args {
    /// The trace
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Say what would have been with another setting of the model's config.toml; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    changes: Vec<Assignment>,

    /// The model, where there are several
    #[arg(long, value_name = "NAME[/VERSION]", requires = "changes")]
    model: Option<String>,
}

/// Replays.
///
/// # Errors
/// [`CliError`] names the first line that is decided otherwise, or cannot be read.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    let name = args.file.display();
    let unreadable = |error: std::io::Error| {
        CliError::unusable(format!("cannot read {name}: {error}"))
            .help("name the file that `tensorforge serve --record FILE` wrote")
    };
    if !args.changes.is_empty() {
        let text = std::fs::read_to_string(&args.file).map_err(unreadable)?;
        let what_if = WhatIf::play(&text, args.model.as_deref(), &args.changes)?;
        if output.is_json() {
            output.json(&what_if.json());
        } else {
            output.text(&what_if.text());
        }
        return Ok(());
    }
    let file = File::open(&args.file).map_err(unreadable)?;
    let bar = progress_of_bytes(file.metadata().map_or(0, |metadata| metadata.len()));
    let result = replay(BufReader::new(file), |read| bar.set_position(read));
    bar.finish_and_clear();
    let replayed = result.map_err(|error| {
        let message = format!("{name}: {error}");
        match error {
            ReplayError::Differs { .. } => CliError::failed(message)
                .help("the trace was changed, or was recorded by another version or processor"),
            _ => CliError::unusable(message)
                .help("name the file that `tensorforge serve --record FILE` wrote"),
        }
    })?;
    if output.is_json() {
        output.json(&serde_json::json!({ "same": true, "replayed": replayed }));
        return Ok(());
    }
    let crate::trace::replay::Replayed { calls, arrived, refused, batches, .. } = replayed;
    output.text(&format!(
        "{calls} events again: {arrived} requests, {refused} of them refused, in {batches} batches; \
         every decision is the same"
    ));
    if !replayed.complete {
        output.text("the trace stops before the server did: it was killed, or wrote too slowly");
    }
    Ok(())
}
