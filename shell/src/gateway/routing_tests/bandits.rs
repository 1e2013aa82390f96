//! More requests to whichever version of a split does better.

use super::*;

const BANDIT: &str = "[[models]]\nname = \"digits\"\nsplit = [\
    { version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n\
    bandit = { floor_percent = 2.0, latency_limit_ms = 100, memory = 2000 }\n";

/// So many requests, one after the other, 5 ms apart at least.
async fn send_many(bench: &Bench, requests: usize) {
    for number in 0..requests {
        let _ = bench.send_with(json!({ "beam": number }), &[]).await;
        tokio::time::advance(Duration::from_millis(5)).await;
    }
}

/// The versions' parts in per cent.
fn parts(bench: &Bench) -> Vec<f64> {
    let figures = bench.gateway.bandits().remove(0);
    figures.versions.iter().map(|version| version.percent).collect()
}

/// Parts stay for what moves less than 1 % of the requests.
fn are_nearly(parts: &[f64], expected: [f64; 2]) -> bool {
    parts.iter().zip(expected).all(|(part, expected)| (part - expected).abs() <= 1.0)
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_keeps_its_floor_and_no_more_until_it_does_well_again() {
    let bench = bench(&[Does::Fails("2")], BANDIT);
    assert_eq!(parts(&bench), [50.0, 50.0], "as written at first");
    send_many(&bench, 2_000).await;
    assert!(are_nearly(&parts(&bench), [98.0, 2.0]));
    let figures = bench.gateway.bandits().remove(0);
    let [one, two] = &figures.versions[..] else { panic!("{figures:?}") };
    assert_eq!((one.version.as_str(), two.version.as_str()), ("1", "2"));
    assert!(one.reward > Some(0.99) && two.reward == Some(0.0), "{figures:?}");
    assert!(one.requests + two.requests > 1_000.0, "{figures:?}");
    *lock(&bench.fake("a").does) = Does::Fails("1");
    send_many(&bench, 4_000).await;
    assert!(are_nearly(&parts(&bench), [2.0, 98.0]));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_answers_too_late_or_never_counts_as_one_that_fails() {
    for takes in [Duration::from_millis(150), Duration::from_secs(60)] {
        let bench = bench(&[Does::Lags("1", takes)], BANDIT);
        send_many(&bench, 1_000).await;
        assert!(parts(&bench)[0] <= 3.0, "{:?}", bench.gateway.bandits());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_given_up_count_once_they_are_late() {
    let bench = bench(&[Does::Lags("1", Duration::from_secs(60))], BANDIT);
    for _ in 0..1_000 {
        let given_up = tokio::time::timeout(Duration::from_millis(110), bench.send()).await;
        drop(given_up);
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    assert!(parts(&bench)[0] <= 3.0, "{:?}", bench.gateway.bandits());
}

#[tokio::test(start_paused = true)]
async fn of_versions_that_never_fail_the_quicker_one_has_more() {
    let bench = bench(&[Does::Lags("1", Duration::from_millis(95))], BANDIT);
    send_many(&bench, 3_000).await;
    assert!(parts(&bench)[1] > 85.0, "{:?}", bench.gateway.bandits());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_wrong_or_names_a_version_says_nothing() {
    let bench = bench(&[Does::Says(status(400))], BANDIT);
    send_many(&bench, 300).await;
    *lock(&bench.fake("a").does) = Does::Fails("1");
    for _ in 0..300 {
        let request = InferRequest::default();
        let hints = Hints::default();
        let _ = bench.gateway.infer("digits", Some("1"), request, &hints).await;
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    assert_eq!(parts(&bench), [50.0, 50.0]);
    assert!(bench.gateway.bandits()[0].versions.iter().all(|version| version.requests == 0.0));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_over_a_table_that_says_the_same_of_it() {
    let bench = bench(&[Does::Fails("2")], BANDIT);
    send_many(&bench, 2_000).await;
    bench
        .publish(&(entry("a") + &BANDIT.replace("name", "policy = \"round_robin\"\nname")))
        .unwrap();
    assert!(are_nearly(&parts(&bench), [98.0, 2.0]));
    bench.publish(&(entry("a") + &BANDIT.replace("2.0", "3.0"))).unwrap();
    assert_eq!(parts(&bench), [50.0, 50.0], "another one begins anew");
    bench.publish(&(entry("a") + DIGITS)).unwrap();
    assert_eq!(bench.gateway.bandits(), []);
}

#[tokio::test(start_paused = true)]
async fn a_key_moves_only_where_parts_move_past_it() {
    let bench = bench(&[Does::Fails("2")], BANDIT);
    let mut versions = HashMap::new();
    for round in 0..4 {
        for user in 0..100 {
            let explained = bench.explain(json!({ "sticky_key": format!("user-{user}") }));
            let version = explained.version.unwrap();
            if let Some(before) = versions.insert(user, version.clone()) {
                assert!(
                    before == version || version == "1",
                    "round {round}: {before} to {version}"
                );
            }
        }
        send_many(&bench, 300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_explanation_tells_the_parts_of_the_moment() {
    let bench = bench(&[Does::Fails("2")], BANDIT);
    send_many(&bench, 2_000).await;
    let parts = bench.explain(json!({})).parts.unwrap();
    assert_eq!(parts, bench.gateway.bandits().remove(0));
    assert!(parts.versions[0].percent > 90.0);
    bench.publish(&(entry("a") + DIGITS)).unwrap();
    assert_eq!(bench.explain(json!({})).parts, None);
}

#[test]
fn a_bandit_that_cannot_be_is_refused() {
    const WHOLE: &str = "memory = 2000";
    for (from, to, complaint) in [
        (
            "floor_percent = 2.0",
            "floor_percent = 0.0",
            "bandit.floor_percent is 0; it must be from 0.01",
        ),
        ("floor_percent = 2.0", "floor_percent = 2.005", "in steps of 0.01"),
        ("floor_percent = 2.0", "floor_percent = 51", "from 0.01 to 50"),
        ("latency_limit_ms = 100", "latency_limit_ms = nan", "bandit.latency_limit_ms is NaN"),
        ("latency_limit_ms = 100", "latency_limit_ms = 0.5", "from 1 to 3600000"),
        (
            "latency_limit_ms = 100",
            "latency_percent = 5",
            "no effect without bandit.latency_limit_ms",
        ),
        (WHOLE, "latency_percent = 101", "bandit.latency_percent is 101"),
        (WHOLE, "memory = 99", "a whole number from 100 to 100000000"),
        (WHOLE, "update_every_ms = 9", "bandit.update_every_ms is 9"),
        ("= 5000 }, {", "= 9900 }, {", "the basis points of split add up to 14900"),
        (
            "basis_points = 5000 }, { version = \"2\", basis_points = 5000 }",
            "basis_points = 9850 }, { version = \"2\", basis_points = 150 }",
            "version '2' begins with 1.5 %, less than floor_percent, which is 2",
        ),
        (
            "{ version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }",
            "{ version = \"1\", basis_points = 10000 }",
            "needs two versions or more",
        ),
        (
            "bandit = {",
            "experiment = { control = \"1\", candidate = \"2\" }\nbandit = {",
            "an experiment needs parts that stay",
        ),
    ] {
        let text = entry("a") + &BANDIT.replacen(from, to, 1);
        let error = Routes::from_toml(&text).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(complaint) && error.contains("models[0] 'digits'"), "{error}");
    }
}
