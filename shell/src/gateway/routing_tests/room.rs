//! Endpoints that take so much at once and no more.

use super::*;
use std::sync::atomic::AtomicUsize;
use tokio::sync::Semaphore;

/// Answers when it is let, and knows how many were there at once.
pub(super) struct Held {
    pub(super) here: AtomicUsize,
    most: AtomicUsize,
    pub(super) answers: Semaphore,
    /// Priorities, in the order in which they came.
    pub(super) came: Mutex<Vec<u64>>,
}

impl Held {
    /// How many were there at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Endpoint for Held {
    fn infer<'a>(
        &'a self,
        model: &'a str,
        _version: Option<&'a str>,
        request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        Box::pin(async move {
            let priority = request.parameters.get("priority").and_then(|it| it.as_u64());
            lock(&self.came).push(priority.unwrap_or(0));
            let here = self.here.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(here, Ordering::Relaxed);
            if let Ok(answer) = self.answers.acquire().await {
                answer.forget();
            }
            self.here.fetch_sub(1, Ordering::Relaxed);
            Ok(InferResponse {
                model_name: model.to_owned(),
                model_version: "1".into(),
                id: String::new(),
                parameters: crate::contracts::Parameters::new(),
                outputs: Vec::new(),
            })
        })
    }

    fn metadata<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        Box::pin(ready(Err(status(500))))
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(ready(true))
    }
}

/// A gateway over one endpoint that holds what it gets. Nobody waits for it.
fn held(endpoint: &str, models: &str) -> (Arc<Gateway>, Arc<Held>) {
    held_with(endpoint, models, 0)
}

/// One for which so many wait.
pub(super) fn held_with(
    endpoint: &str,
    models: &str,
    max_waiting: usize,
) -> (Arc<Gateway>, Arc<Held>) {
    let held = Arc::new(Held {
        here: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        answers: Semaphore::new(0),
        came: Mutex::default(),
    });
    let known = Arc::clone(&held);
    let connect = move |_: &str| Ok(Arc::clone(&known) as Arc<dyn Endpoint>);
    let local = Fake::new(Does::Answers);
    // Who waits does not look for itself, so that one who is not told waits for ever.
    let probe_every = Duration::from_secs(3_600);
    let options = GatewayOptions { max_waiting, probe_every, ..GatewayOptions::default() };
    let gateway = Gateway::new(Clock::start(), options, local, Box::new(connect)).unwrap();
    let table = entry("a") + endpoint + models;
    gateway.publish(Routes::from_toml(&table).unwrap()).unwrap();
    (Arc::new(gateway), held)
}

pub(super) async fn send(gateway: &Gateway, priority: u64) -> Result<RouteTaken, GatewayError> {
    let serde_json::Value::Object(parameters) = json!({ "priority": priority }) else {
        unreachable!("an object")
    };
    let request = InferRequest { parameters, ..InferRequest::default() };
    Ok(gateway.infer("digits", None, request, &Hints::default()).await?.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_endpoint_never_has_more_than_its_limit_however_many_come_at_once() {
    let (gateway, held) = held("limit = 5\n", DIGITS);
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { send(&gateway, 0).await })
        })
        .collect();
    // Five are held; the others are refused, without waiting.
    while requests.iter().filter(|request| request.is_finished()).count() < 195 {
        tokio::task::yield_now().await;
    }
    held.answers.add_permits(5);
    let (mut answered, mut refused) = (0, Vec::new());
    for request in requests {
        match request.await.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => refused.push(error),
        }
    }
    assert_eq!((answered, held.most.load(Ordering::Relaxed)), (5, 5));
    for error in refused {
        let text = error.to_string();
        let GatewayError::Overloaded { taken, .. } = &error else { panic!("{error:?}") };
        assert_eq!(taken.excluded, [("a".to_owned(), "full")]);
        assert!(text.contains("endpoints of model 'digits' are full: a is full"), "{text}");
    }
    // What has left its place leaves room.
    held.answers.add_permits(1);
    assert_eq!(send(&gateway, 0).await.unwrap().endpoint.as_deref(), Some("a"));
}

