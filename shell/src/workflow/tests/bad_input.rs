//! What should not happen, and does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tensorforge_core::Duration;
use tensorforge_core::machine::{
    Attempt, Job, JobState as J, Reason, Refusal, TransitionValidator,
};

use super::*;

/// Does not come to an answer.
struct Panicking;
impl TransitionValidator<J> for Panicking {
    fn validate(&self, _: &Attempt<'_, J>, (): &()) -> Result<(), Refusal> {
        panic!("a mistake in the validator")
    }
}

#[test]
fn a_validator_that_panics_refuses_and_nothing_else_breaks() {
    let engine = Engine::new(Job, Panicking, Book::default(), EngineOptions::default());
    engine.register("j", at(0));
    let refused = engine.transition("j", J::Running, "", &(), at(1)).unwrap_err();
    assert_eq!(refused.to_string(), "refused by validator: the validator panicked");
    assert_eq!((engine.state("j"), engine.generation("j")), (Some(J::Pending), Some(0)));
    assert_eq!(engine.sink().records().len(), 1);
    assert!(engine.register("k", at(2)), "the engine goes on");
}

#[test]
fn a_validator_that_takes_too_long_is_not_counted() {
    // Each look at the clock finds it a second later.
    let clock = Arc::new(AtomicU64::new(0));
    let source = clock.clone();
    let now: TimeSource = Arc::new(move || at(source.fetch_add(1_000_000_000, Relaxed)));
    let limit = Some((Duration::from_millis(999), now));
    let options = EngineOptions { validator_limit: limit, ..EngineOptions::default() };
    let allowing = Clearance::new("any");
    let engine: Engine<Job, Clearance, (), [&str]> = Engine::new(Job, allowing, (), options);
    engine.register("j", at(0));
    let refused = engine.transition("j", J::Running, "", &["any"][..], at(1)).unwrap_err();
    let took = Duration::from_secs(1);
    let reason = Reason::TooSlow { took };
    assert_eq!(refused, TransitionError::Refused(Refusal { by: "validator", reason }));
}

#[test]
fn a_sink_that_panics_is_counted_and_leaves_no_lock_behind() {
    struct Broken;
    impl AuditSink for Broken {
        fn record(&self, _: &AuditRecord<'_>) -> Result<(), AuditFailure> {
            panic!("a mistake in the sink")
        }
    }
    let engine = Engine::new(Job, (), Broken, EngineOptions { shards: 1, ..Default::default() });
    engine.register("j", at(0));
    assert!(engine.transition("j", J::Running, "", &(), at(1)).is_ok());
    assert!(engine.transition("j", J::Pending, "", &(), at(1)).is_err());
    assert_eq!((engine.audit_failures(), engine.state("j")), (2, Some(J::Running)));
}

#[test]
fn ids_of_a_megabyte_and_clocks_that_step_back_are_as_good_as_any() {
    let id = "\u{1F980}\n\"".repeat(1 << 18);
    let engine = WorkflowEngine::new();
    engine.register(&id);
    engine.register("");
    assert!(engine.transition(&id, "allocated", u64::MAX).success);
    assert!(engine.transition(&id, "departed", 0).success);
    assert!(engine.transition("", "cancelled", 5).success);
    let history = engine.history();
    assert_eq!(history.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [u64::MAX, 0, 5]);
    assert_eq!(chain_length(&history, &id), 2);
}

#[test]
fn any_number_of_shards_will_do() {
    for shards in [0, 1, 3, 1000] {
        let options = EngineOptions { shards, ..Default::default() };
        let engine: Engine<Job> = Engine::new(Job, (), (), options);
        for i in 0..50 {
            assert!(engine.register(&i.to_string(), at(0)));
        }
        assert_eq!(engine.count(|state| state == J::Pending), 50);
    }
}

#[test]
fn a_cursor_goes_where_the_table_allows_and_tells_of_every_attempt() {
    let book = Book::default();
    let mut job = Cursor::<Job>::default();
    job.go(J::Running, "j", "start", at(1), &book).unwrap();
    let error = job.go(J::Pending, "j", "", at(2), &book).unwrap_err();
    assert_eq!(error, TransitionError::NoEdge { from: "running", to: "pending" });
    job.go(J::Cancelled, "j", "asked to", at(3), &book).unwrap();
    assert!(job.is_over() && job.go(J::Running, "j", "", at(4), &book).is_err());
    let told: Vec<_> =
        book.records().iter().map(|r| (r.sequence, r.outcome == Outcome::Applied)).collect();
    assert_eq!(told, [(0, true), (1, false), (1, true), (2, false)]);
}
