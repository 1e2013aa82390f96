//! Which version is better: what is written about an experiment.

use super::{InvalidRoutes, ModelEntry};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tensorforge_core::route::{Experiment, ExperimentConfig};

/// Compares two versions of a model's split while they serve, and says when their difference means something.
///
/// ```
/// use tensorforge::routing::Routes;
///
/// let text = r#"
///     [[endpoints]]
///     name = "here"
///     url = "local"
///
///     [[models]]
///     name = "digits"
///     split = [{ version = "1", basis_points = 9000 }, { version = "2", basis_points = 1000 }]
///     experiment = { control = "1", candidate = "2", on_verdict = "act", latency_limit_ms = 200.0 }
/// "#;
/// let routes = Routes::from_toml(text).unwrap();
/// assert!(routes.check().is_ok());
/// ```
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentEntry {
    /// The version that serves now.
    pub control: String,
    /// The version that may take its place.
    pub candidate: String,
    /// What a verdict leads to.
    #[serde(default)]
    pub on_verdict: OnVerdict,
    /// The probability of a wrong verdict, however often it is looked at. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Longer latencies count as this long; the nearer to what occurs, the sooner a difference shows.
    /// Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_limit_ms: Option<f64>,
    /// How much lower a success rate is still as good. Default: 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_margin: Option<f64>,
    /// How much longer a mean latency is still as good, in parts of the control's. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_margin: Option<f64>,
}

/// What a verdict leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnVerdict {
    /// It is told, and nothing changes.
    #[default]
    Tell,
    /// The better version gets all requests: a new version of the table is published.
    Act,
}

/// An experiment that makes sense.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CheckedExperiment {
    /// The version that serves now, one of the split's.
    pub control: String,
    /// The one that may take its place, another one of them.
    pub candidate: String,
    /// What a verdict leads to.
    pub on_verdict: OnVerdict,
    /// What it goes by.
    pub config: ExperimentConfig,
}

/// Checks what a model's entry says of an experiment.
pub(super) fn check(
    entry: &dyn std::fmt::Display,
    model: &ModelEntry,
) -> Result<Option<CheckedExperiment>, InvalidRoutes> {
    let Some(experiment) = &model.experiment else { return Ok(None) };
    let wrong =
        |problem: String| Err(InvalidRoutes::Experiment { entry: entry.to_string(), problem });
    let ExperimentEntry { control, candidate, on_verdict, .. } = experiment;
    if control == candidate {
        return wrong(format!("control and candidate are both '{control}'; name two versions"));
    }
    for version in [control, candidate] {
        if model.split.iter().all(|share| share.version != *version) {
            return wrong(format!("version '{version}' is not in split; give it a part there"));
        }
    }
    let default = ExperimentConfig::DEFAULT;
    let limit = experiment.latency_limit_ms.map_or(Ok(default.latency_limit), |millis| {
        Duration::try_from_secs_f64(millis / 1e3).map(Into::into).map_err(|_| millis)
    });
    let Ok(latency_limit) = limit else {
        return wrong("latency_limit_ms must be a number of milliseconds above 0".into());
    };
    let config = ExperimentConfig {
        alpha: experiment.alpha.unwrap_or(default.alpha),
        latency_limit,
        success_margin: experiment.success_margin.unwrap_or(default.success_margin),
        latency_margin: experiment.latency_margin.unwrap_or(default.latency_margin),
        ..default
    };
    if let Err(error) = Experiment::new(config) {
        return wrong(error.to_string());
    }
    let (control, candidate) = (control.clone(), candidate.clone());
    Ok(Some(CheckedExperiment { control, candidate, on_verdict: *on_verdict, config }))
}
