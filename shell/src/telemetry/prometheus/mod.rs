//! The figures of a server as Prometheus reads them: text format 0.0.4.
//!
//! Histograms have the same buckets in every replica, so they can be added up over replicas and over
//! time. Quantile gauges come from the sketch: exact to 1 / 129 of their value, of this replica, since
//! its start. Shadow copies have series of their own, with the label `shadow="true"`, where one came. Times
//! are in seconds. The order of families and series depends on nothing but their names.
//!
//! ```
//! use tensorforge::telemetry::prometheus::{ServerFigures, render};
//!
//! let server = ServerFigures { version: "1.2.3", uptime: 4.5, ready_models: 0, queued: 0 };
//! let text = render(&server, &[]);
//! assert!(text.contains("\ntensorforge_build_info{version=\"1.2.3\"} 1\n"));
//! ```

mod text;

pub(crate) use text::{Label, Text};

use super::level::{Lately, LevelCounts};
use super::{BatchFigures, FailReason, LevelFigures, ModelSeries, RecentFigures, TimeFigures};
use crate::config::Version;
use std::fmt::Display;

/// The value of `Content-Type` for this text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known of the server as a whole.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ServerFigures<'a> {
    /// The program's version.
    pub version: &'a str,
    /// Seconds since it started.
    pub uptime: f64,
    /// Model versions that take requests.
    pub ready_models: u64,
    /// Requests that wait for a batch, over all models.
    pub queued: u64,
}

/// The text for `server` and its `models`.
#[must_use]
pub fn render(server: &ServerFigures<'_>, models: &[ModelSeries]) -> String {
    let mut models: Vec<&ModelSeries> = models.iter().collect();
    let by_name = |model: &&ModelSeries| {
        // That of the others is none, and comes last.
        let version = model.version.parse::<Version>();
        (model.name.clone(), version.is_err(), version.ok(), model.is_shadow)
    };
    models.sort_by_cached_key(by_name);
    let mut text = Text::default();
    of_server(&mut text, server);
    // A counter that is there before its first event shows that event as an increase; and it stays when
    // another level has one.
    let idle = LevelCounts::default().figures(0, 0.0, &Lately::default());
    let levels = models.iter().copied().flat_map(|model| {
        let used = &model.figures.levels;
        let idle = (!used.iter().any(|level| level.priority == 0)).then_some(&idle);
        idle.into_iter().chain(used).map(move |level| Series { model, level })
    });
    let levels: Vec<Series<'_>> = levels.collect();
    of_requests(&mut text, &models, &levels);
    of_batches(&mut text, &levels);
    of_models(&mut text, &models);
    text.into_string()
}

fn of_server(text: &mut Text, server: &ServerFigures<'_>) {
    text.family("tensorforge_build_info", "gauge", "The program that runs; always 1.");
    text.sample(&[("version", &server.version)], &1);
    text.family("tensorforge_uptime_seconds", "gauge", "Time since the server started.");
    text.sample(&[], &server.uptime);
    text.family("tensorforge_models_ready", "gauge", "Model versions that take requests.");
    text.sample(&[], &server.ready_models);
    let help = "Requests that wait for a batch, over all models.";
    text.family("tensorforge_queued_requests", "gauge", help);
    text.sample(&[], &server.queued);
}

