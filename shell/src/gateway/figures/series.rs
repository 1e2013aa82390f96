//! The counters copied out: to be told, or added up where there are too many to be told apart.

use super::counters::{
    Apart, ArmCounters, AttemptCounters, Attempted, EXCLUSIONS, Ended, EndpointCounters,
    ModelCounters, NotRetried,
};
use crate::gateway::explain::health_name;
use crate::gateway::{ExperimentFigures, ShadowFigures};
use crate::routing::AnswerCacheFigures;
use crate::telemetry::{Durations, MAX_SERIES, OTHER};
use std::sync::atomic::Ordering;
use tensorforge_core::route::{Admission, Candidate, Health, Reason};

/// What there is to tell.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub(super) table: u64,
    pub(super) unrouted: Both<u64>,
    pub(super) looped: u64,
    pub(super) waiting: u64,
    pub(super) dropped_annotations: u64,
    pub(super) answers: Option<AnswerCacheFigures>,
    /// Answers that were not kept, as too many waited for that.
    pub(super) dropped_answers: u64,
    /// By model.
    pub(super) models: Vec<Row<Both<ModelCounts>>>,
    /// By model and endpoint.
    pub(super) endpoints: Vec<Row<EndpointCounts>>,
    /// By model and version.
    pub(super) arms: Vec<Row<ArmCounts>>,
    /// By model, the control's version and the candidate's.
    pub(super) experiments: Vec<Row<ExperimentCounts>>,
    /// By model and shadow.
    pub(super) shadows: Vec<Row<ShadowCounts>>,
}

/// One line of figures, and the values of its labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Row<T> {
    pub(super) labels: Vec<String>,
    pub(super) counts: T,
}

/// The first [`MAX_SERIES`] by themselves and the others together as [`OTHER`], in the order of their
/// labels. What is called that itself is one of the others.
pub(super) fn bounded<T: Merge>(rows: impl IntoIterator<Item = Row<T>>) -> Vec<Row<T>> {
    let mut told: Vec<Row<T>> = Vec::new();
    let mut others: Option<Row<T>> = None;
    for row in rows {
        let is_other = row.labels.iter().all(|label| label == OTHER);
        if told.len() < MAX_SERIES && !is_other {
            told.push(row);
            continue;
        }
        match &mut others {
            Some(others) => others.counts.merge(&row.counts),
            None => {
                let labels = row.labels.iter().map(|_| OTHER.to_owned()).collect();
                others = Some(Row { labels, counts: row.counts });
            }
        }
    }
    told.sort_by(|a, b| a.labels.cmp(&b.labels));
    told.extend(others);
    told
}

/// Figures that can be added up.
pub(super) trait Merge {
    fn merge(&mut self, other: &Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for f64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl<const N: usize> Merge for [u64; N] {
    fn merge(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(mine, others)| *mine += others);
    }
}

impl Merge for Durations {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }
}

/// A figure of one series that means nothing over several.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Alone(pub(super) Option<f64>);

impl Merge for Alone {
    fn merge(&mut self, _: &Self) {
        self.0 = None;
    }
}

/// The figures of users' requests, and those of shadow copies where one came.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Both<T> {
    pub(super) users: T,
    pub(super) copies: Option<T>,
}

impl<T> Both<T> {
    pub(super) fn of<C: Default>(counters: &Apart<C>, read: impl Fn(&C) -> T) -> Self {
        let (users, copies) = counters.both();
        Self { users: read(users), copies: copies.map(read) }
    }
}

impl<T: Merge + Clone> Merge for Both<T> {
    fn merge(&mut self, other: &Self) {
        self.users.merge(&other.users);
        match (&mut self.copies, &other.copies) {
            (Some(mine), Some(others)) => mine.merge(others),
            (none @ None, others) => none.clone_from(others),
            (Some(_), None) => {}
        }
    }
}

