//! loom models of what can meet at a breaker. `./ci.sh loom` runs them.

use std::sync::Arc;

use loom::thread;

use super::{Breaker, BreakerConfig, Effect, Outcome, State};
use crate::{Duration, Instant};

const START: Instant = Instant::from_nanos(1 << 20);
/// A multiple of the steps that times are kept in, as is `START`.
const OPEN_FOR: Duration = Duration::from_nanos(1 << 20);
const TIMEOUT: Duration = Duration::from_nanos(1 << 16);

/// Opens after two failures in a row; one of two probes closes it.
const CONFIG: BreakerConfig = BreakerConfig {
    consecutive_failures: Some(2),
    failure_rate: None,
    slow_rate: None,
    window: Duration::from_millis(8),
    minimum_calls: 2,
    open_for: OPEN_FOR,
    open_growth: 1000,
    open_at_most: OPEN_FOR,
    jitter: 0,
    probes: 2,
    probe_successes: 500,
    probe_timeout: TIMEOUT,
};

fn breaker(config: BreakerConfig) -> Arc<Breaker> {
    Arc::new(Breaker::new(config, 1).unwrap())
}

/// Open since `START`.
fn opened(config: BreakerConfig) -> Arc<Breaker> {
    let breaker = breaker(BreakerConfig { consecutive_failures: Some(1), ..config });
    let permit = breaker.try_call(START).unwrap();
    assert_eq!(breaker.report(permit, Outcome::Failure, START), Effect::Opened);
    breaker
}

/// `a` and `b` on two threads; their results.
fn together<A, B, R>(a: A, b: B) -> (R, R)
where
    A: FnOnce() -> R,
    B: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let other = thread::spawn(b);
    let first = a();
    (first, other.join().unwrap())
}

#[test]
fn two_reports_at_the_threshold_open_once() {
    loom::model(|| {
        let breaker = breaker(CONFIG);
        let (first, second) = (breaker.try_call(START).unwrap(), breaker.try_call(START).unwrap());
        let third = breaker.try_call(START).unwrap();
        breaker.report(third, Outcome::Failure, START);
        let other = Arc::clone(&breaker);
        let effects = together(
            || breaker.report(first, Outcome::Failure, START),
            move || other.report(second, Outcome::Failure, START),
        );
        let possible = [(Effect::Opened, Effect::Late), (Effect::Late, Effect::Opened)];
        assert!(possible.contains(&effects), "{effects:?}");
        assert_eq!(breaker.state(START), State::Open { until: START + OPEN_FOR });
    });
}

#[test]
fn a_failure_and_a_success_meet_and_the_run_is_one_of_both() {
    loom::model(|| {
        let breaker = breaker(CONFIG);
        let [first, good, bad] = [0; 3].map(|_| breaker.try_call(START).unwrap());
        breaker.report(first, Outcome::Failure, START);
        let other = Arc::clone(&breaker);
        let (bad, _) = together(
            || breaker.report(bad, Outcome::Failure, START),
            move || other.report(good, Outcome::Success, START),
        );
        // Opened if the failure came first. Else it is the first of a run.
        let last =
            breaker.try_call(START).map(|last| breaker.report(last, Outcome::Failure, START));
        assert_eq!(last.is_err(), bad == Effect::Opened);
        assert!(last.is_err() || last == Ok(Effect::Opened) && bad == Effect::Counted);
    });
}

#[test]
fn two_reports_in_different_slices_reach_the_rate_together() {
    loom::model(|| {
        let by_rate =
            BreakerConfig { consecutive_failures: None, failure_rate: Some(1000), ..CONFIG };
        let breaker = breaker(by_rate);
        let later = START + Duration::from_millis(1);
        let (first, second) = (breaker.try_call(START).unwrap(), breaker.try_call(later).unwrap());
        let other = Arc::clone(&breaker);
        let effects = together(
            || breaker.report(first, Outcome::Failure, START),
            move || other.report(second, Outcome::Failure, later),
        );
        // Whichever comes last sees both.
        let opened =
            [effects.0, effects.1].iter().filter(|&&effect| effect == Effect::Opened).count();
        assert_eq!(opened, 1, "{effects:?}");
    });
}

#[test]
fn there_are_never_more_probes_than_configured() {
    loom::model(|| {
        let breaker = opened(BreakerConfig { probes: 1, ..CONFIG });
        let now = START + OPEN_FOR;
        let other = Arc::clone(&breaker);
        let (a, b) = together(|| breaker.try_call(now).ok(), move || other.try_call(now).ok());
        assert!(a.is_some() ^ b.is_some());
        assert!(a.or(b).unwrap().is_probe());
        assert_eq!(breaker.try_call(now).unwrap_err().retry_at, now + TIMEOUT);
    });
}

#[test]
fn the_last_place_of_a_half_open_is_taken_once() {
    loom::model(|| {
        let breaker = opened(CONFIG);
        let now = START + OPEN_FOR;
        let _first = breaker.try_call(now).unwrap();
        let other = Arc::clone(&breaker);
        let (a, b) =
            together(|| breaker.try_call(now).is_ok(), move || other.try_call(now).is_ok());
        assert!(a ^ b);
        let expected = State::HalfOpen { in_flight: 2, succeeded: 0, failed: 0 };
        assert_eq!(breaker.state(now), expected);
    });
}

