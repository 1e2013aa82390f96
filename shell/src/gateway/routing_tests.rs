//! What becomes of requests when endpoints misbehave.

use super::*;
use crate::contracts::ModelMetadata;
use crate::models::Tensor;
use crate::routing::Routes;
use serde_json::json;
use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::atomic::AtomicBool;

mod bandits;
mod changes;
mod deadlines;
mod explained;
mod figures;
mod kept;
mod latencies;
mod overloaded;
mod places;
mod presence;
mod probes;
mod room;
mod scripted;
mod shapes;
mod sticks;
mod told;
mod tuned;
mod versions;
mod waits;

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
enum Does {
    Answers,
    AnswersFor(&'static str),
    LosesOutputs,
    Says(EndpointError),
    /// As `Answers`, with a model of other inputs.
    IsAnother,
    /// Requests for this version; the others are answered.
    Fails(&'static str),
    /// Takes so long for requests for this version; the others are answered.
    Lags(&'static str, Duration),
    Hangs,
    /// As long as this, then it answers.
    Takes(Duration),
    /// As long as this, then it says so.
    TakesAndSays(Duration, EndpointError),
    /// Only these versions, the last one where none is named.
    Has(&'static [&'static str]),
}

/// What it was asked: model, version, parameters.
type Asked = (String, Option<String>, crate::contracts::Parameters);

struct Fake {
    does: Mutex<Does>,
    asked: Mutex<Vec<Asked>>,
    is_ready: AtomicBool,
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        let is_ready = AtomicBool::new(true);
        Arc::new(Self { does: Mutex::new(does), asked: Mutex::default(), is_ready })
    }

    fn asked(&self) -> usize {
        lock(&self.asked).len()
    }

    fn versions(&self) -> Vec<Option<String>> {
        lock(&self.asked).iter().map(|(_, version, _)| version.clone()).collect()
    }
}

impl Endpoint for Fake {
    fn infer<'a>(
        &'a self,
        model: &'a str,
        version: Option<&'a str>,
        request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        let asked = (model.to_owned(), version.map(str::to_owned), request.parameters);
        lock(&self.asked).push(asked);
        let does = lock(&self.does).clone();
        let answer = |model: &str, outputs| InferResponse {
            model_name: model.to_owned(),
            model_version: version.unwrap_or("1").to_owned(),
            id: request.id,
            parameters: crate::contracts::Parameters::new(),
            outputs,
        };
        let output = || vec![Tensor::from_f32("y", vec![1], &[1.0])];
        match does {
            Does::Answers | Does::IsAnother => Box::pin(ready(Ok(answer(model, output())))),
            Does::AnswersFor(other) => Box::pin(ready(Ok(answer(other, output())))),
            Does::LosesOutputs => Box::pin(ready(Ok(answer(model, Vec::new())))),
            Does::Says(error) => Box::pin(ready(Err(error))),
            Does::Fails(bad) if version == Some(bad) => Box::pin(ready(Err(status(500)))),
            Does::Fails(_) => Box::pin(ready(Ok(answer(model, output())))),
            Does::Lags(slow, time) => {
                let time = if version == Some(slow) { time } else { Duration::ZERO };
                let answer = answer(model, output());
                Box::pin(async move {
                    tokio::time::sleep(time).await;
                    Ok(answer)
                })
            }
            Does::Hangs => Box::pin(pending()),
            Does::Takes(time) => {
                let answer = answer(model, output());
                Box::pin(async move {
                    tokio::time::sleep(time).await;
                    Ok(answer)
                })
            }
            Does::TakesAndSays(time, error) => Box::pin(async move {
                tokio::time::sleep(time).await;
                Err(error)
            }),
            Does::Has(versions) if version.is_some_and(|it| !versions.contains(&it)) => {
                Box::pin(ready(Err(status(404))))
            }
            Does::Has(versions) => {
                let mut answer = answer(model, output());
                let newest = versions.last().copied();
                answer.model_version = version.or(newest).unwrap_or_default().to_owned();
                Box::pin(ready(Ok(answer)))
            }
        }
    }

