//! What the time that a request has makes of its way.

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn micros(time: Duration) -> serde_json::Value {
    json!({ "timeout": u64::try_from(time.as_micros()).unwrap() })
}

fn passed(bench: &Bench, began: tensorforge_core::Instant) -> Duration {
    bench.gateway.clock.now().since(began).into()
}

fn told(fake: &Fake) -> Vec<Option<u64>> {
    let asked = lock(&fake.asked);
    asked.iter().map(|(_, _, parameters)| parameters.get("timeout")?.as_u64()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_own_time_is_over_speaks_against_nobody() {
    let late = Does::TakesAndSays(MS(20), status(504));
    for does in [late, Does::Hangs] {
        let bench = bench(&[does.clone(), does], IN_TURN);
        for _ in 0..50 {
            let began = bench.gateway.clock.now();
            let error = bench.send_with(micros(MS(20)), &[]).await.unwrap_err();
            let GatewayError::Endpoint { error, taken } = error else { panic!("{error}") };
            assert!(matches!(*error, EndpointError::Late(_)), "{error}");
            assert_eq!((taken.attempts, passed(&bench, began)), (1, MS(20)));
        }
        let explained = bench.explain(json!({}));
        assert!(explained.candidates.iter().all(|candidate| candidate.health == "healthy"));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_is_told_what_is_left_of_the_requests_time() {
    let slow = Does::TakesAndSays(MS(30), status(500));
    let bench = bench(&[slow, Does::Answers], IN_TURN);
    bench.send_with(micros(MS(100)), &[]).await.unwrap();
    assert_eq!(told(bench.fake("a")), [Some(100_000)]);
    assert_eq!(told(bench.fake("b")), [Some(70_000)]);
    // Without a timeout of its own there is nothing to tell.
    bench.send().await.unwrap();
    assert_eq!(told(bench.fake("a")).last(), Some(&None));
}

#[tokio::test(start_paused = true)]
async fn no_second_attempt_begins_that_is_not_expected_to_end_in_time() {
    let bench = bench(&[Does::TakesAndSays(MS(60), status(500)), Does::Takes(MS(50))], IN_TURN);
    // What an answer of `b` takes is learned first.
    for _ in 0..2 {
        assert_eq!(bench.send().await.unwrap().1.endpoint.as_deref(), Some("b"));
    }
    let asked = bench.fake("b").asked();
    // One that was not answered before.
    let other = json!({ "timeout": 100_000, "beam": 3 });
    let error = bench.send_with(other, &[]).await.unwrap_err();
    let GatewayError::NoEndpoint { taken, .. } = error else { panic!("{error}") };
    assert_eq!((taken.attempts, bench.fake("b").asked()), (1, asked));
    // It is `b`'s turn, and `a`'s after that; 60 ms and 50 ms are less than 200.
    for _ in 0..2 {
        bench.send_with(micros(MS(200)), &[]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_comes_quickly_is_tried_again_however_long_an_attempt_may_take() {
    let bench = bench(&[down(), Does::Takes(MS(5))], IN_TURN);
    for _ in 0..4 {
        let (_, taken) = bench.send_with(micros(MS(100)), &[]).await.unwrap();
        assert_eq!(taken.endpoint.as_deref(), Some("b"), "100 ms are less than the 10 s of one");
    }
}

#[tokio::test(start_paused = true)]
async fn headroom_leaves_out_who_would_answer_too_late() {
    let models = "[[models]]\nname = \"digits\"\npolicy = \"round_robin\"\n\
                  filters = [\"headroom\"]\nretries = { hedging = false }\n";
    let bench = bench(&[Does::Takes(MS(100)), Does::Takes(MS(10))], models);
    for _ in 0..4 {
        bench.send().await.unwrap();
    }
    for _ in 0..6 {
        let (_, taken) = bench.send_with(micros(MS(50)), &[]).await.unwrap();
        assert_eq!(taken.endpoint.as_deref(), Some("b"));
        assert_eq!(taken.excluded, [("a".to_owned(), "would_miss_deadline")]);
    }
    let asked = bench.fake("a").asked();
    for _ in 0..6 {
        bench.send_with(micros(MS(500)), &[]).await.unwrap();
    }
    assert_eq!(bench.fake("a").asked(), asked + 3, "with time for it, it has its turns");
    let explained = bench.explain(micros(MS(5)));
    assert_eq!(explained.notes, ["all_would_miss_deadline"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_no_more_than_its_models_time() {
    let models = IN_TURN.to_owned() + "retries = { attempt_timeout_ms = 40, hedging = false }\n";
    let bench = bench(&[Does::Hangs, Does::Answers], &models);
    let began = bench.gateway.clock.now();
    let (_, taken) = bench.send().await.unwrap();
    assert_eq!(passed(&bench, began), MS(40));
    assert_eq!(taken.failed, [("a".to_owned(), "no answer within 40ms".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_beyond_the_gateways_is_refused() {
    let bench = bench(&[Does::Answers], DIGITS);
    let table = entry("a") + DIGITS + "retries = { attempt_timeout_ms = 30001 }\n";
    let error = bench.publish(&table).unwrap_err().to_string();
    assert!(error.contains("digits: retries.attempt_timeout_ms is 30001"), "{error}");
    assert!(error.contains("30000 at most"), "{error}");
    let routes = bench.gateway.table().written();
    assert_eq!(routes.models[0].retries, None, "the table before stays");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_has_what_the_model_before_it_left_of_the_time() {
    let models = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\nfallbacks = [\"small\"]\n\
                  [[models]]\nname = \"small\"\nendpoints = [\"b\"]\n";
    let bench = bench(&[Does::TakesAndSays(MS(60), status(500)), Does::Hangs], models);
    let began = bench.gateway.clock.now();
    bench.send_with(micros(MS(100)), &[]).await.unwrap_err();
    assert_eq!(passed(&bench, began), MS(100));
    assert_eq!(told(bench.fake("b")), [Some(40_000)]);
}
