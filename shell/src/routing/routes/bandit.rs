//! Which version does better gets more: what is written about a bandit.

use super::tuning::Number;
use super::{InvalidRoutes, ModelEntry, VersionShare};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::time::Duration;
use tensorforge_core::route::{Bandit, BanditConfig};

/// Divides the requests of a model's split by how its versions do, from the split's parts on: see
/// [`Bandit`]. Every key is optional.
///
/// An answer is worth 1, a failure nothing; so is an answer that takes longer than `latency_limit_ms`.
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
///     bandit = { floor_percent = 2.0, latency_limit_ms = 100 }
/// "#;
/// let routes = Routes::from_toml(text).unwrap();
/// assert!(routes.check().is_ok());
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BanditEntry {
    /// What part of the requests each version has at least: 0.01 to 50, to 0.01. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_percent: Option<f64>,
    /// An answer that takes longer counts as a failure: 1 to 3,600,000. Default: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_limit_ms: Option<f64>,
    /// How much less an answer is worth that takes as long as that, and in proportion one that takes less:
    /// 0 to 100, to 0.1. So of versions that fail equally often the quicker one has more. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_percent: Option<f64>,
    /// How many requests are remembered, those of all versions together: 100 to 100,000,000. With more it
    /// tells smaller differences, with fewer it follows sooner. Default: 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// How long parts stay at least: 10 to 3,600,000. Default: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_every_ms: Option<f64>,
}

/// [`BanditEntry`], in range.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct CheckedBandit {
    /// How it learns.
    pub config: BanditConfig,
    /// From when on an answer is a failure.
    pub latency_limit: Option<Duration>,
    /// How much less an answer is worth that takes as long as that, in thousandths.
    pub latency_part: u16,
}

/// Checks what a model's entry says of a bandit over its split.
pub(super) fn check(
    entry: &dyn Display,
    model: &ModelEntry,
    split: &[VersionShare],
) -> Result<Option<CheckedBandit>, InvalidRoutes> {
    let Some(bandit) = &model.bandit else { return Ok(None) };
    let wrong = |problem: String| Err(InvalidRoutes::Bandit { entry: entry.to_string(), problem });
    if model.experiment.is_some() {
        let problem = "an experiment needs parts that stay; take one of the two out";
        return wrong(problem.into());
    }
    if split.len() < 2 {
        return wrong("it needs two versions or more in split".into());
    }
    if bandit.latency_percent.is_some() && bandit.latency_limit_ms.is_none() {
        let (key, needs) = ("bandit.latency_percent", "bandit.latency_limit_ms");
        return Err(InvalidRoutes::WithoutEffect { entry: entry.to_string(), key, needs });
    }
    let percent = |key, in_one, range, wanted, value, default| {
        let number = Number { key, in_one, range, wanted };
        // At most 10,000.
        number.check(entry, value, default).map(|steps| steps as u16)
    };
    let whole = |key, range, wanted, value, default| {
        Number { key, in_one: 1.0, range, wanted }.check(entry, value, default)
    };
    let floor = percent(
        "bandit.floor_percent",
        100.0,
        0.01..=50.0,
        "from 0.01 to 50 in steps of 0.01",
        bandit.floor_percent,
        BanditConfig::DEFAULT.floor.into(),
    )?;
    let millis = |key, range, wanted, value| match value {
        None => Ok(None),
        Some(_) => whole(key, range, wanted, value, 0)
            .map(|millis| Some(Duration::from_millis(millis.into()))),
    };
    let latency_limit = millis(
        "bandit.latency_limit_ms",
        1.0..=3_600_000.0,
        "a whole number of milliseconds from 1 to 3600000",
        bandit.latency_limit_ms,
    )?;
    let update_every = millis(
        "bandit.update_every_ms",
        10.0..=3_600_000.0,
        "a whole number of milliseconds from 10 to 3600000",
        bandit.update_every_ms,
    )?;
    let config = BanditConfig {
        floor,
        memory: whole(
            "bandit.memory",
            100.0..=1e8,
            "a whole number from 100 to 100000000",
            bandit.memory,
            BanditConfig::DEFAULT.memory,
        )?,
        update_every: update_every.map_or(BanditConfig::DEFAULT.update_every, Into::into),
        ..BanditConfig::DEFAULT
    };
    let latency_part = percent(
        "bandit.latency_percent",
        10.0,
        0.0..=100.0,
        "from 0 to 100 in steps of 0.1",
        bandit.latency_percent,
        100,
    )?;
    if let Some(low) = split.iter().find(|share| share.basis_points < floor) {
        let (version, share) = (&low.version, f64::from(low.basis_points) / 100.0);
        let floor = f64::from(floor) / 100.0;
        return wrong(format!(
            "version '{version}' begins with {share} %, less than floor_percent, which is {floor}; give it \
             more in split, or set a lower floor"
        ));
    }
    let shares: Vec<u16> = split.iter().map(|share| share.basis_points).collect();
    match Bandit::new(&shares, config, 0) {
        Ok(_) => Ok(Some(CheckedBandit { config, latency_limit, latency_part })),
        Err(error) => wrong(error.to_string()),
    }
}
