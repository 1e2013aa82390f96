//! What may be set of a model, as requests feel it.

use super::*;

fn set(settings: &str) -> String {
    IN_TURN.to_owned() + settings
}

#[tokio::test]
async fn as_many_endpoints_are_asked_as_attempts_are_set() {
    for attempts in 1..=4 {
        let settings = format!("retries = {{ attempts = {attempts} }}\n");
        let bench = bench(&[down(), down(), down(), down()], &set(&settings));
        let error = bench.send().await.unwrap_err();
        let GatewayError::NoEndpoint { taken, .. } = error else { panic!("{error}") };
        assert_eq!(taken.attempts, attempts);
    }
}

#[tokio::test]
async fn retries_are_as_many_as_the_budget_says() {
    for (settings, retried) in [
        ("retries = { percent = 0, per_second = 0, saved = 0 }\n", 0),
        ("retries = { percent = 50, per_second = 0 }\n", 10),
        ("retries = { percent = 1000, per_second = 0 }\n", 20),
    ] {
        let two = bench(&[down(), down()], &set(settings));
        let mut attempts = 0;
        for _ in 0..20 {
            let error = two.send().await.unwrap_err();
            let GatewayError::NoEndpoint { taken, .. } = error else { panic!("{error}") };
            attempts += taken.attempts;
        }
        assert_eq!(attempts, 20 + retried, "{settings}");
    }
}

#[tokio::test(start_paused = true)]
async fn hedging_is_a_models_own_choice() {
    let hedged = async |settings: &str| {
        let bench = bench(&[Does::Answers, Does::Answers], &set(settings));
        for _ in 0..300 {
            bench.send().await.unwrap();
        }
        *lock(&bench.fake("a").does) = Does::Takes(Duration::from_secs(1));
        let mut hedged = 0;
        for _ in 0..4 {
            hedged += u32::from(bench.send().await.unwrap().1.hedged);
        }
        hedged
    };
    assert_eq!(hedged("retries = { hedging = false }\n").await, 0);
    assert!(hedged("retries = { hedging = true }\n").await > 0);
}

/// How many of four endpoints that fail are ejected.
async fn ejected(settings: &str) -> usize {
    let bench = bench(&[down(), down(), down(), down()], &set(settings));
    for _ in 0..100 {
        let _ = bench.send().await;
    }
    let explained = bench.explain(json!({}));
    explained.candidates.iter().filter(|candidate| candidate.health == "ejected").count()
}

#[tokio::test]
async fn no_more_are_ejected_than_may_be() {
    assert_eq!(ejected("").await, 2);
    assert_eq!(ejected("health = { most_ejected_percent = 0 }\n").await, 0);
    assert_eq!(ejected("health = { most_ejected_percent = 25 }\n").await, 1);
    assert_eq!(ejected("health = { most_ejected_percent = 100 }\n").await, 4);
}

#[tokio::test]
async fn another_share_that_may_be_ejected_holds_from_the_next_table_on() {
    let bench = bench(&[down(), down(), down(), down()], &set(""));
    let cap = || bench.gateway.plan.load().models["digits"].seats[0].version.cap.load_full();
    let entries: String = ["a", "b", "c", "d"].iter().map(|name| entry(name)).collect();
    let first = cap();
    bench.publish(&(entries.clone() + &set(""))).unwrap();
    assert!(Arc::ptr_eq(&first, &cap()), "the same share counts on");
    bench.publish(&(entries + &set("health = { most_ejected_percent = 75 }\n"))).unwrap();
    assert_eq!(cap().most(4), 3);
}

#[tokio::test]
async fn below_the_panic_threshold_that_is_set_health_does_not_count() {
    for (settings, admission) in
        [("", "healthy"), ("health = { panic_below_percent = 60 }\n", "panic")]
    {
        let bench = bench(&[Does::Answers, Does::Answers], &set(settings));
        bench.fake("a").is_ready.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            bench.gateway.probe().await;
        }
        assert_eq!(bench.send().await.unwrap().1.admission, admission);
    }
}

#[tokio::test(start_paused = true)]
async fn what_recovers_is_explored_by_as_many_requests_as_are_set() {
    for (settings, explored) in [
        ("health = { explore_percent = 0 }\n", false),
        ("health = { explore_percent = 100 }\n", true),
    ] {
        let bench = bench(&[down(), Does::Answers], &set(settings));
        for _ in 0..20 {
            bench.send().await.unwrap();
        }
        *lock(&bench.fake("a").does) = Does::Answers;
        let asked = bench.fake("a").asked();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(bench.explain(json!({})).candidates[0].health, "recovering");
        for _ in 0..20 {
            bench.send().await.unwrap();
        }
        assert_eq!(bench.fake("a").asked() > asked, explored, "{settings}");
    }
}

#[tokio::test]
async fn a_load_factor_says_how_far_a_key_stays_at_home() {
    let spread = async |factor: &str| {
        let models = format!(
            "[[models]]\nname = \"digits\"\npolicy = \"sticky\"\naffinity = {{ {factor} }}\n\
             retries = {{ hedging = false }}\n"
        );
        let bench = Arc::new(bench(&[Does::Hangs, Does::Hangs, Does::Hangs, Does::Hangs], &models));
        for _ in 0..16 {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.send_with(json!({ "sticky_key": "one" }), &[]).await });
            tokio::task::yield_now().await;
        }
        let asked = |name: &&str| bench.fake(name).asked();
        while ["a", "b", "c", "d"].iter().map(asked).sum::<usize>() < 16 {
            tokio::task::yield_now().await;
        }
        ["a", "b", "c", "d"].iter().map(asked).max().unwrap()
    };
    // A quarter more than a fourth of 16, and all of them.
    assert_eq!(spread("load_factor = 1.25").await, 5);
    assert_eq!(spread("load_factor = 100").await, 16);
}

#[tokio::test]
async fn a_shadow_has_the_budget_that_is_set() {
    for (settings, copies) in [("most_at_once = 2", 2), ("shed_from_percent = 0.1", 10)] {
        let models = SHADOWED.replace("percent = 100", &format!("percent = 100, {settings}"));
        let bench = bench(&[Does::Answers, Does::Hangs], &models);
        for _ in 0..10 {
            bench.send().await.unwrap();
            tokio::task::yield_now().await;
        }
        let figures = bench.gateway.shadows().remove(0);
        assert_eq!((figures.copies, figures.shed), (copies, 10 - copies), "{settings}");
    }
}

#[tokio::test]
async fn a_shadow_gets_nothing_from_the_load_on_that_is_set() {
    let models = SHADOWED.replace("percent = 100", "percent = 100, shed_from_percent = 50");
    let bench = Arc::new(bench(&[Does::Hangs, Does::Hangs], DIGITS));
    bench.publish(&(entry("a") + "limit = 4\n" + &entry("b") + &models)).unwrap();
    // Two of four are half of what it can carry.
    for _ in 0..2 {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.send().await });
    }
    while bench.fake("a").asked() < 2 {
        tokio::task::yield_now().await;
    }
    *lock(&bench.fake("a").does) = Does::Answers;
    bench.send().await.unwrap();
    let figures = bench.gateway.shadows().remove(0);
    assert_eq!((figures.copies, figures.shed), (0, 1));
}
