//! More requests to whichever version of a split does better.

use super::deadline::Deadline;
use super::{Gateway, GatewayError};
use crate::concurrency::lock;
use crate::routing::{CheckedBandit, VersionShare};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tensorforge_core::Instant;
use tensorforge_core::route::{Bandit, BanditError, stable_hash};

/// How the requests of a model's split are divided at the moment, and what for.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct BanditFigures {
    /// The model.
    pub model: String,
    /// Its versions, as in the split.
    pub versions: Vec<VersionFigures>,
}

/// One version in [`BanditFigures`].
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct VersionFigures {
    /// The version.
    pub version: String,
    /// Its part of the requests, in per cent.
    pub percent: f64,
    /// How many requests are remembered of it, as of when parts were last made; with those forgotten in
    /// part, no whole number.
    pub requests: f64,
    /// What those were worth on average: 1 for an answer at once, 0 for a failure.
    pub reward: Option<f64>,
}

/// A bandit over the versions of a split. It goes on over new tables that say the same of it.
pub(super) struct Learning {
    model: String,
    checked: CheckedBandit,
    split: Vec<VersionShare>,
    bandit: Bandit,
}

/// The last bandit of each model.
#[derive(Default)]
pub(super) struct Bandits {
    by_model: Mutex<BTreeMap<String, Arc<Learning>>>,
}

impl Bandits {
    /// The bandit of a model: the one that runs, if the same is asked for. Another one runs once it is
    /// [kept](Self::keep).
    pub(super) fn of(
        &self,
        model: &str,
        split: &[VersionShare],
        checked: &CheckedBandit,
    ) -> Result<Arc<Learning>, BanditError> {
        let by_model = lock(&self.by_model);
        let same = |it: &&Arc<Learning>| it.checked == *checked && it.split == split;
        if let Some(running) = by_model.get(model).filter(same) {
            return Ok(Arc::clone(running));
        }
        let shares: Vec<u16> = split.iter().map(|share| share.basis_points).collect();
        let learning = Arc::new(Learning {
            model: model.to_owned(),
            checked: *checked,
            split: split.to_vec(),
            bandit: Bandit::new(&shares, checked.config, stable_hash(model.as_bytes()))?,
        });
        Ok(learning)
    }

    /// The table that says so is in force.
    pub(super) fn keep(&self, learning: &Arc<Learning>) {
        lock(&self.by_model).insert(learning.model.clone(), Arc::clone(learning));
    }
}

impl Learning {
    /// The version's place in the split for a request.
    pub(super) fn arm(&self, sticky: Option<u64>) -> usize {
        self.bandit.arm(sticky)
    }

    pub(super) fn figures(&self) -> BanditFigures {
        let shares = self.bandit.shares();
        let versions = self.split.iter().zip(shares).enumerate().map(|(arm, (share, part))| {
            let known = self.bandit.known(arm);
            VersionFigures {
                version: share.version.clone(),
                percent: f64::from(part) / 100.0,
                requests: known.map_or(0.0, |(requests, _)| requests),
                reward: known.map(|(_, reward)| reward),
            }
        });
        BanditFigures { model: self.model.clone(), versions: versions.collect() }
    }

    /// What an answer is worth that took so long.
    fn reward(&self, took: Duration) -> f64 {
        let Some(limit) = self.checked.latency_limit else { return 1.0 };
        if took > limit {
            return 0.0;
        }
        // A limit is not 0.
        1.0 - f64::from(self.checked.latency_part) / 1000.0 * took.div_duration_f64(limit)
    }

    fn record(&self, version: &str, reward: f64, now: Instant) {
        let Some(arm) = self.split.iter().position(|share| share.version == version) else {
            return;
        };
        if self.bandit.record(arm, reward, now) {
            let figures = self.figures();
            tracing::debug!(model = self.model, versions = ?figures.versions, "parts of versions");
        }
    }
}

/// A request of a split under way, which has a part in how it is divided. One that is given up after more
/// time than it may take is a failure: else a version that hangs would have only its answers.
pub(super) struct InBandit<'a> {
    gateway: &'a Gateway,
    learning: Option<&'a Learning>,
    version: Option<&'a str>,
    /// Whether an endpoint was asked: until then it says nothing about the version.
    asked: &'a AtomicBool,
    began: Instant,
}

impl<'a> InBandit<'a> {
    pub(super) fn begin(
        gateway: &'a Gateway,
        learning: Option<&'a Learning>,
        version: Option<&'a str>,
        asked: &'a AtomicBool,
        deadline: Deadline,
    ) -> Self {
        Self { gateway, learning, version, asked, began: deadline.came() }
    }

    /// It says nothing about the version.
    pub(super) fn leave(mut self) {
        self.learning = None;
    }

    pub(super) fn end(mut self, result: Result<Duration, &GatewayError>) {
        let (Some(learning), Some(version)) = (self.learning.take(), self.version) else { return };
        let now = self.gateway.clock.now();
        let is_late = |limit: Duration| now.since(self.began) > limit.into();
        let reward = match result {
            Ok(took) => learning.reward(took),
            // A request whose own time is over says something where that is longer than the limit.
            Err(error)
                if says_nothing(error) && !learning.checked.latency_limit.is_some_and(is_late) =>
            {
                return;
            }
            Err(_) => 0.0,
        };
        learning.record(version, reward, now);
    }
}

/// Whether an error has nothing to do with the version: the request is bad, or was sent nowhere. That
/// nobody has the version is not the request's fault, which named none.
fn says_nothing(error: &GatewayError) -> bool {
    match error {
        GatewayError::Endpoint { error, .. } => !error.is_retryable() && !error.is_unknown(),
        GatewayError::Overloaded { .. } => true,
        _ => false,
    }
}

impl Drop for InBandit<'_> {
    fn drop(&mut self) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let (Some(learning), Some(version)) = (self.learning.take(), self.version) else { return };
        let now = self.gateway.clock.now();
        let limit = learning.checked.latency_limit.unwrap_or(self.gateway.options.timeout);
        if now.since(self.began) >= limit.into() {
            learning.record(version, 0.0, now);
        }
    }
}

impl Gateway {
    /// How the requests of those splits are divided that have a bandit, model by model.
    #[must_use]
    pub fn bandits(&self) -> Vec<BanditFigures> {
        let plan = self.plan.load();
        let mut figures: Vec<_> = plan
            .models
            .values()
            .filter_map(|model| model.bandit.as_ref())
            .map(|learning| learning.figures())
            .collect();
        figures.sort_by(|one, other| one.model.cmp(&other.model));
        figures
    }
}
