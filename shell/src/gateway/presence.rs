//! Whether a model is there at an endpoint, as probes and requests say.

use super::endpoint::EndpointError;
use crate::contracts::ModelMetadata;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far an endpoint has a model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Presence {
    /// It does not know it.
    Absent,
    /// It knows it, and cannot run it now.
    Cold,
    /// It runs it. Whoever was not asked yet is taken at the table's word.
    Ready,
}

/// A model at an endpoint, in the versions that were told.
#[derive(Debug)]
pub(super) struct Presences {
    model: AtomicU8,
    /// Those it has ready; none where it did not say.
    versions: ArcSwapOption<Vec<String>>,
}

impl Default for Presences {
    fn default() -> Self {
        Self { model: AtomicU8::new(Presence::Ready as u8), versions: ArcSwapOption::empty() }
    }
}

impl Presences {
    fn model(&self) -> Presence {
        match self.model.load(Ordering::Relaxed) {
            0 => Presence::Absent,
            1 => Presence::Cold,
            _ => Presence::Ready,
        }
    }

    /// Whether that is new.
    fn set(&self, model: Presence) -> bool {
        self.model.swap(model as u8, Ordering::Relaxed) != model as u8
    }

    /// How far it has a version, or any where none is named. A label is no version that it tells, so nobody
    /// has it, and everyone is asked.
    #[inline]
    pub(super) fn of(&self, version: Option<&str>) -> Presence {
        let model = self.model();
        let (Some(version), Presence::Ready) = (version, model) else { return model };
        match &*self.versions.load() {
            Some(told) if told.iter().all(|it| it != version) => Presence::Absent,
            _ => Presence::Ready,
        }
    }

    /// Whether it says that it has this version ready.
    pub(super) fn tells(&self, version: &str) -> bool {
        let has = |told: &Arc<Vec<String>>| told.iter().any(|it| it == version);
        self.model() == Presence::Ready && self.versions.load().as_ref().is_some_and(has)
    }

    /// What it said when it was asked about the model; whether that is news. An endpoint that cannot be
    /// asked says nothing.
    pub(super) fn told(&self, answer: &Result<ModelMetadata, EndpointError>) -> bool {
        match answer {
            Ok(metadata) => {
                let versions = Some(metadata.versions.clone()).filter(|told| !told.is_empty());
                self.versions.store(versions.map(Arc::new));
                self.set(Presence::Ready)
            }
            // Triton says 400 of a model that it has not.
            Err(EndpointError::Status { status: 400, .. }) => self.set(Presence::Absent),
            Err(error) if error.is_unknown() => self.set(Presence::Absent),
            Err(error) if error.is_not_ready() => self.set(Presence::Cold),
            Err(_) => false,
        }
    }

    /// It answered a request for the model.
    pub(super) fn answered(&self) {
        if self.model() != Presence::Ready {
            self.versions.store(None);
            self.set(Presence::Ready);
        }
    }

    /// It did not know the model of a request, or the version that this named. Until it says otherwise.
    pub(super) fn missed(&self, version: Option<&str>) {
        let Some(version) = version else {
            self.set(Presence::Absent);
            return;
        };
        if let Some(told) = &*self.versions.load()
            && told.iter().any(|it| it == version)
        {
            let left = told.iter().filter(|it| *it != version).cloned().collect();
            self.versions.store(Some(Arc::new(left)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;

    fn has(versions: &[&str]) -> Result<ModelMetadata, EndpointError> {
        Ok(ModelMetadata {
            name: "m".into(),
            versions: versions.iter().map(ToString::to_string).collect(),
            platform: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }

    fn says(status: u16) -> Result<ModelMetadata, EndpointError> {
        Err(EndpointError::Status { status, message: String::new() })
    }

    #[test]
    fn what_is_told_of_a_model_holds_until_something_else_is() {
        let presence = Presences::default();
        assert_eq!(presence.of(Some("9")), Presence::Ready, "taken at the table's word");
        for (answer, any, first, second) in [
            (has(&["1"]), Presence::Ready, Presence::Ready, Presence::Absent),
            (says(404), Presence::Absent, Presence::Absent, Presence::Absent),
            (says(500), Presence::Absent, Presence::Absent, Presence::Absent),
            (says(503), Presence::Cold, Presence::Cold, Presence::Cold),
            (says(429), Presence::Cold, Presence::Cold, Presence::Cold),
            (says(400), Presence::Absent, Presence::Absent, Presence::Absent),
            (has(&[]), Presence::Ready, Presence::Ready, Presence::Ready),
            (has(&["1", "2"]), Presence::Ready, Presence::Ready, Presence::Ready),
        ] {
            presence.told(&answer);
            let all = (presence.of(None), presence.of(Some("1")), presence.of(Some("2")));
            assert_eq!(all, (any, first, second), "{answer:?}");
        }
    }

    #[test]
    fn requests_say_what_is_there_and_what_is_not_before_the_next_probe() {
        let presence = Presences::default();
        presence.told(&has(&["1", "2"]));
        presence.missed(Some("2"));
        assert_eq!(presence.of(Some("1")), Presence::Ready);
        assert_eq!(presence.of(Some("2")), Presence::Absent);
        assert_eq!(presence.of(None), Presence::Ready, "it has another version");
        presence.missed(None);
        assert_eq!(presence.of(None), Presence::Absent);
        presence.answered();
        assert_eq!((presence.of(None), presence.of(Some("2"))), (Presence::Ready, Presence::Ready));
    }

    #[test]
    fn only_news_is_told_as_such() {
        let presence = Presences::default();
        assert!(!presence.told(&has(&["1"])));
        assert!(presence.told(&says(404)) && !presence.told(&says(404)));
        assert!(presence.told(&has(&["1"])));
    }
}
