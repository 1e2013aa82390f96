//! The figures of all models, at most so many apart.

use super::snapshot::Snapshot;
use super::{ModelFigures, ModelRecorder};
use std::fmt;
use tensorforge_core::Instant;

/// Model versions that are told apart; what is beyond is added up under [`OTHER`]. A metrics store
/// keeps every series that it has ever seen.
pub const MAX_SERIES: usize = 1000;

/// Stands for name and version of the model versions that are not told apart.
pub const OTHER: &str = "other";

/// The figures of one model version, or of all that are not told apart.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ModelSeries {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether this is what shadow copies came to, and not the users' requests.
    pub is_shadow: bool,
    /// Requests in hand.
    pub pending: u64,
    /// The figures.
    pub figures: ModelFigures,
}

/// The figures as of `now` of every model (name, version, recorder): the first [`MAX_SERIES`] by
/// themselves, then the others together. Give them in the order in which they came to the server: then a
/// new one changes nobody's place, and no counter goes back.
pub fn collect<'a, V: fmt::Display>(
    models: impl IntoIterator<Item = (&'a str, V, &'a ModelRecorder)>,
    now: Instant,
) -> Vec<ModelSeries> {
    let mut series = Vec::new();
    let mut others: Option<Snapshot> = None;
    for (name, version, recorder) in models {
        let snapshot = recorder.snapshot(now);
        if series.len() < MAX_SERIES {
            series.push(one(name, &version.to_string(), &snapshot));
        } else {
            others.get_or_insert_default().merge(&snapshot);
        }
    }
    series.extend(others.map(|others| one(OTHER, OTHER, &others)));
    series
}

/// The same of what shadow copies came to, at most as many apart again.
pub fn collect_copies<'a, V: fmt::Display>(
    models: impl IntoIterator<Item = (&'a str, V, &'a ModelRecorder)>,
    now: Instant,
) -> Vec<ModelSeries> {
    let series = collect(models, now).into_iter();
    series.map(|one| ModelSeries { is_shadow: true, ..one }).collect()
}

fn one(name: &str, version: &str, snapshot: &Snapshot) -> ModelSeries {
    let (name, version) = (name.to_owned(), version.to_owned());
    let (pending, figures) = (snapshot.pending, snapshot.figures());
    ModelSeries { name, version, is_shadow: false, pending, figures }
}
