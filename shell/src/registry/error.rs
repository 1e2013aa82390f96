//! Why a model is not there, and why it could not be brought or taken away.

use crate::config::Version;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why the repository cannot be read at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The folder is missing or may not be read.
    #[error("cannot read the model repository {path}: {message}")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
    /// The system gives no thread that frees what is unloaded.
    #[error("cannot start the registry's thread: {message}")]
    NoThread {
        /// The system's words.
        message: String,
    },
}

/// Why a model or version is not there to run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No model of that name.
    #[error("unknown model '{name}'{}", nearest(.known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The model has no such version or label.
    #[error("model '{name}' has no version '{version}'; it has {}", .known.join(", "))]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version or label asked for.
        version: String,
        /// The versions and labels there are.
        known: Vec<String>,
    },
    /// It is in the repository but cannot run.
    #[error("model '{name}' is not ready: {reason}")]
    NotReady {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
}

fn nearest(known: &[String]) -> String {
    match known.len() {
        0 => "; the repository is empty".into(),
        1..=8 => format!("; there is {}", known.join(", ")),
        count => format!("; there are {count} others, see /v2/repository/index"),
    }
}

/// Why a model was not loaded or unloaded as asked. Unless it says so, everything is as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The server takes no such requests.
    #[error(
        "models are not loaded or unloaded on request here: the server runs with \
         --model-control none; start it with --model-control explicit or on-demand"
    )]
    NotControlled,
    /// The server is about to stop.
    #[error("the server is draining, and loads or unloads no models")]
    Draining,
    /// The name could lead out of the repository, or is that of a hidden folder.
    #[error("'{}' cannot be a model's name", .name.escape_debug())]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// There is no such folder in the repository.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The model's configuration is refused.
    #[error("the configuration of model '{name}' is refused: {message}")]
    Config {
        /// The model.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The folder has no version of the model.
    #[error("model '{name}' has no version: there is no folder such as {name}/1 in the repository")]
    NoVersion {
        /// The model.
        name: String,
    },
    /// Versions did not load or failed while they were warmed up. The others of the model are served; where
    /// one of these was served before, that one still is.
    #[error("model '{name}' did not load: {}", failures(.versions))]
    Failed {
        /// The model.
        name: String,
        /// Each version that failed, and why.
        versions: Vec<(Version, String)>,
    },
    /// What was called to load it, which is not the server's own, panicked.
    #[error("model '{name}' did not load: {message}")]
    Panicked {
        /// The model.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// There is not enough memory, and nothing to unload for it.
    #[error(
        "no memory for model '{name}': it takes {needs} of {limit} bytes (--model-memory), {held} are held, and {reason}"
    )]
    NoMemory {
        /// The model.
        name: String,
        /// Bytes that it takes.
        needs: u64,
        /// Bytes that all models may take.
        limit: u64,
        /// Bytes that those which are loaded take.
        held: u64,
        /// Why no more of these could be unloaded.
        reason: String,
    },
}

/// Why a request got no model that is loaded when requests ask for it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// There is no such model or version, or it is not loaded on demand.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It did not load. It is not tried again for a while: until then, this is the answer.
    #[error("{error}")]
    Failed {
        /// Why.
        error: Arc<ChangeError>,
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The request's own timeout passed before it was loaded. It is loaded all the same.
    #[error("the request's timeout passed while its model was loaded")]
    Late,
    /// It took longer than requests wait for that. It is loaded all the same.
    #[error("the model is being loaded, and was not ready within {after:?}")]
    StillLoading {
        /// How long requests wait.
        after: Duration,
    },
    /// So many requests wait for it already that no more may.
    #[error("{most} requests wait already for the model to be loaded")]
    TooManyWaiting {
        /// How many may.
        most: usize,
    },
    /// The server is about to stop.
    #[error("the server is draining, and loads no models")]
    Draining,
}

impl DemandError {
    /// Whether another time, or another server, may do better though nothing is wrong with the model.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        match self {
            Self::StillLoading { .. } | Self::TooManyWaiting { .. } | Self::Draining => true,
            Self::Failed { error, .. } => matches!(**error, ChangeError::NoMemory { .. }),
            Self::Lookup(_) | Self::Late => false,
        }
    }
}

fn failures(versions: &[(Version, String)]) -> String {
    let one = |(version, reason): &(Version, String)| format!("version {version}: {reason}");
    versions.iter().map(one).collect::<Vec<_>>().join("; ")
}
