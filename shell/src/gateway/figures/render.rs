//! The figures as Prometheus reads them.

use super::counters::{Attempted, EXCLUSIONS, Ended, NotRetried};
use super::series::{
    ArmCounts, AttemptCounts, Both, EndpointCounts, Everything, ExperimentCounts, ModelCounts, Row,
    ShadowCounts, VERDICTS, health_names,
};
use crate::routing::AnswerCacheFigures;
use crate::telemetry::Durations;
use crate::telemetry::prometheus::{Label, Text};
use tensorforge_core::route::{Admission, Reason};

/// The text. Families and series come in the same order every time, and counters are there before they
/// count anything.
pub(super) fn render(all: &Everything) -> String {
    let mut text = Text::default();
    of_gateway(&mut text, all);
    if let Some(answers) = &all.answers {
        of_answers(&mut text, answers, all.dropped_answers);
    }
    of_models(&mut text, &apart(&["model"], &all.models, |both| both));
    let endpoint = ["model", "endpoint"];
    of_attempts(&mut text, &apart(&endpoint, &all.endpoints, |counts| &counts.attempts));
    of_endpoints(&mut text, &series(&endpoint, &all.endpoints));
    of_splits(&mut text, &series(&["model", "version"], &all.arms));
    of_experiments(&mut text, &all.experiments);
    of_shadows(&mut text, &series(&["model", "shadow"], &all.shadows));
    text.into_string()
}

/// Figures and their labels.
struct Series<'a, T> {
    labels: Vec<Label<'a>>,
    counts: &'a T,
}

fn labels<'a, T>(names: &[&'static str], row: &'a Row<T>) -> Vec<Label<'a>> {
    names.iter().zip(&row.labels).map(|(&name, value)| (name, value as _)).collect()
}

fn series<'a, T>(names: &[&'static str], rows: &'a [Row<T>]) -> Vec<Series<'a, T>> {
    let one = |row: &'a Row<T>| Series { labels: labels(names, row), counts: &row.counts };
    rows.iter().map(one).collect()
}

/// The figures of users' requests, and behind them those of copies where one came, with a label more.
fn apart<'a, T, U>(
    names: &[&'static str],
    rows: &'a [Row<T>],
    both: impl Fn(&'a T) -> &'a Both<U>,
) -> Vec<Series<'a, U>> {
    let mut all = Vec::new();
    for row in rows {
        let Both { users, copies } = both(&row.counts);
        all.push(Series { labels: labels(names, row), counts: users });
        if let Some(copies) = copies {
            let mut labels = labels(names, row);
            labels.push(("shadow", &"true"));
            all.push(Series { labels, counts: copies });
        }
    }
    all
}

/// A family of counters: its name, its help, and where its value is.
type Counter<T> = (&'static str, &'static str, fn(&T) -> u64);

