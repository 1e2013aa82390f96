//! Requests of other forms: too large for a batch, with parameters, in order, of several priorities.

use super::*;
use crate::config::LevelConfig;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_request_runs_in_parts_and_is_answered_in_order() {
    let config = ModelConfig { max_batch: 16, max_queued: 64, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let rows: Vec<f32> = (1..=500).map(|row| row as f32).collect();
    let doubled: Vec<f32> = rows.iter().map(|row| row * 2.0).collect();
    assert_eq!(values(bench.send(&rows)).await, doubled);
    // 31 full batches and one of four.
    let executed = bench.executed_rows();
    assert_eq!(executed.iter().sum::<usize>(), 500);
    assert_eq!(executed.len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_part_fails_its_own_request_only() {
    let config = ModelConfig { max_batch: 2, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let poisoned = bench.send(&[1.0, 2.0, POISON, 4.0, 5.0]);
    bench.until_queued(3).await;
    let other = bench.send(&[6.0]);
    bench.until_queued(4).await;
    // The first, the part before the poison, the poisoned one, and what is left: the last part may share
    // a batch with the other request, or be out of the queue by then.
    bench.open(4);
    values(first).await;
    let error = poisoned.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("poison"), "{error}");
    assert_eq!(values(other).await, [12.0]);
    bench.until_queued(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_of_a_request_that_is_given_up_leave_the_queue() {
    let config = ModelConfig { max_batch: 2, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let gone = bench.send(&[1.0; 9]);
    bench.until_queued(5).await;
    gone.abort();
    bench.until_queued(0).await;
    bench.open(1);
    values(first).await;
    assert_eq!(bench.executed_rows(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_another_run_can_be_given_up_as_well() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let poison = bench.send(&[POISON]);
    bench.until_queued(1).await;
    let gone = bench.send(&[1.0]);
    bench.until_queued(2).await;
    // The two run together and fail; the one at fault runs again first and keeps the instance busy.
    bench.open(2);
    values(first).await;
    (0..2).for_each(|_| bench.entered.recv().unwrap());
    assert_eq!(bench.scheduler.queued(), 1);
    gone.abort();
    bench.until_queued(0).await;
    bench.open(1);
    assert!(poison.await.unwrap().is_err());
    assert_eq!(bench.executed_rows(), [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_batch_only_with_those_of_the_same_parameters() {
    let config = ModelConfig { batch_by: vec!["beam".into()], ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();
    let mut answers = Vec::new();
    for i in 0..6 {
        // "note" is no part of the key.
        let parameters = [("beam".to_owned(), json!(i % 2)), ("note".to_owned(), json!(i))];
        let parameters = parameters.into_iter().collect();
        answers.push(bench.demand(i as f32, Demand { parameters, ..Demand::default() }));
        bench.until_queued(i + 1).await;
    }
    bench.open(3);
    values(first).await;
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(values(answer).await, [2.0 * i as f32]);
    }
    assert_eq!(bench.executed_rows(), [1, 3, 3]);
    let told: Vec<String> =
        lock(&bench.doubler.told).iter().map(|parameters| json!(parameters).to_string()).collect();
    assert_eq!(told, ["{}", r#"{"beam":0}"#, r#"{"beam":1}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_order_of_their_requests_where_that_is_asked_for() {
    for preserve_order in [false, true] {
        let config =
            ModelConfig { preserve_order, instances: 2, max_batch: 1, ..Default::default() };
        let setup = Setup { config, gated: true, gated_value: Some(1.0), ..Default::default() };
        let bench = bench(setup);
        let log = Arc::new(RequestLog::new(Clock::start(), None));
        let [first_life, second_life] = [0, 1].map(|_| Arc::new(log.receive("doubler", "")));
        let tensor = |value| vec![Tensor::from_f32("x", vec![1, 1], &[value])];
        let mut first =
            std::pin::pin!(bench.scheduler.run(&bench.model, tensor(1.0), 1, &first_life));
        let waits = poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        bench.entered.recv().unwrap();
        let mut second =
            std::pin::pin!(bench.scheduler.run(&bench.model, tensor(2.0), 1, &second_life));
        if preserve_order {
            let waits = poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending()));
            assert!(waits.await);
            while bench.model.recorder.statistics("doubler", "1").inference_count == 0 {
                tokio::task::yield_now().await;
            }
            bench.open(1);
            tokio::select! {
                biased;
                _ = &mut second => panic!("answered before the one that came first"),
                outputs = first => assert_eq!(outputs.unwrap()[0].to_f32().unwrap(), [2.0]),
            }
        }
        let outputs = second.await.unwrap();
        assert_eq!(outputs[0].to_f32().unwrap(), [4.0]);
        bench.open(usize::from(!preserve_order));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_priority_has_its_own_wait_and_limit() {
    let hour = std::time::Duration::from_secs(3600);
    let level =
        |max_wait, max_queued| LevelConfig { max_wait, max_queued, ..LevelConfig::default() };
    let config = ModelConfig {
        max_wait: hour,
        priorities: 3,
        priority: [
            ("2".into(), level(Some(std::time::Duration::ZERO), None)),
            ("1".into(), level(None, Some(1))),
        ]
        .into(),
        ..Default::default()
    };
    config.check().unwrap();
    let bench = bench(Setup { config, ..Default::default() });
    let patient = [bench.demand(1.0, priority(0)), bench.demand(2.0, priority(1))];
    bench.until_queued(2).await;
    let refused = bench.demand(3.0, priority(1)).await.unwrap().unwrap_err();
    assert!(
        matches!(refused, RunError::Refused(Refused::LevelQueueFull { priority: 1, .. })),
        "{refused}"
    );
    // It waits for nobody, and takes those along that wait.
    assert_eq!(values(bench.demand(4.0, priority(2))).await, [8.0]);
    for (i, answer) in patient.into_iter().enumerate() {
        assert_eq!(values(answer).await, [2.0 * (i + 1) as f32]);
    }
    assert_eq!(bench.executed_rows(), [3]);
    assert_eq!(
        bench.demand(1.0, priority(3)).await.unwrap().unwrap_err().to_string(),
        "the model's priorities are 0 to 2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_are_configured_reach_an_executor_that_takes_any() {
    let config = ModelConfig { max_batch: 8, batch_sizes: Some(vec![4, 8]), ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    assert_eq!(values(bench.send(&[1.0, 2.0, 3.0])).await, [2.0, 4.0, 6.0]);
    assert_eq!(bench.executed_rows(), [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_stay_within_the_memory_there_is() {
    let memory = Some(crate::config::MemoryConfig { fixed_kib: 1024, per_item_kib: 1024 });
    let config = ModelConfig { memory, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    bench.scheduler.set_memory(5 << 20);
    let first = bench.occupy();
    let others: Vec<Answer> = (1..=10).map(|i| bench.send(&[i as f32])).collect();
    bench.until_queued(10).await;
    // Four items and the fixed part fill the memory; the last two wait no longer than the others.
    bench.open(4);
    values(first).await;
    for (i, other) in others.into_iter().enumerate() {
        assert_eq!(values(other).await, [2.0 * (i + 1) as f32]);
    }
    assert_eq!(bench.executed_rows(), [1, 4, 4, 2]);
    // One of more rows runs in parts that fit.
    bench.open(2);
    assert_eq!(values(bench.send(&[1.0; 5])).await, [2.0; 5]);
    assert_eq!(bench.executed_rows()[4..], [4, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_finds_no_memory_runs_again_in_halves() {
    let setup = Setup { gated: true, most_rows: Some(3), ..Default::default() };
    let bench = bench(setup);
    let first = bench.occupy();
    let others: Vec<Answer> = (1..=8).map(|i| bench.send(&[i as f32])).collect();
    bench.until_queued(8).await;
    // One; eight, four and four fail for want of memory; four of two.
    bench.open(8);
    values(first).await;
    for (i, other) in others.into_iter().enumerate() {
        assert_eq!(values(other).await, [2.0 * (i + 1) as f32]);
    }
    let executed = bench.executed_rows();
    assert_eq!(executed[..2], [1, 8]);
    assert!(executed[2..].iter().all(|&rows| rows <= 4), "{executed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_for_latency_replaces_the_wait() {
    let target_p99 = Some(std::time::Duration::from_secs(3600));
    let config = ModelConfig { target_p99, max_batch: 4, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    // The first one does not wait: nothing is known of the model's times.
    assert_eq!(values(bench.send(&[9.0])).await, [18.0]);
    // With `max_wait` at zero each would run alone; there is an hour for company.
    let waiting: Vec<Answer> = (0..3).map(|i| bench.send(&[i as f32])).collect();
    bench.until_queued(3).await;
    assert_eq!(values(bench.send(&[3.0])).await, [6.0]);
    for (i, answer) in waiting.into_iter().enumerate() {
        assert_eq!(values(answer).await, [2.0 * i as f32]);
    }
    assert_eq!(bench.executed_rows(), [1, 4]);
}

#[test]
fn many_threads_lose_nothing_in_the_intake() {
    let bench = bench(Setup { workers: 1, ..Default::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let answers: Vec<Answer> = (0..2000).map(|i| bench.send(&[i as f32])).collect();
        let mut refused = 0;
        for (i, answer) in answers.into_iter().enumerate() {
            match answer.await.unwrap() {
                Ok(outputs) => assert_eq!(outputs[0].to_f32().unwrap(), [2.0 * i as f32]),
                Err(RunError::Refused(Refused::ModelQueueFull { .. })) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let figures = bench.model.recorder.statistics("doubler", "1");
        assert_eq!(figures.inference_count + refused, 2000);
    });
}
