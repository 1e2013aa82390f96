//! Policies in every order in which threads can meet.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::{Duration, Instant};

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

#[test]
fn two_failures_at_the_burst_step_up_once() {
    loom::model(|| {
        let ladder = Arc::new(Ladder::new(LadderConfig::default()));
        ladder.record_failure(at(1));
        let other = ladder.clone();
        let first = thread::spawn(move || other.record_failure(at(1)));
        let second = ladder.record_failure(at(1));
        let told = [first.join().unwrap(), second];
        assert_eq!(told.iter().flatten().count(), 1);
        assert_eq!(ladder.level(), Level::Watch);
    });
}

#[test]
fn a_success_and_a_failure_leave_one_of_both_orders() {
    loom::model(|| {
        let ladder = Arc::new(Ladder::new(LadderConfig::default()));
        ladder.record_failure(at(1));
        let other = ladder.clone();
        let success = thread::spawn(move || other.record_success(at(1)));
        let change = ladder.record_failure(at(1));
        assert_eq!(success.join().unwrap(), None);
        let expected = if change.is_some() { Level::Watch } else { Level::Normal };
        assert_eq!(ladder.level(), expected);
    });
}

#[test]
fn a_retry_is_paid_for_once() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new(1000, 5, 0).unwrap());
        budget.record_request();
        let other = budget.clone();
        let first = thread::spawn(move || other.try_retry(at(1)));
        let second = budget.try_retry(at(1));
        assert!(first.join().unwrap() != second, "one of both");
    });
}

#[test]
fn a_bulkhead_of_one_holds_one() {
    loom::model(|| {
        let bulkhead = Arc::new(Bulkhead::new(1));
        let other = bulkhead.clone();
        let inside = thread::spawn(move || {
            let permit = other.try_enter();
            let inside = if permit.is_some() { other.in_use() } else { 1 };
            drop(permit);
            inside
        });
        let permit = bulkhead.try_enter();
        assert!(bulkhead.in_use() <= 1);
        drop(permit);
        assert_eq!(inside.join().unwrap(), 1);
        assert_eq!(bulkhead.in_use(), 0);
    });
}
