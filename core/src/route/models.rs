//! What routing threads share, in every order in which they can meet.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::batch::ModelId;
use crate::breaker::{BreakerConfig, Outcome};
use crate::{Duration, Instant};

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// What two threads choose of three, at once.
fn two_choose(policy: impl RoutingPolicy + Send + Sync + 'static) -> [usize; 2] {
    let policy = Arc::new(policy);
    let choose = |policy: &dyn RoutingPolicy| {
        let candidates = [1, 2, 3].map(|id| Candidate::new(EndpointId(id), ModelId(7)));
        let request = RouteContext::new(at(0), 1);
        policy.choose(&request, &candidates[..], &mut ()).unwrap().index
    };
    let other = policy.clone();
    let first = thread::spawn(move || choose(&*other));
    let second = choose(&*policy);
    [first.join().unwrap(), second]
}

#[test]
fn two_threads_never_have_the_same_turn() {
    loom::model(|| {
        let mut chosen = two_choose(RoundRobin::new());
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1]);
    });
}

#[test]
fn credits_add_up_whoever_comes_in_between() {
    loom::model(|| {
        let policy = Arc::new(SmoothWeighted::<2>::new());
        let candidates = [1, 2].map(|id| Candidate::new(EndpointId(id), ModelId(7)));
        let request = RouteContext::new(at(0), 1);
        let other = policy.clone();
        let first =
            thread::spawn(move || other.choose(&request, &candidates[..], &mut ()).unwrap().index);
        let second = policy.choose(&request, &candidates[..], &mut ()).unwrap().index;
        let mut counts = [0; 2];
        [first.join().unwrap(), second].into_iter().for_each(|index| counts[index] += 1);
        // Whoever was chosen twice is owed nothing for the next two.
        while counts.iter().sum::<i32>() < 4 {
            counts[policy.choose(&request, &candidates[..], &mut ()).unwrap().index] += 1;
        }
        assert_eq!(counts, [2, 2]);
    });
}

#[test]
fn turns_of_a_split_are_each_taken_once() {
    loom::model(|| {
        // Turns 0 and 1 stand at places 0 and 6181.
        let split = Arc::new(Split::new(&[5_000, 5_000], 0).unwrap());
        let other = split.clone();
        let first = thread::spawn(move || other.next_arm());
        assert_ne!(split.next_arm(), first.join().unwrap());
    });
}

#[test]
fn shares_of_a_bandit_are_read_as_of_one_update() {
    loom::model(|| {
        let config = BanditConfig {
            update_every: Duration::ZERO,
            least_move: 1,
            memory: 2,
            ..BanditConfig::DEFAULT
        };
        let bandit = Arc::new(Bandit::new(&[5_000, 4_000, 500, 300, 200], config, 0).unwrap());
        let other = bandit.clone();
        let writer = thread::spawn(move || {
            // The first outcome begins the interval; each of the others changes the shares.
            for (arm, now) in [(0, 1), (1, 2), (2, 3)] {
                other.record(arm, 1.0, at(now));
            }
        });
        assert_eq!(bandit.shares().iter().sum::<u16>(), ALL_TRAFFIC);
        writer.join().unwrap();
        assert_ne!(bandit.shares()[0], 5_000);
    });
}

#[test]
fn outcomes_that_come_at_once_are_all_learned() {
    loom::model(|| {
        let config = BanditConfig { update_every: Duration::ZERO, ..BanditConfig::DEFAULT };
        let bandit = Arc::new(Bandit::new(&[5_000, 5_000], config, 0).unwrap());
        bandit.record(0, 1.0, at(1));
        let other = bandit.clone();
        let first = thread::spawn(move || other.record(1, 1.0, at(2)));
        bandit.record(0, 1.0, at(2));
        first.join().unwrap();
        bandit.record(1, 1.0, at(3)); // alone: it learns of what the others left
        let known = [0, 1].map(|arm| bandit.known(arm).unwrap().0);
        assert_eq!(known, [2.0, 2.0]);
    });
}

#[test]
fn a_limit_of_one_lets_one_in() {
    loom::model(|| {
        let load = Arc::new(EndpointLoad::new(Duration::from_secs(1)));
        let other = load.clone();
        let first = thread::spawn(move || other.try_begin(1).is_some());
        let second = load.try_begin(1).is_some();
        assert!(first.join().unwrap() != second);
        assert_eq!(load.outstanding(), 1);
    });
}

