use super::*;
use crate::client::mock::{Mock, Reply};
use std::sync::atomic::{AtomicU64, Ordering};

const ANSWER: &str =
    r#"{"model_name":"m","outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[7]}]}"#;

fn load(mock: &Mock, pace: Pace) -> Load {
    Load {
        url: mock.url.clone(),
        model: "m".into(),
        version: None,
        bodies: vec![Body { bytes: "{}".into(), header_length: None }],
        binary: false,
        connections: 2,
        pace,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(300),
        most: u64::MAX,
        timeout: std::time::Duration::from_millis(150),
    }
}

/// Puts a load on a server that answers infer requests as `infer` says, given their number.
async fn measure(
    infer: impl Fn(u64) -> Reply + Send + Sync + 'static,
    change: impl FnOnce(&mut Load),
) -> Report {
    let count = AtomicU64::new(0);
    let mock = Mock::start(move |path| match path.ends_with("/infer") {
        true => infer(count.fetch_add(1, Ordering::Relaxed)),
        false => Reply::Answer(404, r#"{"error":"no statistics"}"#.into()),
    });
    let mock = mock.await;
    let mut load = load(&mock, Pace::Closed);
    change(&mut load);
    let mut client = Client::new(mock.url.clone());
    let local = tokio::task::LocalSet::new();
    local.run_until(load.run(&mut client, false)).await.unwrap()
}

fn after(millis: u64) -> Reply {
    Reply::After(std::time::Duration::from_millis(millis), ANSWER.into())
}

#[tokio::test]
async fn a_number_of_requests_is_kept_exactly_without_a_time_limit() {
    let report = measure(
        |_| after(0),
        |load| {
            load.duration = Duration::MAX;
            load.most = 100;
        },
    );
    let report = report.await;
    assert_eq!((report.succeeded, report.failed(), report.samples.len()), (100, 0, 100));
    assert_eq!(report.answer[0].name, "y");
    assert_eq!(report.executions, None);
}

#[tokio::test]
async fn a_server_that_cannot_keep_up_is_measured_and_what_was_not_sent_is_counted() {
    // Two connections at 20 ms each: a hundred a second at best, and a thousand are due.
    let report = measure(|_| after(20), |load| load.pace = Pace::Open(1000.0)).await;
    assert!((1..60).contains(&report.succeeded), "{}", report.succeeded);
    assert_eq!(report.succeeded + report.unsent, 300);
    // The last one sent had waited for most of the measurement.
    let slowest = report.sorted_latencies().pop().unwrap();
    assert!(slowest > 100.0, "{slowest} ms");
}

#[tokio::test]
async fn a_server_that_keeps_up_gets_every_request_that_is_due() {
    let report = measure(|_| after(0), |load| load.pace = Pace::Open(200.0)).await;
    assert_eq!((report.succeeded, report.unsent), (60, 0));
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_a_report() {
    let report = measure(|number| if number < 40 { after(5) } else { Reply::Cut }, |_| {}).await;
    assert!(report.succeeded > 0 && report.errors["no answer"] > 0, "{:?}", report.errors);
    assert!(report.first_error.unwrap().contains("broke off"));
}

#[tokio::test]
async fn silence_and_empty_answers_are_failures() {
    let report =
        measure(|number| if number < 40 { after(5) } else { Reply::Silence }, |_| {}).await;
    assert!(report.errors["timed out"] > 0, "{:?}", report.errors);
    let empty = |number| match number {
        0 => after(0),
        _ => Reply::After(std::time::Duration::from_millis(5), String::new()),
    };
    let report = measure(empty, |_| {}).await;
    assert_eq!(report.succeeded, 0);
    assert!(report.errors["not an answer"] > 0, "{:?}", report.errors);
}
