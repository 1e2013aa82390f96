//! Models that requests have loaded.

use super::*;
use crate::batch_scheduler::BatchScheduler;
use crate::contracts::{InferRequest, SHADOW};
use crate::service::{InferError, Service};
use tokio::task::JoinHandle;

/// Runs what waits for loads.
pub(super) fn block_on<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

type Found = Result<Arc<LoadedModel>, DemandError>;

fn demand(registry: &Arc<Registry>, name: &str, timeout: Option<Duration>) -> JoinHandle<Found> {
    let (registry, name) = (Arc::clone(registry), name.to_owned());
    tokio::spawn(async move { registry.demand(&name, None, timeout).await })
}

async fn found(registry: &Arc<Registry>, name: &str, version: Option<&str>) -> Result<f32, String> {
    let found = registry.demand(name, version, None).await;
    found.map(|model| added(&model)).map_err(|error| error.to_string())
}

fn state(registry: &Registry, name: &str) -> (String, String) {
    let index = registry.index();
    let entry = index.iter().find(|entry| entry.name == name).unwrap();
    (entry.state.clone(), entry.reason.clone())
}

#[tokio::test]
async fn requests_for_one_model_share_one_load() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let registry = repository.on_demand(FREE, None);
    assert_eq!(state(&registry, "m").0, "UNAVAILABLE");
    repository.seen.loading.close();
    let requests: Vec<_> = (0..100).map(|_| demand(&registry, "m", None)).collect();
    // Only waits: the load is on a thread of its own.
    while requests.iter().any(|request| request.is_finished())
        || registry.demands.waiting().is_empty()
    {
        tokio::task::yield_now().await;
    }
    repository.seen.loading.until_waiting(1);
    assert_eq!(state(&registry, "m"), ("LOADING".into(), "is being loaded".into()));
    let error = registry.find("m", None).unwrap_err().to_string();
    assert_eq!(error, "model 'm' is not ready: it is being loaded");
    repository.seen.loading.open();
    for request in requests {
        assert_eq!(added(&request.await.unwrap().unwrap()), 5.0);
    }
    assert_eq!(repository.seen.loads(), 1);
    assert_eq!(repository.steps.of("m/1"), UP);
    assert_eq!(state(&registry, "m"), ("READY".into(), String::new()));
}

#[tokio::test]
async fn versions_and_labels_of_what_is_not_loaded_are_known() {
    let repository = Repository::new();
    for version in ["1", "2"] {
        repository.put("m", version, version);
    }
    repository.write("m/labels.toml", "stable = 1");
    let registry = repository.on_demand(DemandLimits { look_every: LONG, ..FREE }, None);
    let error = found(&registry, "m", Some("3")).await.unwrap_err();
    assert!(error.contains("has no version '3'; it has 1, 2, stable"), "{error}");
    assert_eq!(repository.seen.loads(), 0, "nothing is loaded for a version that is not there");
    assert_eq!(found(&registry, "m", Some("stable")).await, Ok(1.0));
    assert_eq!(found(&registry, "m", Some("2")).await, Ok(2.0));
    assert_eq!(repository.seen.loads(), 2, "all versions at once");

    // As it was asked for by name, so it goes; and the next request has it loaded again.
    registry.unload("m").unwrap();
    until_held(&registry, 0);
    assert_eq!(state(&registry, "m").0, "UNAVAILABLE");
    assert_eq!(found(&registry, "m", None).await, Ok(2.0));
}

#[tokio::test]
async fn a_load_that_fails_tells_all_and_is_not_tried_again_for_a_while() {
    let repository = Repository::new();
    repository.put("m", "1", "nonsense");
    let registry = repository.on_demand(DemandLimits { back_off: LONG, ..FREE }, None);
    let requests: Vec<_> = (0..10).map(|_| demand(&registry, "m", None)).collect();
    for request in requests {
        let error = request.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("it is no number"), "{error}");
        assert!(!error.is_overload(), "{error:?}");
        let DemandError::Failed { retry_after, .. } = error else { panic!("{error}") };
        assert!(retry_after <= LONG && retry_after > LONG / 2, "{retry_after:?}");
    }
    assert_eq!(repository.seen.loads(), 1);
    repository.put("m", "1", "5");
    assert!(found(&registry, "m", None).await.is_err(), "it is not looked at again so soon");
    assert_eq!(repository.seen.loads(), 1);
    // Whoever asks by name does not wait for that.
    registry.load("m", None).unwrap();
    registry.unload("m").unwrap();
    assert_eq!(found(&registry, "m", None).await, Ok(5.0), "and what failed before is forgotten");

    // Where nothing is kept of failures, each request tries.
    let registry = repository.on_demand(FREE, None);
    for fault in ["nonsense", "1 panic", "1 cold"] {
        repository.put("m", "1", fault);
        found(&registry, "m", None).await.unwrap_err();
    }
    repository.put("m", "1", "6");
    assert_eq!(found(&registry, "m", None).await, Ok(6.0));
}

