//! Threads that meet, and threads that are stopped.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

use super::*;
use crate::sync::steps::with_hook;

/// Runs `run` on a breaker, and `visit` once before its atomic step number `stop`.
fn stopped_at<R>(
    stop: usize,
    breaker: &Rc<Breaker>,
    visit: impl Fn(&Breaker) + 'static,
    run: impl FnOnce(&Breaker) -> R,
) -> R {
    let (mut step, visited) = (0, Rc::clone(breaker));
    let hook = move || {
        if step == stop {
            visit(&visited);
        }
        step += 1;
    };
    with_hook(hook, || run(breaker))
}

#[test]
fn an_opener_that_is_stopped_anywhere_holds_nobody_up() {
    for (opened, asked) in [(at(0), at(STEP)), (at(STEP), at(0))] {
        for stop in 0..40 {
            let config = BreakerConfig { consecutive_failures: Some(1), ..BY_RUN };
            let breaker = Rc::new(breaker(config));
            let permit = breaker.try_call(at(0)).unwrap();
            let told = Rc::new(Cell::new(None));
            let teller = Rc::clone(&told);
            let visit = move |breaker: &Breaker| teller.set(breaker.try_call(asked).err());
            let open = |breaker: &Breaker| breaker.report(permit, Outcome::Failure, opened);
            assert_eq!(stopped_at(stop, &breaker, visit, open), Effect::Opened);
            let State::Open { until } = breaker.state(opened) else { panic!("not open") };
            assert!(until == opened + steps(100) || until == asked + steps(100));
            assert!(told.get().is_none_or(|refused| refused.retry_at == until), "{stop}");
        }
    }
}

#[test]
fn an_opener_that_is_stopped_until_its_state_is_over_changes_nothing_of_the_next() {
    for stop in 0..40 {
        let breaker =
            Rc::new(breaker(BreakerConfig { consecutive_failures: Some(1), probes: 1, ..BY_RUN }));
        let permit = breaker.try_call(at(0)).unwrap();
        let probed = Rc::new(Cell::new(None));
        let prober = Rc::clone(&probed);
        let visit = move |breaker: &Breaker| {
            if let Err(refused) = breaker.try_call(at(0)) {
                drop(breaker.try_call(refused.retry_at).unwrap()); // a probe, and it is lost
                prober.set(Some(refused.retry_at));
            }
        };
        stopped_at(stop, &breaker, visit, |breaker| {
            breaker.report(permit, Outcome::Failure, at(0))
        });
        if let Some(probed) = probed.get() {
            let expired = probed + steps(10);
            let until = expired + steps(200);
            assert_eq!(breaker.state(expired), State::Open { until }, "{stop}");
        }
    }
}

#[test]
fn a_report_that_is_stopped_until_its_state_is_over_erases_nothing() {
    let config = BreakerConfig {
        consecutive_failures: Some(2),
        slow_rate: Some(1000),
        minimum_calls: 2,
        window: Duration::from_secs(80),
        probes: 1,
        ..BY_RUN
    };
    for stop in 0..60 {
        let breaker = Rc::new(breaker(config));
        let old = breaker.try_call(at(0)).unwrap();
        let closed = Rc::new(Cell::new(None));
        let closer = Rc::clone(&closed);
        let visit = move |breaker: &Breaker| {
            let now = open(breaker, at(0));
            assert_eq!(call(breaker, Outcome::Success, now), Effect::Closed);
            assert_eq!(call(breaker, Outcome::Slow, now), Effect::Counted);
            closer.set(Some(now));
        };
        stopped_at(stop, &breaker, visit, |breaker| breaker.report(old, Outcome::Slow, at(0)));
        if let Some(now) = closed.get() {
            assert_eq!(call(&breaker, Outcome::Slow, now), Effect::Opened, "{stop}");
        }
    }
}

#[test]
fn a_probe_that_is_stopped_while_it_is_admitted_is_admitted_or_too_late() {
    for stop in 0..40 {
        let breaker = Rc::new(breaker(BreakerConfig { probes: 1, ..BY_RUN }));
        let now = open(&breaker, at(0));
        let taken = Rc::new(Cell::new(false));
        let taker = Rc::clone(&taken);
        let visit = move |breaker: &Breaker| taker.set(breaker.try_call(now).is_ok());
        let admitted = stopped_at(stop, &breaker, visit, |breaker| breaker.try_call(now));
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
