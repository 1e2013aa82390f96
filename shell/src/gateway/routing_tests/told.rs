//! What endpoints say of a model beside answers.

use super::scripted::{Scripted, over};
use super::*;
use crate::contracts::{BatchStatistics, DurationStatistic, InferStatistics, ModelStatistics};

fn time(count: u64) -> DurationStatistic {
    DurationStatistic { count, ns: count * 1_000 }
}

/// Figures of a version that ran batches of these sizes once each.
fn figures(version: &str, sizes: &[u64], last: u64) -> ModelStatistics {
    let count = sizes.len() as u64;
    let batch = |&batch_size: &u64| BatchStatistics {
        batch_size,
        compute_input: time(1),
        compute_infer: time(2),
        compute_output: time(3),
    };
    ModelStatistics {
        name: "digits".into(),
        version: version.into(),
        last_inference: last,
        inference_count: sizes.iter().sum(),
        execution_count: count,
        pending: 1,
        inference_stats: InferStatistics {
            success: time(count),
            cache_hit: time(7),
            ..InferStatistics::default()
        },
        batch_stats: sizes.iter().map(batch).collect(),
        tensorforge: Some(Box::default()),
    }
}

#[tokio::test]
async fn figures_are_added_up_over_endpoints_version_by_version() {
    let endpoints = [Scripted::new(), Scripted::new(), Scripted::new()];
    *lock(&endpoints[0].statistics) = Ok(vec![figures("1", &[1, 4], 10), figures("2", &[8], 5)]);
    *lock(&endpoints[1].statistics) = Ok(vec![figures("1", &[4, 2], 30)]);
    let gateway = over(&endpoints, DIGITS);
    let told = gateway.statistics("digits", None).await.unwrap();
    let [first, second] = &told[..] else { panic!("{told:?}") };
    assert_eq!(second, &figures("2", &[8], 5), "one endpoint alone has it");
    assert_eq!((&*first.version, first.last_inference, first.pending), ("1", 30, 2));
    assert_eq!((first.inference_count, first.execution_count), (11, 4));
    assert_eq!(
        (first.inference_stats.success, first.inference_stats.cache_hit),
        (time(4), time(14))
    );
    let sizes: Vec<_> =
        first.batch_stats.iter().map(|it| (it.batch_size, it.compute_infer)).collect();
    assert_eq!(sizes, [(1, time(2)), (2, time(2)), (4, time(4))]);
    assert_eq!(first.tensorforge, None, "quantiles are not added up");

    // Who does not tell is left out, and where nobody does, that is said.
    *lock(&endpoints[0].statistics) = Err(status(500));
    let told = gateway.statistics("digits", None).await.unwrap();
    assert_eq!(told, [figures("1", &[4, 2], 30)]);
    *lock(&endpoints[1].statistics) = Err(status(404));
    assert!(gateway.statistics("digits", None).await.is_err());
}

#[tokio::test]
async fn an_address_that_stands_twice_in_the_table_counts_once() {
    let endpoints = [Scripted::new()];
    *lock(&endpoints[0].statistics) = Ok(vec![figures("1", &[3], 1)]);
    let gateway = over(&endpoints, DIGITS);
    let again = "[[endpoints]]\nname = \"again\"\nurl = \"http://a:1\"\n";
    let table = entry("a") + again + DIGITS;
    gateway.publish(Routes::from_toml(&table).unwrap()).unwrap();
    assert_eq!(gateway.statistics("digits", None).await.unwrap(), [figures("1", &[3], 1)]);
}

#[tokio::test]
async fn a_configuration_is_the_first_that_is_told_by_whoever_is_well() {
    let endpoints = [Scripted::new(), Scripted::new()];
    let gateway = over(&endpoints, IN_TURN);
    let error = gateway.config("digits", None).await.unwrap_err().to_string();
    assert!(error.contains("does not tell a model's configuration"), "{error}");
    for (endpoint, name) in endpoints.iter().zip(["of a", "of b"]) {
        *lock(&endpoint.config) = Ok(json!({ "name": name }));
    }
    assert_eq!(gateway.config("digits", None).await.unwrap()["name"], "of a");
    endpoints[0].does(|_, _| Err(status(500)));
    for _ in 0..20 {
        scripted::send(&gateway, None, scripted::rows(1)).await.unwrap();
    }
    assert_eq!(gateway.config("digits", None).await.unwrap()["name"], "of b");
    *lock(&endpoints[1].config) = Err(status(500));
    assert_eq!(gateway.config("digits", None).await.unwrap()["name"], "of a", "better than none");
}

#[tokio::test]
async fn a_model_is_ready_where_somebody_who_may_be_asked_has_it() {
    let endpoints = [Scripted::new(), Scripted::new()];
    let gateway = over(&endpoints, DIGITS);
    endpoints[0].has_model.store(false, Ordering::Relaxed);
    gateway.model_ready("digits", None).await.unwrap();
    let drained = entry("a") + &entry("b") + "state = \"draining\"\n" + DIGITS;
    gateway.publish(Routes::from_toml(&drained).unwrap()).unwrap();
    let error = gateway.model_ready("digits", None).await.unwrap_err();
    assert!(matches!(error, GatewayError::NoEndpoint { .. }));
    let text = error.to_string();
    assert!(text.contains("a is not ready with it; b is not to be asked"), "{text}");
    endpoints[0].has_model.store(true, Ordering::Relaxed);
    gateway.model_ready("digits", None).await.unwrap();
    assert!(gateway.model_ready("letters", None).await.is_err(), "this process does not have it");
}

#[tokio::test]
async fn questions_are_passed_on_with_the_gateways_on_their_way_and_are_refused_after_too_many() {
    let endpoint = Scripted::new();
    *lock(&endpoint.config) = Ok(json!({}));
    *lock(&endpoint.statistics) = Ok(vec![figures("1", &[3], 1)]);
    let gateway = over(&[Arc::clone(&endpoint)], DIGITS);
    for hops in 0..MAX_HOPS {
        let inquiry = gateway.inquiry(hops).unwrap();
        inquiry.metadata("digits", None).await.unwrap();
        inquiry.config("digits", None).await.unwrap();
        inquiry.statistics("digits", None).await.unwrap();
        inquiry.model_ready("digits", None).await.unwrap();
        assert_eq!(std::mem::take(&mut *lock(&endpoint.hops)), [hops; 4]);
    }
    assert_eq!(gateway.inquiry(MAX_HOPS).unwrap_err(), GatewayError::Loop(MAX_HOPS));
}