fn counters<T>(text: &mut Text, families: &[Counter<T>], all: &[Series<'_, T>]) {
    for (name, help, value) in families {
        text.family(name, "counter", help);
        all.iter().for_each(|one| text.sample(&one.labels, &value(one.counts)));
    }
}

/// A family with one counter or gauge for each of some names.
fn by_name<T>(
    text: &mut Text,
    (label, names): (&'static str, &[&'static str]),
    all: &[Series<'_, T>],
    values: impl Fn(&T) -> &[u64],
) {
    for one in all {
        for (name, value) in names.iter().zip(values(one.counts)) {
            text.sample(&[&one.labels[..], &[(label, name)]].concat(), value);
        }
    }
}

fn histogram<T>(text: &mut Text, all: &[Series<'_, T>], durations: impl Fn(&T) -> &Durations) {
    for one in all {
        let durations = durations(one.counts);
        let (count, sum) = (durations.count(), durations.sum());
        text.histogram(&one.labels, &durations.cumulative(), count, &sum);
    }
}

fn of_gateway(text: &mut Text, all: &Everything) {
    let help = "The version of the table of routes that is in force.";
    text.family("tensorforge_route_table_version", "gauge", help);
    text.sample(&[], &all.table);
    let help = "Requests for models without routes, which go to this process itself.";
    text.family("tensorforge_route_unrouted_requests_total", "counter", help);
    text.sample(&[], &all.unrouted.users);
    if let Some(copies) = &all.unrouted.copies {
        text.sample(&[("shadow", &"true")], copies);
    }
    let help = "Requests and questions about models that were refused as they had come through too many gateways.";
    text.family("tensorforge_route_looped_requests_total", "counter", help);
    text.sample(&[], &all.looped);
    let help = "Requests that wait now, as all endpoints that they may go to are full.";
    text.family("tensorforge_route_waiting_requests", "gauge", help);
    text.sample(&[], &all.waiting);
    let help = "Annotations that were not looked at, as they were too long.";
    text.family("tensorforge_route_dropped_annotations_total", "counter", help);
    text.sample(&[], &all.dropped_annotations);
}

fn of_answers(text: &mut Text, answers: &AnswerCacheFigures, dropped: u64) {
    let help = "Answers that are kept now, for when no route is left.";
    text.family("tensorforge_route_kept_answers", "gauge", help);
    text.sample(&[], &answers.answers);
    text.family("tensorforge_route_kept_answer_bytes", "gauge", "Bytes that those take.");
    text.sample(&[], &answers.bytes);
    let help =
        "Answers by whether they were kept, and by why those are gone that no newer one replaced.";
    text.family("tensorforge_route_answers_total", "counter", help);
    for (what, count) in [
        ("kept", answers.kept),
        ("dropped", dropped),
        ("refused", answers.refused),
        ("evicted", answers.evicted),
        ("expired", answers.expired),
    ] {
        text.sample(&[("event", &what)], &count);
    }
    let help = "Questions for a kept answer, by whether there was one.";
    text.family("tensorforge_route_answer_lookups_total", "counter", help);
    let found = [("fresh", answers.fresh), ("stale", answers.stale), ("missed", answers.missed)];
    for (what, count) in found {
        text.sample(&[("result", &what)], &count);
    }
}

fn of_models(text: &mut Text, all: &[Series<'_, ModelCounts>]) {
    let help = "Requests by how they ended.";
    text.family("tensorforge_route_requests_total", "counter", help);
    by_name(text, ("outcome", Ended::NAMES), all, |model| &model.ended);
    let help = "From a request's arrival to its answer, whoever gave it; answered requests only.";
    text.family("tensorforge_route_request_duration_seconds", "histogram", help);
    histogram(text, all, |model| &model.durations);
    let families: [Counter<ModelCounts>; 6] = [
        (
            "tensorforge_route_waited_requests_total",
            "Requests that had to wait for an endpoint with room, whatever became of them.",
            |model| model.waited,
        ),
        (
            "tensorforge_route_first_attempts_total",
            "Requests that an endpoint was asked for; with retries and hedges, all attempts.",
            |model| model.first_attempts,
        ),
        ("tensorforge_route_retries_total", "Attempts after another one had failed.", |model| {
            model.retries
        }),
        ("tensorforge_route_hedges_total", "Attempts beside another one that was late.", |model| {
            model.hedges
        }),
        ("tensorforge_route_hedge_wins_total", "Hedges that gave the answer.", |model| {
            model.hedge_wins
        }),
        (
            "tensorforge_route_refused_hedges_total",
            "Hedges that the retry budget did not allow.",
            |model| model.refused_hedges,
        ),
    ];
    counters(text, &families, all);
    let help = "Requests that were not tried again though that might have helped, by why.";
    text.family("tensorforge_route_refused_retries_total", "counter", help);
    by_name(text, ("reason", NotRetried::NAMES), all, |model| &model.not_retried);
    let help = "Times that an endpoint could not be chosen, by why.";
    text.family("tensorforge_route_exclusions_total", "counter", help);
    by_name(text, ("reason", &EXCLUSIONS), all, |model| &model.exclusions);
    let help = "Attempts by why their endpoint was chosen and no other.";
    text.family("tensorforge_route_picks_total", "counter", help);
    by_name(text, ("reason", Reason::NAMES), all, |model| &model.reasons);
    let help = "Attempts by the rule under which their endpoint could be chosen at all.";
    text.family("tensorforge_route_admissions_total", "counter", help);
    by_name(text, ("admission", Admission::NAMES), all, |model| &model.admissions);
}

fn of_attempts(text: &mut Text, all: &[Series<'_, AttemptCounts>]) {
    let help = "Attempts at an endpoint by how they ended.";
    text.family("tensorforge_route_attempts_total", "counter", help);
    by_name(text, ("outcome", Attempted::NAMES), all, |attempts| &attempts.ended);
    let help = "How long an endpoint took to answer; answered attempts only.";
    text.family("tensorforge_route_attempt_duration_seconds", "histogram", help);
    histogram(text, all, |attempts| &attempts.durations);
    let help = "Attempts at an endpoint that are under way.";
    text.family("tensorforge_route_outstanding_attempts", "gauge", help);
    all.iter().for_each(|one| text.sample(&one.labels, &one.counts.outstanding));
}

fn of_endpoints(text: &mut Text, all: &[Series<'_, EndpointCounts>]) {
    let families: [Counter<EndpointCounts>; 3] = [
        (
            "tensorforge_route_ejections_total",
            "Times that an endpoint was ejected, as too many attempts failed.",
            |endpoint| endpoint.ejections,
        ),
        (
            "tensorforge_route_spared_ejections_total",
            "Times that it would have been, had not as many been ejected already as may be.",
            |endpoint| endpoint.spared,
        ),
        (
            "tensorforge_route_returns_total",
            "Times that an ejected endpoint came back.",
            |endpoint| endpoint.returns,
        ),
    ];
    counters(text, &families, all);
    let help = "What an endpoint's health is now, for the version that it is worst for: 1 for that, 0 for the others.";
    text.family("tensorforge_route_endpoint_health", "gauge", help);
    by_name(text, ("health", &health_names()), all, |endpoint| &endpoint.health);
    let help = "The weight of an endpoint that counts now, in units of its table.";
    text.family("tensorforge_route_endpoint_weight", "gauge", help);
    all.iter().for_each(|one| text.sample(&one.labels, &one.counts.weight));
    let help =
        "The part of its weight that an endpoint has in its slow start; 1 when that is over.";
    text.family("tensorforge_route_endpoint_ramp_ratio", "gauge", help);
    for one in all {
        if let Some(ramp) = one.counts.ramp.0 {
            text.sample(&one.labels, &ramp);
        }
    }
}

fn of_splits(text: &mut Text, all: &[Series<'_, ArmCounts>]) {
    let families: [Counter<ArmCounts>; 1] = [(
        "tensorforge_route_split_requests_total",
        "Requests that a split has sent to a version, whatever became of them.",
        |arm| arm.requests,
    )];
    counters(text, &families, all);
    let help = "How long those took that were answered.";
    text.family("tensorforge_route_split_request_duration_seconds", "histogram", help);
    histogram(text, all, |arm| &arm.durations);
}

fn of_experiments(text: &mut Text, rows: &[Row<ExperimentCounts>]) {
    type Pair = fn(&ExperimentCounts) -> [u64; 2];
    let families: [(&str, &str, Pair); 2] = [
        (
            "tensorforge_route_experiment_requests_total",
            "Requests that count in the experiment of a model; another experiment begins anew.",
            |experiment| experiment.requests,
        ),
        (
            "tensorforge_route_experiment_successes_total",
            "Those of them that were answered.",
            |experiment| experiment.successes,
        ),
    ];
    for (name, help, pair) in families {
        text.family(name, "counter", help);
        for row in rows {
            let [model, versions @ ..] = &row.labels[..] else { continue };
            let arms = ["control", "candidate"].iter().zip(versions).zip(pair(&row.counts));
            for ((arm, version), count) in arms {
                text.sample(&[("model", model), ("version", version), ("arm", arm)], &count);
            }
        }
    }
    let all = series(&["model"], rows);
    let help = "What the experiment of a model says: 1 for that, 0 for the others.";
    text.family("tensorforge_route_experiment_verdict", "gauge", help);
    by_name(text, ("verdict", &VERDICTS), &all, |experiment| &experiment.verdicts);
    let help = "How likely so much in favour of the claim is, that the candidate succeeds more or less \
                often, where it is not true; valid whenever it is looked at.";
    text.family("tensorforge_route_experiment_p_value", "gauge", help);
    for one in &all {
        let ExperimentCounts { p_better, p_worse, .. } = one.counts;
        for (claim, value) in [("better", p_better.0), ("worse", p_worse.0)] {
            if let Some(value) = value {
                text.sample(&[&one.labels[..], &[("claim", &claim)]].concat(), &value);
            }
        }
    }
}

fn of_shadows(text: &mut Text, all: &[Series<'_, ShadowCounts>]) {
    let families: [Counter<ShadowCounts>; 6] = [
        (
            "tensorforge_route_shadow_copies_total",
            "Copies of requests that were sent to a shadow.",
            |shadow| shadow.copies,
        ),
        (
            "tensorforge_route_shadow_shed_total",
            "Copies that were due and not sent: the primary was busy, too many were under way, or \
             there was nobody to send them to.",
            |shadow| shadow.shed,
        ),
        ("tensorforge_route_shadow_failed_total", "Copies that failed.", |shadow| shadow.failed),
        ("tensorforge_route_shadow_answered_total", "Copies that were answered.", |shadow| {
            shadow.answered
        }),
        (
            "tensorforge_route_shadow_compared_total",
            "Answers that were compared with the primary's.",
            |shadow| shadow.compared,
        ),
        (
            "tensorforge_route_shadow_agreed_total",
            "Those of them that were the same, within the tolerance.",
            |shadow| shadow.agreed,
        ),
    ];
    counters(text, &families, all);
    let help = "How much longer a shadow took than the primary, on average over what was compared; \
                negative where it was faster.";
    text.family("tensorforge_route_shadow_latency_delta_seconds", "gauge", help);
    for one in all {
        if let Some(delta) = one.counts.latency_delta.0 {
            text.sample(&one.labels, &delta);
        }
    }
}
