//! How much memory a model's batches take on the CPU, measured when it is loaded.

use crate::contracts::Parameters;
use crate::device::{ExecuteError, Executor};
use crate::models::{ModelIo, Tensor};
use std::sync::Arc;

/// An executor, and the memory that it was seen to take.
struct Measured {
    executor: Arc<dyn Executor>,
    one: u64,
    most_rows: usize,
    most: u64,
}

impl Executor for Measured {
    fn backend(&self) -> &'static str {
        self.executor.backend()
    }

    fn io(&self) -> &ModelIo {
        self.executor.io()
    }

    fn padded_rows(&self, rows: usize) -> usize {
        self.executor.padded_rows(rows)
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        self.executor.execute(inputs)
    }

    fn execute_with(
        &self,
        inputs: &[Tensor],
        parameters: &Parameters,
    ) -> Result<Vec<Tensor>, ExecuteError> {
        self.executor.execute_with(inputs, parameters)
    }

    fn resident_memory(&self) -> Option<u64> {
        self.executor.resident_memory()
    }

    /// On the line through the two batches that were measured.
    fn memory(&self, rows: usize) -> Option<u64> {
        let span = (self.most_rows.max(2) - 1) as u64;
        let more = self.most.saturating_sub(self.one).div_ceil(span);
        Some(self.one.saturating_add(more.saturating_mul(rows.saturating_sub(1) as u64)))
    }
}

/// Runs `executor` with zeros, once with one row and once with `max_rows`, and tells of it from then on the
/// resident memory that it took: what the process had at its peak above what it had before. Nothing else
/// should run meanwhile.
///
/// # Errors
/// The executor itself, with the reason why it could not be measured: inputs whose size the model leaves
/// open, a model that fails on zeros, a system that does not tell (only Linux does).
pub fn measured(
    executor: Arc<dyn Executor>,
    max_rows: usize,
) -> Result<Arc<dyn Executor>, (Arc<dyn Executor>, String)> {
    match measure(&*executor, max_rows) {
        Ok((one, most)) => {
            Ok(Arc::new(Measured { executor, one, most_rows: max_rows.max(1), most }))
        }
        Err(reason) => Err((executor, reason)),
    }
}

fn measure(executor: &dyn Executor, max_rows: usize) -> Result<(u64, u64), String> {
    let max_rows = if executor.io().batches { max_rows.max(1) } else { 1 };
    let peak_with = |rows: usize| {
        let rows = executor.padded_rows(rows).max(rows);
        let specs = &executor.io().inputs;
        let batches = executor.io().batches;
        let inputs = specs.iter().map(|spec| spec.zeros(batches.then_some(rows), None));
        let inputs = inputs.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        reset_peak()?;
        executor.execute(&inputs).map_err(|error| error.to_string())?;
        resident("VmHWM:")
    };
    let before = resident("VmRSS:")?;
    let one = peak_with(1)?.saturating_sub(before);
    let most = peak_with(max_rows)?.saturating_sub(before).max(one);
    Ok((one, most))
}

/// Makes the peak begin again, from what is resident now: `man 5 proc`, `clear_refs`.
#[cfg(target_os = "linux")]
fn reset_peak() -> Result<(), String> {
    std::fs::write("/proc/self/clear_refs", "5").map_err(|error| error.to_string())
}

/// A figure of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident(name: &str) -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| format!("/proc/self/status has no {name}"))
}

#[cfg(not(target_os = "linux"))]
fn reset_peak() -> Result<(), String> {
    Err("this system does not tell how much memory a process takes".into())
}

#[cfg(not(target_os = "linux"))]
fn resident(_: &str) -> Result<u64, String> {
    reset_peak().map(|()| 0)
}
