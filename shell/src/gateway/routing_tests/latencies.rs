//! Of how long endpoints take, failures say little.

use super::*;

/// Two that answer after ten milliseconds, and one that fails at once, or after as long.
fn two_and_one_that_fails(settings: &str, after: Duration) -> Bench {
    let answers = Does::Takes(Duration::from_millis(10));
    let fails = Does::TakesAndSays(after, status(500));
    let alone = "retries = { attempts = 1, hedging = false }\n";
    bench(&[answers.clone(), answers, fails], &(DIGITS.to_owned() + alone + settings))
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_at_once_gets_what_its_breaker_allows_and_no_more() {
    let bench = two_and_one_that_fails("", Duration::ZERO);
    for _ in 0..100 {
        let _ = bench.send().await;
    }
    assert_eq!(bench.fake("c").asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn failures_that_come_at_once_draw_nothing_to_their_endpoint_now_nor_later() {
    let spared = "health = { most_ejected_percent = 0 }\n";
    for took in [0, 1, 10] {
        let bench = two_and_one_that_fails(spared, Duration::from_millis(took));
        // Slow starts are over.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut asked = [0, 0];
        for half in &mut asked {
            let before = bench.fake("c").asked();
            for _ in 0..1000 {
                let _ = bench.send().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            *half = bench.fake("c").asked() - before;
        }
        // Of three that are alike each is asked by a third.
        assert!(asked.iter().all(|&asked| asked < 450), "{asked:?} of 1000, {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_found_out_by_the_first_request_that_draws_it() {
    let answers = || Does::Takes(Duration::from_millis(10));
    let bench = bench(&[answers(), answers(), answers()], DIGITS);
    bench.publish(&(["a", "b"].map(entry).concat() + DIGITS)).unwrap();
    for _ in 0..100 {
        bench.send().await.unwrap();
    }
    bench.publish(&(["a", "b", "c"].map(entry).concat() + DIGITS)).unwrap();
    let mut requests = 0;
    while bench.fake("c").asked() == 0 {
        bench.send().await.unwrap();
        requests += 1;
    }
    // Two of three are drawn.
    assert!(requests <= 20, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn of_an_endpoint_that_gets_only_copies_a_copy_says_how_long_it_takes() {
    let fast = Does::Takes(Duration::from_millis(1));
    let bench = bench(&[fast, Does::Takes(Duration::from_millis(80))], SHADOWED);
    let latency = |bench: &Bench| {
        let (request, hints) = (InferRequest::default(), Hints::default());
        let explained = bench.gateway.explain("next", None, &request, &hints).unwrap();
        explained.candidates[0].latency_ms
    };
    bench.send().await.unwrap();
    assert_eq!(latency(&bench), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let known = latency(&bench).unwrap();
    assert!((known - 80.0).abs() < 1.5, "{known}");
}
