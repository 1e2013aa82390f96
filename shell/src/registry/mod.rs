//! The model repository: which models there are, in which versions, and whether they can run.
//!
//! A repository is a folder `MODEL/VERSION/model.onnx` with an optional `MODEL/config.toml` and
//! `MODEL/labels.toml`; versions are [whole numbers or semantic versions](Version). Other files and folders in
//! it are left alone.
//!
//! # While requests run
//! Models come and go at any time: [`Registry::load`], [`Registry::unload`], [`Registry::rescan`]. Requests
//! find them in a table that is replaced as a whole, so they see the versions from before a change or those
//! from after it, and never a gap between. A request holds the version that it found. One that is unloaded
//! is found no more; when the last of its requests lets go, the scheduler forgets it and its executor is
//! dropped, both on a thread of the registry's own.
//!
//! A version's way goes along the [`Deployment`](tensorforge_core::machine::Deployment) machine: *validating*
//! while it is loaded, *staging* while it is warmed up, *canary* and *production* when it takes requests,
//! *deprecated* from when it is found no more until its last request is answered, then *archived*. One
//! that does not load or fails while it is warmed up goes back to *registered*.
//!
//! # Memory
//! With [`RegistryOptions::memory`] the bytes of all models are bounded: those that an executor
//! [says](crate::device::Executor::resident_memory) it takes, or else those of the model's files. A model that
//! is loaded on request may push out others: those that nobody has a request of, are not `pinned`, and were
//! used the longest time ago, each with all of its versions.
//!
//! # On demand
//! With [`ModelControl::OnDemand`], [`Registry::demand`] loads what a request asks for and is not loaded.
//! Requests for one model share one load, wait for it as long as they like and at most
//! [`DemandLimits::longest_wait`], and hear why it failed; who gives up waiting ends nothing. What failed is not
//! tried again for a while, which doubles from [`DemandLimits::back_off`] up to a minute. Loads are one at a
//! time. A model that has come this way stays for [`DemandLimits::min_stay`] at least before another one pushes
//! it out, so two that do not fit together take turns no faster than that; where nobody may go, the request is
//! refused at once. Names that no folder has cost a look-up in memory: the folder is listed for all of them
//! together, and at most once in [`DemandLimits::look_every`].

mod change;
mod error;
mod folder;
mod hanging;
mod loaded;
mod on_demand;
mod places;
mod room;
mod table;
mod underway;
mod warm_up;

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing;

pub use crate::config::Version;
pub use error::{ChangeError, DemandError, LookupError, RepositoryError};
pub use loaded::LoadedModel;
pub use on_demand::DemandLimits;
pub use places::MAX_MODELS;

use crate::clock::Clock;
use crate::concurrency::lock;
use crate::config::ModelConfig;
use crate::contracts::RepositoryEntry;
use crate::device::{Executor, LoadError};
use crate::workflow::SharedSink;
use loaded::Left;
use on_demand::Demands;
use places::Places;
use room::Told;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use table::{Leaving, Model, Table};
use tensorforge_core::ModelId;
use tensorforge_core::batch::LaneError;
use tensorforge_core::machine::DeploymentState;
use underway::Underway;

/// Turns a model file into something that runs. The seam between the registry and devices.
pub type Loader = dyn Fn(&Path, &ModelConfig) -> Result<Arc<dyn Executor>, LoadError> + Send + Sync;

/// May change each model's configuration before it is used.
pub type Adjust = dyn Fn(&mut ModelConfig) + Send + Sync;

/// What runs models: told of each that comes and goes.
pub trait Lanes: Send + Sync {
    /// From now on requests of the model may come.
    ///
    /// # Errors
    /// [`LaneError`] when it cannot be run.
    fn add(&self, model: &LoadedModel) -> Result<(), LaneError>;

    /// No request of that number comes any more, until it is another model's. Whether nothing of it was in
    /// hand, and all that was known of it is forgotten.
    fn forget(&self, model: ModelId) -> bool;
}

/// Told of each model whose versions have changed.
pub type Observer = dyn Fn(&str) + Send + Sync;

