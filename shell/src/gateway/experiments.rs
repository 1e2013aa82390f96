//! Which of two versions is better, by the requests that they answer.

use super::deadline::Deadline;
use super::{Gateway, GatewayError};
use crate::concurrency::lock;
use crate::routing::{ALL_BASIS_POINTS, CheckedExperiment, OnVerdict, Routes, SplitEntry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tensorforge_core::route::{Decision, Experiment, Side};
use tensorforge_core::{Duration, Instant};

/// What an experiment says so far.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct ExperimentFigures {
    /// The model.
    pub model: String,
    /// The version that serves, or served, when it began.
    pub control: ArmFigures,
    /// The one that may take its place.
    pub candidate: ArmFigures,
    /// That the candidate succeeds more often, as a p-value that is valid whenever it is looked at.
    pub p_better: f64,
    /// That it succeeds less often.
    pub p_worse: f64,
    /// `continue`, `promote`, `stop` or `undecided`.
    pub verdict: &'static str,
    /// Why, where there is a verdict.
    pub because: Option<String>,
}

/// One version in an experiment.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct ArmFigures {
    /// The version.
    pub version: String,
    /// Requests that count.
    pub requests: u64,
    /// The share of those that were answered.
    pub success_rate: Option<f64>,
    /// The mean time of answers in milliseconds, each cut off at the experiment's limit.
    pub latency_ms: Option<f64>,
}

/// An experiment under way, or over. It goes on over new tables that say the same of it.
pub(super) struct Running {
    model: String,
    pub(super) checked: CheckedExperiment,
    state: Mutex<(Experiment, Option<Decision>)>,
}

/// The last experiment of each model.
#[derive(Default)]
pub(super) struct Experiments {
    by_model: Mutex<BTreeMap<String, Arc<Running>>>,
}

impl Experiments {
    /// The experiment of a model: the one that runs, if the same is asked for.
    pub(super) fn of(&self, model: &str, checked: &CheckedExperiment) -> Option<Arc<Running>> {
        let mut by_model = lock(&self.by_model);
        if let Some(running) = by_model.get(model).filter(|running| running.checked == *checked) {
            return Some(Arc::clone(running));
        }
        // Its numbers were checked with the routes.
        let experiment = Experiment::new(checked.config).ok()?;
        let state = Mutex::new((experiment, None));
        let running =
            Arc::new(Running { model: model.to_owned(), checked: checked.clone(), state });
        by_model.insert(model.to_owned(), Arc::clone(&running));
        Some(running)
    }

    pub(super) fn figures(&self) -> Vec<ExperimentFigures> {
        lock(&self.by_model).values().map(|running| running.figures()).collect()
    }
}

impl Running {
    /// Counts a request that the split has sent to `version`. A verdict, when it is reached.
    fn record(&self, version: &str, success: bool, took: Option<Duration>) -> Option<Decision> {
        let side = match version {
            version if version == self.checked.control => Side::Control,
            version if version == self.checked.candidate => Side::Candidate,
            _ => return None,
        };
        let mut state = lock(&self.state);
        let (experiment, verdict) = &mut *state;
        if verdict.is_some() {
            return None;
        }
        experiment.record(side, success, took);
        *verdict = Some(experiment.decide()).filter(|decision| *decision != Decision::Continue);
        *verdict
    }

    fn figures(&self) -> ExperimentFigures {
        let state = lock(&self.state);
        let (experiment, verdict) = &*state;
        let arm = |version: &str, side| ArmFigures {
            version: version.to_owned(),
            requests: experiment.count(side),
            success_rate: experiment.success_rate(side),
            latency_ms: experiment.mean_latency(side).map(|nanos| nanos / 1e6),
        };
        let evidence = experiment.evidence();
        let (verdict, because) = match verdict {
            None | Some(Decision::Continue) => ("continue", None),
            Some(Decision::Promote(why)) => ("promote", Some(format!("{why:?}"))),
            Some(Decision::Stop(why)) => ("stop", Some(format!("{why:?}"))),
            Some(_) => ("undecided", None),
        };
        ExperimentFigures {
            model: self.model.clone(),
            control: arm(&self.checked.control, Side::Control),
            candidate: arm(&self.checked.candidate, Side::Candidate),
            p_better: (1.0 / evidence.better).min(1.0),
            p_worse: (1.0 / evidence.worse).min(1.0),
            verdict,
            because,
        }
    }
}