    fn metadata<'a>(
        &'a self,
        model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        let does = lock(&self.does).clone();
        let width = if matches!(does, Does::IsAnother) { 3 } else { 64 };
        let input = crate::models::TensorSpec {
            name: "x".into(),
            datatype: crate::models::DataType::Fp32,
            shape: vec![-1, width],
        };
        let metadata = ModelMetadata {
            name: model.to_owned(),
            versions: match does {
                Does::Has(versions) => versions.iter().map(ToString::to_string).collect(),
                _ => vec!["1".into()],
            },
            platform: "fake".into(),
            inputs: vec![input],
            outputs: Vec::new(),
        };
        Box::pin(ready(match does {
            Does::Says(error) => Err(error),
            _ => Ok(metadata),
        }))
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(ready(self.is_ready.load(Ordering::Relaxed)))
    }
}

struct Bench {
    gateway: Arc<Gateway>,
    fakes: HashMap<String, Arc<Fake>>,
}

/// A gateway over endpoints `a`, `b` … that do this, with `models` of the table beside them.
fn bench(does: &[Does], models: &str) -> Bench {
    bench_with(does, models, GatewayOptions::default())
}

fn bench_with(does: &[Does], models: &str, options: GatewayOptions) -> Bench {
    let names = ["a", "b", "c", "d"];
    let fakes: HashMap<String, Arc<Fake>> = names
        .iter()
        .zip(does)
        .map(|(name, does)| (format!("http://{name}:1"), Fake::new(does.clone())))
        .collect();
    let known = fakes.clone();
    let connect = move |url: &str| {
        let fake = known.get(url).cloned().ok_or_else(|| format!("{url} is none of the test's"))?;
        Ok(fake as Arc<dyn Endpoint>)
    };
    let local = Fake::new(Does::Says(status(404)));
    let gateway = Gateway::new(Clock::start(), options, local, Box::new(connect)).unwrap();
    let bench = Bench { gateway: Arc::new(gateway), fakes };
    let entries = names.iter().zip(does).map(|(name, _)| entry(name));
    bench.publish(&(entries.collect::<String>() + models)).unwrap();
    bench
}

fn entry(name: &str) -> String {
    format!("[[endpoints]]\nname = \"{name}\"\nurl = \"http://{name}:1\"\n")
}

const DIGITS: &str = "[[models]]\nname = \"digits\"\n";
/// Each gets its turn, so that whoever fails is met.
const IN_TURN: &str = "[[models]]\nname = \"digits\"\npolicy = \"round_robin\"\n";

fn status(status: u16) -> EndpointError {
    EndpointError::Status { status, message: format!("planted {status}") }
}

fn down() -> Does {
    Does::Says(EndpointError::Unreachable("planted".into()))
}

impl Bench {
    fn publish(&self, table: &str) -> Result<TableVersion, PublishError> {
        self.gateway.publish(Routes::from_toml(table).unwrap())
    }

    fn fake(&self, name: &str) -> &Fake {
        &self.fakes[&format!("http://{name}:1")]
    }

    /// Waits until nothing is left of the requests that were answered.
    async fn settle(&self) {
        while self.gateway.answers.as_ref().is_some_and(|answers| !answers.is_idle()) {
            tokio::task::yield_now().await;
        }
    }

    async fn send(&self) -> Result<(InferResponse, RouteTaken), GatewayError> {
        self.send_with(json!({}), &[]).await
    }

    fn explain(&self, parameters: serde_json::Value) -> Explanation {
        let serde_json::Value::Object(parameters) = parameters else { panic!("an object") };
        let request = InferRequest { parameters, ..InferRequest::default() };
        self.gateway.explain("digits", None, &request, &Hints::default()).unwrap()
    }

    async fn send_with(
        &self,
        parameters: serde_json::Value,
        headers: &[(&str, &str)],
    ) -> Result<(InferResponse, RouteTaken), GatewayError> {
        let serde_json::Value::Object(parameters) = parameters else { panic!("an object") };
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let hints = Hints { headers: headers.collect() };
        let request = InferRequest { parameters, ..InferRequest::default() };
        self.gateway.infer("digits", None, request, &hints).await
    }
}

