//! What it does about rules, executors and models that misbehave.

use super::*;
use crate::workflow::audit::{Entry, Ring};
use tensorforge_core::Duration as CoreDuration;
use tensorforge_core::batch::{ClosingReason, ClosingRule, Verdict, Waiting};

/// Batches of two, and nothing else; panics where three wait.
pub(super) struct Pairs {
    answered: mpsc::Sender<(u32, usize)>,
    batches: u32,
    answers: usize,
}

impl Pairs {
    pub(super) const fn new(answered: mpsc::Sender<(u32, usize)>) -> Self {
        Self { answered, batches: 0, answers: 0 }
    }
}

impl ClosingRule for Pairs {
    fn judge(&mut self, waiting: &Waiting<'_>) -> Verdict {
        assert!(waiting.items != 3, "a planted panic in a rule");
        match waiting.available() {
            2.. => Verdict::Close { reason: ClosingReason::Custom, items: 2 },
            _ => Verdict::Wait { until: tensorforge_core::Instant::MAX },
        }
    }

    fn executed(&mut self, items: u32, _took: CoreDuration) {
        self.batches += items;
    }

    fn answered(&mut self, _latency: CoreDuration, _now: tensorforge_core::Instant) {
        self.answers += 1;
        self.answered.send((self.batches, self.answers)).expect("the test listens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_ones_own_closes_the_batches_and_is_told_how_they_went() {
    let bench = bench(Setup::default());
    let (answered, told) = mpsc::channel();
    bench.scheduler.set_rule(ModelId(0), Some(Box::new(Pairs::new(answered))));
    let first = bench.send(&[1.0]);
    bench.until_queued(1).await;
    let second = bench.send(&[2.0]);
    assert_eq!((values(first).await, values(second).await), (vec![2.0], vec![4.0]));
    assert_eq!(bench.executed_rows(), [2]);
    assert_eq!((told.recv(), told.recv()), (Ok((2, 1)), Ok((2, 2))));

    // A lone one waits until the rule is gone.
    let lone = bench.send(&[3.0]);
    bench.until_queued(1).await;
    bench.scheduler.set_rule(ModelId(0), None);
    assert_eq!(values(lone).await, [6.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_panics_is_not_asked_again_and_nobody_notices() {
    let bench = bench(Setup::default());
    let (answered, _told) = mpsc::channel();
    bench.scheduler.set_rule(ModelId(0), Some(Box::new(Pairs::new(answered))));
    assert_eq!(values(bench.send(&[1.0; 3])).await, [2.0; 3]);
    assert_eq!(values(bench.send(&[1.0])).await, [2.0], "the standard rule goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_level_and_circuit_is_on_record() {
    let config = ModelConfig { escalate: true, ..Default::default() };
    let bench = bench(Setup { config, ..Default::default() });
    let ring = Arc::new(Ring::new(64));
    bench.scheduler.audited(Arc::clone(&ring) as SharedSink);
    for _ in 0..20 {
        assert!(bench.send(&[POISON]).await.unwrap().is_err());
    }
    let entries = ring.entries();
    let steps = |machine: &str| -> Vec<(String, String, u64)> {
        let of = entries.iter().filter(|entry| entry.machine == machine);
        of.map(|entry: &Entry| (entry.from.clone(), entry.to.clone(), entry.generation)).collect()
    };
    let step = |from: &str, to: &str, generation| (from.to_owned(), to.to_owned(), generation);
    let policy = steps("policy");
    assert_eq!(policy[0], step("normal", "watch", 0));
    assert_eq!(policy[1], step("watch", "restricted", 1));
    assert!(policy.iter().all(|(from, to, _)| from != to));
    assert!(entries.iter().all(|entry| entry.entity == "doubler/1"), "{entries:?}");
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_hangs_is_given_up_and_another_thread_takes_its_place() {
    let after = std::time::Duration::from_millis(5);
    let hang_timeout = Some(after);
    let config = ModelConfig { hang_timeout, instances: 2, max_batch: 1, ..Default::default() };
    let setup =
        Setup { config, gated: true, gated_value: Some(1.0), workers: 1, ..Default::default() };
    let bench = bench(setup);
    let hangs = bench.send(&[1.0]);
    let error = hangs.await.unwrap().unwrap_err();
    assert_eq!(error, RunError::Hung { after });
    // Its only worker still hangs; another one runs what comes.
    assert_eq!(values(bench.send(&[2.0])).await, [4.0]);
    // It comes back: its instance is idle again, and its late answer goes nowhere.
    bench.open(1);
    bench.scheduler.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_wait_for_what_hangs() {
    let hang_timeout = Some(std::time::Duration::from_millis(5));
    let config = ModelConfig { hang_timeout, ..Default::default() };
    let bench = bench(Setup { config, gated: true, workers: 1, ..Default::default() });
    assert!(matches!(bench.send(&[1.0]).await.unwrap(), Err(RunError::Hung { .. })));
    let Bench { scheduler, go_on, .. } = bench;
    let scheduler = Arc::into_inner(scheduler).expect("its requests are answered");
    drop(scheduler);
    drop(go_on);
}

/// What the tests below need of a bench whose only execution hangs, its client gone.
async fn hanging(
    hang_timeout: Option<std::time::Duration>,
) -> (BatchScheduler, Arc<LoadedModel>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let config = ModelConfig { hang_timeout, max_batch: 1, ..Default::default() };
    let bench = bench(Setup { config, gated: true, workers: 1, ..Default::default() });
    let client = bench.occupy();
    let behind = bench.send(&[1.0]);
    bench.until_queued(1).await;
    for gone in [client, behind] {
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    let Bench { scheduler, model, entered, go_on, .. } = bench;
    let scheduler = Arc::into_inner(scheduler).expect("nobody asks any more");
    scheduler.set_stop_grace(std::time::Duration::ZERO);
    (scheduler, model, entered, go_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_goes_leaves_an_execution_behind_that_hangs() {
    let (scheduler, model, entered, go_on) = hanging(None).await;
    drop(scheduler);
    assert_eq!(model.recorder.count_pending(), 0);
    drop(model);
    // It comes back after all: its thread ends, and then nobody has the executor.
    go_on.send(()).unwrap();
    assert!(entered.recv().is_err(), "what waited behind it never ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_goes_gives_executions_up_when_their_time_has_passed() {
    let (scheduler, model, entered, go_on) =
        hanging(Some(std::time::Duration::from_millis(50))).await;
    drop(scheduler);
    drop(model);
    go_on.send(()).unwrap();
    assert!(entered.recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_goes_waits_for_executions_that_have_time_left() {
    let (scheduler, model, _entered, go_on) =
        hanging(Some(std::time::Duration::from_secs(3600))).await;
    let goes = std::thread::spawn(move || drop(scheduler));
    go_on.send(()).unwrap();
    goes.join().unwrap();
    assert_eq!(Arc::strong_count(&model), 1, "no batch of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_complete_though_an_execution_hangs() {
    let trace = replayed::Buffer::default();
    let setup = Setup { gated: true, workers: 1, trace: Some(trace.clone()), ..Default::default() };
    let bench = bench(setup);
    let client = bench.occupy();
    client.abort();
    assert!(client.await.is_err());
    let Bench { scheduler, go_on, .. } = bench;
    let scheduler = Arc::into_inner(scheduler).expect("nobody asks any more");
    scheduler.set_stop_grace(std::time::Duration::ZERO);
    drop(scheduler);
    let written = lock(&trace.0).clone();
    let replayed = crate::trace::replay::replay(&*written, |_| ()).unwrap();
    assert_eq!((replayed.arrived, replayed.complete), (1, true));
    drop(go_on);
}