#[test]
fn two_probes_that_report_together_close_once() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        loom::model(move || {
            let breaker = opened(CONFIG);
            let now = START + OPEN_FOR;
            let [first, second] = [0; 2].map(|_| breaker.try_call(now).unwrap());
            let other = Arc::clone(&breaker);
            let (first, second) = together(
                || breaker.report(first, Outcome::Success, now),
                move || other.report(second, outcome, now),
            );
            match outcome {
                Outcome::Success => assert!((first == Effect::Closed) ^ (second == Effect::Closed)),
                _ => assert_eq!(first, Effect::Closed),
            }
            assert!([Effect::Closed, Effect::Late, Effect::Counted].contains(&second));
            assert_eq!(breaker.state(now), State::Closed);
        });
    }
}

#[test]
fn a_half_open_ends_though_its_probe_is_lost() {
    loom::model(|| {
        let breaker = opened(BreakerConfig { probes: 1, ..CONFIG });
        let now = START + OPEN_FOR;
        drop(breaker.try_call(now).unwrap());
        let expired = now + TIMEOUT;
        let other = Arc::clone(&breaker);
        let (a, b) =
            together(|| breaker.try_call(expired).err(), move || other.try_call(expired).err());
        for refused in [a, b] {
            // Counted from the time at which the probe expired, whoever found out.
            assert_eq!(refused.unwrap().retry_at, expired + OPEN_FOR);
        }
        assert!(breaker.try_call(expired + OPEN_FOR).unwrap().is_probe());
    });
}

#[test]
fn a_probe_is_admitted_or_finds_that_the_others_have_expired() {
    loom::model(|| {
        // The time of one of two probes is over; a second comes just when that is found out.
        let breaker = opened(CONFIG);
        let now = START + OPEN_FOR;
        let later = now + Duration::from_nanos(TIMEOUT.as_nanos() / 2);
        let lost = breaker.try_call(now).unwrap();
        let other = Arc::clone(&breaker);
        let (late, probe) = together(
            || Err(breaker.report(lost, Outcome::Failure, now + TIMEOUT)),
            move || Ok(other.try_call(later).unwrap()),
        );
        // In time if the second probe's deadline was set before.
        assert!(matches!(late, Err(Effect::Late | Effect::Counted)));
        // The second probe has its whole time in either case.
        let just_in_time = Instant::from_nanos((later + TIMEOUT).as_nanos() - 1);
        let effect = breaker.report(probe.unwrap(), Outcome::Success, just_in_time);
        assert_eq!(effect, Effect::Closed);
    });
}

#[test]
fn a_late_permit_does_not_count() {
    loom::model(|| {
        // A failure from before meets the probe that closes.
        let by_rate = BreakerConfig { failure_rate: Some(1000), minimum_calls: 1, ..CONFIG };
        let breaker = breaker(BreakerConfig { consecutive_failures: Some(1), ..by_rate });
        let (first, old) = (breaker.try_call(START).unwrap(), breaker.try_call(START).unwrap());
        breaker.report(first, Outcome::Failure, START);
        let now = START + OPEN_FOR;
        let probe = breaker.try_call(now).unwrap();
        let other = Arc::clone(&breaker);
        let effects = together(
            || breaker.report(probe, Outcome::Success, now),
            move || other.report(old, Outcome::Failure, now),
        );
        assert_eq!(effects, (Effect::Closed, Effect::Late));
        assert_eq!(breaker.state(now), State::Closed);
    });
}

#[test]
fn a_report_that_meets_an_opening_counts_before_it_or_not_at_all() {
    loom::model(|| {
        // Reports by rate: the second opens; the third belongs to the state before, if to any.
        let by_rate =
            BreakerConfig { consecutive_failures: None, failure_rate: Some(1000), ..CONFIG };
        let breaker = breaker(by_rate);
        let [first, second, third] = [0; 3].map(|_| breaker.try_call(START).unwrap());
        breaker.report(first, Outcome::Failure, START);
        let other = Arc::clone(&breaker);
        let effects = together(
            || breaker.report(second, Outcome::Failure, START),
            move || other.report(third, Outcome::Failure, START),
        );
        let opened =
            [effects.0, effects.1].iter().filter(|&&effect| effect == Effect::Opened).count();
        assert_eq!(opened, 1, "{effects:?}");
        // Closed again, the window knows nothing of them.
        let now = START + OPEN_FOR;
        let probe = breaker.try_call(now).unwrap();
        assert_eq!(breaker.report(probe, Outcome::Success, now), Effect::Closed);
        let next = breaker.try_call(now).unwrap();
        assert_eq!(breaker.report(next, Outcome::Failure, now), Effect::Counted);
    });
}

#[test]
fn a_caller_helps_an_opener_that_was_stopped() {
    loom::model(|| {
        let breaker = breaker(BreakerConfig { consecutive_failures: Some(1), ..CONFIG });
        let permit = breaker.try_call(START).unwrap();
        let now = START + TIMEOUT;
        let other = Arc::clone(&breaker);
        let (refused, _) = together(
            || breaker.try_call(now).err(),
            move || {
                other.report(permit, Outcome::Failure, START);
                None
            },
        );
        let State::Open { until } = breaker.state(now) else { panic!("not open") };
        assert!([START + OPEN_FOR, now + OPEN_FOR].contains(&until));
        // What the caller was told is what holds.
        assert!(refused.is_none_or(|refused| refused.retry_at == until));
    });
}