#[tokio::test]
async fn a_dead_endpoint_fails_nobody_and_is_left_alone_soon() {
    let bench = bench(&[down(), Does::Answers, Does::Answers], IN_TURN);
    for _ in 0..500 {
        let (_, taken) = bench.send().await.unwrap();
        assert_ne!(taken.endpoint.as_deref(), Some("a"));
    }
    // The breaker opens after a handful of failures; then it is excluded.
    let asked = bench.fake("a").asked();
    assert!((1..=20).contains(&asked), "{asked}");
    let (_, taken) = bench.send().await.unwrap();
    assert!(taken.excluded.contains(&("a".to_owned(), "ejected")), "{taken:?}");
}

#[tokio::test]
async fn a_request_that_another_would_refuse_too_is_asked_once() {
    let bench = bench(&[Does::Says(status(400)), Does::Says(status(400))], DIGITS);
    let error = bench.send().await.unwrap_err();
    let GatewayError::Endpoint { error, taken } = error else { panic!("{error}") };
    assert_eq!((*error, taken.attempts), (status(400), 1));
    // It speaks for the endpoint that it knows a bad request.
    for _ in 0..50 {
        assert!(bench.send().await.is_err());
    }
    assert!(
        bench
            .gateway
            .explain("digits", None, &InferRequest::default(), &Hints::default())
            .unwrap()
            .candidates
            .iter()
            .all(|candidate| candidate.health == "healthy")
    );
}

#[tokio::test]
async fn an_answer_of_another_model_or_shape_is_none() {
    for wrong in [Does::AnswersFor("letters"), Does::LosesOutputs] {
        let bench = bench(&[wrong, Does::Answers], DIGITS);
        for _ in 0..50 {
            let wanted = crate::contracts::RequestedOutput { name: "y".into(), binary: false };
            let request = InferRequest { outputs: vec![wanted], ..InferRequest::default() };
            let answered = bench.gateway.infer("digits", None, request, &Hints::default()).await;
            let (response, taken) = answered.unwrap();
            assert_eq!(response.model_name, "digits");
            assert_eq!(taken.endpoint.as_deref(), Some("b"));
        }
    }
}