#[tokio::test]
async fn what_failed_is_tried_again_when_its_time_has_come() {
    let repository = Repository::new();
    repository.put("m", "1", "nonsense");
    let registry = repository.on_demand(DemandLimits { back_off: LONG, ..FREE }, None);
    found(&registry, "m", None).await.unwrap_err();
    repository.put("m", "1", "5");
    found(&registry, "m", None).await.unwrap_err();
    assert_eq!(repository.seen.loads(), 1);
    tokio::time::pause();
    tokio::time::advance(2 * LONG).await;
    tokio::time::resume();
    assert_eq!(found(&registry, "m", None).await, Ok(5.0));
}

#[test]
fn waits_between_attempts_double_up_to_a_minute() {
    let first = Duration::from_secs(1);
    let seconds = |in_a_row| super::super::on_demand::back_off(first, in_a_row).as_secs();
    assert_eq!([0, 1, 2, 3, 6, 7, 8, u32::MAX].map(seconds), [1, 1, 2, 4, 32, 60, 60, 60]);
    assert_eq!(super::super::on_demand::back_off(LONG, 9), LONG);
}

#[tokio::test]
async fn who_gives_up_waiting_ends_no_load() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let registry = repository.on_demand(FREE, None);
    repository.seen.loading.close();
    let request = demand(&registry, "m", None);
    while registry.demands.waiting().is_empty() {
        tokio::task::yield_now().await;
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    repository.seen.loading.open();
    while registry.find("m", None).is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(repository.seen.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_request_or_the_registry_says() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let longest_wait = Duration::from_secs(60);
    let registry = repository.on_demand(DemandLimits { longest_wait, ..FREE }, None);
    repository.seen.loading.close();
    let moment = Duration::from_millis(1);
    for (timeout, waited, expected) in [
        (Some(Duration::from_secs(1)), 1, DemandError::Late),
        (None, 60, DemandError::StillLoading { after: longest_wait }),
        (Some(LONG), 60, DemandError::StillLoading { after: longest_wait }),
    ] {
        let mut waits = std::pin::pin!(registry.demand("m", None, timeout));
        let early = Duration::from_secs(waited) - moment;
        tokio::time::timeout(early, &mut waits).await.expect_err("it waits on");
        let result = tokio::time::timeout(2 * moment, waits).await.expect("its time is over");
        assert_eq!(result.unwrap_err(), expected);
    }
    repository.seen.loading.open();
    until_ready(&registry, "m");
    assert_eq!(found(&registry, "m", None).await, Ok(5.0));
    assert_eq!(repository.seen.loads(), 1, "all waited for the same load");
}

fn until_ready(registry: &Registry, name: &str) {
    while registry.find(name, None).is_err() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn names_that_no_folder_has_cost_no_look_into_the_folder_each() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let registry = repository.on_demand(DemandLimits { look_every: LONG, ..FREE }, None);
    let unknown = found(&registry, "nobody", None).await.unwrap_err();
    assert_eq!(unknown, "unknown model 'nobody'; there is m");
    // From now on the folder is not looked at: not even what is there now is found.
    repository.put("late", "1", "6");
    for number in 0..5000 {
        let error = registry.demand(&format!("nobody-{number}"), None, None).await.unwrap_err();
        assert!(matches!(error, DemandError::Lookup(LookupError::UnknownModel { .. })), "{error}");
    }
    assert!(found(&registry, "late", None).await.is_err());
    assert_eq!(registry.index().len(), 1, "and nothing is kept of them");
    assert!(lock(&registry.demands.0).failures_known().is_empty());

    let registry = repository.on_demand(FREE, None);
    repository.put("later", "1", "7");
    assert_eq!(found(&registry, "later", None).await, Ok(7.0));
    repository.put("m", "2", "8");
    assert_eq!(found(&registry, "m", Some("2")).await, Ok(8.0), "a version of what is not loaded");
}

#[tokio::test]
async fn everyone_who_waits_for_one_look_finds_new_versions_whichever_model_began_it() {
    let repository = Repository::new();
    const NAMES: [&str; 3] = ["a", "m", "z"];
    NAMES.iter().for_each(|name| repository.put(name, "1", "1"));
    let reading = Arc::new(Gate::default());
    let (gate, loader) = (Arc::clone(&reading), loader(Arc::clone(&repository.seen)));
    let limits = DemandLimits { look_every: LONG, ..FREE };
    let options = RegistryOptions {
        control: ModelControl::OnDemand { at_start: BTreeSet::new(), limits },
        ..RegistryOptions::default()
    };
    let adjust = move |_: &mut _| gate.pass();
    let registry =
        Arc::new(Registry::open(repository.folder.path(), loader, adjust, options).unwrap());
    NAMES.iter().for_each(|name| repository.put(name, "2", "2"));
    reading.close();
    // The second one begins it, and it is in the midst of it when the others come.
    let mut requests = Vec::new();
    for (name, waiting) in [("m", 1), ("a", 2), ("z", 3), ("z", 4)] {
        let registry = Arc::clone(&registry);
        let asked = Arc::clone(&registry);
        requests.push(tokio::spawn(async move { asked.demand(name, Some("2"), None).await }));
        while lock(&registry.demands.0).wait_for_look() < waiting {
            tokio::task::yield_now().await;
        }
        let gate = Arc::clone(&reading);
        tokio::task::spawn_blocking(move || gate.until_waiting(1)).await.unwrap();
    }
    reading.open();
    for request in requests {
        assert_eq!(added(&request.await.unwrap().unwrap()), 2.0);
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_nobodys() {
    let repository = Repository::new();
    repository.put("m", "1", "1");
    repository.put(".hidden", "1", "1");
    let inside = repository.path("inside");
    std::fs::create_dir(&inside).unwrap();
    let options = RegistryOptions {
        control: ModelControl::OnDemand { at_start: BTreeSet::new(), limits: FREE },
        ..RegistryOptions::default()
    };
    let loader = loader(Arc::clone(&repository.seen));
    let narrow = Arc::new(Registry::open(&inside, loader, |_| (), options).unwrap());
    for name in ["../m", "..", ".", "", "m/1", "m\\1", "/etc", ".hidden", "m\0"] {
        for registry in [&narrow, &repository.on_demand(FREE, None)] {
            let error = registry.demand(name, None, None).await.unwrap_err();
            assert!(matches!(error, DemandError::Lookup(LookupError::UnknownModel { .. })));
        }
    }
    assert_eq!(repository.seen.loads(), 0);
}

#[tokio::test]
async fn a_model_whose_folder_has_gone_is_forgotten() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    repository.put("n", "1", "6");
    let registry = repository.on_demand(DemandLimits { back_off: LONG, ..FREE }, None);
    repository.remove("m");
    repository.remove("n/1");
    for name in ["m", "n"] {
        found(&registry, name, None).await.unwrap_err();
        assert!(registry.index().iter().all(|entry| entry.name != name));
    }
    repository.put("m", "1", "7");
    assert_eq!(found(&registry, "m", None).await, Ok(7.0), "and found again when it is back");
    assert!(lock(&registry.demands.0).failures_known().is_empty());
}

#[tokio::test]
async fn only_models_that_may_go_make_room_and_nobody_waits_for_it() {
    let repository = Repository::new();
    for name in ["a", "b", "c"] {
        repository.put(name, "1", &format!("{:<40}", "1"));
    }
    let limits = DemandLimits { min_stay: LONG, ..FREE };
    let registry = repository.on_demand(limits, Some(100));
    for name in ["a", "b"] {
        assert_eq!(found(&registry, name, None).await, Ok(1.0));
    }
    // They came a moment ago.
    let error = registry.demand("c", None, None).await.unwrap_err();
    assert!(error.is_overload() && error.to_string().contains("a moment ago"), "{error}");
    let DemandError::Failed { retry_after, .. } = error else { panic!("{error}") };
    assert!(retry_after <= LONG && retry_after > LONG / 2, "when they may go: {retry_after:?}");
    assert_eq!(repository.seen.loads(), 2);
    // Asked for by name, it comes all the same.
    registry.load("c", None).unwrap();
    assert_eq!(registry.ready().len(), 2);

    let registry = repository.on_demand(FREE, Some(100));
    let mut busy = Vec::new();
    for name in ["a", "b"] {
        busy.push(registry.demand(name, None, None).await.unwrap());
    }
    let pending: Vec<_> = busy.iter().map(|model| model.recorder.pending()).collect();
    let error = registry.demand("c", None, None).await.unwrap_err();
    assert!(error.is_overload() && error.to_string().contains("in use"), "{error}");
    drop(pending);
    busy.clear();
    assert_eq!(found(&registry, "c", None).await, Ok(1.0), "there is room now");
    assert_eq!(registry.ready().len(), 2);
}

#[tokio::test]
async fn a_server_that_drains_lets_nobody_wait() {
    let repository = Repository::new();
    for name in ["m", "n"] {
        repository.put(name, "1", "5");
    }
    let registry = repository.on_demand(FREE, None);
    repository.seen.loading.close();
    let requests = [demand(&registry, "m", None), demand(&registry, "n", None)];
    while registry.demands.waiting().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(state(&registry, "n").0, "LOADING", "it waits for its turn");
    registry.close_demand();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap_err(), DemandError::Draining);
    }
    assert_eq!(registry.demand("n", None, None).await.unwrap_err(), DemandError::Draining);
    repository.seen.loading.open();
}

