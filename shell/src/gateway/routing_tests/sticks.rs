//! What keeps requests together.

use super::*;
use std::collections::BTreeSet;

fn by(what: &str) -> Bench {
    let models = format!(
        "[[models]]\nname = \"digits\"\npolicy = \"sticky\"\naffinity = {{ by = {what} }}\n"
    );
    bench(&[Does::Answers, Does::Answers, Does::Answers, Does::Answers], &models)
}

/// Where the requests of each of these keys went.
async fn places(
    bench: &Bench,
    parameters: impl Fn(u32) -> serde_json::Value,
    header: Option<&str>,
) -> Vec<BTreeSet<String>> {
    let mut places = Vec::new();
    for key in 0..40 {
        let mut here = BTreeSet::new();
        for _ in 0..8 {
            let value = format!("key-{key}");
            let headers: Vec<_> = header.map(|name| (name, &*value)).into_iter().collect();
            here.extend(bench.send_with(parameters(key), &headers).await.unwrap().1.endpoint);
        }
        places.push(here);
    }
    places
}

fn are_together(places: &[BTreeSet<String>]) -> bool {
    let all: BTreeSet<_> = places.iter().flatten().collect();
    places.iter().all(|here| here.len() == 1) && all.len() == 4
}

#[tokio::test]
async fn a_model_sticks_by_what_is_set_and_by_nothing_else() {
    let key = |name: &'static str| move |key: u32| json!({ name: format!("key-{key}") });
    for (by_what, parameter, header) in [
        ("\"sticky_key\"", "sticky_key", Some("x-tensorforge-sticky-key")),
        ("\"tenant\"", "tenant", Some("x-tensorforge-tenant")),
        ("{ annotation = \"prefix\" }", "prefix", None),
    ] {
        let bench = by(by_what);
        let by_parameter = places(&bench, key(parameter), None).await;
        assert!(are_together(&by_parameter), "{by_what}: {by_parameter:?}");
        if header.is_some() {
            let by_header = places(&bench, |_| json!({}), header).await;
            assert_eq!(by_header, by_parameter, "{by_what}: the same, wherever it stands");
        }
        for other in ["sticky_key", "tenant", "prefix"].into_iter().filter(|it| *it != parameter) {
            let spread = places(&bench, key(other), None).await;
            assert!(spread.iter().any(|here| here.len() > 1), "{by_what} by {other}");
        }
    }
}

#[tokio::test]
async fn a_table_that_says_nothing_sticks_by_the_sticky_key() {
    let models = "[[models]]\nname = \"digits\"\npolicy = \"sticky\"\n";
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers, Does::Answers], models);
    let key = |key: u32| json!({ "sticky_key": format!("key-{key}") });
    assert!(are_together(&places(&bench, key, None).await));
}
