//! The model repository: which models there are, in which versions, and whether they can run.
//!
//! A repository is a folder `MODEL/VERSION/model.onnx` with an optional `MODEL/config.toml`;
//! versions are whole numbers. Other files and folders in it are left alone.

use crate::clock::Clock;
use crate::config::ModelConfig;
use crate::contracts::RepositoryEntry;
use crate::device::{Executor, LoadError};
use crate::telemetry::ModelRecorder;
use crate::workflow::Cursor;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensorforge_core::machine::{AuditSink, Deployment, DeploymentState, State};
use tensorforge_core::{Instant, ModelId};

/// One version of a model, loaded and ready to run.
pub struct LoadedModel {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its number in the scheduler.
    pub id: ModelId,
    /// What runs it.
    pub executor: Arc<dyn Executor>,
    /// How it is served.
    pub config: ModelConfig,
    /// Its figures.
    pub recorder: ModelRecorder,
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedModel({}/{})", self.name, self.version)
    }
}

/// Turns a model file into something that runs. The seam between the registry and devices.
pub type Loader<'a> = dyn Fn(&Path, &ModelConfig) -> Result<Arc<dyn Executor>, LoadError> + 'a;

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
    /// The model has no such version.
    #[error("model '{name}' has no version '{version}'; it has {}", .known.join(", "))]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version asked for.
        version: String,
        /// The versions there are.
        known: Vec<String>,
    },
    /// It is in the repository but could not be loaded.
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

/// A version of a model: it changes its state only along the [`Deployment`] machine.
#[derive(Debug)]
struct Version {
    life: Cursor<Deployment>,
    /// What was loaded, or why it was not.
    loaded: Result<Arc<LoadedModel>, String>,
}

impl Version {
    /// Takes a version through its load: to production if it loaded, back to where it began if not.
    fn load(
        entity: &str,
        now: impl Fn() -> Instant,
        sink: &dyn AuditSink,
        load: impl FnOnce() -> Result<Arc<LoadedModel>, String>,
    ) -> Self {
        let mut life = Cursor::new();
        let mut go = |to, cause: &str| {
            // The way is one of the machine's own: it is not refused.
            if let Err(error) = life.go(to, entity, cause, now(), sink) {
                tracing::error!(model = entity, %error, "a model left its way");
            }
        };
        go(DeploymentState::Validating, "found in the repository");
        let loaded = load();
        match &loaded {
            Ok(_) => {
                go(DeploymentState::Staging, "loaded");
                go(DeploymentState::Canary, "the server starts with it");
                go(DeploymentState::Production, "the server starts with it");
            }
            Err(reason) => go(DeploymentState::Registered, reason),
        }
        Self { life, loaded }
    }

    /// Why it cannot run.
    fn reason(&self) -> String {
        match &self.loaded {
            Ok(_) => format!("it is {}", self.life.state().name()),
            Err(reason) => reason.clone(),
        }
    }

    fn ready(&self) -> Option<&Arc<LoadedModel>> {
        use DeploymentState::{Canary, Deprecated, Production};
        let serves = matches!(self.life.state(), Canary | Production | Deprecated);
        self.loaded.as_ref().ok().filter(|_| serves)
    }
}

/// The models of one repository, each version ready or with the reason why it is not.
#[derive(Debug, Default)]
pub struct Registry {
    models: BTreeMap<String, BTreeMap<u64, Version>>,
}

impl Registry {
    /// Loads every version of every model below `root`. `adjust` may change each model's
    /// configuration before it is used.
    ///
    /// A model that does not load is kept as unavailable with its reason; the others are served.
    ///
    /// # Errors
    /// [`RepositoryError`] when the folder itself cannot be read.
    pub fn load(
        root: &Path,
        loader: &Loader<'_>,
        adjust: impl Fn(&mut ModelConfig),
    ) -> Result<Self, RepositoryError> {
        Self::load_audited(root, loader, adjust, Clock::start(), &())
    }