/// Who decides which models are loaded, under Triton's names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ModelControl {
    /// All that are there at the start; requests to load or unload are refused.
    #[default]
    None,
    /// Those who ask for it. At the start these are loaded, whichever are there; all if `*` is among them.
    Explicit(BTreeSet<String>),
    /// As [`Explicit`](Self::Explicit), and inference requests besides: one for a model of which nothing is
    /// loaded loads it, unless it is a shadow copy. What is loaded stays as it is, until it is loaded by name or pushed out.
    OnDemand {
        /// Loaded at the start, whichever are there; all if `*` is among them.
        at_start: BTreeSet<String>,
        /// What holds requests and models to reason.
        limits: DemandLimits,
    },
}

impl ModelControl {
    /// Whether a model is loaded at the start.
    fn begins_with(&self, name: &str) -> bool {
        match self {
            Self::None => true,
            Self::Explicit(chosen) | Self::OnDemand { at_start: chosen, .. } => {
                chosen.contains("*") || chosen.contains(name)
            }
        }
    }
}

/// How a repository is kept.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Who decides which models are loaded.
    pub control: ModelControl,
    /// Bytes that all loaded models may take together.
    pub memory: Option<u64>,
    /// The clock of the audit and of last use.
    pub clock: Clock,
    /// Told of every step of every version, which is called `NAME/VERSION` there.
    pub sink: Option<SharedSink>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self { control: ModelControl::None, memory: None, clock: Clock::start(), sink: None }
    }
}

/// The models of one repository, each version ready or with the reason why it is not.
///
/// ```
/// use tensorforge::registry::{Registry, RegistryOptions};
///
/// let folder = tempfile::tempdir()?;
/// let loader = |_: &std::path::Path, _: &_| unreachable!("there is no model");
/// let registry = Registry::open(folder.path(), loader, |_| (), RegistryOptions::default())?;
/// assert!(registry.index().is_empty());
/// let error = registry.find("digits", None).unwrap_err();
/// assert!(error.to_string().contains("unknown model 'digits'"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Registry {
    root: PathBuf,
    loader: Box<Loader>,
    adjust: Box<Adjust>,
    control: ModelControl,
    places: Arc<Places>,
    freer: Sender<Left>,
    /// Held to read or replace the pointer only.
    table: RwLock<Arc<Table>>,
    /// Held while another table is made of the one that is there.
    replacing: Mutex<()>,
    /// Held by whoever loads or unloads: one at a time, for as long as that takes.
    changing: Mutex<()>,
    leaving: Mutex<Vec<Leaving>>,
    underway: Underway,
    told: Told,
    demands: Demands,
    observer: OnceLock<Box<Observer>>,
}

impl Registry {
    /// Opens the repository in `root` and loads what `options.control` says. `adjust` may change each model's
    /// configuration before it is used.
    ///
    /// A model that does not load is kept as unavailable with its reason; the others are served.
    ///
    /// # Errors
    /// [`RepositoryError`] when the folder itself cannot be read, or there is no thread to be had.
    pub fn open(
        root: &Path,
        loader: impl Fn(&Path, &ModelConfig) -> Result<Arc<dyn Executor>, LoadError>
        + Send
        + Sync
        + 'static,
        adjust: impl Fn(&mut ModelConfig) + Send + Sync + 'static,
        options: RegistryOptions,
    ) -> Result<Self, RepositoryError> {
        let registry = Self::closed(root, Box::new(loader), Box::new(adjust), options)?;
        registry.begin()?;
        Ok(registry)
    }

    /// A registry of no folder, and without models for good: for a gateway that has none of its own.
    ///
    /// # Errors
    /// [`RepositoryError`] when there is no thread to be had.
    pub fn empty() -> Result<Self, RepositoryError> {
        let loader = |_: &Path, _: &ModelConfig| {
            Err(LoadError::Unavailable {
                backend: "none",
                message: "this server has no models".into(),
            })
        };
        let options = RegistryOptions::default();
        Self::closed(Path::new(""), Box::new(loader), Box::new(|_| ()), options)
    }