fn of_requests(text: &mut Text, models: &[&ModelSeries], levels: &[Series<'_>]) {
    text.family("tensorforge_pending_requests", "gauge", "Requests in hand: waiting or running.");
    models.iter().for_each(|model| text.sample(&labels(model), &model.pending));
    text.family(
        "tensorforge_requests_total",
        "counter",
        "Requests by what became of them: success, or why they failed.",
    );
    for series in levels {
        series.sample(text, &[("outcome", &"success")], &series.level.success);
        for name in FailReason::ALL.map(FailReason::name) {
            let count = series.level.failures.get(name).map_or(0, |failed| failed.count);
            series.sample(text, &[("outcome", &name)], &count);
        }
    }
    text.family("tensorforge_items_total", "counter", "Rows inferred for requests that succeeded.");
    levels.iter().for_each(|series| series.sample(text, &[], &series.level.items));

    type Which = fn(&LevelFigures) -> &TimeFigures;
    let times: [(&str, &str, &str, &str, Which); 3] = [
        (
            "tensorforge_request_duration_seconds",
            "From a request's arrival to its answer; successful requests only.",
            "tensorforge_request_duration_quantile_seconds",
            "Quantiles of tensorforge_request_duration_seconds since the start, wrong by 1/129 of \
             their value at most; for this replica, not to be averaged.",
            |level| &level.total,
        ),
        (
            "tensorforge_queue_duration_seconds",
            "From a request's arrival until its batch ran; successful requests only.",
            "tensorforge_queue_duration_quantile_seconds",
            "Quantiles of tensorforge_queue_duration_seconds since the start, wrong by 1/129 of \
             their value at most; for this replica, not to be averaged.",
            |level| &level.queue,
        ),
        (
            "tensorforge_execution_duration_seconds",
            "How long a request's batch took; successful requests only.",
            "tensorforge_execution_duration_quantile_seconds",
            "Quantiles of tensorforge_execution_duration_seconds since the start, wrong by 1/129 of \
             their value at most; for this replica, not to be averaged.",
            |level| &level.execution,
        ),
    ];
    for (name, help, quantile_name, quantile_help, which) in times {
        text.family(name, "histogram", help);
        for series in levels {
            let TimeFigures { count, sum, buckets, .. } = which(series.level);
            series.histogram(text, buckets, *count, *sum);
        }
        text.family(quantile_name, "gauge", quantile_help);
        for series in levels {
            let TimeFigures { p50, p95, p99, .. } = which(series.level);
            series.quantiles(text, [*p50, *p95, *p99]);
        }
    }
    text.family(
        "tensorforge_recent_request_duration_quantile_seconds",
        "gauge",
        "Quantiles of the time from arrival to answer over the last 1024 answers, however long ago, \
         wrong by 1/129 of their value at most.",
    );
    for series in levels {
        let RecentFigures { p50, p95, p99, .. } = series.level.recent;
        series.quantiles(text, [p50, p95, p99]);
    }
}

fn of_batches(text: &mut Text, levels: &[Series<'_>]) {
    text.family(
        "tensorforge_batches_total",
        "counter",
        "Batches that ran, by why they were closed; the priority is the highest in them.",
    );
    for series in levels {
        for (reason, count) in &series.level.batches.by_reason {
            series.sample(text, &[("reason", reason)], count);
        }
    }
    text.family(
        "tensorforge_batch_size_items",
        "histogram",
        "Rows in a batch, those of shadow copies among them, padding not counted.",
    );
    for series in levels {
        let batches = &series.level.batches;
        text.histogram(&series.labels(), &batches.sizes, batches.count, &batches.items);
    }
    type Value = fn(&BatchFigures) -> Option<f64>;
    let families: [(&str, &str, &str, Value); 6] = [
        (
            "tensorforge_failed_batches_total",
            "counter",
            "Batches that failed; their requests run again in smaller ones, or fail.",
            |batches| Some(batches.failed as f64),
        ),
        (
            "tensorforge_batch_capacity_items_total",
            "counter",
            "Rows that the batches might have held.",
            |batches| Some(batches.capacity as f64),
        ),
        (
            "tensorforge_batch_padded_items_total",
            "counter",
            "Rows that ran for nobody, to make up a size that the executor has ready.",
            |batches| Some(batches.padded as f64),
        ),
        (
            "tensorforge_batch_fill_ratio",
            "gauge",
            "Rows in the batches as a share of what they might have held, since the start.",
            |batches| batches.fill_rate,
        ),
        (
            "tensorforge_batch_padding_ratio",
            "gauge",
            "Rows that ran for nobody as a share of all that ran, since the start.",
            |batches| batches.padding_rate,
        ),
        (
            "tensorforge_execution_busy_seconds_total",
            "counter",
            "Time that executions took; its rate is how many run at once.",
            |batches| Some(batches.busy_seconds),
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for series in levels {
            if let Some(value) = value(&series.level.batches) {
                series.sample(text, &[], &value);
            }
        }
    }
    text.family(
        "tensorforge_recent_items_per_second",
        "gauge",
        "Rows inferred a second lately: an execution counts 1/e after ten seconds.",
    );
    for series in levels {
        series.sample(text, &[], &series.level.recent_items_per_second);
    }
}

fn of_models(text: &mut Text, models: &[&ModelSeries]) {
    text.family(
        "tensorforge_fairness_ratio",
        "gauge",
        "Jain's index of the share of each level's requests that got their turn, since the start.",
    );
    for model in models {
        if let Some(fairness) = model.figures.fairness {
            text.sample(&labels(model), &fairness);
        }
    }
}

/// The labels of a model version; one more where its shadow copies are meant.
fn labels(model: &ModelSeries) -> Vec<Label<'_>> {
    let mut labels: Vec<Label<'_>> = vec![("model", &model.name), ("version", &model.version)];
    if model.is_shadow {
        labels.push(("shadow", &"true"));
    }
    labels
}

/// One level of one model version.
struct Series<'a> {
    model: &'a ModelSeries,
    level: &'a LevelFigures,
}

impl Series<'_> {
    fn labels(&self) -> Vec<Label<'_>> {
        let mut labels = labels(self.model);
        labels.push(("priority", &self.level.priority));
        labels
    }

    fn sample(&self, text: &mut Text, more: &[Label<'_>], value: &dyn Display) {
        text.sample(&[&self.labels(), more].concat(), value);
    }

    fn histogram(&self, text: &mut Text, buckets: &[(f64, u64)], count: u64, sum: f64) {
        text.histogram(&self.labels(), buckets, count, &sum);
    }

    fn quantiles(&self, text: &mut Text, values: [Option<f64>; 3]) {
        for (quantile, value) in ["0.5", "0.95", "0.99"].into_iter().zip(values) {
            if let Some(value) = value {
                self.sample(text, &[("quantile", &quantile)], &value);
            }
        }
    }
}
