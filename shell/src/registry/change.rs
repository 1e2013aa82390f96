//! Models that come and go.

use super::error::{ChangeError, RepositoryError};
use super::folder::{Found, FoundVersion, MODEL_FILE, folders, model_folder};
use super::hanging::Cold;
use super::loaded::{Life, LoadedModel};
use super::places::Reserved;
use super::room::PushesOut;
use super::table::{Entry, Leaving, MadeOf, Model};
use super::{ModelControl, Registry};
use crate::concurrency::lock;
use crate::config::{ModelConfig, Version};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use tensorforge_core::machine::DeploymentState;

/// What a version that was unloaded is said to be.
const UNLOADED: &str = "unloaded";

/// And one that never was loaded.
const NOT_LOADED: &str = "not loaded: nobody has asked for it";

/// How a model is brought in.
pub(super) struct Manner<'a> {
    /// Why, for the audit.
    pub(super) cause: &'a str,
    /// Who is unloaded for it where there is no room.
    pub(super) pushes_out: PushesOut,
    /// Whether versions whose files and configuration are as they were stay as they are.
    pub(super) keeps_unchanged: bool,
    /// Whether a version is tried again while an executor of it hangs.
    pub(super) tries_what_hangs: bool,
}

impl Registry {
    /// Loads a model, or loads it again where it is loaded: every version that its configuration chooses,
    /// from the files as they are now. `sent` stands in for its `config.toml`.
    ///
    /// Requests are answered all the while, by the versions from before until those that are new are
    /// warmed up. Blocks for as long as loading takes: not for async threads. One model at a time.
    ///
    /// # Errors
    /// [`ChangeError`]; what was served is served on.
    pub fn load(&self, name: &str, sent: Option<ModelConfig>) -> Result<(), ChangeError> {
        let manner = Manner {
            cause: "a request to load it",
            pushes_out: PushesOut::IdleFor(Duration::ZERO),
            keeps_unchanged: false,
            tries_what_hangs: true,
        };
        let _changing = self.change_on_request()?;
        let folder = model_folder(&self.root, name)?;
        self.demands.forget(name);
        let found = Found::read(&folder, sent, &*self.adjust)?;
        self.bring_in(name, found, &manner)
    }

    /// Unloads every version of a model. New requests find it no more; those in hand are answered, and then
    /// its memory is freed. Nothing to do for one that is not loaded.
    ///
    /// # Errors
    /// [`ChangeError`] when there is no such model, or the server takes no such requests.
    pub fn unload(&self, name: &str) -> Result<(), ChangeError> {
        let _changing = self.change_on_request()?;
        if self.table().get(name).is_none() {
            return model_folder(&self.root, name).map(|_| ());
        }
        self.demands.forget(name);
        self.take_out(name, "a request to unload it", UNLOADED);
        Ok(())
    }

