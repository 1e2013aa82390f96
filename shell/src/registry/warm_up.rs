//! The first runs of a version, before it takes requests.

use super::hanging::Doing;
use crate::config::ModelConfig;
use crate::contracts::{InferRequest, rest};
use crate::device::{ExecuteError, Executor};
use crate::models::{ModelIo, Tensor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Ready-made requests that are run at most: the first ones by name.
const MOST_REQUESTS: usize = 16;

/// Bytes of zeros in one run at most: a batch that takes more is warmed up by those who need it.
const MOST_ZEROS: usize = 256 << 20;

/// Runs `executor` once for each ready-made request in `requests` that fits it; where there is none, with
/// zeros in every size of batch that it has ready, sizes that the model leaves open being 1. `doing` is told
/// of each run before it begins.
///
/// Returns how often it ran.
///
/// # Errors
/// The first run that failed, with what it ran and why. That a batch larger than the smallest finds no memory is no
/// failure: such batches run in smaller ones later.
pub(super) fn warm_up(
    executor: &dyn Executor,
    config: &ModelConfig,
    requests: &Path,
    doing: &Doing,
) -> Result<usize, String> {
    let mut runs = 0;
    for (file, inputs) in ready_made(executor.io(), requests) {
        doing.is(file.display().to_string());
        run(executor, &inputs).map_err(|error| {
            format!("it failed on {} while it was warmed up: {error}", file.display())
        })?;
        runs += 1;
    }
    if runs > 0 { Ok(runs) } else { with_zeros(executor, config, doing) }
}

fn with_zeros(
    executor: &dyn Executor,
    config: &ModelConfig,
    doing: &Doing,
) -> Result<usize, String> {
    let io = executor.io();
    let padded = |&size: &u32| executor.padded_rows(size as usize).max(size as usize);
    let sizes: BTreeSet<usize> = match io.batches {
        true => config.batch_sizes().iter().map(padded).collect(),
        false => BTreeSet::from([1]),
    };
    let zeros = |rows: usize| -> Result<Vec<Tensor>, String> {
        let rows = io.batches.then_some(rows);
        let inputs = io.inputs.iter().map(|spec| spec.zeros(rows, Some(1)));
        inputs.collect::<Result<_, _>>().map_err(|error| error.to_string())
    };
    let one_row: usize = zeros(1)?.iter().map(|input| input.data().len()).sum();
    let mut runs = 0;
    for rows in sizes {
        if one_row.saturating_mul(rows) > MOST_ZEROS {
            break;
        }
        doing.is(format!("zeros in {rows} rows"));
        match run(executor, &zeros(rows)?) {
            Ok(()) => runs += 1,
            Err(ExecuteError::OutOfMemory { .. }) if runs > 0 => break,
            Err(error) => {
                return Err(format!(
                    "it failed on zeros in {rows} rows while it was warmed up: {error}; put a request \
                     that it takes into its folder 'requests', or say warm_up = false"
                ));
            }
        }
    }
    Ok(runs)
}

/// Runs once, and looks at what comes out as far as the model promises it.
fn run(executor: &dyn Executor, inputs: &[Tensor]) -> Result<(), ExecuteError> {
    let outputs = executor.execute(inputs)?;
    let (got, want) = (outputs.len(), executor.io().outputs.len());
    if got != want {
        let message = format!("{got} outputs instead of {want}");
        return Err(ExecuteError::BadOutput { backend: executor.backend(), message });
    }
    Ok(())
}

/// The requests in `folder` that fit the model, by file, their inputs in the model's order.
fn ready_made(io: &ModelIo, folder: &Path) -> Vec<(PathBuf, Vec<Tensor>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_json).collect();
    files.sort();
    let fitting = files.into_iter().filter_map(|file| {
        let request = std::fs::read(&file).map_err(|error| error.to_string()).and_then(|bytes| {
            rest::decode_request(&bytes.into(), None).map_err(|error| error.to_string())
        });
        match request.and_then(|request| fit(io, request)) {
            Ok(inputs) => Some((file, inputs)),
            Err(reason) => {
                tracing::warn!(file = %file.display(), reason, "not used to warm up");
                None
            }
        }
    });
    fitting.take(MOST_REQUESTS).collect()
}

/// The request's inputs in the model's order.
fn fit(io: &ModelIo, request: InferRequest) -> Result<Vec<Tensor>, String> {
    let mut inputs = request.inputs;
    if inputs.len() != io.inputs.len() {
        return Err(format!("it has {} inputs, the model {}", inputs.len(), io.inputs.len()));
    }
    let in_order = io.inputs.iter().map(|spec| {
        let fits = |input: &Tensor| {
            input.name() == spec.name
                && input.datatype() == spec.datatype
                && spec.accepts_shape(input.shape())
        };
        let place = inputs.iter().position(fits);
        place
            .map(|place| inputs.swap_remove(place))
            .ok_or_else(|| format!("it has no input '{}' as the model wants it", spec.name))
    });
    let inputs: Vec<Tensor> = in_order.collect::<Result<_, String>>()?;
    let rows = |input: &Tensor| input.shape().first().copied();
    if io.batches && inputs.iter().any(|input| rows(input) != rows(&inputs[0])) {
        return Err("its inputs have not equally many rows".into());
    }
    Ok(inputs)
}