macro_rules! merged {
    ($(#[$doc:meta])* $type:ident { $($(#[$field_doc:meta])* $field:ident: $of:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug, Default)]
        pub(super) struct $type {
            $($(#[$field_doc])* pub(super) $field: $of,)*
        }

        impl Merge for $type {
            fn merge(&mut self, other: &Self) {
                $(self.$field.merge(&other.$field);)*
            }
        }
    };
}

merged! {
    /// The requests of a model.
    ModelCounts {
        ended: [u64; Ended::NAMES.len()],
        durations: Durations,
        waited: u64,
        first_attempts: u64,
        retries: u64,
        not_retried: [u64; NotRetried::NAMES.len()],
        hedges: u64,
        hedge_wins: u64,
        refused_hedges: u64,
        exclusions: [u64; EXCLUSIONS.len()],
        reasons: [u64; Reason::NAMES.len()],
        admissions: [u64; Admission::NAMES.len()],
    }
}

impl ModelCounts {
    pub(super) fn of(counters: &ModelCounters) -> Self {
        Self {
            ended: counters.ended.read(),
            durations: counters.durations.read(),
            waited: counters.waited.read(),
            first_attempts: counters.first_attempts.read(),
            retries: counters.retries.read(),
            not_retried: counters.not_retried.read(),
            hedges: counters.hedges.read(),
            hedge_wins: counters.hedge_wins.read(),
            refused_hedges: counters.refused_hedges.read(),
            exclusions: counters.exclusions.read(),
            reasons: counters.reasons.read(),
            admissions: counters.admissions.read(),
        }
    }
}

merged! {
    /// Attempts at an endpoint.
    AttemptCounts {
        outstanding: u64,
        ended: [u64; Attempted::NAMES.len()],
        durations: Durations,
    }
}

impl AttemptCounts {
    pub(super) fn of(counters: &AttemptCounters) -> Self {
        Self {
            outstanding: counters.outstanding.load(Ordering::Relaxed),
            ended: counters.ended.read(),
            durations: counters.durations.read(),
        }
    }
}

/// The states of health, in the order of their gauges.
const HEALTH: [Health; 5] =
    [Health::Healthy, Health::Recovering, Health::Ejected, Health::Unreachable, Health::Draining];

/// Their names.
pub(super) fn health_names() -> [&'static str; HEALTH.len()] {
    HEALTH.map(health_name)
}

merged! {
    /// A model at an endpoint.
    EndpointCounts {
        attempts: Both<AttemptCounts>,
        ejections: u64,
        spared: u64,
        returns: u64,
        /// How many are in each state.
        health: [u64; HEALTH.len()],
        weight: f64,
        /// The part of the weight that counts in its slow start.
        ramp: Alone,
    }
}

impl EndpointCounts {
    pub(super) fn of(counters: &EndpointCounters, candidate: &Candidate) -> Self {
        Self {
            attempts: Both::of(&counters.attempts, AttemptCounts::of),
            ejections: counters.ejections.read(),
            spared: counters.spared.read(),
            returns: counters.returns.read(),
            health: HEALTH.map(|health| u64::from(candidate.health == health)),
            weight: f64::from(candidate.effective_weight()) / 1e3,
            ramp: Alone(Some(f64::from(candidate.ramp) / 1e3)),
        }
    }
}

merged! {
    /// A version of a split.
    ArmCounts { requests: u64, durations: Durations }
}

impl ArmCounts {
    pub(super) fn of(counters: &ArmCounters) -> Self {
        Self { requests: counters.requests.read(), durations: counters.durations.read() }
    }
}

/// What an experiment may say.
pub(super) const VERDICTS: [&str; 4] = ["continue", "promote", "stop", "undecided"];

merged! {
    /// An experiment; pairs are of the control and the candidate.
    ExperimentCounts {
        requests: [u64; 2],
        successes: [u64; 2],
        /// How many have said each.
        verdicts: [u64; VERDICTS.len()],
        p_better: Alone,
        p_worse: Alone,
    }
}

impl ExperimentCounts {
    pub(super) fn row(figures: &ExperimentFigures) -> Row<Self> {
        let ExperimentFigures { model, control, candidate, p_better, p_worse, verdict, .. } =
            figures;
        let arms = [control, candidate];
        let counts = Self {
            requests: arms.map(|arm| arm.requests),
            // A mean of ones and zeros, and so many of them.
            successes: arms
                .map(|arm| (arm.success_rate.unwrap_or(0.0) * arm.requests as f64).round() as u64),
            verdicts: VERDICTS.map(|name| u64::from(name == *verdict)),
            p_better: Alone(Some(*p_better)),
            p_worse: Alone(Some(*p_worse)),
        };
        let labels = vec![model.clone(), control.version.clone(), candidate.version.clone()];
        Row { labels, counts }
    }
}

merged! {
    /// The copies for a shadow.
    ShadowCounts {
        copies: u64,
        shed: u64,
        failed: u64,
        answered: u64,
        compared: u64,
        agreed: u64,
        latency_delta: Alone,
    }
}

impl ShadowCounts {
    pub(super) fn row(figures: &ShadowFigures) -> Row<Self> {
        let counts = Self {
            copies: figures.copies,
            shed: figures.shed,
            failed: figures.failed,
            answered: figures.answered,
            compared: figures.compared,
            agreed: figures.agreed,
            latency_delta: Alone(figures.latency_delta_ms.map(|millis| millis / 1e3)),
        };
        Row { labels: vec![figures.model.clone(), figures.shadow.clone()], counts }
    }
}
