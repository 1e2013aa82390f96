//! The models as requests find them: a table that is never changed, only replaced.

use super::error::LookupError;
use super::folder::Stamp;
use super::loaded::LoadedModel;
use super::places::Places;
use super::underway::{Versions, words};
use crate::config::{Labels, ModelConfig, Version};
use crate::contracts::RepositoryEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// What the index says of a version that is unloaded and not freed yet.
const LEAVING: &str = "the requests in hand are answered, then it is freed";

/// The models by name.
#[derive(Clone, Default)]
pub(super) struct Table(BTreeMap<String, Arc<Model>>);

/// One model's versions.
#[derive(Default)]
pub(super) struct Model {
    pub(super) versions: BTreeMap<Version, Entry>,
    pub(super) labels: Labels,
    /// What it was made of, to see whether that has changed.
    pub(super) made_of: Option<MadeOf>,
}

/// The configuration and files of a model.
#[derive(PartialEq, Eq)]
pub(super) struct MadeOf {
    pub(super) config: Result<ModelConfig, String>,
    pub(super) files: BTreeMap<Version, Stamp>,
}

/// A version that can run, or the reason why it cannot.
#[derive(Clone)]
pub(super) enum Entry {
    Ready(Arc<LoadedModel>),
    NotReady(String),
}

impl Entry {
    pub(super) const fn ready(&self) -> Option<&Arc<LoadedModel>> {
        match self {
            Self::Ready(model) => Some(model),
            Self::NotReady(_) => None,
        }
    }
}

impl Model {
    /// Its versions that can run, oldest first.
    pub(super) fn ready(&self) -> impl DoubleEndedIterator<Item = &Arc<LoadedModel>> {
        self.versions.values().filter_map(Entry::ready)
    }

    /// Whether there is such a version or label, if one is named.
    pub(super) fn knows(&self, version: Option<&str>) -> bool {
        version.is_none_or(|version| {
            let number = version.parse().ok();
            number.is_some_and(|number: Version| self.versions.contains_key(&number))
                || self.labels.contains_key(version)
        })
    }

    /// The version of that number or label, or the highest that can run. O(log versions).
    pub(super) fn find(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<&Arc<LoadedModel>, LookupError> {
        let entry = match version {
            Some(version) => self.entry(name, version)?,
            None => match self.ready().next_back() {
                Some(newest) => return Ok(newest),
                None => self.versions.values().next_back().ok_or_else(|| {
                    LookupError::NotReady { name: name.to_owned(), reason: "no version".into() }
                })?,
            },
        };
        match entry {
            Entry::Ready(model) => Ok(model),
            Entry::NotReady(reason) => {
                Err(LookupError::NotReady { name: name.to_owned(), reason: reason.clone() })
            }
        }
    }

    /// The version of that number or label.
    fn entry(&self, name: &str, version: &str) -> Result<&Entry, LookupError> {
        let number = version.parse().ok();
        if let Some(entry) = number.and_then(|number: Version| self.versions.get(&number)) {
            return Ok(entry);
        }
        let Some(labelled) = self.labels.get(version) else {
            let versions = self.versions.keys().map(Version::to_string);
            return Err(LookupError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
                known: versions.chain(self.labels.keys().cloned()).collect(),
            });
        };
        self.versions.get(labelled).ok_or_else(|| LookupError::NotReady {
            name: name.to_owned(),
            reason: format!(
                "its label '{version}' stands for version {labelled}, which is not served"
            ),
        })
    }
}

impl Table {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(super) fn models(&self) -> impl Iterator<Item = (&String, &Arc<Model>)> {
        self.0.iter()
    }

    /// The same but for one model, which is put in place of another of its name or, `None`, left out.
    pub(super) fn with(&self, name: &str, model: Option<Model>) -> Self {
        let mut table = self.0.clone();
        match model {
            Some(model) => table.insert(name.to_owned(), Arc::new(model)),
            None => table.remove(name),
        };
        Self(table)
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = &Arc<LoadedModel>> {
        self.0.values().flat_map(|model| model.ready())
    }

    /// The version of that number or label, or the highest that can run. O(log models).
    pub(super) fn find(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<&Arc<LoadedModel>, LookupError> {
        self.model(name)?.find(name, version)
    }

    pub(super) fn model(&self, name: &str) -> Result<&Model, LookupError> {
        self.0.get(name).map(|model| &**model).ok_or_else(|| LookupError::UnknownModel {
            name: name.to_owned(),
            known: self.0.keys().cloned().collect(),
        })
    }

    /// A line for each version of each model. `underway` are those that are being loaded, and `is_leaving`
    /// says which are unloaded and not freed yet.
    pub(super) fn index(
        &self,
        underway: &BTreeMap<String, Versions>,
        is_leaving: impl Fn(&str, &Version) -> bool,
    ) -> Vec<RepositoryEntry> {
        let none = (Arc::default(), Versions::new());
        let names: BTreeSet<&String> = self.0.keys().chain(underway.keys()).collect();
        let lines = names.into_iter().flat_map(|name| {
            let model = self.0.get(name).unwrap_or(&none.0);
            let loading = underway.get(name).unwrap_or(&none.1);
            let versions: BTreeSet<&Version> =
                model.versions.keys().chain(loading.keys()).collect();
            let line = |version: &Version| {
                let (state, reason) = match (model.versions.get(version), loading.get(version)) {
                    (Some(Entry::Ready(_)), _) => ("READY", String::new()),
                    (_, Some(&state)) => ("LOADING", words(state).into()),
                    _ if is_leaving(name, version) => ("UNLOADING", LEAVING.into()),
                    (Some(Entry::NotReady(reason)), None) => ("UNAVAILABLE", reason.clone()),
                    (None, None) => ("UNAVAILABLE", String::new()),
                };
                let (name, version) = (name.clone(), version.to_string());
                RepositoryEntry { name, version, state: state.to_owned(), reason }
            };
            versions.into_iter().map(line).collect::<Vec<_>>()
        });
        lines.collect()
    }
}

/// A version that is no longer found, but may have requests in hand or not be freed yet.
pub(super) struct Leaving {
    name: String,
    version: Version,
    serial: u64,
    model: Weak<LoadedModel>,
}

impl Leaving {
    pub(super) fn of(model: &Arc<LoadedModel>) -> Self {
        let (name, version) = (model.name.clone(), model.version.clone());
        Self { name, version, serial: model.serial(), model: Arc::downgrade(model) }
    }

    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn is_held(&self, places: &Places) -> bool {
        places.holds(self.serial)
    }

    /// The model, while it has requests in hand.
    pub(super) fn model(&self) -> Option<Arc<LoadedModel>> {
        self.model.upgrade()
    }

    pub(super) fn is(&self, name: &str, version: &Version) -> bool {
        self.name == name && self.version == *version
    }
}