#[tokio::test]
async fn when_nobody_is_left_the_answer_says_who_and_why() {
    let bench = bench(&[down(), Does::Says(status(503))], DIGITS);
    let error = bench.send().await.unwrap_err();
    assert!(matches!(error, GatewayError::NoEndpoint { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("a failed: planted") && text.contains("b failed: planted 503"), "{text}");
}

#[tokio::test]
async fn a_fallback_answers_for_a_model_that_nobody_has() {
    let models = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\nfallbacks = [\"small\"]\n\
                  [[models]]\nname = \"small\"\nendpoints = [\"b\"]\n";
    let bench = bench(&[down(), Does::Answers], models);
    let (response, taken) = bench.send().await.unwrap();
    assert_eq!(response.model_name, "small");
    assert_eq!(taken.fallback_of.as_deref(), Some("digits"));
    assert_eq!(taken.parameters()["route_fallback_of"], "digits");
}

#[tokio::test]
async fn a_split_is_exact_and_sticks_to_its_keys() {
    let models = "[[models]]\nname = \"digits\"\nsplit = [\
                  { version = \"1\", basis_points = 9000 }, { version = \"2\", basis_points = 1000 }]\n";
    let bench = bench(&[Does::Answers], models);
    for _ in 0..10_000 {
        bench.send().await.unwrap();
    }
    let second = bench.fake("a").versions().iter().filter(|it| it.as_deref() == Some("2")).count();
    assert!(second.abs_diff(1_000) <= 100, "{second} of 10,000 went to the tenth");
    for user in 0..200 {
        let mut versions = Vec::new();
        for _ in 0..3 {
            let (response, taken) = bench
                .send_with(json!({ "sticky_key": format!("user-{user}") }), &[])
                .await
                .unwrap();
            assert_eq!(taken.version_by, "split");
            versions.push(response.model_version);
        }
        assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    }
    let header = [("x-tensorforge-sticky-key", "user-7")];
    let by_header = bench.send_with(json!({}), &header).await.unwrap().0.model_version;
    let by_parameter = bench.send_with(json!({ "sticky_key": "user-7" }), &[]).await.unwrap().0;
    assert_eq!(by_header, by_parameter.model_version, "the key is the same, wherever it stands");
}

#[tokio::test]
async fn rules_look_at_headers_and_annotations_and_name_versions_and_endpoints() {
    let models = "[[models]]\nname = \"digits\"\nrules = [\
                  { header = \"X-Canary\", equals = \"yes\", version = \"2\" },\
                  { annotation = \"team\", equals = \"blue\", endpoint = \"b\" },\
                  { annotation = \"debug\", version = \"3\" }]\n";
    let bench = bench(&[Does::Answers, Does::Answers], models);
    let (response, taken) = bench.send_with(json!({}), &[("x-canary", "yes")]).await.unwrap();
    assert_eq!((&*response.model_version, taken.version_by), ("2", "rule"));
    assert_eq!(bench.send_with(json!({}), &[("x-canary", "no")]).await.unwrap().1.version, None);
    for _ in 0..20 {
        let (_, taken) = bench.send_with(json!({ "team": "blue" }), &[]).await.unwrap();
        assert_eq!(taken.endpoint.as_deref(), Some("b"));
    }
    assert_eq!(bench.send_with(json!({ "debug": true }), &[]).await.unwrap().0.model_version, "3");
    // What a request names itself goes before any rule.
    let request = InferRequest::default();
    let hints = Hints { headers: vec![("x-canary".into(), "yes".into())] };
    let named = bench.gateway.infer("digits", Some("7"), request, &hints).await.unwrap();
    assert_eq!((&*named.0.model_version, named.1.version_by), ("7", "request"));
}

#[tokio::test]
async fn an_annotation_of_a_megabyte_is_dropped_and_counted() {
    let models =
        "[[models]]\nname = \"digits\"\nrules = [{ annotation = \"debug\", version = \"3\" }]\n";
    let bench = bench(&[Does::Answers], models);
    let huge = "x".repeat(1 << 20);
    let (response, _) = bench.send_with(json!({ "debug": huge }), &[]).await.unwrap();
    assert_eq!(response.model_version, "1", "no rule looked at it");
    assert_eq!(bench.gateway.dropped_annotations(), 1);
}

#[tokio::test]
async fn gateways_in_a_circle_are_told() {
    let bench = bench(&[Does::Answers], DIGITS);
    bench.send_with(json!({ HOPS: 2 }), &[]).await.unwrap();
    let (_, _, parameters) = lock(&bench.fake("a").asked)[0].clone();
    assert_eq!(parameters[HOPS], 3, "the next one knows how far it came");
    let error = bench.send_with(json!({ HOPS: MAX_HOPS }), &[]).await.unwrap_err();
    assert_eq!(error, GatewayError::Loop(MAX_HOPS));
}

const SHADOWED: &str = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\n\
                        shadows = [{ model = \"next\", percent = 100 }]\n\
                        [[models]]\nname = \"next\"\nendpoints = [\"b\"]\n";

#[tokio::test]
async fn a_shadow_that_hangs_or_fails_is_not_felt_and_has_a_budget() {
    for (does, answered) in [(Does::Answers, true), (down(), false), (Does::Hangs, false)] {
        let hangs = matches!(does, Does::Hangs);
        let bench = bench(&[Does::Answers, does], SHADOWED);
        let mut copies = 0;
        for _ in 0..100 {
            // Nothing here waits for the shadow: with one that hangs this would never end.
            let (response, taken) = bench.send().await.unwrap();
            assert_eq!(response.model_name, "digits");
            copies += taken.shadows;
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.fake("a").asked(), 100, "the primary is asked once for each");
        while bench.gateway.shadows().iter().map(|report| report.copies).sum::<u64>()
            < u64::from(copies)
        {
            tokio::task::yield_now().await;
        }
        let [report] = &bench.gateway.shadows()[..] else { panic!("one shadow") };
        assert_eq!((&*report.model, &*report.shadow), ("digits", "next"));
        assert_eq!(report.copies + report.shed, 100);
        assert_eq!(report.answered > 0, answered, "{report:?}");
        if hangs {
            assert_eq!(report.copies, 64, "no more than its budget are under way");
        }
        let (_, _, parameters) = lock(&bench.fake("b").asked)[0].clone();
        assert_eq!(parameters["route_shadow"], true, "whoever gets it sees what it is");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_overtaken_by_another() {
    let bench = bench(&[Does::Answers, Does::Answers], IN_TURN);
    // Enough answers to know how long one takes.
    for _ in 0..300 {
        bench.send().await.unwrap();
    }
    *lock(&bench.fake("a").does) = Does::Hangs;
    let mut hedged = 0;
    for _ in 0..50 {
        let (_, taken) = bench.send().await.unwrap();
        assert_eq!(taken.endpoint.as_deref(), Some("b"));
        hedged += u32::from(taken.hedged);
    }
    assert!(hedged > 0, "the first one that met it was overtaken");
}

#[tokio::test]
async fn whoever_drains_gets_nothing_new_and_whoever_comes_back_does() {
    let bench = bench(&[Does::Answers, Does::Answers], DIGITS);
    let table = |state: &str| entry("a") + &format!("state = \"{state}\"\n") + &entry("b") + DIGITS;
    assert_eq!(bench.publish(&table("draining")), Ok(TableVersion(2)));
    for _ in 0..50 {
        let (_, taken) = bench.send().await.unwrap();
        assert_eq!(taken.endpoint.as_deref(), Some("b"));
        assert_eq!(taken.excluded, [("a".to_owned(), "draining")]);
    }
    assert_eq!(bench.publish(&table("active")), Ok(TableVersion(3)));
    for _ in 0..50 {
        bench.send().await.unwrap();
    }
    assert!(bench.fake("a").asked() > 0);
}

#[tokio::test]
async fn a_new_table_keeps_what_is_known_and_a_wrong_one_changes_nothing() {
    let bench = bench(&[down(), Does::Answers], IN_TURN);
    for _ in 0..50 {
        bench.send().await.unwrap();
    }
    let health = |bench: &Bench| {
        let explained =
            bench.gateway.explain("digits", None, &InferRequest::default(), &Hints::default());
        explained.unwrap().candidates[0].health.clone()
    };
    assert_eq!(health(&bench), "ejected");
    assert_eq!(bench.publish(&(entry("a") + &entry("b") + IN_TURN)), Ok(TableVersion(2)));
    assert_eq!(health(&bench), "ejected", "a table that says the same forgets nothing");
    let wrong = entry("a") + &entry("nowhere") + IN_TURN;
    let error = bench.publish(&wrong).unwrap_err().to_string();
    assert!(error.contains("endpoint 'nowhere': http://nowhere:1 is none"), "{error}");
    assert_eq!(bench.gateway.table().version(), TableVersion(2));
    bench.send().await.unwrap();
}

#[tokio::test]
async fn a_model_that_fails_at_an_endpoint_says_nothing_about_another_there() {
    let models = IN_TURN.to_owned() + &IN_TURN.replace("digits", "letters");
    let bench = bench(&[Does::AnswersFor("letters"), Does::Answers], &models);
    for _ in 0..50 {
        bench.send().await.unwrap();
    }
    let health = |model: &str| {
        let explained =
            bench.gateway.explain(model, None, &InferRequest::default(), &Hints::default());
        explained.unwrap().candidates[0].health.clone()
    };
    assert_eq!((health("digits"), health("letters")), ("ejected".into(), "healthy".into()));
}

#[tokio::test]
async fn an_endpoint_that_was_ejected_leaves_its_cap_as_it_was() {
    let bench = bench(&[down(), Does::Answers], IN_TURN);
    let cap = || bench.gateway.plan.load().models["digits"].seats[0].version.cap.load().ejected();
    for _ in 0..30 {
        bench.send().await.unwrap();
    }
    assert_eq!(cap(), 1);
    bench.publish(&(entry("a") + &entry("b") + IN_TURN)).unwrap();
    assert_eq!(cap(), 1, "the same endpoints are counted by the same cap");
    bench.publish(&(entry("b") + IN_TURN)).unwrap();
    assert_eq!(cap(), 0, "whoever has left is not counted");
    bench.publish(&(entry("a") + &entry("b") + IN_TURN)).unwrap();
    for _ in 0..30 {
        bench.send().await.unwrap();
    }
    assert_eq!(cap(), 1, "it is met, and ejected, anew");
}

#[tokio::test]
async fn a_version_that_nobody_has_is_not_found_and_no_fallback_is_asked() {
    let models = IN_TURN.replace("policy", "fallbacks = [\"small\"]\npolicy")
        + "[[models]]\nname = \"small\"\nendpoints = [\"c\"]\n";
    let missing = Does::Says(status(404));
    let bench = bench(&[missing.clone(), missing.clone(), Does::Answers], &models);
    *lock(&bench.fake("c").does) = missing;
    let error = bench.send().await.unwrap_err();
    let GatewayError::Endpoint { error, .. } = error else { panic!("{error}") };
    assert_eq!(*error, status(404));
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_hang_leave_time_for_an_earlier_answer() {
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers], DIGITS);
    bench.send().await.unwrap();
    for name in ["a", "b", "c"] {
        *lock(&bench.fake(name).does) = Does::Hangs;
    }
    let (_, taken) = bench.send().await.unwrap();
    assert!(taken.stale_ms.is_some(), "{taken:?}");
}

#[tokio::test]
async fn a_kept_answer_is_of_the_version_that_the_request_would_have_got() {
    let models = IN_TURN.to_owned()
        + "rules = [{ header = \"x-canary\", version = \"2\" }]\n\
                  split = [{ version = \"1\", basis_points = 10000 }]\n";
    let bench = bench(&[Does::Answers], &models);
    bench.send().await.unwrap();
    let canary = [("x-canary", "yes")];
    bench.send_with(json!({}), &canary).await.unwrap();
    *lock(&bench.fake("a").does) = down();
    assert_eq!(bench.send().await.unwrap().0.model_version, "1");
    assert_eq!(bench.send_with(json!({}), &canary).await.unwrap().0.model_version, "2");
}

#[tokio::test]
async fn a_verdict_does_not_undo_a_table_that_came_meanwhile() {
    let bench = bench(&[Does::Fails("2")], EXPERIMENT);
    let old = bench.gateway.plan.load_full();
    let routes = Arc::clone(&old.models["digits"]);
    bench.publish(&(entry("a") + DIGITS)).unwrap();
    // Requests that are still on their way by the table before reach the verdict.
    let request = InferRequest::default();
    while bench.gateway.experiments()[0].verdict == "continue" {
        let now = bench.gateway.clock.now();
        let deadline = Deadline::of(&request, Duration::from_secs(30), now);
        let hints = Hints::default();
        let _ = bench.gateway.infer_on(&old, &routes, None, &request, &hints, deadline).await;
    }
    assert_eq!(bench.gateway.table().version(), TableVersion(2));
}

#[tokio::test]
async fn probes_find_who_is_gone_before_a_request_does() {
    let bench = bench(&[Does::Answers, Does::Answers], DIGITS);
    bench.fake("a").is_ready.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        bench.gateway.probe().await;
    }
    for _ in 0..20 {
        assert_eq!(bench.send().await.unwrap().1.excluded, [("a".to_owned(), "unreachable")]);
    }
    assert_eq!(bench.fake("a").asked(), 0);
    bench.fake("a").is_ready.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        bench.gateway.probe().await;
    }
    assert_eq!(bench.send().await.unwrap().1.excluded, []);
}

#[tokio::test]
async fn an_endpoint_with_another_model_of_that_name_gets_nothing() {
    let bench = bench(&[Does::Answers, Does::IsAnother, Does::Answers], IN_TURN);
    bench.gateway.probe().await;
    for _ in 0..30 {
        let (_, taken) = bench.send().await.unwrap();
        assert_eq!(taken.excluded, [("b".to_owned(), "zero_weight")]);
    }
    assert_eq!(bench.fake("b").asked(), 0);
    let explained =
        bench.gateway.explain("digits", None, &InferRequest::default(), &Hints::default()).unwrap();
    let problem = explained.candidates[1].problem.unwrap();
    assert!(problem.contains("other tensors"), "{problem}");
    // It is asked again once it was away.
    *lock(&bench.fake("b").does) = Does::Answers;
    for is_ready in [false, true] {
        bench.fake("b").is_ready.store(is_ready, Ordering::Relaxed);
        for _ in 0..3 {
            bench.gateway.probe().await;
        }
    }
    assert_eq!(bench.send().await.unwrap().1.excluded, []);
}

#[tokio::test]
async fn answers_of_a_model_are_forgotten_when_it_is_another() {
    let bench = bench(&[Does::Answers], DIGITS);
    bench.send().await.unwrap();
    bench.gateway.forget_answers("digits");
    *lock(&bench.fake("a").does) = down();
    assert!(matches!(bench.send().await, Err(GatewayError::NoEndpoint { .. })));
}

#[tokio::test]
async fn everyone_is_asked_where_nobody_looks_well() {
    let bench = bench(&[Does::Answers, Does::Answers], DIGITS);
    for name in ["a", "b"] {
        bench.fake(name).is_ready.store(false, Ordering::Relaxed);
    }
    for _ in 0..3 {
        bench.gateway.probe().await;
    }
    let (_, taken) = bench.send().await.unwrap();
    assert_eq!(taken.admission, "panic", "probes may be what is wrong");
}

#[tokio::test]
async fn an_explanation_tells_where_a_request_would_go_and_sends_nothing() {
    let bench = bench(&[Does::Answers, Does::Answers], IN_TURN);
    let explained =
        bench.gateway.explain("digits", None, &InferRequest::default(), &Hints::default()).unwrap();
    assert_eq!((explained.policy, explained.reason), ("round_robin", Some("next_in_turn")));
    assert_eq!(explained.candidates.len(), 2);
    assert_eq!(bench.fake("a").asked() + bench.fake("b").asked(), 0);
    let unknown =
        bench.gateway.explain("letters", None, &InferRequest::default(), &Hints::default());
    assert_eq!(unknown, Err(GatewayError::UnknownModel("letters".into())));
}

#[tokio::test]
async fn a_shadows_answers_are_compared() {
    let models = SHADOWED.replace("percent = 100 }", "percent = 100, answers = \"compare\" }");
    for (does, agrees) in [(Does::Answers, true), (Does::LosesOutputs, false)] {
        let bench = bench(&[Does::Answers, does], &models);
        for _ in 0..10 {
            bench.send().await.unwrap();
        }
        let figures = || bench.gateway.shadows().pop().unwrap_or_default();
        while figures().compared < 10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(figures().agreed, if agrees { 10 } else { 0 });
    }
}

#[tokio::test]
async fn when_all_are_down_an_earlier_answer_is_given_and_marked() {
    let bench = bench(&[Does::Answers], DIGITS);
    let (fresh, taken) = bench.send_with(json!({ "beam": 3 }), &[]).await.unwrap();
    assert_eq!(taken.stale_ms, None);
    *lock(&bench.fake("a").does) = down();
    let (stale, taken) = bench.send_with(json!({ "beam": 3 }), &[]).await.unwrap();
    assert_eq!(stale.outputs, fresh.outputs);
    assert!(taken.stale_ms.is_some() && taken.parameters().contains_key("route_stale_ms"));
    assert!(stale.parameters.contains_key(crate::routing::CACHED_AGE_PARAMETER));
    // Another request has no answer yet, and gets no other one's.
    let other = bench.send_with(json!({ "beam": 4 }), &[]).await.unwrap_err();
    assert!(matches!(other, GatewayError::NoEndpoint { .. }), "{other:?}");
}

const EXPERIMENT: &str = "[[models]]\nname = \"digits\"\nsplit = [\
    { version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n\
    experiment = { control = \"1\", candidate = \"2\", on_verdict = \"act\" }\n";

#[tokio::test]
async fn a_candidate_that_fails_more_often_is_taken_out() {
    let bench = bench(&[Does::Fails("2")], EXPERIMENT);
    let mut requests = 0;
    while bench.gateway.experiments()[0].verdict == "continue" {
        // Whichever version it goes to; the candidate's fail.
        let _ = bench.send().await;
        requests += 1;
        assert!(requests < 20_000, "{:?}", bench.gateway.experiments());
    }
    let figures = bench.gateway.experiments().remove(0);
    assert_eq!((figures.verdict, figures.because.as_deref()), ("stop", Some("FewerSuccesses")));
    assert_eq!(figures.control.success_rate, Some(1.0));
    assert!(figures.p_worse < 0.05 && figures.p_better > 0.05, "{figures:?}");
    for _ in 0..50 {
        assert_eq!(bench.send().await.unwrap().0.model_version, "1");
    }
    let routes = bench.gateway.table().written();
    assert_eq!(routes.models[0].split.len(), 1, "the table says so, and can be rolled back");
}

#[tokio::test]
async fn an_experiment_goes_on_over_a_table_that_says_the_same() {
    let bench = bench(&[Does::Answers], EXPERIMENT);
    for _ in 0..40 {
        bench.send().await.unwrap();
    }
    let both = |bench: &Bench| {
        let figures = bench.gateway.experiments().remove(0);
        figures.control.requests + figures.candidate.requests
    };
    assert_eq!(both(&bench), 40);
    bench.publish(&(entry("a") + EXPERIMENT)).unwrap();
    assert_eq!(both(&bench), 40);
    bench.publish(&(entry("a") + &EXPERIMENT.replace("act", "tell"))).unwrap();
    assert_eq!(both(&bench), 0, "another experiment begins anew");
}

#[test]
fn an_experiment_that_cannot_be_made_is_refused() {
    for (from, to, complaint) in [
        ("candidate = \"2\"", "candidate = \"1\"", "control and candidate are both '1'"),
        ("candidate = \"2\"", "candidate = \"3\"", "version '3' is not in split"),
        ("\"act\"", "\"act\", alpha = 0.0", "alpha is a probability above 0"),
        ("\"act\"", "\"act\", success_margin = -0.1", "a margin is a number from 0 up"),
        ("\"act\"", "\"act\", latency_limit_ms = nan", "latency_limit_ms must be a number"),
        ("\"act\"", "\"act\", latency_limit_ms = 0.0", "at least 1 ns"),
    ] {
        let text = entry("a") + &EXPERIMENT.replacen(from, to, 1);
        let error = Routes::from_toml(&text).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(complaint) && error.contains("models[0] 'digits'"), "{error}");
    }
}

#[tokio::test]
async fn a_rollback_brings_an_earlier_table_back() {
    let bench = bench(&[Does::Answers, Does::Answers], DIGITS);
    let first = bench.gateway.table().version();
    let only_b = entry("b") + DIGITS;
    bench.publish(&only_b).unwrap();
    for _ in 0..20 {
        assert_eq!(bench.send().await.unwrap().1.endpoint.as_deref(), Some("b"));
    }
    let version = bench.gateway.rollback(first).unwrap();
    assert!(version > first);
    for _ in 0..50 {
        bench.send().await.unwrap();
    }
    assert!(bench.fake("a").asked() > 0);
    let error = bench.gateway.rollback(TableVersion(99)).unwrap_err().to_string();
    assert!(error.contains("version 99 is not kept"), "{error}");
}

#[tokio::test]
async fn what_a_model_takes_is_told_by_whoever_can() {
    let bench = bench(&[down(), Does::Answers], DIGITS);
    assert_eq!(bench.gateway.metadata("digits", None).await.unwrap().name, "digits");
    *lock(&bench.fake("b").does) = Does::Says(status(404));
    let error = bench.gateway.metadata("digits", None).await.unwrap_err();
    assert!(matches!(error, GatewayError::Endpoint { error, .. } if *error == status(404)));
}

#[tokio::test]
async fn a_model_without_routes_is_the_own_services() {
    let bench = bench(&[Does::Answers], DIGITS);
    let request = InferRequest::default();
    let error = bench.gateway.infer("letters", None, request, &Hints::default()).await.unwrap_err();
    assert!(matches!(error, GatewayError::Endpoint { error, .. } if *error == status(404)));
    assert_eq!(bench.fake("a").asked(), 0);
}