    /// Before any model is loaded.
    fn closed(
        root: &Path,
        loader: Box<Loader>,
        adjust: Box<Adjust>,
        options: RegistryOptions,
    ) -> Result<Self, RepositoryError> {
        let (freer, left) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || places::free_models(&left))
            .map_err(|error| RepositoryError::NoThread { message: error.to_string() })?;
        let sink = options.sink.unwrap_or_else(|| Arc::new(()));
        Ok(Self {
            root: root.to_owned(),
            loader,
            adjust,
            control: options.control,
            places: Arc::new(Places::new(options.clock, sink, options.memory)),
            freer,
            table: RwLock::default(),
            replacing: Mutex::default(),
            changing: Mutex::default(),
            leaving: Mutex::default(),
            underway: Underway::default(),
            told: Told::default(),
            demands: Demands::default(),
            observer: OnceLock::new(),
        })
    }

    /// From now on `lanes` runs the models: it is told of those that are ready, and of all that come and go,
    /// for as long as it is there.
    ///
    /// # Errors
    /// [`LaneError`] when one of those that are ready cannot be run.
    pub fn attach(&self, lanes: &Arc<dyn Lanes>) -> Result<(), LaneError> {
        let _changing = lock(&self.changing);
        self.places.set_lanes(lanes);
        self.table().ready().try_for_each(|model| lanes.add(model))
    }

    /// Tells `observer` of each model whose versions change from now on: loaded, loaded again or unloaded,
    /// whoever asked for that. It is called when requests find the change, before another one is made, and must
    /// make none itself. There is one observer; whether this is it.
    pub fn observe(&self, observer: impl Fn(&str) + Send + Sync + 'static) -> bool {
        self.observer.set(Box::new(observer)).is_ok()
    }

    /// The table as it is now.
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a model into the table, or takes it out.
    fn set(&self, name: &str, model: Option<Model>) {
        let _alone = lock(&self.replacing);
        self.replace(self.table().with(name, model));
    }

    /// Puts what `make` makes of a model in its place, if anything.
    fn set_by(&self, name: &str, make: impl FnOnce(Option<&Model>) -> Option<Model>) {
        let _alone = lock(&self.replacing);
        let table = self.table();
        if let Some(model) = make(table.get(name).map(|model| &**model)) {
            self.replace(table.with(name, Some(model)));
        }
    }

    /// Puts another table in its place: the only place where that happens. For whoever holds `replacing`.
    fn replace(&self, table: Table) {
        let mut place = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, Arc::new(table));
        drop(place);
        // Freed here at the earliest, where nobody waits for the lock.
        drop(before);
    }

    /// Every version that can run.
    #[must_use]
    pub fn ready(&self) -> Vec<Arc<LoadedModel>> {
        self.table().ready().cloned().collect()
    }

    /// Whether requests may come: there is a model that can run, or one may be loaded at any time.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.control != ModelControl::None || self.table().ready().next().is_some()
    }

    /// Who decides which models are loaded.
    #[must_use]
    pub const fn control(&self) -> &ModelControl {
        &self.control
    }

    /// The named version, or that of a label, or the highest one that can run. O(log models), without
    /// allocating; waits for nobody but those who replace a pointer.
    ///
    /// # Errors
    /// [`LookupError`] says which part is unknown, or why it cannot run.
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<LoadedModel>, LookupError> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = table.find(name, version).cloned();
        drop(table);
        found.map_err(|error| self.underway.explain(error))
    }

    /// The versions of a model that can run, oldest first.
    ///
    /// # Errors
    /// [`LookupError::UnknownModel`].
    pub fn ready_versions(&self, name: &str) -> Result<Vec<Arc<LoadedModel>>, LookupError> {
        Ok(self.table().model(name)?.ready().cloned().collect())
    }

    /// Every version that can run, and those that are unloaded and have requests in hand.
    #[must_use]
    pub fn held(&self) -> Vec<Arc<LoadedModel>> {
        let leaving: Vec<_> = lock(&self.leaving).iter().filter_map(Leaving::model).collect();
        let mut models = self.ready();
        models.extend(leaving);
        models
    }

    /// Every version of every model that the registry has come upon, ready or not.
    #[must_use]
    pub fn index(&self) -> Vec<RepositoryEntry> {
        // In this order: what has come meanwhile is in the table, and what has gone is among the leaving.
        let mut underway = self.underway.now();
        let table = self.table();
        for name in self.demands.waiting() {
            if let Some(model) = table.get(&name) {
                let versions = model.versions.keys();
                let waits = |version: &Version| (version.clone(), DeploymentState::Registered);
                underway.entry(name).or_insert_with(|| versions.map(waits).collect());
            }
        }
        let leaving = lock(&self.leaving);
        let is_leaving = |name: &str, version: &Version| {
            leaving.iter().any(|one| one.is(name, version) && one.is_held(&self.places))
        };
        table.index(&underway, is_leaving)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("root", &self.root)
            .field("control", &self.control)
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}