/// A request of a split under way. One that is given up after more time than counts is a failure: else a
/// version that hangs would have only its successes.
pub(super) struct InExperiment<'a> {
    gateway: &'a Gateway,
    running: Option<&'a Running>,
    version: Option<&'a str>,
    /// Whether an endpoint was asked: until then it says nothing about the version.
    asked: &'a AtomicBool,
    began: Instant,
}

impl<'a> InExperiment<'a> {
    pub(super) fn begin(
        gateway: &'a Gateway,
        running: Option<&'a Running>,
        version: Option<&'a str>,
        asked: &'a AtomicBool,
        deadline: Deadline,
    ) -> Self {
        Self { gateway, running, version, asked, began: deadline.came() }
    }

    /// It has gone another way.
    pub(super) fn leave(mut self) {
        self.running = None;
    }

    pub(super) fn end(mut self, result: Result<Duration, &GatewayError>) {
        if let Some(running) = self.running.take() {
            self.gateway.count_in_experiment(running, self.version, result);
        }
    }
}

impl Drop for InExperiment<'_> {
    fn drop(&mut self) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let Some(running) = self.running.take() else { return };
        let took = self.gateway.clock.now().since(self.began);
        if took > running.checked.config.latency_limit {
            let (model, after) = (running.model.clone(), took.into());
            let given_up = GatewayError::TimedOut { model, after };
            self.gateway.count_in_experiment(running, self.version, Err(&given_up));
        }
    }
}

impl Gateway {
    /// Counts what became of a request that a split has sent somewhere, and does what follows.
    fn count_in_experiment(
        &self,
        running: &Running,
        version: Option<&str>,
        result: Result<Duration, &GatewayError>,
    ) {
        let Some(version) = version else { return };
        let (success, took) = match result {
            Ok(took) => (true, Some(took)),
            // A bad request says nothing about who refuses it.
            Err(GatewayError::Endpoint { error, .. }) if !error.is_retryable() => return,
            // Nor does one that was sent to neither version.
            Err(GatewayError::Overloaded { .. }) => return,
            Err(_) => (false, None),
        };
        let Some(verdict) = running.record(version, success, took) else { return };
        let (model, CheckedExperiment { control, candidate, .. }) =
            (&running.model, &running.checked);
        tracing::warn!(model, control, candidate, ?verdict, "the experiment has a verdict");
        let winner = match verdict {
            Decision::Promote(_) => candidate,
            Decision::Stop(_) => control,
            _ => return,
        };
        if running.checked.on_verdict == OnVerdict::Act
            && let Err(error) = self.send_all_to(running, winner)
        {
            tracing::error!(model, winner, %error, "the verdict is not carried out");
        }
    }

    /// Publishes a table in which every request of the model's split goes to one version; unless another
    /// table has come meanwhile that no longer makes this experiment.
    fn send_all_to(&self, running: &Running, version: &str) -> Result<(), super::PublishError> {
        let _alone = lock(&self.publishing);
        let plan = self.plan.load_full();
        let current = plan.models.get(&running.model).and_then(|model| model.experiment.as_ref());
        if !current.is_some_and(|current| std::ptr::eq(&**current, running)) {
            return Ok(());
        }
        let mut routes: Routes = self.table.current().written();
        if let Some(entry) = routes.models.iter_mut().find(|entry| entry.name == running.model) {
            let basis_points = f64::from(ALL_BASIS_POINTS);
            entry.split = vec![SplitEntry { version: version.to_owned(), basis_points }];
            entry.experiment = None;
        }
        self.publish_alone(routes).map(|_| ())
    }

    /// What the experiments say: the last one of each model.
    #[must_use]
    pub fn experiments(&self) -> Vec<ExperimentFigures> {
        self.lasting.experiments.figures()
    }
}