#[test]
fn two_latencies_leave_the_peak() {
    loom::model(|| {
        let load = Arc::new(EndpointLoad::new(Duration::from_secs(1)));
        let [one, two] = [load.begin(), load.begin()];
        let other = load.clone();
        let peak = Some(Duration::from_millis(8));
        let first = thread::spawn(move || other.finish(one, peak, at(0)));
        load.finish(two, Some(Duration::from_millis(1)), at(0));
        first.join().unwrap();
        assert_eq!(load.latency(at(0)).map(|(latency, _)| latency), peak);
        assert_eq!(load.outstanding(), 0);
    });
}

/// Ejected by its first failure, for a millisecond.
fn brittle(seed: u64) -> EndpointHealth {
    let breaker = BreakerConfig {
        consecutive_failures: Some(1),
        failure_rate: None,
        open_for: Duration::from_millis(1),
        probes: 1,
        ..BreakerConfig::DEFAULT
    };
    let config = HealthConfig { breaker, ..HealthConfig::DEFAULT };
    EndpointHealth::new(config, seed, at(0)).unwrap()
}

#[test]
fn a_cap_of_one_ejects_one_of_two() {
    loom::model(|| {
        let cap = Arc::new(EjectionCap::new(500));
        let fail = |cap: &EjectionCap, seed| {
            let health = brittle(seed);
            let call = health.try_call(at(0)).unwrap();
            health.report(call, Outcome::Failure, cap, 2, at(0));
            health.health(at(0)) == Health::Ejected
        };
        let other = cap.clone();
        let first = thread::spawn(move || fail(&other, 1));
        let second = fail(&cap, 2);
        assert!(first.join().unwrap() != second);
        assert_eq!(cap.ejected(), 1);
    });
}

#[test]
fn two_failures_at_once_count_as_one_ejection() {
    loom::model(|| {
        let shared = Arc::new((brittle(1), EjectionCap::new(1000)));
        let calls = [(); 2].map(|()| shared.0.try_call(at(0)).unwrap());
        let [one, two] = calls;
        let other = shared.clone();
        let report = |shared: &(EndpointHealth, EjectionCap), call| {
            shared.0.report(call, Outcome::Failure, &shared.1, 2, at(0))
        };
        let first = thread::spawn(move || report(&other, one));
        let told = [report(&shared, two), first.join().unwrap()];
        assert!(told.into_iter().flatten().eq([HealthChange::Ejected]), "one of them is told");
        assert_eq!((shared.0.health(at(0)), shared.1.ejected()), (Health::Ejected, 1));
    });
}

#[test]
fn who_leaves_while_it_is_ejected_or_restored_is_counted_no_more() {
    for last in [Outcome::Failure, Outcome::Success] {
        loom::model(move || {
            let shared = Arc::new((brittle(1), EjectionCap::new(1000)));
            let first = shared.0.try_call(at(0)).unwrap();
            let (call, now) = match last {
                Outcome::Failure => (first, at(0)),
                _ => {
                    shared.0.report(first, Outcome::Failure, &shared.1, 2, at(0));
                    assert_eq!(shared.1.ejected(), 1);
                    (shared.0.try_call(at(5)).unwrap(), at(5))
                }
            };
            let other = shared.clone();
            let reports = thread::spawn(move || {
                other.0.report(call, last, &other.1, 2, now);
            });
            shared.0.leave(&shared.1);
            reports.join().unwrap();
            assert_eq!(shared.1.ejected(), 0);
        });
    }
}

#[test]
fn a_shadow_of_one_copy_has_one_or_refuses_both() {
    loom::model(|| {
        let config = ShadowConfig { most_in_flight: 1, ..ShadowConfig::DEFAULT };
        let shadow = Arc::new(Shadow::new(config).unwrap());
        let other = shadow.clone();
        let first = thread::spawn(move || other.try_copy(0, at(0)).is_ok());
        let second = shadow.try_copy(0, at(0)).is_ok();
        assert!(first.join().unwrap() != second);
        assert_eq!(shadow.in_flight(), 1);
    });
}