    /// As [`load`](Self::load), and tells `sink` of every step of every version, with the times of
    /// `clock`. Versions are called `NAME/VERSION` there.
    ///
    /// # Errors
    /// [`RepositoryError`] when the folder itself cannot be read.
    pub fn load_audited(
        root: &Path,
        loader: &Loader<'_>,
        adjust: impl Fn(&mut ModelConfig),
        clock: Clock,
        sink: &dyn AuditSink,
    ) -> Result<Self, RepositoryError> {
        let mut registry = Self::default();
        let mut next_id = 0;
        for (name, folder) in folders(root)? {
            let config = ModelConfig::from_file(&folder.join("config.toml"))
                .map_err(|error| error.to_string())
                .and_then(|mut config| {
                    adjust(&mut config);
                    config.check().map_err(|error| error.to_string())?;
                    Ok(config)
                });
            let subfolders = match folders(&folder) {
                Ok(subfolders) => subfolders,
                // Such as the lost+found of a file system of its own.
                Err(error) => {
                    tracing::warn!(%error, "left out of the repository");
                    continue;
                }
            };
            let mut versions = BTreeMap::new();
            for (version, folder) in subfolders {
                let Some(version) = parse_version(&version) else { continue };
                let load = || {
                    let config = config.clone()?;
                    let executor = loader(&folder.join("model.onnx"), &config)
                        .map_err(|error| error.to_string())?;
                    let id = ModelId(next_id);
                    next_id += 1;
                    let (name, recorder) = (name.clone(), ModelRecorder::default());
                    Ok(Arc::new(LoadedModel { name, version, id, executor, config, recorder }))
                };
                let entity = format!("{name}/{version}");
                versions.insert(version, Version::load(&entity, || clock.now(), sink, load));
            }
            if !versions.is_empty() {
                registry.models.insert(name, versions);
            }
        }
        Ok(registry)
    }

    /// Every version that can run.
    pub fn ready(&self) -> impl Iterator<Item = &Arc<LoadedModel>> {
        self.models.values().flat_map(BTreeMap::values).filter_map(Version::ready)
    }

    /// The named version, or the highest one that can run.
    ///
    /// # Errors
    /// [`LookupError`] says which part is unknown, or why it cannot run.
    pub fn find(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<&Arc<LoadedModel>, LookupError> {
        let versions = self.versions(name)?;
        let state = match version {
            Some(version) => parse_version(version)
                .and_then(|number| versions.get(&number))
                .ok_or_else(|| LookupError::UnknownVersion {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    known: versions.keys().map(u64::to_string).collect(),
                })?,
            None => {
                let mut newest = versions.values().rev();
                newest.clone().find(|state| state.ready().is_some()).or(newest.next()).ok_or_else(
                    || LookupError::NotReady { name: name.to_owned(), reason: "no version".into() },
                )?
            }
        };
        state
            .ready()
            .ok_or_else(|| LookupError::NotReady { name: name.to_owned(), reason: state.reason() })
    }

    /// The versions of a model that can run, oldest first.
    ///
    /// # Errors
    /// [`LookupError::UnknownModel`].
    pub fn ready_versions(&self, name: &str) -> Result<Vec<&Arc<LoadedModel>>, LookupError> {
        Ok(self.versions(name)?.values().filter_map(Version::ready).collect())
    }

    /// Every version of every model, ready or not.
    #[must_use]
    pub fn index(&self) -> Vec<RepositoryEntry> {
        let entry = |name: &str, version: u64, state: &Version| {
            let (state, reason) = match state.ready() {
                Some(_) => ("READY", String::new()),
                None => ("UNAVAILABLE", state.reason()),
            };
            let (name, version) = (name.to_owned(), version.to_string());
            RepositoryEntry { name, version, state: state.to_owned(), reason }
        };
        let models = self.models.iter();
        models
            .flat_map(|(name, versions)| {
                versions.iter().map(move |(version, state)| entry(name, *version, state))
            })
            .collect()
    }

    fn versions(&self, name: &str) -> Result<&BTreeMap<u64, Version>, LookupError> {
        self.models.get(name).ok_or_else(|| LookupError::UnknownModel {
            name: name.to_owned(),
            known: self.models.keys().cloned().collect(),
        })
    }
}

/// A version as it is written: `01` and `+1` are not 1.
fn parse_version(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// The folders directly below `root` by name, hidden ones left out.
fn folders(root: &Path) -> Result<BTreeMap<String, PathBuf>, RepositoryError> {
    let unreadable = |error: std::io::Error| RepositoryError::Unreadable {
        path: root.to_owned(),
        message: error.to_string(),
    };
    let mut folders = BTreeMap::new();
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|name| !name.starts_with('.') && path.is_dir()) {
            folders.insert(name, path);
        }
    }
    Ok(folders)
}
