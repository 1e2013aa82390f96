//! Versions that are being loaded, as the index tells of them.

use super::error::LookupError;
use crate::concurrency::lock;
use crate::config::Version;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tensorforge_core::machine::DeploymentState;

/// The versions that are being brought in, and how far each is.
#[derive(Default)]
pub(super) struct Underway(Mutex<BTreeMap<String, Versions>>);

/// By version how far it is.
pub(super) type Versions = BTreeMap<Version, DeploymentState>;

impl Underway {
    /// These are to be brought in from now on, until what this returns is dropped.
    pub(super) fn begin<'a>(
        &'a self,
        name: &str,
        versions: impl Iterator<Item = &'a Version>,
    ) -> Loading<'a> {
        let versions = versions.map(|version| (version.clone(), DeploymentState::Registered));
        lock(&self.0).insert(name.to_owned(), versions.collect());
        Loading { underway: self, name: name.to_owned() }
    }

    /// A version has come so far.
    pub(super) fn reached(&self, name: &str, version: &Version, state: DeploymentState) {
        if let Some(at) = lock(&self.0).get_mut(name).and_then(|model| model.get_mut(version)) {
            *at = state;
        }
    }

    /// Everything as it is now, by model.
    pub(super) fn now(&self) -> BTreeMap<String, Versions> {
        lock(&self.0).clone()
    }

    /// The error for whoever did not find a model: one that is on its way says so.
    pub(super) fn explain(&self, error: LookupError) -> LookupError {
        match error {
            LookupError::UnknownModel { name, .. } | LookupError::NotReady { name, .. }
                if lock(&self.0).contains_key(&name) =>
            {
                LookupError::NotReady { name, reason: "it is being loaded".into() }
            }
            error => error,
        }
    }
}

/// A model that is being brought in.
pub(super) struct Loading<'a> {
    underway: &'a Underway,
    name: String,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        lock(&self.underway.0).remove(&self.name);
    }
}

/// What the index says of a version that has come so far.
pub(super) const fn words(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Registered => "waits for its turn to be loaded",
        DeploymentState::Validating => "is being loaded",
        DeploymentState::Staging => "is being warmed up",
        _ => "is loaded, and takes requests when all versions of the model are",
    }
}
