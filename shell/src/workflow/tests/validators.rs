//! The validators that ship.

use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tensorforge_core::limiter::{Quota, TokenBucket};
use tensorforge_core::machine::{
    Attempt, Deployment, DeploymentState as D, Reason, Refusal, TransitionValidator,
};
use tensorforge_core::{Duration, Instant};

use super::*;

fn asked(now: u64) -> Attempt<'static, D> {
    Attempt {
        entity: "m",
        from: D::Validating,
        to: D::Staging,
        generation: 1,
        entered: Instant::ZERO,
        cause: "",
        now: at(now),
    }
}

fn reason(answer: Result<(), Refusal>) -> Option<Reason> {
    answer.err().map(|refusal| refusal.reason)
}

#[test]
fn a_resource_must_suffice() {
    let free = AtomicU64::new(5);
    let memory = Resource::new(|entity: &str| entity.len() as u64 * 5, || free.load(Relaxed));
    let ask = |memory: &dyn TransitionValidator<D, ()>| reason(memory.validate(&asked(0), &()));
    assert_eq!(ask(&memory), None);
    free.store(4, Relaxed);
    assert_eq!(ask(&memory), Some(Reason::Resource { needed: 5, available: 4 }));
}

#[test]
fn clearance_is_what_the_caller_has() {
    let clearance = Clearance::new("deploy");
    let ask = |held: &[&str]| reason(clearance.validate(&asked(0), held));
    assert_eq!(ask(&["read", "deploy"]), None);
    assert_eq!(ask(&["read"]), Some(Reason::Clearance));
    assert_eq!(reason(clearance.validate(&asked(0), &())), Some(Reason::Clearance));
}

#[test]
fn a_dependency_must_be_well() {
    let well = AtomicBool::new(true);
    let store = DependencyHealth::new("store", |_: &str, _| well.load(Relaxed));
    assert_eq!(reason(store.validate(&asked(0), &())), None);
    well.store(false, Relaxed);
    let refused = reason(store.validate(&asked(0), &()));
    assert_eq!(refused, Some(Reason::Dependency { name: "store" }));
}

#[test]
fn a_rate_says_when_it_will_allow_the_next() {
    let rate = StepRate::new(TokenBucket::new(Quota::per(1, Duration::from_secs(1), 2).unwrap()));
    assert_eq!(reason(rate.validate(&asked(0), &())), None);
    assert_eq!(reason(rate.validate(&asked(0), &())), None);
    let Some(Reason::Rate { retry_at }) = reason(rate.validate(&asked(0), &())) else {
        panic!("two are the burst")
    };
    let second = Instant::from_nanos(1_000_000_000);
    assert!(retry_at >= second && retry_at.since(second) < Duration::from_millis(1));
    assert_eq!(reason(rate.validate(&asked(retry_at.as_nanos()), &())), None);
}

proptest! {
    #[test]
    fn a_window_is_open_as_long_as_it_says(
        every in 1_u64..50,
        opens in 0_u64..60,
        length in 0_u64..60,
        now in 0_u64..1000,
    ) {
        let [period, start, len] = [every, opens, length].map(Duration::from_nanos);
        let window = TimeWindow::new(period, start, len);
        // By the definition: some period's window holds it. One may have begun before time 0.
        let open = |now: u64| {
            let since = |k: u64| (now + every * k) as i64 - (opens % every) as i64;
            (0..=now / every + 1).any(|k| {
                let passed = since(0) - (k as i64 - 1) * every as i64;
                (0..length as i64).contains(&passed) && passed < every as i64 || length >= every
            })
        };
        match reason(window.validate(&asked(now), &())) {
            None => prop_assert!(open(now)),
            Some(Reason::Window { opens_at }) => {
                prop_assert!(!open(now) && opens_at > at(now));
                let opens_at = opens_at.as_nanos();
                prop_assert!((now..opens_at).all(|at| !open(at)));
                prop_assert!(length == 0 || open(opens_at));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_window_of_no_period_never_opens() {
    let never = TimeWindow::new(Duration::ZERO, Duration::ZERO, Duration::MAX);
    let refused = reason(never.validate(&asked(u64::MAX), &()));
    assert_eq!(refused, Some(Reason::Window { opens_at: Instant::MAX }));
    let long = TimeWindow::new(Duration::MAX, Duration::MAX, Duration::from_nanos(1));
    assert!(
        reason(long.validate(&asked(5), &())).is_none() || long.validate(&asked(5), &()).is_err()
    );
}

#[test]
fn validators_are_asked_in_order_and_only_about_their_states() {
    let chain = (
        entering([D::Staging], Resource::new(|_: &str| 8, || 4)),
        entering([D::Staging, D::Production], Clearance::new("deploy")),
    );
    let engine: Engine<Deployment, _, Book, [&str]> =
        Engine::new(Deployment, chain, Book::default(), EngineOptions::default());
    engine.register("m", at(0));
    assert!(engine.transition("m", D::Validating, "", &[][..], at(1)).is_ok(), "nobody asks");
    let refused = engine.transition("m", D::Staging, "", &[][..], at(1)).unwrap_err();
    let memory = Refusal { by: "resource", reason: Reason::Resource { needed: 8, available: 4 } };
    assert_eq!(refused, TransitionError::Refused(memory), "the first that refuses");
    let last = engine.sink().records().pop().unwrap();
    assert_eq!((last.outcome, last.generation), (Outcome::Refused(memory), 1));
    assert_eq!(engine.state("m"), Some(D::Validating));
}