fn service(repository: &Repository, limits: DemandLimits, memory: Option<u64>) -> Arc<Service> {
    let control = ModelControl::OnDemand { at_start: BTreeSet::new(), limits };
    let registry = repository.open(control, memory);
    let clock = registry.places.clock;
    let scheduler = BatchScheduler::start(clock, 2).unwrap();
    Arc::new(Service::new(clock, registry, scheduler).unwrap())
}

fn request(timeout_micros: u64) -> InferRequest {
    let inputs = vec![Tensor::from_f32("x", vec![1, 1], &[1.0])];
    let mut request = InferRequest { inputs, ..InferRequest::default() };
    request.parameters.insert("timeout".into(), timeout_micros.into());
    request
}

/// Four models of which two fit, and requests for all of them all the time: each is answered, or told at once
/// that there is no room; none waits for good, and what is loaded never comes to more than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn models_that_displace_each_other_answer_or_refuse_and_never_stand_still() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let repository = Repository::new();
    for (number, name) in NAMES.into_iter().enumerate() {
        repository.put(name, "1", &format!("{number:<40}"));
    }
    let service = service(&repository, FREE, Some(100));
    let clients = (0..4).map(|client| {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let mut answered = 0;
            for turn in 0..40 {
                let number = (client + turn / 3) % NAMES.len();
                match service.infer(NAMES[number], None, request(0)).await {
                    Ok(response) => {
                        let got = response.outputs[0].to_f32().unwrap()[0];
                        assert_eq!(got, 1.0 + number as f32);
                        answered += 1;
                    }
                    Err(InferError::Demand(error)) => assert!(error.is_overload(), "{error}"),
                    Err(error) => panic!("{error}"),
                }
                assert!(service.registry().places.bytes() <= 100);
            }
            answered
        })
    });
    let mut answered = 0;
    for client in clients.collect::<Vec<_>>() {
        answered += client.await.unwrap();
    }
    assert!(answered > 0);
    service.drain().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_load_is_part_of_a_requests_timeout() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let service = service(&repository, FREE, None);
    repository.seen.loading.close();
    let error = service.infer("m", None, request(1_000_000)).await.unwrap_err();
    assert_eq!(error, InferError::Demand(DemandError::Late));
    let mut unfit = request(1);
    unfit.parameters.insert("timeout".into(), "soon".into());
    let error = service.infer("m", None, unfit.clone()).await.unwrap_err();
    assert!(matches!(error, InferError::Request(_)), "{error}");
    let error = service.infer("nobody", None, unfit).await.unwrap_err();
    assert!(matches!(error, InferError::Lookup(LookupError::UnknownModel { .. })), "{error}");
    repository.seen.loading.open();
    until_ready(service.registry(), "m");
    let response = service.infer("m", None, request(0)).await.unwrap();
    assert_eq!(response.outputs[0].to_f32().unwrap(), [6.0]);
}

#[tokio::test]
async fn nothing_but_a_users_inference_loads_a_model() {
    let repository = Repository::new();
    repository.put("m", "1", "5");
    let service = service(&repository, FREE, None);
    assert!(service.is_ready());
    service.metadata("m", None).unwrap_err();
    assert_eq!(service.statistics(Some("m"), None).unwrap(), []);
    service.registry().find("m", None).unwrap_err();
    let mut copy = request(0);
    copy.parameters.insert(SHADOW.into(), true.into());
    let error = service.infer("m", None, copy).await.unwrap_err();
    assert!(matches!(error, InferError::Lookup(LookupError::NotReady { .. })), "{error}");
    service.look().unwrap();
    assert_eq!(service.index()[0].state, "UNAVAILABLE");
    assert_eq!(repository.seen.loads(), 0);
}
