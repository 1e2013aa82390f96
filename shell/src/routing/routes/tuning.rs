//! What may be set of a model beside its policy: when health counts, who is asked again, what sticks, how
//! far what is near reaches.

use super::{FilterName, InvalidRoutes, ModelEntry, PolicyName};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// `[models.health]`: by what a model's endpoints are judged together. Percentages are to 0.1.
///
/// ```
/// use tensorforge::routing::{HealthEntry, Routes};
///
/// let text = "[[models]]\nname = \"digits\"\n[models.health]\nexplore_percent = 5";
/// let routes = Routes::from_toml(text).unwrap();
/// let explore_percent = Some(5.0);
/// assert_eq!(routes.models[0].health, Some(HealthEntry { explore_percent, ..Default::default() }));
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthEntry {
    /// Below which part of healthy endpoints, by weight, health stops to count and everyone is asked: 0 to
    /// 100, with 0 never. Default: 0.1, so that health counts as long as anybody is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_below_percent: Option<f64>,
    /// Which part of the endpoints may be ejected at once for failing requests, but one always: 0 to 100,
    /// with 0 none is. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_ejected_percent: Option<f64>,
    /// Which part of the requests tries endpoints that may have recovered: 0 to 100. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explore_percent: Option<f64>,
}

/// `[models.retries]`: who is asked a second time, and how long one endpoint has.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetriesEntry {
    /// How many endpoints one request may be sent to, the first included: 1 to 100. Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<f64>,
    /// How many retries and hedges there may be for a hundred requests: 0 to 1000, to 0.1. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// How many of those can be saved up: 0 to 1,000,000. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<f64>,
    /// How many there may be in a second besides: 0 to 1,000,000. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Whether a second endpoint is asked where the first is later than 95 of 100. Default: what the
    /// gateway does, which is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedging: Option<bool>,
    /// How long one endpoint has for one request, in milliseconds: 1 to 3,600,000, and not more than the
    /// gateway gives a request in all. Default: the gateway's (`serve --attempt-timeout`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<f64>,
}

/// `[models.affinity]`: for the policies `sticky` and `model_affinity`.
///
/// ```
/// use tensorforge::routing::{Routes, StickyBy};
///
/// let text = r#"
///     [[models]]
///     name = "chat"
///     policy = "sticky"
///     affinity = { by = { annotation = "prefix" }, load_factor = 1.5 }
/// "#;
/// let checked = Routes::from_toml(text).unwrap().check().unwrap();
/// let affinity = &checked.model("chat").unwrap().affinity;
/// assert_eq!(affinity.by, StickyBy::Annotation("prefix".into()));
/// assert_eq!(affinity.load_factor, 1500);
/// ```
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AffinityEntry {
    /// What `sticky` keeps together. Default: requests with the same sticky key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<StickyBy>,
    /// How many times its share of the requests under way an endpoint may have before others help: 1 to
    /// 100, to 0.001. Default: 1.25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_factor: Option<f64>,
}

/// What the policy `sticky` keeps together. Requests without it go where chance puts them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StickyBy {
    /// Requests with the same `sticky_key`: a user, a session.
    #[default]
    StickyKey,
    /// Requests of the same `tenant`.
    Tenant,
    /// Requests that have the same value in the parameter of this name.
    Annotation(String),
}

/// `[models.geographic]`: for the filter `geographic`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeographicEntry {
    /// How many times its share an endpoint can carry: with 1.4, what is near takes all requests until it
    /// has lost 28 % of its endpoints. 1 to 100, to 0.001. Default: 1.4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overprovision: Option<f64>,
}

/// [`HealthEntry`], in range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedHealth {
    /// Below which part of healthy endpoints health stops to count, in thousandths.
    pub panic_below: u16,
    /// Which part of them may be ejected, in thousandths.
    pub most_ejected: u16,
    /// Which part of the requests explores, in thousandths.
    pub explore: u16,
}

/// [`RetriesEntry`], in range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedRetries {
    /// Most attempts of one request, at least 1.
    pub attempts: u32,
    /// Second attempts for a thousand requests.
    pub per_mille: u32,
    /// How many of those are saved up.
    pub saved: u32,
    /// How many there are in a second besides.
    pub per_second: u32,
    /// Whether there are hedges; `None` for what the gateway does.
    pub hedging: Option<bool>,
    /// How long one endpoint has; `None` for what the gateway says.
    pub attempt_timeout: Option<Duration>,
}

/// [`AffinityEntry`], in range.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedAffinity {
    /// What is kept together.
    pub by: StickyBy,
    /// How many times its share an endpoint may have, in thousandths.
    pub load_factor: u32,
}

/// All that is set of one model.
pub(super) struct Tuning {
    pub(super) health: CheckedHealth,
    pub(super) retries: CheckedRetries,
    pub(super) affinity: CheckedAffinity,
    /// In thousandths.
    pub(super) overprovision: u32,
}

