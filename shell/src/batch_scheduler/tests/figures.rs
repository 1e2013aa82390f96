//! What the scheduler counts: every request once, at its own level, for what became of it.

use super::*;
use crate::batch_scheduler::drive::{ALL_ALIKE, Actions};
use crate::contracts::{LevelFigures, ModelFigures};
use crate::telemetry::FailReason;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tensorforge_core::{BatchKey, Request};

fn figures(bench: &Bench) -> ModelFigures {
    bench.model.recorder.figures(Instant::ZERO)
}

fn level(figures: &ModelFigures, priority: u8) -> &LevelFigures {
    figures.levels.iter().find(|level| level.priority == priority).unwrap()
}

/// What is not 0 of the levels' failures: (priority, reason, count).
fn failures(figures: &ModelFigures) -> Vec<(u8, &str, u64)> {
    let of_level = |level: &'_ LevelFigures| level.priority;
    let all = figures.levels.iter().flat_map(|level| {
        level.failures.iter().map(move |(why, failed)| (of_level(level), &**why, failed.count))
    });
    all.filter(|&(_, _, count)| count > 0).collect()
}

/// The reasons that batches of a level closed for, with their counts, those of 0 left out.
fn reasons(level: &LevelFigures) -> Vec<(&str, u64)> {
    let reasons = level.batches.by_reason.iter();
    reasons.map(|(why, &count)| (&**why, count)).filter(|&(_, count)| count > 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_counts_at_its_highest_level_and_a_request_at_its_own() {
    let config = ModelConfig { max_batch: 3, ..Default::default() };
    let bench = bench(Setup { config, gated: true, padded_rows: 4, ..Default::default() });
    let first = bench.occupy();
    let mut others = Vec::new();
    for (waiting, of) in [2, 5, 5].into_iter().enumerate() {
        others.push(bench.demand(1.0, priority(of)));
        bench.until_queued(waiting + 1).await;
    }
    bench.open(2);
    values(first).await;
    for other in others {
        values(other).await;
    }
    assert_eq!(bench.executed_rows(), [4, 4]);

    let figures = figures(&bench);
    let counted: Vec<_> = figures
        .levels
        .iter()
        .map(|level| {
            let LevelFigures { priority, success, batches, .. } = level;
            (*priority, *success, batches.count, batches.items, batches.padded, batches.capacity)
        })
        .collect();
    // One row ran as four; then three rows, full, as four.
    assert_eq!(counted, [(0, 1, 1, 1, 3, 3), (2, 1, 0, 0, 0, 0), (5, 2, 1, 3, 1, 3)]);
    assert_eq!(reasons(level(&figures, 5)), [("full", 1)]);
    assert_eq!(level(&figures, 5).batches.fill_rate, Some(1.0));
    assert_eq!(level(&figures, 0).batches.padding_rate, Some(0.75));
    assert_eq!((figures.batches.count, figures.batches.items, figures.batches.padded), (2, 4, 4));
    assert_eq!(failures(&figures), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_that_does_not_run_says_why_at_its_level() {
    let config = ModelConfig {
        max_queued: 1,
        max_batch: 2,
        displace: true,
        split: false,
        ..Default::default()
    };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let first = bench.occupy();

    let timeout = Some(std::time::Duration::from_millis(1));
    let late =
        bench.demand(1.0, Demand { priority: 3, timeout, ..Demand::default() }).await.unwrap();
    assert_eq!(late.unwrap_err(), RunError::Dropped(Dropped::Expired));
    let displaced = bench.demand(1.0, priority(1));
    bench.until_queued(1).await;
    let given_up = bench.demand(1.0, priority(4));
    displaced.await.unwrap().unwrap_err();
    bench.demand(1.0, priority(2)).await.unwrap().unwrap_err();
    given_up.abort();
    given_up.await.unwrap_err();
    bench.demand(1.0, priority(8)).await.unwrap().unwrap_err();
    bench.send(&[1.0; 3]).await.unwrap().unwrap_err();
    bench.send(&[]).await.unwrap().unwrap_err();

    bench.open(1);
    values(first).await;
    bench.scheduler.drain().await;
    bench.demand(1.0, priority(6)).await.unwrap().unwrap_err();

    let figures = figures(&bench);
    let expected = [
        // No rows, too many, and a priority that there is not.
        (0, "invalid", 3),
        (1, "displaced", 1),
        (2, "queue_full", 1),
        (3, "timeout", 1),
        (4, "canceled", 1),
        (6, "draining", 1),
    ];
    assert_eq!(failures(&figures), expected);
    assert_eq!(level(&figures, 0).success, 1);
    let told = bench.model.recorder.statistics("doubler", "1").inference_stats;
    assert_eq!((told.success.count, told.fail.count), (1, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_again_counts_once_and_its_failed_batches_apart() {
    let bench = bench(Setup { gated: true, ..Default::default() });
    let first = bench.occupy();
    let mut answers = Vec::new();
    for (waiting, value) in [1.0, POISON, 2.0].into_iter().enumerate() {
        answers.push(bench.demand(value, priority(2)));
        bench.until_queued(waiting + 1).await;
    }
    bench.open(6);
    values(first).await;
    for answer in answers {
        // The one at fault gets an error, which is not looked at here.
        let _ = answer.await.unwrap();
    }
    bench.scheduler.drain().await;
    // All three; the first two of them; each alone.
    assert_eq!(bench.executed_rows(), [1, 3, 2, 1, 1, 1]);
    let figures = figures(&bench);
    let level = level(&figures, 2);
    assert_eq!((level.success, level.batches.count, level.batches.failed), (2, 2, 3));
    assert_eq!(reasons(level), [("retry", 2)]);
    assert_eq!(failures(&figures), [(2, "backend", 1)]);
    assert_eq!(figures.fairness, Some(1.0), "it got its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_hangs_counts_once_as_failed_and_never_as_answered() {
    let hang_timeout = Some(std::time::Duration::from_millis(5));
    let config = ModelConfig { hang_timeout, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let hangs = bench.demand(1.0, priority(6)).await.unwrap();
    assert!(matches!(hangs, Err(RunError::Hung { .. })));
    // It comes back late, with an answer that nobody gets.
    bench.open(1);
    bench.scheduler.drain().await;
    let figures = figures(&bench);
    assert_eq!(failures(&figures), [(6, "backend", 1)]);
    let level = level(&figures, 6);
    assert_eq!((level.success, level.batches.count, level.batches.failed), (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_left_alone_counts_what_it_turns_away() {
    let config = ModelConfig { escalate: true, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let (mut ran, mut turned_away) = (0, 0);
    for _ in 0..8 {
        match bench.demand(POISON, priority(1)).await.unwrap().unwrap_err() {
            RunError::Execute(_) => ran += 1,
            RunError::Refused(_) => turned_away += 1,
            other => panic!("{other}"),
        }
    }
    assert!(turned_away > 0);
    let figures = figures(&bench);
    assert_eq!(failures(&figures), [(1, "backend", ran), (1, "model_failing", turned_away)]);
    assert_eq!(level(&figures, 1).batches.failed, ran);
}

/// A request that came from nowhere, and where its answer would come to.
fn pending(
    bench: &Bench,
    priority: u8,
) -> (Box<Pending>, oneshot::Receiver<Result<Vec<Tensor>, RunError>>) {
    let (reply, answer) = oneshot::channel();
    let pending = Pending {
        model: Arc::clone(&bench.model),
        inputs: vec![Tensor::from_f32("x", vec![1, 1], &[1.0])],
        rows: 1,
        priority,
        is_shadow: false,
        arrived: bench.scheduler.shared.clock.now(),
        deadline: Instant::MAX,
        alike: None,
        parameters: Parameters::new(),
        life: None,
        part_of: None,
        ticket: TicketCell::default(),
        reply,
    };
    (Box::new(pending), answer)
}

#[tokio::test]
async fn who_hangs_up_while_its_batch_is_on_the_way_counts_as_canceled() {
    let bench = bench(Setup::default());
    let shared = &bench.scheduler.shared;
    let (one, gone) = pending(&bench, 3);
    let key = BatchKey { model: ModelId(0), signature: ALL_ALIKE };
    let request = Request { priority: 3, ..Request::new(key, 1, one) };
    // Its batch is held here, where it would be on its way to a worker.
    let mut held = Actions::default();
    let now = shared.clock.now();
    shared.with_state(|state| state.engine.handle(now, Event::Arrived(request), &mut held));
    drop(gone);
    run::run(shared, held.jobs.pop().unwrap());

    let figures = figures(&bench);
    assert_eq!(failures(&figures), [(3, "canceled", 1)]);
    assert_eq!((level(&figures, 3).success, figures.batches.count), (0, 0));
    assert_eq!(values(bench.send(&[1.0])).await, [2.0], "the instance is idle again");
}

#[tokio::test]
async fn who_hangs_up_before_the_engine_sees_its_request_counts_as_canceled() {
    let bench = bench(Setup::default());
    let (one, gone) = pending(&bench, 5);
    drop(gone);
    bench.scheduler.shared.arrive(one);
    let figures = figures(&bench);
    assert_eq!(failures(&figures), [(5, "canceled", 1)]);
    assert_eq!(bench.scheduler.queued(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_in_parts_counts_as_one() {
    let config = ModelConfig { max_batch: 2, max_queued: 8, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    // Answered: three parts, in batches of 2, 2 and 1.
    let whole = bench.send(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    bench.open(3);
    assert_eq!(values(whole).await, [2.0, 4.0, 6.0, 8.0, 10.0]);
    let before = figures(&bench);
    let told = level(&before, 0);
    assert_eq!((told.success, told.items, told.batches.count), (1, 5, 3));
    assert_eq!((told.batches.items, told.total.count, told.queue.count), (5, 1, 1));
    let protocol = bench.model.recorder.statistics("doubler", "1");
    assert_eq!((protocol.inference_count, protocol.execution_count), (5, 3));
    assert_eq!(protocol.inference_stats.success.count, 1);
    (0..3).for_each(|_| bench.entered.recv().unwrap());

    // Given up, with all its parts in the queue.
    let first = bench.occupy();
    let gone = bench.send(&[1.0; 9]);
    bench.until_queued(5).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    // Refused for one of its seven parts: six fit beside the two that wait.
    let waits = bench.send(&[1.0; 4]);
    bench.until_queued(2).await;
    let refused = bench.send(&[1.0; 14]).await.unwrap().unwrap_err();
    assert!(matches!(refused, RunError::Refused(Refused::ModelQueueFull { .. })), "{refused}");
    // Refused at once: more parts than may ever wait.
    let refused = bench.send(&[1.0; 17]).await.unwrap().unwrap_err();
    assert_eq!(refused, RunError::TooManyRows { most: 16 });
    bench.open(3);
    values(first).await;
    values(waits).await;
    // Failed for the first of its parts.
    let poisoned = bench.send(&[POISON, POISON, 1.0]);
    bench.open(2);
    poisoned.await.unwrap().unwrap_err();

    let figures = figures(&bench);
    assert_eq!(level(&figures, 0).success, 3);
    let expected = [(0, "backend", 1), (0, "canceled", 1), (0, "invalid", 1), (0, "queue_full", 1)];
    assert_eq!(failures(&figures), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cut_for_want_of_memory_counts_once() {
    let memory = Some(crate::config::MemoryConfig { fixed_kib: 1024, per_item_kib: 1024 });
    let config = ModelConfig { memory, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    bench.scheduler.set_memory(5 << 20);
    // Refused as a whole, for four rows fill the memory; then it runs in two parts.
    assert_eq!(values(bench.send(&[1.0; 5])).await, [2.0; 5]);
    assert_eq!(values(bench.send(&[1.0; 2])).await, [2.0; 2]);
    assert_eq!(values(bench.send(&[1.0])).await, [2.0]);
    let counted = figures(&bench);
    let told = level(&counted, 0);
    assert_eq!((told.success, told.items, told.batches.items), (3, 8, 8));
    assert_eq!(failures(&counted), []);
    // Not even a row has room: there is nothing to cut.
    bench.scheduler.set_memory(1 << 20);
    bench.send(&[1.0; 5]).await.unwrap().unwrap_err();
    assert_eq!(failures(&figures(&bench)), [(0, "invalid", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_at_once_every_request_counts_once() {
    let config = ModelConfig { max_queued: 8, displace: true, instances: 2, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let arrived: Arc<[AtomicU64; 8]> = Arc::default();
    let mut answers = Vec::new();
    for i in 0..4_000_u64 {
        let of = (i * 7 % 8) as u8;
        let value = if i % 17 == 0 { POISON } else { i as f32 };
        let timeout = (i % 5 == 0).then(|| std::time::Duration::from_micros(i % 300));
        let demand = Demand { priority: of, timeout, ..Demand::default() };
        let (scheduler, model) = (Arc::clone(&bench.scheduler), Arc::clone(&bench.model));
        let arrived = Arc::clone(&arrived);
        let answer = tokio::spawn(async move {
            arrived[usize::from(of)].fetch_add(1, Ordering::Relaxed);
            let log = Arc::new(RequestLog::new(Clock::start(), None));
            let life = Arc::new(log.receive("doubler", ""));
            // One in eleven runs in three parts.
            let rows = if i % 11 == 0 { 9 } else { 1 };
            let tensor = Tensor::from_f32("x", vec![rows, 1], &vec![value; rows]);
            scheduler.run_as(&model, vec![tensor], rows, demand, &life).await
        });
        if i % 3 == 0 {
            tokio::task::yield_now().await;
            answer.abort();
        }
        answers.push((of, answer));
    }
    // What the senders were told, where they were not gone by then.
    let mut told: BTreeMap<(u8, FailReason), u64> = BTreeMap::new();
    let mut answered = [0; 8];
    for (of, answer) in answers {
        match answer.await {
            Err(gone) => assert!(gone.is_cancelled(), "{gone}"),
            Ok(Ok(_)) => answered[usize::from(of)] += 1,
            Ok(Err(error)) => {
                *told.entry((of, error.fail_reason())).or_default() += 1;
            }
        }
    }
    bench.scheduler.drain().await;

    let figures = figures(&bench);
    for of in 0..8 {
        let level = level(&figures, of);
        let failed: u64 = level.failures.values().map(|failed| failed.count).sum();
        let arrived = arrived[usize::from(of)].load(Ordering::Relaxed);
        assert_eq!(level.success + failed, arrived, "level {of}: {:?}", level.failures);
        assert!(level.success >= answered[usize::from(of)]);
        for why in FailReason::ALL {
            let told = told.get(&(of, why)).copied().unwrap_or_default();
            // Of a sender that is gone it is not known what became of its request.
            assert!(level.failures[why.name()].count >= told, "level {of}: {why:?}");
        }
        assert_eq!(level.total.count, level.success);
    }
    let items = figures.levels.iter().map(|level| level.items).sum::<u64>();
    assert!(figures.batches.items >= items, "parts of requests that failed ran, too");
}
