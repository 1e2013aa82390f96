//! The models as requests find them: a table that is never changed, only replaced.

use super::error::LookupError;
use super::folder::Stamp;
use super::loaded::LoadedModel;
use crate::config::{Labels, ModelConfig, Version};
use crate::contracts::RepositoryEntry;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

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
        let model = self.model(name)?;
        let entry = match version {
            Some(version) => model.entry(name, version)?,
            None => match model.ready().next_back() {
                Some(newest) => return Ok(newest),
                None => model.versions.values().next_back().ok_or_else(|| {
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

    pub(super) fn model(&self, name: &str) -> Result<&Model, LookupError> {
        self.0.get(name).map(|model| &**model).ok_or_else(|| LookupError::UnknownModel {
            name: name.to_owned(),
            known: self.0.keys().cloned().collect(),
        })
    }

    /// A line for each version of each model. `leaving` are those that are unloaded and not freed yet.
    pub(super) fn index(&self, leaving: &[Leaving]) -> Vec<RepositoryEntry> {
        let line = |name: &str, version: &Version, entry: &Entry| {
            let is_leaving = |leaving: &Leaving| leaving.is_held() && leaving.is(name, version);
            let (state, reason) = match entry {
                Entry::Ready(_) => ("READY", String::new()),
                Entry::NotReady(_) if leaving.iter().any(is_leaving) => {
                    ("UNLOADING", "the requests in hand are being answered".into())
                }
                Entry::NotReady(reason) => ("UNAVAILABLE", reason.clone()),
            };
            let (name, version) = (name.to_owned(), version.to_string());
            RepositoryEntry { name, version, state: state.to_owned(), reason }
        };
        let lines = self.0.iter().flat_map(|(name, model)| {
            model.versions.iter().map(move |(version, entry)| line(name, version, entry))
        });
        lines.collect()
    }
}

/// A version that is no longer found, but may have requests in hand.
pub(super) struct Leaving {
    name: String,
    version: Version,
    model: Weak<LoadedModel>,
}

impl Leaving {
    pub(super) fn of(model: &Arc<LoadedModel>) -> Self {
        let (name, version) = (model.name.clone(), model.version.clone());
        Self { name, version, model: Arc::downgrade(model) }
    }

    pub(super) fn is_held(&self) -> bool {
        self.model.strong_count() > 0
    }

    pub(super) fn model(&self) -> Option<Arc<LoadedModel>> {
        self.model.upgrade()
    }

    fn is(&self, name: &str, version: &Version) -> bool {
        self.name == name && self.version == *version
    }
}
