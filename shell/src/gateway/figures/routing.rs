//! The counters by themselves, and their text.

use super::counters::{Attempted, Ended, ModelCounters};
use super::series::{Both, Everything, ModelCounts, Row, bounded};
use super::*;
use crate::gateway::{EndpointError, GatewayError, RouteTaken};
use crate::telemetry::{MAX_SERIES, OTHER};
use proptest::prelude::*;
use tensorforge_core::Duration;
use tensorforge_core::route::{Admission, Choice, EndpointId, Exclusion, HealthChange, Reason};

/// What a thread does with the counters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Does {
    Answers { nanos: u64 },
    GivesUp,
    Fails,
    Excludes,
    Ejects,
    Returns,
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        (0..200_000_000_000_u64).prop_map(|nanos| Does::Answers { nanos }),
        Just(Does::GivesUp),
        Just(Does::Fails),
        Just(Does::Excludes),
        Just(Does::Ejects),
        Just(Does::Returns),
    ]
}

fn act(does: Does, model: &ModelCounters, endpoint: &EndpointCounters, is_copy: bool) {
    let coming = model.coming();
    let choice = Choice {
        index: 0,
        endpoint: EndpointId(0),
        reason: Reason::Only,
        admission: Admission::Healthy,
    };
    let failed = || Err::<(), _>(EndpointError::Unreachable("planted".into()));
    match does {
        Does::Answers { nanos } => {
            let took = Duration::from_nanos(nanos);
            model.picked(&choice);
            model.asked(Kind::First);
            endpoint.attempt(is_copy).ended(&Ok(()), took);
            coming.ended(&Ok(((), RouteTaken::default())), took);
        }
        Does::GivesUp => drop(endpoint.attempt(is_copy)),
        Does::Fails => {
            endpoint.attempt(is_copy).ended(&failed(), Duration::ZERO);
            let taken = Box::new(RouteTaken { attempts: 1, ..RouteTaken::default() });
            let error = GatewayError::NoEndpoint { model: "m".into(), taken };
            coming.ended(&Err::<((), _), _>(error), Duration::ZERO);
        }
        Does::Excludes => model.excluded(Exclusion::Full, Exclusion::Full.name()),
        Does::Ejects => endpoint.changed(Some(HealthChange::Ejected)),
        Does::Returns => endpoint.changed(Some(HealthChange::Returned)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_count_of_threads_is_lost(
        scripts in proptest::collection::vec(proptest::collection::vec(does(), 0..200), 1..6),
    ) {
        let (requests, endpoint) = (Apart::<ModelCounters>::default(), EndpointCounters::default());
        std::thread::scope(|scope| {
            for (thread, script) in scripts.iter().enumerate() {
                let is_copy = thread % 2 == 1;
                let (requests, endpoint) = (&requests, &endpoint);
                scope.spawn(move || {
                    let act = |&does| act(does, requests.of(is_copy), endpoint, is_copy);
                    script.iter().for_each(act);
                });
            }
        });
        let all: Vec<Does> = scripts.iter().flatten().copied().collect();
        let count = |wanted: fn(&Does) -> bool| all.iter().filter(|does| wanted(does)).count() as u64;
        let answered = count(|does| matches!(does, Does::Answers { .. }));
        let ended_by = |ended: Attempted, parts: [u64; Attempted::NAMES.len()]| parts[ended as usize];
        let Both { users, copies } = Both::of(&requests, ModelCounts::of);
        let mut both = users;
        copies.iter().for_each(|copies| super::series::Merge::merge(&mut both, copies));
        prop_assert_eq!(both.ended.iter().sum::<u64>(), all.len() as u64);
        prop_assert_eq!(both.ended[Ended::Answered as usize], answered);
        prop_assert_eq!(both.ended[Ended::Failed as usize], count(|does| *does == Does::Fails));
        prop_assert_eq!(both.first_attempts, answered);
        prop_assert_eq!(both.reasons.iter().sum::<u64>(), answered);
        prop_assert_eq!(both.exclusions[Exclusion::Full.place()], count(|does| *does == Does::Excludes));
        let nanos = all.iter().map(|does| match does {
            Does::Answers { nanos } => *nanos,
            _ => 0,
        });
        prop_assert_eq!(both.durations.count(), answered);
        prop_assert_eq!(both.durations.sum(), nanos.sum::<u64>() as f64 / 1e9);
        prop_assert_eq!(endpoint.ejections.read(), count(|does| *does == Does::Ejects));
        prop_assert_eq!(endpoint.returns.read(), count(|does| *does == Does::Returns));
        let Both { users, copies } = Both::of(&endpoint.attempts, super::series::AttemptCounts::of);
        let mut attempts = users;
        copies.iter().for_each(|copies| super::series::Merge::merge(&mut attempts, copies));
        prop_assert_eq!(attempts.outstanding, 0);
        prop_assert_eq!(ended_by(Attempted::Answered, attempts.ended), answered);
        prop_assert_eq!(ended_by(Attempted::Canceled, attempts.ended), count(|does| *does == Does::GivesUp));
        prop_assert_eq!(ended_by(Attempted::Unreachable, attempts.ended), count(|does| *does == Does::Fails));
    }

    #[test]
    fn too_many_series_are_added_up_and_nothing_is_lost(
        beyond in 0..5_usize,
        is_named_so in any::<bool>(),
    ) {
        let mut names: Vec<String> = (0..MAX_SERIES + beyond).map(|n| format!("m{n:05}")).collect();
        if is_named_so {
            names.insert(3, OTHER.to_owned());
        }
        // The last to come stands first by its name.
        names.reverse();
        let row = |name: &String| Row { labels: vec![name.clone()], counts: 1_u64 };
        let rows = bounded(names.iter().map(row));
        prop_assert_eq!(rows.iter().map(|row| row.counts).sum::<u64>(), names.len() as u64);
        let rest = beyond + usize::from(is_named_so);
        prop_assert_eq!(rows.len(), MAX_SERIES + usize::from(rest > 0));
        let (told, others) = rows.split_at(MAX_SERIES);
        prop_assert!(told.is_sorted_by(|a, b| a.labels < b.labels));
        prop_assert!(told.iter().all(|row| row.counts == 1));
        for others in others {
            prop_assert_eq!((&*others.labels[0], others.counts), (OTHER, rest as u64));
        }
    }
}

#[test]
fn what_means_nothing_over_several_endpoints_is_left_out() {
    let model = ModelCounters::default();
    let row = |n: usize| Row {
        labels: vec![format!("m{n:04}")],
        counts: Both { users: ModelCounts::of(&model), copies: None },
    };
    let candidate =
        tensorforge_core::route::Candidate::new(EndpointId(1), tensorforge_core::ModelId(0));
    let endpoint = EndpointCounters::default();
    let endpoint_row = |n: usize| Row {
        labels: vec![format!("m{n:04}"), "e".to_owned()],
        counts: EndpointCounts::of(&endpoint, &candidate),
    };
    let all = Everything {
        models: bounded((0..MAX_SERIES + 2).map(row)),
        endpoints: bounded((0..MAX_SERIES + 2).map(endpoint_row)),
        ..Everything::default()
    };
    let text = render::render(&all);
    let others = "model=\"other\",endpoint=\"other\"";
    let has = |sample: String| text.lines().any(|line| line == sample);
    let health = format!("tensorforge_route_endpoint_health{{{others},health=\"healthy\"}} 2");
    assert!(has(health), "two of them are healthy");
    assert!(has(format!("tensorforge_route_endpoint_weight{{{others}}} 2")));
    assert!(!text.contains(&format!("tensorforge_route_endpoint_ramp_ratio{{{others}}}")));
    assert!(
        text.contains("tensorforge_route_endpoint_ramp_ratio{model=\"m0000\",endpoint=\"e\"} 1\n")
    );
    assert_eq!(text, render::render(&all), "the same text for the same figures");
}

#[test]
fn copies_have_a_label_more_and_stand_behind_the_users() {
    let requests = Apart::<ModelCounters>::default();
    requests.of(false).asked(Kind::First);
    let row = |requests| Row {
        labels: vec!["m".to_owned()],
        counts: Both::of(requests, ModelCounts::of),
    };
    let text = |requests| {
        render::render(&Everything { models: vec![row(requests)], ..Everything::default() })
    };
    assert!(!text(&requests).contains("shadow=\"true\""));
    (0..2).for_each(|_| requests.of(true).asked(Kind::First));
    let lines = "tensorforge_route_first_attempts_total{model=\"m\"} 1\n\
                 tensorforge_route_first_attempts_total{model=\"m\",shadow=\"true\"} 2\n";
    assert!(text(&requests).contains(lines));
}