/// Requests that wait at the endpoint until the test lets them go.
pub(super) async fn fill(gateway: &Arc<Gateway>, held: &Held, priority: u64, many: usize) {
    let before = held.here.load(Ordering::Relaxed);
    for _ in 0..many {
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move { send(&gateway, priority).await });
    }
    while held.here.load(Ordering::Relaxed) < before + many {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_last_tenth_of_a_limit_is_kept_for_higher_priorities() {
    let models = DIGITS.to_owned() + "filters = [\"priority\"]\n";
    let (gateway, held) = held("limit = 10\n", &models);
    fill(&gateway, &held, 0, 9).await;
    let error = send(&gateway, 0).await.unwrap_err();
    let GatewayError::Overloaded { taken, .. } = error else { panic!("{error:?}") };
    assert_eq!(taken.excluded, [("a".to_owned(), "kept_free")]);
    fill(&gateway, &held, 1, 1).await;
    let error = send(&gateway, 7).await.unwrap_err();
    let GatewayError::Overloaded { taken, .. } = error else { panic!("{error:?}") };
    assert_eq!(taken.excluded, [("a".to_owned(), "full")]);
    held.answers.add_permits(10);
}

#[tokio::test]
async fn overload_is_told_as_such_with_when_to_come_again_and_speaks_against_nobody() {
    let (gateway, held) = held("limit = 1\n", DIGITS);
    fill(&gateway, &held, 0, 1).await;
    for _ in 0..50 {
        let error = send(&gateway, 0).await.unwrap_err();
        assert!(matches!(error, GatewayError::Overloaded { .. }), "{error:?}");
    }
    let explained =
        gateway.explain("digits", None, &InferRequest::default(), &Hints::default()).unwrap();
    let candidate = &explained.candidates[0];
    assert_eq!((&*candidate.health, candidate.excluded), ("healthy", Some("full")));
    assert_eq!((candidate.outstanding, candidate.limit), (1, Some(1)));
    held.answers.add_permits(1);
}

#[tokio::test]
async fn an_endpoint_that_is_for_high_priorities_gets_no_others() {
    let bench = bench(&[Does::Answers, Does::Answers], IN_TURN);
    let table = entry("a") + "least_priority = 5\n" + &entry("b") + IN_TURN;
    bench.publish(&table).unwrap();
    for priority in 0..8 {
        for _ in 0..4 {
            let (_, taken) = bench.send_with(json!({ "priority": priority }), &[]).await.unwrap();
            let reserved = taken.excluded.contains(&("a".to_owned(), "reserved"));
            assert_eq!(reserved, priority < 5, "{taken:?}");
        }
    }
    assert_eq!(bench.fake("a").asked(), 6);
    // Where nothing else is there, it is no overload: to come again would not help.
    bench.publish(&(entry("a") + "least_priority = 5\n" + IN_TURN)).unwrap();
    let other = json!({ "x": 1 });
    let error = bench.send_with(other, &[]).await.unwrap_err();
    assert!(matches!(error, GatewayError::NoEndpoint { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_model_has_its_fallbacks() {
    let models = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\nfallbacks = [\"small\"]\n\
                  [[models]]\nname = \"small\"\nendpoints = [\"here\"]\n\
                  [[endpoints]]\nname = \"here\"\nurl = \"local\"\n";
    let (gateway, held) = held("limit = 1\n", models);
    fill(&gateway, &held, 0, 1).await;
    let taken = send(&gateway, 0).await.unwrap();
    assert_eq!(taken.fallback_of.as_deref(), Some("digits"));
    held.answers.add_permits(1);
}

#[tokio::test]
async fn copies_for_shadows_are_in_an_endpoints_limit_too() {
    let models = SHADOWED.replace("shadows", "retries = { hedging = false }\nshadows");
    let bench = bench(&[Does::Answers, Does::Hangs], &models);
    bench.publish(&(entry("a") + &entry("b") + "limit = 3\n" + &models)).unwrap();
    for _ in 0..20 {
        bench.send().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.fake("b").asked(), 3);
    let figures = bench.gateway.shadows().remove(0);
    assert_eq!((figures.copies, figures.shed), (3, 17));
}
