//! Whether an endpoint is fit.

use super::*;
use crate::breaker::{BreakerConfig, Outcome};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ejected after 3 failures for 100 ms; restored by 1 good probe.
const CONFIG: HealthConfig = HealthConfig {
    breaker: BreakerConfig {
        consecutive_failures: Some(3),
        failure_rate: None,
        open_for: Duration::from_millis(100),
        open_growth: 1000,
        open_at_most: Duration::from_millis(100),
        jitter: 0,
        probes: 1,
        probe_successes: 1000,
        ..BreakerConfig::DEFAULT
    },
    unreachable_after: 3,
    reachable_after: 2,
    slow_start: Duration::from_secs(10),
    first_ramp: 50,
};

/// All may be ejected.
const NO_CAP: u16 = 1000;

fn endpoint() -> EndpointHealth {
    EndpointHealth::new(CONFIG, 1, at(0)).unwrap()
}

fn fail(health: &EndpointHealth, cap: &EjectionCap, endpoints: u32, now: Instant) {
    for _ in 0..3 {
        let call = health.try_call(now).unwrap();
        health.report(call, Outcome::Failure, cap, endpoints, now);
    }
}

#[test]
fn failures_eject_and_a_good_probe_restores_slowly() {
    let (health, cap) = (endpoint(), EjectionCap::new(NO_CAP));
    let long_after = 60_000;
    assert_eq!(health.ramp(at(long_after)), FULL_RAMP);
    fail(&health, &cap, 1, at(long_after));
    assert_eq!((health.health(at(long_after)), cap.ejected()), (Health::Ejected, 1));
    assert!(health.try_call(at(long_after)).is_err());

    let over = at(long_after + 101);
    assert_eq!(health.health(over), Health::Recovering);
    let probe = health.try_call(over).unwrap();
    assert_eq!(health.health(over), Health::Ejected, "one probe at once");
    health.report(probe, Outcome::Success, &cap, 1, over);
    assert_eq!((health.health(over), cap.ejected()), (Health::Healthy, 0));
    assert_eq!(health.ramp(over), 50);
}

#[test]
fn a_failed_probe_keeps_it_ejected_and_counted_once() {
    let (health, cap) = (endpoint(), EjectionCap::new(NO_CAP));
    fail(&health, &cap, 1, at(0));
    for round in 1..5 {
        let now = at(round * 200);
        let probe = health.try_call(now).unwrap();
        health.report(probe, Outcome::Failure, &cap, 1, now);
        assert_eq!((health.health(now), cap.ejected()), (Health::Ejected, 1));
    }
    health.leave(&cap);
    health.leave(&cap);
    assert_eq!(cap.ejected(), 0, "who leaves is not counted, and only once");
}

#[test]
fn what_is_reported_of_one_that_has_left_ejects_nobody_and_spares_nobody() {
    for share in [NO_CAP, 0] {
        let (health, cap) = (endpoint(), EjectionCap::new(share));
        let calls: Vec<_> = (0..5).map(|_| health.try_call(at(0)).unwrap()).collect();
        health.leave(&cap);
        for call in calls {
            assert_eq!(health.report(call, Outcome::Failure, &cap, 2, at(10)), None);
            assert_eq!(cap.ejected(), 0);
        }
        let probe = health.try_call(at(200)).unwrap();
        assert_eq!(health.report(probe, Outcome::Success, &cap, 2, at(200)), None, "nor restores");
        fail(&health, &cap, 2, at(300));
        assert_eq!(cap.ejected(), 0, "nor is it there again by that");
    }
}