/// Checks what a model's entry sets.
pub(super) fn check(entry: &dyn Display, model: &ModelEntry) -> Result<Tuning, InvalidRoutes> {
    let health = model.health.unwrap_or_default();
    let percent = |key, value: Option<f64>, default| {
        let number = Number { key, in_one: 10.0, range: 0.0..=100.0, wanted: PERCENT };
        // At most 1000.
        number.check(entry, value, default).map(|thousandths| thousandths as u16)
    };
    let health = CheckedHealth {
        // One in a thousand: probes have a say in health, so what looks ill is, and a request that goes
        // there costs a retry.
        panic_below: percent("health.panic_below_percent", health.panic_below_percent, 1)?,
        most_ejected: percent("health.most_ejected_percent", health.most_ejected_percent, 500)?,
        explore: percent("health.explore_percent", health.explore_percent, 10)?,
    };
    check_effects(entry, model)?;
    let affinity = model.affinity.clone().unwrap_or_default();
    let factor = |key, value, default| {
        let wanted = "from 1 to 100 in steps of 0.001";
        Number { key, in_one: 1000.0, range: 1.0..=100.0, wanted }.check(entry, value, default)
    };
    let load_factor = factor("affinity.load_factor", affinity.load_factor, 1250)?;
    let overprovision = model.geographic.unwrap_or_default().overprovision;
    Ok(Tuning {
        health,
        retries: check_retries(entry, model.retries.unwrap_or_default())?,
        affinity: CheckedAffinity { by: affinity.by.unwrap_or_default(), load_factor },
        overprovision: factor("geographic.overprovision", overprovision, 1400)?,
    })
}

fn check_retries(
    entry: &dyn Display,
    retries: RetriesEntry,
) -> Result<CheckedRetries, InvalidRoutes> {
    let many = |key, value, default| {
        let wanted = "a whole number from 0 to 1000000";
        Number { key, in_one: 1.0, range: 0.0..=1e6, wanted }.check(entry, value, default)
    };
    let attempts = Number {
        key: "retries.attempts",
        in_one: 1.0,
        range: 1.0..=100.0,
        wanted: "a whole number from 1 to 100; with 1 nobody is asked again",
    };
    let percent = Number {
        key: "retries.percent",
        in_one: 10.0,
        range: 0.0..=1000.0,
        wanted: "from 0 to 1000 in steps of 0.1",
    };
    let timeout = Number {
        key: "retries.attempt_timeout_ms",
        in_one: 1.0,
        range: 1.0..=3_600_000.0,
        wanted: "a whole number of milliseconds from 1 to 3600000",
    };
    let attempt_timeout = retries.attempt_timeout_ms.map(|millis| {
        let millis = timeout.check(entry, Some(millis), 0)?;
        Ok(Duration::from_millis(millis.into()))
    });
    Ok(CheckedRetries {
        attempts: attempts.check(entry, retries.attempts, 3)?,
        per_mille: percent.check(entry, retries.percent, 200)?,
        saved: many("retries.saved", retries.saved, 100)?,
        per_second: many("retries.per_second", retries.per_second, 10)?,
        hedging: retries.hedging,
        attempt_timeout: attempt_timeout.transpose()?,
    })
}

/// Refuses what is set and would change nothing.
fn check_effects(entry: &dyn Display, model: &ModelEntry) -> Result<(), InvalidRoutes> {
    let without =
        |key, needs| Err(InvalidRoutes::WithoutEffect { entry: entry.to_string(), key, needs });
    let has_key = matches!(model.policy, PolicyName::Sticky | PolicyName::ModelAffinity);
    let by = model.affinity.as_ref().and_then(|affinity| affinity.by.as_ref());
    if model.affinity.is_some() && !has_key {
        return without("affinity", "policy = \"sticky\" or policy = \"model_affinity\"");
    }
    if by.is_some() && model.policy != PolicyName::Sticky {
        return without("affinity.by", "policy = \"sticky\"");
    }
    if model.geographic.is_some() && !model.filters.contains(&FilterName::Geographic) {
        return without("geographic", "\"geographic\" among the filters");
    }
    match by {
        Some(StickyBy::Annotation(name)) if name.is_empty() => {
            Err(InvalidRoutes::Empty { entry: entry.to_string(), key: "affinity.by.annotation" })
        }
        _ => Ok(()),
    }
}

const PERCENT: &str = "from 0 to 100 in steps of 0.1";

/// What a number must be.
pub(super) struct Number {
    pub(super) key: &'static str,
    /// Steps in one: 10 for tenths.
    pub(super) in_one: f64,
    pub(super) range: RangeInclusive<f64>,
    pub(super) wanted: &'static str,
}

impl Number {
    /// The number in steps; the default, in steps, where none is written.
    pub(super) fn check(
        &self,
        entry: &dyn Display,
        value: Option<f64>,
        default: u32,
    ) -> Result<u32, InvalidRoutes> {
        let Some(value) = value else { return Ok(default) };
        let steps = (value * self.in_one).round();
        // 2.51 × 100 is not exactly 251.
        let is_whole = (value * self.in_one - steps).abs() < 1e-6;
        // NaN is in no range.
        if self.range.contains(&value) && is_whole {
            return Ok(steps as u32);
        }
        let (key, wanted) = (self.key, self.wanted);
        Err(InvalidRoutes::Number { entry: entry.to_string(), key, value, wanted })
    }
}

#[cfg(test)]
mod tests;
