//! What the gateway counts of requests on their way, and tells at `/metrics`.
//!
//! Counters are atomics that a request adds to without a lock: those of a model last as long as the table
//! has it, those of an endpoint as long as it has the model, whatever tables come and go. Shadow copies
//! that another gateway has sent here are counted [apart](Apart), so that no user's request counts twice.
//!
//! Every request of a model ends once. An attempt is a request's first, a retry or a hedge, and each is at
//! one endpoint: the attempts at all endpoints, those under way included, are the first attempts, retries
//! and hedges of their model. Whoever may be asked is asked, so they are also the picks by reason, and
//! those by admission.

mod counters;
mod render;
mod series;

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing;

pub(super) use counters::{
    Apart, ArmCounters, Attempt, EndpointCounters, GatewayCounters, Kind, ModelCounters, Sent,
};

use super::Gateway;
use super::hedging::Lateness;
use super::member::View;
use super::plan::{ModelPlan, Plan};
use crate::concurrency::lock;
use crate::gateway::shadows::shadow_name;
use counters::Serial;
use series::{
    ArmCounts, Both, EndpointCounts, Everything, ExperimentCounts, ModelCounts, Row, ShadowCounts,
    bounded,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tensorforge_core::Instant;
use tensorforge_core::route::{Candidates, Health};

/// The figures of a model, which outlive tables.
#[derive(Debug, Default)]
pub(super) struct ModelFigures {
    serial: Serial,
    pub(super) requests: Apart<ModelCounters>,
    pub(super) lateness: Lateness,
    /// The versions of its split. Looked at when a table is published.
    arms: Mutex<HashMap<String, Arc<ArmCounters>>>,
}

impl ModelFigures {
    /// The counters of a version of its split.
    pub(super) fn arm(&self, version: &str) -> Arc<ArmCounters> {
        Arc::clone(lock(&self.arms).entry(version.to_owned()).or_default())
    }

    /// Forgets the versions that its split has no longer.
    pub(super) fn retain_arms(&self, versions: &[String]) {
        lock(&self.arms).retain(|version, _| versions.contains(version));
    }
}

impl Gateway {
    /// What was counted of requests on their way, as Prometheus reads it. To stand behind the text of the
    /// server's own figures, with which it shares no family.
    #[must_use]
    pub fn metrics(&self) -> String {
        render::render(&self.everything())
    }

    fn everything(&self) -> Everything {
        let plan = self.plan.load_full();
        let now = self.clock.now();
        let mut models: Vec<&Arc<ModelPlan>> = plan.models.values().collect();
        models.sort_by_key(|model| model.figures.serial);
        let row = |model: &&Arc<ModelPlan>| Row {
            labels: vec![model.name.clone()],
            counts: Both::of(&model.figures.requests, ModelCounts::of),
        };
        Everything {
            table: plan.version.0,
            unrouted: Both::of(&self.figures.unrouted, counters::Count::read),
            looped: self.figures.looped.read(),
            waiting: self.waiting.count() as u64,
            dropped_annotations: self.dropped_annotations(),
            answers: self.kept_answers(),
            dropped_answers: self.dropped_answers(),
            models: bounded(models.iter().map(row)),
            endpoints: bounded(endpoints(&models, now)),
            arms: bounded(arms(&models)),
            experiments: bounded(self.experiment_rows(&plan)),
            shadows: bounded(self.shadow_rows(&models)),
        }
    }

    /// The last experiment of each model that the table has.
    fn experiment_rows(&self, plan: &Plan) -> Vec<Row<ExperimentCounts>> {
        let experiments = self.experiments().into_iter();
        let shown = experiments.filter(|it| plan.models.contains_key(&it.model));
        shown.map(|experiment| ExperimentCounts::row(&experiment)).collect()
    }

    fn shadow_rows(&self, models: &[&Arc<ModelPlan>]) -> Vec<Row<ShadowCounts>> {
        let of_model = |model: &&Arc<ModelPlan>| {
            let shadows = model.shadows.iter();
            let name = |shadow| (model.name.clone(), shadow_name(shadow));
            shadows.map(|(_, shadow, _)| name(shadow)).collect::<Vec<_>>()
        };
        let in_table: HashSet<_> = models.iter().flat_map(of_model).collect();
        let shown = self
            .shadows()
            .into_iter()
            .filter(|figures| in_table.contains(&(figures.model.clone(), figures.shadow.clone())));
        shown.map(|figures| ShadowCounts::row(&figures)).collect()
    }
}

/// Each endpoint of each model, in the order in which they came.
fn endpoints(models: &[&Arc<ModelPlan>], now: Instant) -> Vec<Row<EndpointCounts>> {
    let mut rows = Vec::new();
    for model in models {
        let view = View::new(Arc::clone(&model.seats), &model.sought(None), now);
        for (place, seat) in view.seats.iter().enumerate() {
            let Some(mut candidate) = view.candidate(place) else { continue };
            if candidate.health == Health::Healthy {
                candidate.health = model.by_version.worst_health(place, now);
            }
            let figures = &seat.model.figures;
            let labels = vec![model.name.clone(), seat.member.name.clone()];
            let counts = EndpointCounts::of(figures, &candidate);
            rows.push((figures.serial, Row { labels, counts }));
        }
    }
    rows.sort_by_key(|(serial, _)| *serial);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Each version of each split, in the order in which they came.
fn arms(models: &[&Arc<ModelPlan>]) -> Vec<Row<ArmCounts>> {
    let mut rows = Vec::new();
    for model in models {
        let Some((_, versions)) = &model.split else { continue };
        for (version, arm) in versions.iter().zip(&model.arms) {
            let labels = vec![model.name.clone(), version.clone()];
            rows.push((arm.serial, Row { labels, counts: ArmCounts::of(arm) }));
        }
    }
    rows.sort_by_key(|(serial, _)| *serial);
    rows.into_iter().map(|(_, row)| row).collect()
}
