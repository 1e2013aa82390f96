//! Requests that wait for endpoints that are full.

use super::room::{Held, fill, held_with, send};
use super::*;
use tokio::task::JoinHandle;

type Sent = JoinHandle<Result<RouteTaken, GatewayError>>;

/// Requests of these priorities that have come one after the other, and wait.
async fn waiting(gateway: &Arc<Gateway>, priorities: &[u64]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for &priority in priorities {
        let (asking, before) = (Arc::clone(gateway), gateway.waiting.count());
        sent.push(tokio::spawn(async move { send(&asking, priority).await }));
        while gateway.waiting.count() == before {
            tokio::task::yield_now().await;
        }
    }
    sent
}

fn came(held: &Held) -> Vec<u64> {
    lock(&held.came).clone()
}

/// Lets requests go one by one, each after the next one has come.
async fn let_go(held: &Held, many: usize) {
    for _ in 0..many {
        let before = came(held).len();
        held.answers.add_permits(1);
        while came(held).len() == before {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn they_are_answered_by_priority_and_then_in_the_order_in_which_they_came() {
    let (gateway, held) = held_with("limit = 1\n", DIGITS, 10);
    fill(&gateway, &held, 0, 1).await;
    let sent = waiting(&gateway, &[1, 0, 7, 3, 7]).await;
    let_go(&held, 5).await;
    held.answers.add_permits(1);
    assert_eq!(came(&held), [0, 7, 7, 3, 1, 0]);
    for request in sent {
        let taken = request.await.unwrap().unwrap();
        assert!(taken.waited.is_some() && taken.attempts == 1, "{taken:?}");
    }
    assert_eq!(gateway.waiting.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_waits_no_longer_than_its_time_and_than_the_gateway_gives_it() {
    let (gateway, held) = held_with("limit = 1\n", DIGITS, 10);
    // Hangs until its attempt is given up after ten seconds; the next one takes its place.
    for _ in 0..3 {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { send(&gateway, 7).await });
    }
    while held.here.load(Ordering::Relaxed) == 0 || gateway.waiting.count() < 2 {
        tokio::task::yield_now().await;
    }
    let began = gateway.clock.now();
    let mut request = InferRequest::default();
    request.parameters.insert("timeout".into(), 2_000_000.into());
    let late = gateway.infer("digits", None, request, &Hints::default()).await.unwrap_err();
    assert!(matches!(late, GatewayError::TimedOut { .. }), "{late:?}");
    let waited: Duration = gateway.clock.now().since(began).into();
    assert!((1_999..2_010).contains(&waited.as_millis()), "{waited:?}");

    let refused = send(&gateway, 0).await.unwrap_err();
    let waited: Duration = gateway.clock.now().since(began).into();
    // Nine tenths of thirty seconds: what else there is to be done has time.
    assert!(matches!(refused, GatewayError::Overloaded { .. }), "{refused:?}");
    assert!((28_999..29_010).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn an_endpoint_that_joins_takes_those_that_wait_already() {
    let bench = bench(&[Does::Hangs, Does::Answers], DIGITS);
    let only = entry("a") + "limit = 1\n" + DIGITS;
    bench.publish(&only).unwrap();
    let gateway = &bench.gateway;
    let first = waiting_to_hang(&bench).await;
    let sent = waiting(gateway, &[0, 0, 0]).await;
    gateway.join(crate::routing::EndpointEntry::new("b", "http://b:1")).unwrap();
    for request in sent {
        assert_eq!(request.await.unwrap().unwrap().endpoint.as_deref(), Some("b"));
    }
    assert_eq!(bench.fake("a").asked(), 1);
    first.abort();
}

/// A request that is at the endpoint `a` for ever.
async fn waiting_to_hang(bench: &Bench) -> Sent {
    let asking = Arc::clone(&bench.gateway);
    let first = tokio::spawn(async move { send(&asking, 0).await });
    while bench.fake("a").asked() == 0 {
        tokio::task::yield_now().await;
    }
    first
}

#[tokio::test]
async fn a_model_whose_routes_go_while_its_requests_wait_is_answered_as_one_without() {
    let bench = bench(&[Does::Hangs], DIGITS);
    bench.publish(&(entry("a") + "limit = 1\n" + DIGITS)).unwrap();
    let first = waiting_to_hang(&bench).await;
    let sent = waiting(&bench.gateway, &[0]).await;
    bench.publish(&entry("a")).unwrap();
    for request in sent {
        // This process has no model of that name.
        let error = request.await.unwrap().unwrap_err();
        let GatewayError::Endpoint { error, .. } = error else { panic!("{error:?}") };
        assert_eq!(*error, status(404));
    }
    first.abort();
}

#[tokio::test]
async fn room_at_an_endpoint_goes_to_whichever_model_waits_for_it() {
    let models = DIGITS.to_owned() + &DIGITS.replace("digits", "letters");
    let (gateway, held) = held_with("limit = 1\n", &models, 10);
    fill(&gateway, &held, 0, 1).await;
    let asking = Arc::clone(&gateway);
    let letters = tokio::spawn(async move {
        asking.infer("letters", None, InferRequest::default(), &Hints::default()).await
    });
    while gateway.waiting.count() == 0 {
        tokio::task::yield_now().await;
    }
    held.answers.add_permits(2);
    assert_eq!(letters.await.unwrap().unwrap().0.model_name, "letters");
}

#[tokio::test]
async fn a_full_line_refuses_and_makes_room_for_what_matters_more() {
    let (gateway, held) = held_with("limit = 1\n", DIGITS, 2);
    fill(&gateway, &held, 0, 1).await;
    let mut sent = waiting(&gateway, &[1, 1]).await;
    let refused = send(&gateway, 1).await.unwrap_err();
    assert!(matches!(refused, GatewayError::Overloaded { .. }), "{refused:?}");
    let asking = Arc::clone(&gateway);
    let important = tokio::spawn(async move { send(&asking, 5).await });
    let displaced = sent.pop().unwrap().await.unwrap().unwrap_err();
    assert!(matches!(displaced, GatewayError::Overloaded { .. }), "{displaced:?}");
    held.answers.add_permits(3);
    assert!(important.await.unwrap().is_ok() && sent.pop().unwrap().await.unwrap().is_ok());
    assert_eq!(came(&held), [0, 5, 1]);
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_the_line() {
    let (gateway, held) = held_with("limit = 1\n", DIGITS, 10);
    fill(&gateway, &held, 0, 1).await;
    let sent = waiting(&gateway, &[5, 1]).await;
    sent[0].abort();
    let_go(&held, 1).await;
    held.answers.add_permits(1);
    assert_eq!(came(&held), [0, 1]);
    assert!(
        gateway.metrics().contains("tensorforge_route_waited_requests_total{model=\"digits\"} 2")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_all_are_answered_and_never_more_than_the_limit_are_there() {
    let (gateway, held) = held_with("limit = 3\n", DIGITS, 1_000);
    held.answers.add_permits(600);
    let requests: Vec<Sent> = (0..600)
        .map(|number| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { send(&gateway, number % 8).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert!(held.most() <= 3);
    assert_eq!((came(&held).len(), gateway.waiting.count()), (600, 0));
}

#[tokio::test]
async fn the_ill_are_not_asked_while_the_healthy_are_only_full() {
    let bench = bench(&[Does::Takes(Duration::from_millis(1)), down()], IN_TURN);
    for _ in 0..50 {
        bench.send().await.unwrap();
    }
    let (_, taken) = bench.send().await.unwrap();
    assert_eq!(taken.excluded, [("b".to_owned(), "ejected")]);
    let table = entry("a") + "limit = 1\n" + &entry("b") + IN_TURN;
    bench.publish(&table).unwrap();
    let before = bench.fake("b").asked();
    let gateway = &bench.gateway;
    let sent: Vec<Sent> = (0..20)
        .map(|_| {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move { send(&gateway, 0).await })
        })
        .collect();
    for request in sent {
        let taken = request.await.unwrap().unwrap();
        assert_eq!((taken.endpoint.as_deref(), taken.attempts), (Some("a"), 1));
    }
    assert_eq!(bench.fake("b").asked(), before);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_recovers_is_filled_at_once_with_those_that_wait() {
    let bench = bench(&[Does::Takes(Duration::from_secs(1)), Does::Answers], IN_TURN);
    // One is full, the other has not the model; then it has.
    let table = entry("a") + "limit = 1\n" + &entry("b") + IN_TURN;
    *lock(&bench.fake("b").does) = Does::Says(status(404));
    bench.publish(&table).unwrap();
    bench.gateway.probe().await;
    let sent = waiting_all(&bench.gateway, 40).await;
    *lock(&bench.fake("b").does) = Does::Answers;
    let began = bench.gateway.clock.now();
    bench.gateway.probe().await;
    for request in sent {
        request.await.unwrap().unwrap();
    }
    let took: Duration = bench.gateway.clock.now().since(began).into();
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    assert!(bench.fake("b").asked() > 30);
}

/// One at an endpoint, and so many that wait.
async fn waiting_all(gateway: &Arc<Gateway>, many: usize) -> Vec<Sent> {
    let sent = (0..=many)
        .map(|_| {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move { send(&gateway, 0).await })
        })
        .collect();
    while gateway.waiting.count() < many {
        tokio::task::yield_now().await;
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn one_that_only_waited_says_nothing_about_its_version() {
    let models = DIGITS.to_owned()
        + "split = [{ version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n\
           experiment = { control = \"1\", candidate = \"2\" }\n";
    let bench = bench(&[Does::Takes(Duration::from_secs(1))], &models);
    bench.publish(&(entry("a") + "limit = 1\n" + &models)).unwrap();
    let asking = Arc::clone(&bench.gateway);
    let first = tokio::spawn(async move { send(&asking, 0).await });
    while bench.fake("a").asked() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        let late = bench.send_with(json!({ "timeout": 1_000 }), &[]).await.unwrap_err();
        assert!(matches!(late, GatewayError::TimedOut { .. }), "{late:?}");
    }
    first.await.unwrap().unwrap();
    let [figures] = &bench.gateway.experiments()[..] else { panic!("one experiment") };
    assert_eq!(figures.control.requests + figures.candidate.requests, 1, "the one that was asked");
}
