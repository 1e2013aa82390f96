//! `tensorforge audit`: reads what a server did, and whether anyone has changed it since.

use super::output::{progress_of_bytes, table};
use super::{CliError, Output};
use crate::workflow::audit::{Entry, Fault, Hash, Verified, files_of, verify};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Read the audit of a server (serve --audit FILE), and verify it
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Verify(VerifyArgs),
    Tail(TailArgs),
}

/// Say whether every record is as it was written, or which is the first that is not
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge audit verify audit.jsonl
  tensorforge audit verify audit.jsonl --head 5f3c...e1     also notices a missing end
  tensorforge --json audit verify audit.jsonl

Older files beside it (audit.jsonl.1, .2, ...) belong to the chain and are read too.
Exit code 0: whole; 1: a record was altered, taken out, moved or cut; 4: a file cannot be read.")]
struct VerifyArgs {
    /// The audit
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The hash that the last record must have, as an earlier verify printed it
    #[arg(long, value_name = "HASH")]
    head: Option<Hash>,
}

/// Show the last records
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge audit tail audit.jsonl
  tensorforge audit tail audit.jsonl -n 100 --entity digits
  tensorforge audit tail audit.jsonl --follow             and each new one, until Ctrl-C
  tensorforge --json audit tail audit.jsonl               the records themselves, one a line")]
struct TailArgs {
    /// The audit
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,

    /// Only entities whose name contains this
    #[arg(long, value_name = "TEXT")]
    entity: Option<String>,

    /// Go on with each new one
    #[arg(short, long)]
    follow: bool,
}

/// Verifies or shows.
///
/// # Errors
/// [`CliError`] names the first record that is wrong, or the file that cannot be read.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    match &args.command {
        Command::Verify(args) => run_verify(args, *output),
        Command::Tail(args) => run_tail(args, *output),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::unusable(format!("cannot read {}: {error}", path.display()))
        .help("name the file that `tensorforge serve --audit FILE` wrote")
}

fn run_verify(args: &VerifyArgs, output: Output) -> Result<(), CliError> {
    let files = files_of(&args.file);
    let mut sources = Vec::with_capacity(files.len());
    let mut bytes = 0;
    for file in files {
        let opened = File::open(&file).map_err(|error| unreadable(&file, &error))?;
        bytes += opened.metadata().map_or(0, |metadata| metadata.len());
        sources.push((file.display().to_string(), Ok(BufReader::new(opened))));
    }
    let count = sources.len();
    let bar = progress_of_bytes(bytes);
    let result = verify(sources, args.head, |read| bar.set_position(read));
    bar.finish_and_clear();
    match result {
        Ok(Verified { records, first, head }) => {
            if output.is_json() {
                output.json(&serde_json::json!({
                    "whole": true, "records": records, "first": first, "head": head, "files": count,
                }));
                return Ok(());
            }
            let files = if count == 1 { String::new() } else { format!(" in {count} files") };
            output.text(&format!("{records} records{files}, each as it was written"));
            if first > 0 {
                output.text(&format!("they begin with record {first}: older files are gone"));
            }
            output.text(&format!("head {head}"));
            Ok(())
        }
        Err(fault) => {
            if output.is_json() {
                let Fault { path, line, kind } = &fault;
                output.json(&serde_json::json!({
                    "whole": false, "file": path, "line": line, "fault": kind.to_string(),
                }));
            }
            let error = CliError::failed(fault.to_string()).help(
                "everything before that record is as it was written; compare the rest with a copy",
            );
            Err(if output.is_json() { error.printed() } else { error })
        }
    }
}

fn run_tail(args: &TailArgs, output: Output) -> Result<(), CliError> {
    let wanted = |entry: &Entry| {
        args.entity.as_ref().is_none_or(|text| entry.entity.contains(text.as_str()))
    };
    let mut last: VecDeque<Entry> = VecDeque::new();
    let mut reader = None;
    for file in files_of(&args.file) {
        let opened = File::open(&file).map_err(|error| unreadable(&file, &error))?;
        let mut source = BufReader::new(opened);
        for entry in read_on(&mut source, &file)?.into_iter().filter(wanted) {
            last.push_back(entry);
            if last.len() > args.lines {
                last.pop_front();
            }
        }
        reader = Some(source);
    }
    show(output, last);
    let Some(mut reader) = reader.filter(|_| args.follow) else { return Ok(()) };
    let mut seen = bytes_of(&args.file);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        show(output, read_on(&mut reader, &args.file)?.into_iter().filter(wanted).collect());
        let now = bytes_of(&args.file);
        if now < seen {
            // A new file in its place; what was left of the old one has just been read.
            let opened = File::open(&args.file).map_err(|error| unreadable(&args.file, &error))?;
            reader = BufReader::new(opened);
        }
        seen = now;
    }
}

fn bytes_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The whole records from here to the end.
fn read_on(source: &mut BufReader<File>, path: &Path) -> Result<Vec<Entry>, CliError> {
    let mut entries = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = source.read_until(b'\n', &mut line).map_err(|error| unreadable(path, &error))?;
        if line.last() != Some(&b'\n') {
            // Half a record, perhaps being written: it is read again next time.
            let back = i64::try_from(read).unwrap_or(i64::MAX);
            source.seek_relative(-back).map_err(|error| unreadable(path, &error))?;
            return Ok(entries);
        }
        let entry = serde_json::from_slice(&line).map_err(|error| {
            let path = path.display();
            CliError::unusable(format!("{path} holds a line that is no audit record: {error}"))
                .help(format!("`tensorforge audit verify {path}` says which"))
        })?;
        entries.push(entry);
    }
}

fn show(output: Output, entries: VecDeque<Entry>) {
    if output.is_json() {
        for entry in entries {
            output.json(&serde_json::json!(entry));
        }
        return;
    }
    let row = |entry: Entry| {
        let seconds = entry.at as f64 / 1e9;
        let became = match &entry.refused {
            None => format!("{} -> {}", entry.from, entry.to),
            Some(_) => format!("{} -x {}", entry.from, entry.to),
        };
        let why = entry.refused.unwrap_or(entry.cause);
        // One line each, whatever is in them.
        let plain = |text: &str| {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
        };
        [
            entry.position.to_string(),
            format!("{seconds:.6}"),
            plain(&entry.entity),
            became,
            plain(&why),
        ]
    };
    if !entries.is_empty() {
        let rows: Vec<[String; 5]> = entries.into_iter().map(row).collect();
        output.text(table(&rows).trim_end());
    }
}
