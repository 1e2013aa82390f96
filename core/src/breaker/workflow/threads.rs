//! Threads that meet, and threads that are stopped.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

use super::*;
use crate::sync::steps::with_hook;

#[test]
fn an_opener_that_is_stopped_anywhere_holds_nobody_up() {
    // At each atomic step of the report that opens, another thread comes.
    for stop in 0..40 {
        let breaker = Rc::new(breaker(BreakerConfig { consecutive_failures: Some(1), ..BY_RUN }));
        let permit = breaker.try_call(at(0)).unwrap();
        let other = Rc::clone(&breaker);
        let (mut step, told) = (0, Rc::new(Cell::new(None)));
        let teller = Rc::clone(&told);
        let visit = move || {
            if step == stop {
                teller.set(other.try_call(at(STEP)).err());
            }
            step += 1;
        };
        let report = Rc::clone(&breaker);
        let effect = with_hook(visit, move || report.report(permit, Outcome::Failure, at(0)));
        assert_eq!(effect, Effect::Opened);
        let State::Open { until } = breaker.state(at(STEP)) else { panic!("not open") };
        assert!(until == at(0) + steps(100) || until == at(STEP) + steps(100));
        assert!(told.get().is_none_or(|refused| refused.retry_at == until));
    }
}

#[test]
fn a_probe_that_is_stopped_while_it_is_admitted_is_admitted_or_too_late() {
    for stop in 0..40 {
        let breaker = Rc::new(breaker(BreakerConfig { probes: 1, ..BY_RUN }));
        let now = open(&breaker, at(0));
        let other = Rc::clone(&breaker);
        let mut step = 0;
        let taken = Rc::new(Cell::new(false));
        let taker = Rc::clone(&taken);
        let visit = move || {
            if step == stop && other.try_call(now).is_ok() {
                taker.set(true);
            }
            step += 1;
        };
        let asks = Rc::clone(&breaker);
        let admitted = with_hook(visit, move || asks.try_call(now));
        assert!(admitted.is_ok() ^ taken.get(), "one place, one probe; stopped at {stop}");
        // Whoever has it, its time ends.
        let State::Open { until } = breaker.state(now + steps(20)) else { panic!("not open") };
        assert_eq!(until, now + steps(10) + steps(200));
    }
}

#[test]
fn threads_at_one_moment_never_have_more_probes_than_places() {
    const THREADS: u64 = 4;
    let breaker = Arc::new(breaker(BY_RUN));
    let clock = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let (breaker, clock) = (Arc::clone(&breaker), Arc::clone(&clock));
            thread::spawn(move || {
                let mut seen = [0_u64; 2];
                for turn in 0..20_000 {
                    let now = at(clock.fetch_add(STEP / 4, Ordering::Relaxed));
                    let outcome = match (turn + worker) / 500 % 3 {
                        0 => Outcome::Failure,
                        1 => Outcome::Success,
                        _ => Outcome::Ignored,
                    };
                    if let State::HalfOpen { in_flight, succeeded, failed } = breaker.state(now) {
                        assert!(in_flight + succeeded + failed <= 3);
                    }
                    let Ok(permit) = breaker.try_call(now) else { continue };
                    if turn % 7 == 0 {
                        continue; // lost
                    }
                    match breaker.report(permit, outcome, now) {
                        Effect::Opened => seen[0] += 1,
                        Effect::Closed => seen[1] += 1,
                        Effect::Counted | Effect::Late => {}
                    }
                }
                seen
            })
        })
        .collect();
    let seen: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    let [opened, closed] = [0, 1].map(|which| seen.iter().map(|seen| seen[which]).sum::<u64>());
    assert!(opened > 0 && closed > 0 && closed <= opened, "{opened} and {closed}");
}
