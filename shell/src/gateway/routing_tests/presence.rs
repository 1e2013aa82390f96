//! Endpoints that have the model, and those that have not.

use super::*;
use crate::gateway::presence::Presence;
use std::collections::BTreeSet;

fn lacks() -> Does {
    Does::Says(status(404))
}

fn every_policy() -> Vec<String> {
    let names = [
        "latency",
        "least_request",
        "round_robin",
        "smooth_weighted",
        "weighted_random",
        "sticky",
        "model_affinity",
    ];
    let entry = |name| format!("[[models]]\nname = \"digits\"\npolicy = \"{name}\"\n");
    names.iter().map(entry).collect()
}

#[tokio::test]
async fn whatever_the_policy_nobody_is_asked_for_a_model_that_another_has() {
    for models in every_policy() {
        let bench = bench(&[lacks(), Does::Answers, lacks()], &models);
        bench.gateway.probe().await;
        for number in 0..40 {
            let key = json!({ "sticky_key": number.to_string() });
            let (_, taken) = bench.send_with(key, &[]).await.unwrap();
            assert_eq!((taken.attempts, taken.endpoint.as_deref()), (1, Some("b")), "{models}");
            assert_eq!(taken.excluded[0], ("a".to_owned(), "not_loaded"), "{models}");
        }
        assert_eq!(bench.fake("a").asked() + bench.fake("c").asked(), 0, "{models}");
    }
}

#[tokio::test]
async fn everyone_is_asked_where_nobody_is_known_to_have_it() {
    for models in every_policy() {
        let bench = bench(&[lacks(), lacks()], &models);
        bench.gateway.probe().await;
        // It comes, and no probe has seen it yet.
        *lock(&bench.fake("a").does) = Does::Answers;
        *lock(&bench.fake("b").does) = Does::Answers;
        let (_, taken) = bench.send().await.unwrap();
        assert_eq!((taken.attempts, taken.admission), (1, "healthy"), "{models}");
    }
}

#[tokio::test]
async fn a_version_goes_to_those_that_have_it() {
    let models = "[[models]]\nname = \"digits\"\npolicy = \"round_robin\"\nsplit = [\
                  { version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n";
    let bench = bench(&[Does::Has(&["1"]), Does::Has(&["1", "2"])], models);
    bench.gateway.probe().await;
    for _ in 0..100 {
        let (response, taken) = bench.send().await.unwrap();
        assert_eq!(taken.attempts, 1);
        assert_eq!(Some(response.model_version), taken.version);
    }
    assert!(bench.fake("a").versions().iter().all(|version| version.as_deref() == Some("1")));
    assert!(bench.fake("a").asked() > 0);
    // A label is nobody's version, and everyone may know it.
    let request = InferRequest::default();
    let explained =
        bench.gateway.explain("digits", Some("stable"), &request, &Hints::default()).unwrap();
    assert!(explained.candidates.iter().all(|it| !it.loaded && it.excluded.is_none()));
}

#[tokio::test]
async fn a_model_that_comes_or_goes_is_noticed_by_the_next_probe() {
    let bench = bench(&[Does::Answers, Does::Answers], IN_TURN);
    let endpoints = async || {
        bench.gateway.probe().await;
        let mut asked = BTreeSet::new();
        for _ in 0..10 {
            asked.extend(bench.send().await.unwrap().1.endpoint);
        }
        asked.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(endpoints().await, "a b");
    *lock(&bench.fake("a").does) = lacks();
    assert_eq!(endpoints().await, "b");
    *lock(&bench.fake("a").does) = Does::Answers;
    assert_eq!(endpoints().await, "a b");
}

#[tokio::test]
async fn a_request_that_meets_nobody_who_has_it_tells_the_others_before_a_probe_does() {
    let bench = bench(&[lacks(), Does::Answers], IN_TURN);
    for _ in 0..20 {
        bench.send().await.unwrap();
    }
    assert_eq!(bench.fake("a").asked(), 1);
}

#[tokio::test]
async fn where_those_that_have_it_are_ill_they_are_asked_and_not_those_that_have_it_not() {
    let bench = bench(&[down(), lacks()], IN_TURN);
    bench.gateway.probe().await;
    // `a` cannot be asked about its model, so it is taken at the table's word; and `b` at its own, until the
    // next probe.
    *lock(&bench.fake("b").does) = Does::Answers;
    for _ in 0..20 {
        let error = bench.send().await.unwrap_err();
        assert!(matches!(error, GatewayError::NoEndpoint { .. }), "{error}");
    }
    assert_eq!(bench.fake("b").asked(), 0);
    *lock(&bench.fake("a").does) = Does::Answers;
    assert_eq!(bench.send().await.unwrap().1.endpoint.as_deref(), Some("a"));
}

const AFFINE: &str = "[[models]]\nname = \"NAME\"\npolicy = \"model_affinity\"\n";

async fn goes_to(bench: &Bench, model: &str, version: Option<&str>) -> Option<String> {
    let request = InferRequest::default();
    let answered = bench.gateway.infer(model, version, request, &Hints::default()).await;
    answered.unwrap().1.endpoint
}

#[tokio::test]
async fn affinity_keeps_each_model_and_version_in_one_place_and_all_places_in_use() {
    let names: Vec<String> = (0..24).map(|number| format!("m{number}")).collect();
    let models: String = names.iter().map(|name| AFFINE.replace("NAME", name)).collect();
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers, Does::Answers], &models);
    let (mut used, mut are_apart) = (BTreeSet::new(), false);
    for name in &names {
        let mut places = BTreeSet::new();
        for version in [None, Some("1"), Some("2"), Some("3")] {
            let first = goes_to(&bench, name, version).await;
            for _ in 0..5 {
                assert_eq!(goes_to(&bench, name, version).await, first);
            }
            places.insert(first.clone());
            used.extend(first);
        }
        are_apart |= places.len() > 1;
    }
    assert!(are_apart && used.len() == 4, "models and versions are spread: {used:?}");
}

#[tokio::test]
async fn affinity_goes_where_the_model_is_loaded_and_stays_there() {
    let models = AFFINE.replace("NAME", "digits");
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers], &models);
    let owner = goes_to(&bench, "digits", None).await.unwrap();
    // Its own place knows the model and cannot run it; nor can another.
    let other = ["a", "b", "c"].into_iter().find(|name| *name != owner).unwrap();
    for cold in [owner.as_str(), other] {
        *lock(&bench.fake(cold).does) = Does::Says(status(503));
    }
    bench.gateway.probe().await;
    for _ in 0..10 {
        let (_, taken) = bench.send().await.unwrap();
        let endpoint = taken.endpoint.unwrap();
        assert!(endpoint != owner && endpoint != other);
        assert_eq!((taken.reason, taken.attempts), ("loaded", 1));
    }
}

#[tokio::test]
async fn with_more_models_than_are_asked_about_at_once_each_has_its_turn() {
    let models: String = (0..200).map(|at| format!("[[models]]\nname = \"m{at}\"\n")).collect();
    let bench = bench(&[Does::Answers, lacks(), Does::Answers], &(models + DIGITS));
    let unknown = |bench: &Bench| {
        let plan = bench.gateway.plan.load();
        let seats = plan.models.values().flat_map(|model| model.seats.iter());
        seats
            .filter(|seat| {
                seat.member.name == "b" && seat.model.presence.of(None) != Presence::Absent
            })
            .count()
    };
    bench.gateway.probe().await;
    assert!(unknown(&bench) > 0, "603 questions are too many for one round");
    for _ in 0..2 {
        bench.gateway.probe().await;
    }
    assert_eq!(unknown(&bench), 0);
}
