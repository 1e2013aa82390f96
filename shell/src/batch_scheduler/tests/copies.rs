//! Shadow copies: they run like requests, and count as nobody's.

use super::*;
use crate::contracts::ModelFigures;
use crate::trace::replay::replay;

fn copy() -> Demand {
    Demand { is_shadow: true, ..Demand::default() }
}

fn users(bench: &Bench) -> ModelFigures {
    bench.model.recorder.figures(Instant::ZERO)
}

fn copies(bench: &Bench) -> ModelFigures {
    bench.model.copies().unwrap().figures(Instant::ZERO)
}

/// Requests that ended, with an answer and without.
fn ended(figures: &ModelFigures) -> (u64, u64) {
    let answered = figures.levels.iter().map(|level| level.success).sum();
    (answered, figures.failures.values().map(|failed| failed.count).sum())
}

fn rows(rows: usize, value: f32) -> Tensor {
    Tensor::from_f32("x", vec![rows, 1], &vec![value; rows])
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_with_users_a_copy_is_not_seen_but_in_what_the_device_did() {
    let config = ModelConfig { max_batch: 4, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    assert!(bench.model.copies().is_none(), "none has come");
    let first = bench.occupy();
    let copied = bench.spawn(rows(3, 1.0), copy());
    let user = bench.send(&[2.0]);
    bench.until_queued(2).await;
    bench.open(2);
    values(first).await;
    assert_eq!((values(copied).await, values(user).await), (vec![2.0; 3], vec![4.0]));
    assert_eq!(bench.executed_rows(), [1, 4]);

    let protocol = bench.model.recorder.statistics("doubler", "1");
    assert_eq!((protocol.inference_count, protocol.execution_count), (2, 2));
    assert_eq!(protocol.inference_stats.success.count, 2);
    let sizes = protocol.batch_stats.iter().map(|size| (size.batch_size, size.compute_infer.count));
    assert_eq!(sizes.collect::<Vec<_>>(), [(1, 2)], "as if it had run without the copy");
    let told = users(&bench);
    assert_eq!((told.levels[0].success, told.levels[0].items), (2, 2));
    assert_eq!((told.batches.count, told.batches.items), (2, 5), "so full it was");
    let told = copies(&bench);
    assert_eq!((told.levels[0].success, told.levels[0].items), (1, 3));
    assert_eq!(told.levels[0].execution.count, 1);
    assert_eq!(told.batches.count, 0, "the batch counts once, as the users'");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_copies_alone_changes_no_figure_of_the_users() {
    let config = ModelConfig { max_batch: 2, max_queued: 3, ..Default::default() };
    let bench = bench(Setup { config, gated: true, gated_value: Some(9.0), ..Default::default() });
    bench.send(&[1.0]).await.unwrap().unwrap();
    let (before, protocol) =
        (users(&bench), bench.model.recorder.statistics("doubler", "1").inference_stats);
    bench.spawn(rows(1, 1.0), copy()).await.unwrap().unwrap();
    // In parts; at fault; with no rows; more than may wait.
    bench.spawn(rows(3, 1.0), copy()).await.unwrap().unwrap();
    bench.spawn(rows(1, POISON), copy()).await.unwrap().unwrap_err();
    bench.spawn(rows(0, 1.0), copy()).await.unwrap().unwrap_err();
    bench.spawn(rows(7, 1.0), copy()).await.unwrap().unwrap_err();
    // One that takes long, and one that is given up behind it.
    let long = bench.spawn(rows(1, 9.0), copy());
    bench.entered.recv().unwrap();
    let gone = bench.spawn(rows(1, 1.0), copy());
    bench.until_queued(1).await;
    gone.abort();
    gone.await.unwrap_err();
    bench.open(1);
    long.await.unwrap().unwrap();
    bench.scheduler.drain().await;
    bench.spawn(rows(1, 1.0), copy()).await.unwrap().unwrap_err();

    assert_eq!(users(&bench), before);
    assert_eq!(bench.model.recorder.statistics("doubler", "1").inference_stats, protocol);
    let told = copies(&bench);
    assert_eq!(ended(&told), (3, 5));
    let failed = |why: &str| told.failures[why].count;
    assert_eq!((failed("backend"), failed("invalid")), (1, 2), "poisoned; no rows, too many");
    assert_eq!((failed("canceled"), failed("draining")), (1, 1));
    assert_eq!((told.batches.count, told.batches.items, told.batches.failed), (4, 5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_copies_that_hangs_counts_as_theirs() {
    let hang_timeout = Some(std::time::Duration::from_millis(5));
    let config = ModelConfig { hang_timeout, ..Default::default() };
    let bench = bench(Setup { config, gated: true, ..Default::default() });
    let error = bench.spawn(rows(1, 1.0), copy()).await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Hung { .. }), "{error}");
    bench.open(1);
    bench.scheduler.drain().await;
    assert_eq!((ended(&copies(&bench)), copies(&bench).batches.failed), ((0, 1), 1));
    assert_eq!((ended(&users(&bench)), users(&bench).batches.failed), ((0, 0), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_nobody_in_line() {
    let config =
        ModelConfig { preserve_order: true, instances: 2, max_batch: 1, ..Default::default() };
    let setup = Setup { config, gated: true, gated_value: Some(1.0), ..Default::default() };
    let bench = bench(setup);
    let first = bench.spawn(rows(1, 1.0), copy());
    bench.entered.recv().unwrap();
    assert_eq!(values(bench.send(&[2.0])).await, [4.0], "before the copy that came first");
    bench.open(1);
    values(first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_at_once_every_request_and_every_copy_counts_once_and_is_marked() {
    let config = ModelConfig { max_queued: 20, max_batch: 4, displace: true, ..Default::default() };
    let trace = replayed::Buffer::default();
    let bench = bench(Setup { config, trace: Some(trace.clone()), ..Default::default() });
    let (mut sent, mut answers) = ([0; 2], Vec::new());
    for i in 0..600_usize {
        let is_shadow = i % 3 == 0;
        sent[usize::from(is_shadow)] += 1;
        let value = if i % 29 == 0 { POISON } else { i as f32 };
        let timeout = (i % 7 == 0).then_some(std::time::Duration::from_micros(80));
        let priority = if is_shadow { 0 } else { (i % 4) as u8 };
        let demand = Demand { priority, timeout, is_shadow, ..Demand::default() };
        let answer = bench.spawn(rows(1 + i % 6, value), demand);
        if i % 11 == 0 {
            tokio::task::yield_now().await;
        }
        answers.push(answer);
    }
    let mut answered = 0;
    for answer in answers {
        answered += u64::from(answer.await.unwrap().is_ok());
    }
    bench.scheduler.drain().await;
    let [users, copies] = [users(&bench), copies(&bench)];
    let [of_users, of_copies] = [ended(&users), ended(&copies)];
    assert_eq!([of_users.0 + of_users.1, of_copies.0 + of_copies.1], sent);
    assert_eq!(of_users.0 + of_copies.0, answered);
    let protocol = bench.model.recorder.statistics("doubler", "1");
    let by_size = protocol.batch_stats.iter();
    let rows = by_size.map(|size| size.batch_size * size.compute_infer.count).sum::<u64>();
    assert_eq!(protocol.inference_count, rows, "the protocol's figures agree with each other");
    let executed: usize = bench.executed_rows().iter().sum();
    assert!(users.batches.items + copies.batches.items <= executed as u64);

    let Bench { scheduler, .. } = bench;
    drop(Arc::into_inner(scheduler).expect("every request has ended"));
    let text = String::from_utf8(lock(&trace.0).clone()).unwrap();
    assert!(replay(text.as_bytes(), |_| ()).unwrap().complete);
    let arrived = |line: &&str| line.contains("{\"arrived\"");
    let marked = |line: &&str| line.contains("\"shadow\":true");
    let lines: Vec<&str> = text.lines().filter(arrived).collect();
    let (copied, all) = (lines.iter().filter(|line| marked(line)).count(), lines.len());
    assert!(copied > 0 && copied < all, "{copied} of {all} are marked");
}