    /// Looks through the repository and follows it: loads what is new, loads again what has changed, unloads
    /// what is gone. A model that is as it was when it failed is not tried again, and none is unloaded to
    /// make room for another. Blocks, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// [`RepositoryError`] when the folder cannot be read; then everything stays as it is.
    pub fn rescan(&self) -> Result<(), RepositoryError> {
        let manner = Manner {
            cause: "its folder has changed",
            pushes_out: PushesOut::Nobody,
            keeps_unchanged: true,
            tries_what_hangs: true,
        };
        let _changing = lock(&self.changing);
        let folders = folders(&self.root)?;
        for (name, folder) in &folders {
            let found = match Found::read(folder, None, &*self.adjust) {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "left out of the repository");
                    continue;
                }
            };
            let table = self.table();
            let before = table.get(name);
            let is_loaded = before.is_some_and(|model| model.ready().next().is_some());
            let is_changed =
                before.and_then(|model| model.made_of.as_ref()) != Some(&made_of(&found));
            // Not held while others are unloaded.
            drop(table);
            if is_changed && (self.control == ModelControl::None || is_loaded) {
                self.bring_in_unasked(name, found, &manner);
            }
        }
        let gone: Vec<String> =
            self.table().names().filter(|name| !folders.contains_key(*name)).cloned().collect();
        for name in gone {
            self.take_out(&name, "its folder is gone", UNLOADED);
            self.told.forget(&name);
            self.set(&name, None);
        }
        Ok(())
    }

    /// Loads what is to be there from the start.
    pub(super) fn begin(&self) -> Result<(), RepositoryError> {
        let manner = Manner {
            cause: "the server starts with it",
            pushes_out: PushesOut::Nobody,
            keeps_unchanged: false,
            tries_what_hangs: true,
        };
        let _changing = lock(&self.changing);
        for (name, folder) in folders(&self.root)? {
            let found = match Found::read(&folder, None, &*self.adjust) {
                Ok(found) => found,
                // Such as the lost+found of a file system of its own.
                Err(error) => {
                    tracing::warn!(%error, "left out of the repository");
                    continue;
                }
            };
            if self.control.begins_with(&name) {
                self.bring_in_unasked(&name, found, &manner);
            } else if !found.versions.is_empty() {
                self.note(&name, &found, NOT_LOADED);
            }
        }
        Ok(())
    }

    /// Looks for models that have come into the repository since, so that the index has them.
    ///
    /// # Errors
    /// [`RepositoryError`] when the folder cannot be read.
    pub fn look(&self) -> Result<(), RepositoryError> {
        if self.control == ModelControl::None {
            return Ok(());
        }
        for (name, folder) in folders(&self.root)? {
            if self.table().get(&name).is_none() {
                self.look_into(&name, &folder);
            }
        }
        Ok(())
    }

    /// Looks at the versions of models that are known but not loaded.
    pub(super) fn look_again_at(&self, known: &[String]) -> Result<(), RepositoryError> {
        let folders = folders(&self.root)?;
        for (name, folder) in known.iter().filter_map(|name| folders.get_key_value(name)) {
            self.look_into(name, folder);
        }
        Ok(())
    }

    fn look_into(&self, name: &str, folder: &Path) {
        if let Ok(found) = Found::read(folder, None, &*self.adjust)
            && !found.versions.is_empty()
        {
            self.note(name, &found, NOT_LOADED);
        }
    }

    fn change_on_request(&self) -> Result<MutexGuard<'_, ()>, ChangeError> {
        match self.control {
            ModelControl::None => Err(ChangeError::NotControlled),
            _ => Ok(lock(&self.changing)),
        }
    }

    /// Brings a model in where nobody waits to hear how that went: the index says it.
    fn bring_in_unasked(&self, name: &str, found: Found, manner: &Manner<'_>) {
        match self.bring_in(name, found, manner) {
            // Folders of other things may lie in a repository.
            Ok(()) | Err(ChangeError::NoVersion { .. }) => {}
            // Whoever starts a server looks at its index.
            Err(error) if !manner.keeps_unchanged => {
                tracing::debug!(model = name, %error, "not as it should be");
            }
            Err(error) => tracing::warn!(model = name, %error, "not as it should be"),
        }
    }

    /// Loads the versions that the model's configuration chooses, and puts them in place of those before. For
    /// whoever holds `changing`.
    pub(super) fn bring_in(
        &self,
        name: &str,
        found: Found,
        manner: &Manner<'_>,
    ) -> Result<(), ChangeError> {
        if found.versions.is_empty() {
            return Err(ChangeError::NoVersion { name: name.to_owned() });
        }
        let refused = |error: ChangeError, reason: &str| {
            self.put_reason(name, &found, reason);
            Err(error)
        };
        let config = match &found.config {
            Ok(config) => config.clone(),
            Err(message) => {
                let (name, message) = (name.to_owned(), message.clone());
                return refused(ChangeError::Config { name, message: message.clone() }, &message);
            }
        };
        let there: Vec<Version> = found.versions.keys().cloned().collect();
        let chosen = config.versions.choose(&there);
        // Not the table itself, which would hold what is unloaded to make room.
        let before = self.table().get(name).cloned();
        let before = before.as_deref();
        let stays = |version: &Version| {
            let found = found.versions.get(version)?;
            let before = before.filter(|_| manner.keeps_unchanged)?;
            let made_of = before.made_of.as_ref()?;
            let unchanged = made_of.config.as_ref() == Ok(&config)
                && made_of.files.get(version) == Some(&found.stamp);
            before.versions.get(version)?.ready().filter(|_| unchanged).cloned()
        };
        let to_load = |version: &&Version| stays(version).is_none();
        let _loading = self.underway.begin(name, chosen.iter().filter(to_load));
        let bytes = |version: &Version| {
            let found = found.versions.get(version);
            found.map_or(0, |found| self.told.estimate((name, &version.to_string()), found))
        };
        let needs = chosen.iter().filter(to_load).map(bytes).fold(0, u64::saturating_add);
        let mut reserved = match self.make_room(name, needs, manner.pushes_out) {
            Ok(reserved) => reserved,
            Err(error) => {
                let reason = error.to_string();
                return refused(error, &reason);
            }
        };
        let (mut versions, mut failed) = (BTreeMap::new(), Vec::new());
        for version in chosen.iter().cloned() {
            let loaded = match (stays(&version), found.versions.get(&version)) {
                (Some(as_it_was), _) => Ok(as_it_was),
                (None, Some(folder)) => {
                    let of = (name, &version, folder);
                    self.bring_in_version(of, &found.folder, &config, &mut reserved, manner)
                }
                (None, None) => Err("there is no such folder, though `versions` names it".into()),
            };
            let served = || before.and_then(|model| model.versions.get(&version)?.ready());
            let entry = match loaded {
                Ok(model) => Entry::Ready(model),
                Err(reason) => {
                    let entry = served().map_or_else(
                        || Entry::NotReady(reason.clone()),
                        |model| Entry::Ready(Arc::clone(model)),
                    );
                    failed.push((version.clone(), reason));
                    entry
                }
            };
            versions.insert(version, entry);
        }
        drop(reserved);
        let made_of = Some(made_of(&found));
        let model = Model { versions, labels: config.labels, made_of };
        self.put(name, model, "another is served in its place");
        if failed.is_empty() {
            Ok(())
        } else {
            Err(ChangeError::Failed { name: name.to_owned(), versions: failed })
        }
    }

    /// Takes one version through its load and its warm-up, to where requests may come.
    fn bring_in_version(
        &self,
        (name, version, found): (&str, &Version, &FoundVersion),
        model_folder: &Path,
        config: &ModelConfig,
        reserved: &mut Reserved,
        &Manner { cause, pushes_out, tries_what_hangs, .. }: &Manner<'_>,
    ) -> Result<Arc<LoadedModel>, String> {
        let places = &self.places;
        let entity = format!("{name}/{version}");
        if !tries_what_hangs && places.is_hanging(&entity) {
            return Err("an execution of its last warm-up hangs still".into());
        }
        let number = version.to_string();
        let mut life = Life::default();
        let mut go = |to, cause: &str| {
            life.go(to, &entity, cause, places.clock.now(), &*places.sink);
            self.underway.reached(name, version, to);
        };
        go(DeploymentState::Validating, cause);
        let mut loaded = || -> Result<_, String> {
            let bytes = self.told.estimate((name, &number), found);
            let holding = places.hold(reserved, bytes).ok_or_else(|| {
                format!("{} model versions are loaded already, and no more fit", super::MAX_MODELS)
            })?;
            let load = || (self.loader)(&found.folder.join(MODEL_FILE), config);
            let executor = caught(load)?.map_err(|error| error.to_string())?;
            Ok((holding, executor))
        };
        let (holding, executor) = loaded().inspect_err(|reason| {
            go(DeploymentState::Registered, reason);
        })?;
        go(DeploymentState::Staging, "loaded");
        let warm = || -> Result<_, String> {
            let mut holding = holding;
            if config.warm_up {
                let (requests, executor) = (model_folder.join("requests"), &executor);
                let cold = Cold { entity: &entity, executor, config, requests };
                holding = cold.warmed_up(holding)?;
            }
            if let Some(told) = caught(|| executor.resident_memory())? {
                self.fit((name, &number), found, (&mut holding, told), pushes_out)?;
            }
            Ok(holding)
        };
        let holding = warm().inspect_err(|reason| {
            go(DeploymentState::Registered, reason);
        })?;
        let named = (name.to_owned(), version.clone());
        let now = places.clock.now();
        let place = (life, holding);
        let model =
            LoadedModel::kept(named, executor, config.clone(), place, self.freer.clone(), now);
        if let Some(lanes) = places.lanes()
            && let Err(error) = lanes.add(&model)
        {
            let reason = error.to_string();
            model.go(DeploymentState::Registered, &reason);
            return Err(reason);
        }
        model.go(DeploymentState::Canary, "warmed up");
        model.go(DeploymentState::Production, cause);
        Ok(Arc::new(model))
    }

    /// Puts a model in its place. What was there and is no more takes no further requests.
    fn put(&self, name: &str, model: Model, cause: &str) {
        let table = self.table();
        let stays = |old: &&Arc<LoadedModel>| !model.ready().any(|new| Arc::ptr_eq(new, old));
        let before = table.get(name).map(|model| model.ready().filter(stays).cloned().collect());
        let before: Vec<Arc<LoadedModel>> = before.unwrap_or_default();
        // First, so that the index misses none of them.
        let mut leaving = lock(&self.leaving);
        leaving.retain(|leaving| leaving.is_held(&self.places));
        leaving.extend(before.iter().map(Leaving::of));
        drop(leaving);
        self.set(name, Some(model));
        if let Some(observer) = self.observer.get() {
            observer(name);
        }
        for old in &before {
            old.go(DeploymentState::Deprecated, cause);
        }
    }

    /// Unloads what there is of a model, for the `cause`; it stays in the index with a reason.
    pub(super) fn take_out(&self, name: &str, cause: &str, reason: &str) {
        let table = self.table();
        let Some(before) = table.get(name) else { return };
        let out = |entry: &Entry| match entry {
            Entry::Ready(_) => Entry::NotReady(reason.to_owned()),
            not_ready @ Entry::NotReady(_) => not_ready.clone(),
        };
        let versions = before.versions.iter().map(|(version, entry)| (version.clone(), out(entry)));
        let labels = before.labels.clone();
        let model = Model { versions: versions.collect(), labels, made_of: None };
        self.put(name, model, cause);
    }

    /// Makes known what there is of a model that is not loaded. One that is stays as it is.
    fn note(&self, name: &str, found: &Found, reason: &str) {
        self.set_by(name, |before| {
            if before.is_some_and(|model| model.ready().next().is_some()) {
                return None;
            }
            let known = |version: &Version| before?.versions.get(version);
            let entry = |version: &Version| {
                known(version).cloned().unwrap_or_else(|| Entry::NotReady(reason.to_owned()))
            };
            let versions = found.versions.keys();
            let versions = versions.map(|version| (version.clone(), entry(version))).collect();
            let labels = match &found.config {
                Ok(config) => config.labels.clone(),
                Err(_) => before.map(|model| model.labels.clone()).unwrap_or_default(),
            };
            Some(Model { versions, labels, made_of: Some(made_of(found)) })
        });
    }

    /// Notes why the versions of a model cannot run, but for those that do already.
    fn put_reason(&self, name: &str, found: &Found, reason: &str) {
        self.set_by(name, |before| {
            let entry = |version: &Version| {
                let served = before.and_then(|model| model.versions.get(version)?.ready());
                let reason = || Entry::NotReady(reason.to_owned());
                let entry = served.map_or_else(reason, |model| Entry::Ready(Arc::clone(model)));
                (version.clone(), entry)
            };
            let served = before.into_iter().flat_map(|model| model.ready());
            let served = served.map(|model| &model.version);
            let versions = found.versions.keys().chain(served).map(entry).collect();
            let labels = before.map(|model| model.labels.clone()).unwrap_or_default();
            Some(Model { versions, labels, made_of: Some(made_of(found)) })
        });
    }
}

fn made_of(found: &Found) -> MadeOf {
    let stamp =
        |(version, found): (&Version, &FoundVersion)| (version.clone(), found.stamp.clone());
    MadeOf { config: found.config.clone(), files: found.versions.iter().map(stamp).collect() }
}

/// Loaders and executors are third-party code: a panic there is one model's failure.
pub(super) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("its runtime panicked: {}", text.unwrap_or("no message"))
    })
}
