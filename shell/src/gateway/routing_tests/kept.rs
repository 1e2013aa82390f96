//! Answers are kept after they are given, and forgotten in time.

use super::scripted::{Scripted, answer, keeping, metadata, output, rows, send, spec};
use super::*;
use std::sync::OnceLock;
use std::sync::mpsc::channel;

fn is_kept(result: &Result<(InferResponse, RouteTaken), GatewayError>) -> bool {
    result.as_ref().is_ok_and(|(_, taken)| taken.stale_ms.is_some())
}

fn fails(endpoint: &Scripted) {
    endpoint.does(|_, _| Err(EndpointError::Unreachable("planted".into())));
}

/// Rows that are too many to be hashed at once: such an answer waits to be kept.
const MANY: usize = 1_000;

/// A runtime whose one thread for what blocks is busy until the sender says otherwise.
fn with_a_busy_thread(test: impl AsyncFnOnce(std::sync::mpsc::Sender<()>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (free, wait) = channel();
    runtime.block_on(async {
        drop(tokio::task::spawn_blocking(move || wait.recv()));
        test(free).await;
    });
}

#[test]
fn a_small_answer_is_kept_at_once_unless_others_wait_before_it() {
    with_a_busy_thread(async |free| {
        let endpoint = Scripted::new();
        let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
        send(&gateway, None, rows(1)).await.unwrap();
        assert_eq!(gateway.kept_answers().unwrap().kept, 1);
        send(&gateway, None, rows(MANY)).await.unwrap();
        send(&gateway, None, rows(2)).await.unwrap();
        assert_eq!(gateway.kept_answers().unwrap().kept, 1);
        free.send(()).unwrap();
        fails(&endpoint);
        assert!(is_kept(&send(&gateway, None, rows(2)).await));
        assert_eq!(gateway.kept_answers().unwrap().kept, 3);
    });
}

#[test]
fn an_answer_is_given_before_it_is_kept() {
    with_a_busy_thread(async |free| {
        let endpoint = Scripted::new();
        let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
        // Nothing can be kept meanwhile, and nobody waits for that.
        for count in 1..=10 {
            send(&gateway, None, rows(MANY + count)).await.unwrap();
        }
        assert_eq!(gateway.kept_answers().unwrap().kept, 0);
        free.send(()).unwrap();
        fails(&endpoint);
        for count in 1..=10 {
            assert!(is_kept(&send(&gateway, None, rows(MANY + count)).await));
        }
        assert_eq!((gateway.kept_answers().unwrap().kept, gateway.dropped_answers()), (10, 0));
    });
}

#[test]
fn more_answers_than_may_wait_are_not_kept_and_counted() {
    with_a_busy_thread(async |free| {
        let endpoint = Scripted::new();
        let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
        for _ in 0..1034 {
            send(&gateway, None, rows(MANY + 1)).await.unwrap();
        }
        assert_eq!(gateway.dropped_answers(), 10);
        // Nor more bytes, however few requests they are.
        send(&gateway, None, rows((33 << 20) / 12)).await.unwrap();
        assert_eq!(gateway.dropped_answers(), 11);
        free.send(()).unwrap();
        fails(&endpoint);
        assert!(is_kept(&send(&gateway, None, rows(MANY + 1)).await));
        assert_eq!(gateway.kept_answers().unwrap().kept, 1024);
    });
}

#[test]
fn an_answer_that_waits_to_be_kept_is_forgotten_with_the_others() {
    with_a_busy_thread(async |free| {
        let endpoint = Scripted::new();
        let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
        send(&gateway, None, rows(MANY + 1)).await.unwrap();
        gateway.forget_answers("digits");
        send(&gateway, None, rows(MANY + 2)).await.unwrap();
        free.send(()).unwrap();
        fails(&endpoint);
        assert!(!is_kept(&send(&gateway, None, rows(MANY + 1)).await));
        assert!(is_kept(&send(&gateway, None, rows(MANY + 2)).await), "the next one gave this");
    });
}

#[test]
fn what_waits_ends_with_the_gateway() {
    with_a_busy_thread(async |free| {
        let gateway = keeping(&[Scripted::new()], DIGITS);
        send(&gateway, None, rows(MANY + 1)).await.unwrap();
        drop(gateway);
        free.send(()).unwrap();
        // The thread is there for others.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    });
}

#[tokio::test]
async fn an_answer_under_way_when_its_model_changes_is_not_kept() {
    let endpoint = Scripted::new();
    let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
    let changes = Arc::new(OnceLock::from(Arc::downgrade(&gateway)));
    endpoint.does(move |version, request| {
        // It is the former model that answers.
        changes.get().and_then(std::sync::Weak::upgrade).unwrap().forget_answers("digits");
        Ok(answer(version, request, vec![output(&[1, 2])]))
    });
    send(&gateway, None, rows(1)).await.unwrap();
    fails(&endpoint);
    assert!(!is_kept(&send(&gateway, None, rows(1)).await));
}

#[tokio::test]
async fn answers_are_forgotten_when_probes_are_told_of_another_model() {
    let changed = [
        metadata("2", &[spec("y", &[-1, 2])]),
        metadata("1", &[spec("y", &[-1, -1])]),
        ModelMetadata {
            versions: vec!["0".into(), "1".into()],
            ..metadata("1", &[spec("y", &[-1, 2])])
        },
    ];
    for other in changed {
        let endpoint = Scripted::new();
        let gateway = keeping(&[Arc::clone(&endpoint)], DIGITS);
        gateway.probe().await;
        send(&gateway, None, rows(1)).await.unwrap();
        fails(&endpoint);
        for _ in 0..20 {
            gateway.probe().await;
            assert!(is_kept(&send(&gateway, None, rows(1)).await), "it is as it was");
        }
        *lock(&endpoint.metadata) = Ok(other);
        for _ in 0..10 {
            gateway.probe().await;
        }
        assert!(!is_kept(&send(&gateway, None, rows(1)).await));
    }
}
