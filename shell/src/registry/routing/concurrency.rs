//! Requests of several threads, through the service and its scheduler, while models come and go.

use super::*;
use crate::batch_scheduler::BatchScheduler;
use crate::contracts::InferRequest;
use crate::service::{InferError, Service};
use std::sync::atomic::AtomicBool;

fn service(repository: &Repository, workers: usize) -> Arc<Service> {
    let registry = repository.explicit();
    let clock = registry.places.clock;
    let scheduler = BatchScheduler::start(clock, workers).unwrap();
    Arc::new(Service::new(clock, registry, scheduler).unwrap())
}

fn request(value: f32) -> InferRequest {
    let inputs = vec![Tensor::from_f32("x", vec![1, 1], &[value])];
    InferRequest { inputs, ..InferRequest::default() }
}

/// What the model adds to 1, by an answer of the service.
async fn ask(service: &Service, name: &str, version: Option<&str>) -> Result<f32, InferError> {
    let response = service.infer(name, version, request(1.0)).await?;
    Ok(response.outputs[0].to_f32().unwrap()[0] - 1.0)
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits until `count` is another; a client that has failed ends the test instead.
fn until_more(
    count: &AtomicUsize,
    clients: &[std::thread::ScopedJoinHandle<'_, ()>],
    over: &AtomicBool,
) {
    let before = count.load(Ordering::SeqCst);
    while count.load(Ordering::SeqCst) == before {
        if clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            over.store(true, Ordering::SeqCst);
            return;
        }
        std::thread::yield_now();
    }
}

/// 100 times a new file takes the old one's place. No request fails, each is answered by a version that was
/// served between its start and its end, and nobody sees an old one after a new one.
#[test]
fn no_request_fails_while_versions_are_swapped() {
    const SWAPS: usize = 100;
    let repository = Repository::new();
    repository.put("m", "1", "0");
    repository.write("m/labels.toml", "stable = 1");
    let service = service(&repository, 2);
    service.load("m", None).unwrap();
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let client = |thread: usize| {
            let version = [None, Some("1"), Some("stable")][thread % 3];
            let (service, begun, done, over, answered) =
                (&service, &begun, &done, &over, &answered);
            scope.spawn(move || {
                block_on(async {
                    let mut last = 0.0;
                    while !over.load(Ordering::SeqCst) {
                        let oldest = done.load(Ordering::SeqCst) as f32;
                        let got = ask(service, "m", version).await.expect("no request fails");
                        let newest = begun.load(Ordering::SeqCst) as f32;
                        assert!((oldest..=newest).contains(&got), "{got} of {oldest} to {newest}");
                        assert!(got >= last, "{got} after {last}");
                        last = got;
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            })
        };
        let clients: Vec<_> = (0..4).map(client).collect();
        for swap in 1..=SWAPS {
            // Not before there were requests between this swap and the one before.
            until_more(&answered, &clients, &over);
            repository.put("m", "1", &swap.to_string());
            begun.store(swap, Ordering::SeqCst);
            service.load("m", None).unwrap();
            done.store(swap, Ordering::SeqCst);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(answered.load(Ordering::SeqCst) >= SWAPS);
    until_held(service.registry(), 1);
    assert_eq!(repository.seen.alive(), 1, "every old one is freed");
    let figures = service.statistics(Some("m"), None).unwrap();
    assert_eq!(figures[0].pending, 0);
    let steps = repository.steps.of("m/1");
    assert_eq!(steps.iter().filter(|step| *step == "archived").count(), SWAPS);
}

/// The other way round: while a model is unloaded and loaded in turn, requests are answered or told that it
/// is not ready, and nothing else happens to them.
#[test]
fn requests_are_answered_or_told_that_the_model_is_not_there() {
    let repository = Repository::new();
    repository.put("m", "1", "7");
    let service = service(&repository, 2);
    let over = AtomicBool::new(false);
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let client = |_| {
            scope.spawn(|| {
                block_on(async {
                    while !over.load(Ordering::SeqCst) {
                        let count = match ask(&service, "m", None).await {
                            Ok(got) => {
                                assert_eq!(got, 7.0);
                                &answered
                            }
                            Err(InferError::Lookup(LookupError::NotReady { .. })) => &refused,
                            Err(error) => panic!("{error}"),
                        };
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            })
        };
        let clients: Vec<_> = (0..3).map(client).collect();
        for _ in 0..50 {
            service.load("m", None).unwrap();
            until_more(&answered, &clients, &over);
            service.unload("m").unwrap();
            until_more(&refused, &clients, &over);
        }
        over.store(true, Ordering::SeqCst);
    });
    until_held(service.registry(), 0);
    assert_eq!(repository.seen.alive(), 0);
}

/// A number that is used again brings nothing of the model that had it: not its open circuit either.
#[test]
fn a_number_used_again_brings_nothing_of_its_old_model() {
    let repository = Repository::new();
    repository.put("bad", "1", "0 warm");
    repository.put("good", "1", "5");
    repository.write("bad/config.toml", "escalate = true\npreserve_order = true");
    repository.write("good/config.toml", "escalate = true\nwarm_up = false");
    let service = service(&repository, 1);
    service.load("bad", None).unwrap();
    let bad_id = service.registry().find("bad", None).unwrap().id;
    block_on(async {
        let gives_up = |error: &InferError| match error {
            InferError::Run { source, .. } => source.is_overload(),
            _ => false,
        };
        // Until it is not even tried.
        while !gives_up(&ask(&service, "bad", None).await.unwrap_err()) {}
    });
    service.unload("bad").unwrap();
    until_held(service.registry(), 0);
    // Numbers that nobody had come first.
    loop {
        service.load("good", None).unwrap();
        let id = service.registry().find("good", None).unwrap().id;
        if id == bad_id {
            break;
        }
        service.unload("good").unwrap();
        until_held(service.registry(), 0);
    }
    assert_eq!(block_on(ask(&service, "good", None)).unwrap(), 5.0);
}

/// Dropped before it is answered, a request lets go of its model as well.
#[test]
fn a_request_that_is_given_up_lets_go_of_its_model() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.write("m/config.toml", "max_wait = \"1h\"");
    let service = service(&repository, 1);
    service.load("m", None).unwrap();
    block_on(async {
        let waiting = service.infer("m", None, request(1.0));
        let mut waiting = Box::pin(waiting);
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())
        });
        assert!(polled.await, "it waits for company for an hour");
        service.unload("m").unwrap();
        assert_eq!(service.pending(), 1, "in hand, though its model is not found any more");
        assert_eq!(repository.seen.alive(), 1);
        drop(waiting);
    });
    until_held(service.registry(), 0);
    assert_eq!(repository.seen.alive(), 0);
    assert_eq!(service.pending(), 0);
}

#[test]
fn a_service_that_drains_changes_no_models() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    let service = service(&repository, 1);
    service.load("m", None).unwrap();
    block_on(service.drain());
    assert_eq!(service.load("m", None), Err(ChangeError::Draining));
    assert_eq!(service.unload("m"), Err(ChangeError::Draining));
    assert!(!service.is_ready());
}
