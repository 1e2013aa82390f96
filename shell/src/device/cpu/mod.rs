//! ONNX models on the CPU, through tract or ONNX Runtime.
//!
//! | | tract | ONNX Runtime |
//! |---|---|---|
//! | needs | nothing, it is compiled in | `libonnxruntime` 1.17 or later, found at run time |
//! | row counts | one compiled plan per allowed size, rows are padded up | any, nothing is padded |
//! | parallel calls | unlimited, plans are shared | [`CpuOptions::instances`] sessions |
//! | threads in a call | 1 | [`CpuOptions::threads`] |
//! | types | all but `BF16` | all |
//!
//! Both give the same [`ModelIo`](crate::models::ModelIo) for a model and outputs that agree
//! within rounding. `BYTES` elements are ONNX strings and so must be UTF-8; ONNX Runtime takes
//! none with a NUL byte in it. An input whose rank the model leaves open shows as a scalar.

pub mod onnxruntime;
mod signature;
mod tract;

pub use crate::config::Backend;

use super::{Executor, LoadError};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How models run on the CPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuOptions {
    /// The runtime.
    pub backend: Backend,
    /// Row counts that tract prepares when a model that batches is loaded, smallest first. A batch
    /// is padded up to the next of them; one above the largest is compiled when it comes.
    pub batch_sizes: Vec<usize>,
    /// Threads that one call may use (ONNX Runtime only).
    pub threads: usize,
    /// Calls of one model that may run at once (ONNX Runtime only: a session each, with the
    /// model's weights). Further calls wait.
    pub instances: usize,
    /// The ONNX Runtime library to load, instead of searching. Failing to load it is an error
    /// with [`Backend::Auto`] too: who names a library wants that one.
    pub onnxruntime: Option<PathBuf>,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            batch_sizes: vec![1, 2, 4, 8, 16],
            threads: 1,
            instances: 1,
            onnxruntime: None,
        }
    }
}

/// Loads the ONNX model in the file `path` and prepares it to run.
///
/// [`Backend::Auto`] takes ONNX Runtime where it is available. A model it has no kernel for (its
/// `NOT_IMPLEMENTED`, such as a Relu of `INT64`) goes to tract, which may.
/// Any other refusal is an error and not a reason to try tract: the file is at fault, and a
/// runtime that is less strict would serve it wrongly.
///
/// # Errors
/// * [`LoadError::Unreadable`]: the file is missing or cannot be read.
/// * [`LoadError::Invalid`]: it is not an ONNX model, or has an operator, a type or a size the
///   runtime does not take; the message names it.
/// * [`LoadError::Unavailable`]: ONNX Runtime is asked for, and its library does not load.
pub fn load(path: &Path, options: &CpuOptions) -> Result<Arc<dyn Executor>, LoadError> {
    match options.backend {
        Backend::Tract => tract::load(path, options),
        Backend::OnnxRuntime => onnxruntime::load(path, options).map_err(Into::into),
        Backend::Auto => match onnxruntime::load(path, options) {
            Ok(executor) => Ok(executor),
            Err(onnxruntime::Refusal::NoLibrary(missing)) if options.onnxruntime.is_none() => {
                tracing::info!("{} runs on tract: {missing}", path.display());
                tract::load(path, options)
            }
            Err(onnxruntime::Refusal::NoKernel(error)) => {
                tracing::warn!("{error}; trying tract");
                tract::load(path, options).map_err(|second| both(error, &second))
            }
            Err(refusal) => Err(refusal.into()),
        },
    }
}

/// Both runtimes refused the model: neither's reason alone tells what to change.
fn both(first: LoadError, second: &LoadError) -> LoadError {
    match first {
        LoadError::Invalid { backend, path, message } => {
            LoadError::Invalid { backend, path, message: format!("{message}; and {second}") }
        }
        other => other,
    }
}

/// What [`doctor`] found out about one runtime.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The runtime: `tract` or `onnxruntime`.
    pub name: &'static str,
    /// Whether models can run on it.
    pub available: bool,
    /// Whether [`Backend::Auto`] takes it.
    pub chosen: bool,
    /// Its version, where it can be told.
    pub version: Option<String>,
    /// Its library; `None` for one that is compiled in.
    pub path: Option<PathBuf>,
    /// Why it is not available.
    pub problem: Option<String>,
    /// What to do about the problem.
    pub remedy: Option<String>,
    /// Where its library was looked for.
    pub searched: Vec<PathBuf>,
}

/// Looks at each runtime on this machine: is it there, which version, from where, and if not, why
/// not and what to do. Loads the ONNX Runtime library as [`load`] would.
#[must_use]
pub fn doctor(options: &CpuOptions) -> Vec<Finding> {
    let onnxruntime = match onnxruntime::find(options.onnxruntime.as_deref()) {
        Ok(library) => Finding {
            name: onnxruntime::NAME,
            available: true,
            chosen: true,
            version: library.version,
            path: Some(library.path),
            problem: None,
            remedy: None,
            searched: Vec::new(),
        },
        Err(missing) => Finding {
            name: onnxruntime::NAME,
            available: false,
            chosen: false,
            version: None,
            path: None,
            problem: Some(missing.problem()),
            remedy: Some(onnxruntime::REMEDY.to_owned()),
            searched: missing.searched,
        },
    };
    let tract = Finding {
        name: tract::NAME,
        available: true,
        // A library named and broken is an error, not a reason for another runtime: see `load`.
        chosen: !onnxruntime.available && options.onnxruntime.is_none(),
        version: Some(tract::VERSION.to_owned()),
        path: None,
        problem: None,
        remedy: None,
        searched: Vec::new(),
    };
    vec![onnxruntime, tract]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_tract_version_is_the_one_compiled_in() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = format!("name = \"tract-onnx\"\nversion = \"{}\"", tract::VERSION);
        assert!(lock.contains(&entry), "Cargo.lock has another tract-onnx than {entry}");
    }

    #[test]
    fn doctor_names_both_runtimes_and_chooses_one() {
        let findings = doctor(&CpuOptions::default());
        assert_eq!(findings.iter().filter(|finding| finding.chosen).count(), 1);
        for finding in findings {
            assert_eq!(finding.available, finding.problem.is_none());
            assert_eq!(finding.available, finding.remedy.is_none());
        }
    }

    #[test]
    fn doctor_reports_a_named_library_that_is_not_there() {
        let path = PathBuf::from("/nonexistent/libonnxruntime.so");
        let options = CpuOptions { onnxruntime: Some(path), ..CpuOptions::default() };
        let findings = doctor(&options);
        let problem = findings[0].problem.as_deref().unwrap();
        assert!(problem.contains("/nonexistent/libonnxruntime.so"), "{problem}");
        assert!(findings.iter().all(|finding| !finding.chosen), "nothing stands in silently");
    }
}