proptest! {
    #[test]
    fn no_more_are_ejected_than_the_cap_allows(
        share in 0..=1000_u16,
        steps in proptest::collection::vec((0..10_usize, any::<bool>()), 0..400),
    ) {
        let cap = EjectionCap::new(share);
        let endpoints = [(); 10].map(|()| endpoint());
        let (mut ejected, mut returned) = (0, 0);
        let most = match (share, usize::from(share) * 10 / 1000) {
            (0, _) => 0,
            (_, 0) => 1,
            (_, most) => most,
        };
        for (step, (which, succeeds)) in (0..).zip(steps) {
            let (health, now) = (&endpoints[which], at(step * 10));
            if let Ok(call) = health.try_call(now) {
                let outcome = if succeeds { Outcome::Success } else { Outcome::Failure };
                match health.report(call, outcome, &cap, 10, now) {
                    Some(HealthChange::Ejected) => ejected += 1,
                    Some(HealthChange::Returned) => returned += 1,
                    Some(HealthChange::Spared) => prop_assert_eq!(cap.ejected(), most as u64),
                    None => {}
                }
            }
            let out = endpoints
                .iter()
                .filter(|health| health.health(now) != Health::Healthy)
                .count();
            prop_assert!(out <= most, "{} are out, {} may", out, most);
            prop_assert_eq!(cap.ejected(), out as u64);
            prop_assert_eq!(ejected - returned, cap.ejected());
        }
    }

    #[test]
    fn a_slow_start_never_goes_back_and_ends_with_the_whole(
        (window, first_ramp) in (0..5_000_u64, any::<u16>()),
        mut times in proptest::collection::vec(0..10_000_u64, 1..50),
    ) {
        let slow_start = Duration::from_millis(window);
        let config = HealthConfig { slow_start, first_ramp, ..CONFIG };
        let health = EndpointHealth::new(config, 1, at(1_000)).unwrap();
        times.sort_unstable();
        let ramps: Vec<_> = times.iter().map(|&time| health.ramp(at(time))).collect();
        prop_assert!(ramps.is_sorted());
        for (time, ramp) in times.into_iter().zip(ramps) {
            let passed = time.saturating_sub(1_000);
            prop_assert!(ramp >= first_ramp.min(FULL_RAMP) && ramp <= FULL_RAMP);
            if passed >= window {
                prop_assert_eq!(ramp, FULL_RAMP);
            } else {
                let even = (passed * 1000 / window) as u16;
                prop_assert_eq!(ramp, even.max(first_ramp).min(FULL_RAMP));
            }
        }
    }
}

#[test]
fn who_is_spared_by_the_cap_goes_on_as_if_healthy() {
    let (cap, endpoints) = (EjectionCap::new(1), [endpoint(), endpoint()]);
    endpoints.iter().for_each(|health| fail(health, &cap, 2, at(0)));
    assert_eq!(endpoints[0].health(at(0)), Health::Ejected);
    assert_eq!(endpoints[1].health(at(0)), Health::Healthy);
    let call = endpoints[1].try_call(at(0)).unwrap();
    endpoints[1].report(call, Outcome::Failure, &cap, 2, at(0));
    assert_eq!(cap.ejected(), 1);
}

#[test]
fn in_a_panic_the_ejected_are_called_all_the_same() {
    let (health, cap) = (endpoint(), EjectionCap::new(NO_CAP));
    fail(&health, &cap, 1, at(0));
    let call = health.call_anyway(at(0));
    health.report(call, Outcome::Success, &cap, 1, at(0));
    assert_eq!(health.health(at(0)), Health::Ejected, "such a call proves nothing");
}

#[test]
fn probes_in_a_row_change_whether_it_is_reachable() {
    let health = endpoint();
    let probed = |answered, millis| health.probed(answered, at(millis));
    assert_eq!([(); 2].map(|()| probed(false, 0)), [None; 2]);
    assert_eq!(probed(true, 0), None); // the run is broken
    assert_eq!([(); 3].map(|()| probed(false, 0)), [None, None, Some(false)]);
    assert_eq!(health.health(at(0)), Health::Unreachable);
    assert_eq!([true, false, true].map(|answered| probed(answered, 0)), [None; 3]);
    assert_eq!(probed(true, 70_000), Some(true));
    assert_eq!(health.health(at(70_000)), Health::Healthy);
    assert_eq!(health.ramp(at(70_000)), 50, "it starts slowly");
}

#[test]
fn who_drains_drains_until_told_otherwise() {
    let health = endpoint();
    health.set_draining(true);
    assert_eq!(health.health(at(0)), Health::Draining);
    let candidate = health.fill(equals(1)[0], at(0));
    assert_eq!((candidate.health, candidate.ramp), (Health::Draining, 50));
    health.set_draining(false);
    assert_eq!(health.health(at(0)), Health::Healthy);
}

#[test]
fn threads_that_fail_together_eject_once() {
    for _ in 0..50 {
        let (health, cap) = (endpoint(), EjectionCap::new(NO_CAP));
        let told = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Ok(call) = health.try_call(at(0)) {
                        let change = health.report(call, Outcome::Failure, &cap, 1, at(0));
                        told.fetch_add(u32::from(change.is_some()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((health.health(at(0)), cap.ejected()), (Health::Ejected, 1));
        assert_eq!(told.into_inner(), 1, "one of them is told");
    }
}
