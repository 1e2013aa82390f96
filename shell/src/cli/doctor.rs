//! `tensorforge doctor`: what this machine can run models on.

use super::output::table;
use super::{CliError, Output};
use crate::device::cpu::{self, CpuOptions};
use std::path::PathBuf;

/// Show which runtimes were found, and which one runs models
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge doctor
  tensorforge doctor --onnxruntime /opt/onnxruntime/lib/libonnxruntime.so
  tensorforge --json doctor")]
pub(super) struct Args {
    /// ONNX Runtime's library, when it is not in a usual place
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

/// Prints what was found.
///
/// # Errors
/// When no runtime can be used.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    let options = CpuOptions { onnxruntime: args.onnxruntime.clone(), ..Default::default() };
    let runtimes = cpu::doctor(&options);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if output.is_json() {
        output.json(&serde_json::json!({ "cores": cores, "runtimes": runtimes }));
    } else {
        let text = |text: &str| text.to_owned();
        let mut rows = vec![["RUNTIME", "VERSION", "STATE", "WHERE"].map(text)];
        for runtime in &runtimes {
            let state = match (runtime.available, runtime.chosen) {
                (true, true) => "chosen",
                (true, false) => "available",
                (false, _) => "not found",
            };
            let place = runtime.path.as_ref().map(|path| path.display().to_string());
            let place = place
                .unwrap_or_else(|| if runtime.available { "built in".into() } else { "-".into() });
            let version = runtime.version.clone().unwrap_or_else(|| "-".into());
            rows.push([text(runtime.name), version, text(state), place]);
        }
        output.text(&table(&rows));
        output.text(&format!("\n{cores} cores"));
        for runtime in &runtimes {
            if let Some(problem) = &runtime.problem {
                output.text(&format!("\n{}: {problem}", runtime.name));
            }
            if let Some(remedy) = &runtime.remedy {
                output.text(&format!("  {remedy}"));
            }
        }
    }
    match runtimes.iter().any(|runtime| runtime.chosen) {
        true => Ok(()),
        false => Err(CliError::unusable("no runtime can be used")
            .help("name a library that exists with --onnxruntime, or leave it out")),
    }
}
