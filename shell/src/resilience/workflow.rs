//! Every line of the stable interface, against the rules.

use std::collections::BTreeMap;
use std::thread;

use proptest::prelude::*;

use super::*;

fn event(id: &str, sequence: i64) -> Event {
    Event { id: id.to_string(), sequence }
}

/// Few ids and few sequences, so that they repeat.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let sequence = prop_oneof![8 => -3..9_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    prop::collection::vec(("[a-d]?", sequence), 0..40)
        .prop_map(|events| events.iter().map(|(id, sequence)| event(id, *sequence)).collect())
}

/// Any `f64` at all, those that make trouble often.
fn number() -> impl Strategy<Value = f64> {
    let extremes = vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), prop::sample::select(extremes)]
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Success,
    Failure,
    Reset,
}

proptest! {
    #[test]
    fn a_breaker_follows_the_rules(
        failure_threshold in 0..5_u32,
        success_threshold in 0..5_u32,
        moves in prop::collection::vec(
            prop_oneof![3 => Just(Move::Failure), 3 => Just(Move::Success), 1 => Just(Move::Reset)],
            0..200,
        ),
    ) {
        let breaker = CircuitBreaker::new(failure_threshold, success_threshold);
        let (mut state, mut failures, mut successes) = (CB_CLOSED, 0, 0);
        for step in moves {
            match step {
                Move::Success => {
                    breaker.record_success();
                    failures = 0;
                    successes += 1;
                    if state == CB_HALF_OPEN && successes >= success_threshold {
                        state = CB_CLOSED;
                    }
                }
                Move::Failure => {
                    breaker.record_failure();
                    failures += 1;
                    if state == CB_HALF_OPEN || state == CB_CLOSED && failures >= failure_threshold {
                        state = CB_OPEN;
                    }
                }
                Move::Reset => {
                    breaker.attempt_reset();
                    if state == CB_OPEN {
                        (state, failures, successes) = (CB_HALF_OPEN, 0, 0);
                    }
                }
            }
            prop_assert_eq!(breaker.state(), state);
            prop_assert_eq!(breaker.is_call_permitted(), state != CB_OPEN);
        }
    }

    #[test]
    fn a_replay_keeps_the_last_of_each_id_in_order(events in events()) {
        let mut last = BTreeMap::new();
        for event in &events {
            let kept = last.entry(event.id.clone()).or_insert(event.sequence);
            *kept = event.sequence.max(*kept);
        }
        let mut expected: Vec<_> = last.into_iter().map(|(id, sequence)| (sequence, id)).collect();
        expected.sort();
        let expected: Vec<_> = expected.iter().map(|(sequence, id)| event(id, *sequence)).collect();
        prop_assert_eq!(replay(&events), expected);
    }

    #[test]
    fn a_replay_does_not_depend_on_order_or_repetition(
        (events, shuffled) in events().prop_flat_map(|events| {
            let twice = [events.clone(), events.clone()].concat();
            (Just(events), Just(twice).prop_shuffle())
        }),
        other in events(),
    ) {
        let replayed = replay(&events);
        prop_assert_eq!(&replay(&shuffled), &replayed);
        prop_assert_eq!(&replay(&replayed), &replayed);
        prop_assert!(replay_converges(&events, &shuffled));
        prop_assert_eq!(replay_converges(&events, &other), replayed == replay(&other));
    }

    #[test]
    fn the_first_of_each_id_is_kept_in_place(events in events()) {
        let mut expected: Vec<Event> = Vec::new();
        for event in &events {
            if expected.iter().all(|kept| kept.id != event.id) {
                expected.push(event.clone());
            }
        }
        prop_assert_eq!(deduplicate(&events), expected);
    }

    #[test]
    fn a_window_and_what_is_not_applied_keep_their_order(
        events in events(),
        min in -4..10_i64,
        max in -4..10_i64,
        applied in prop::collection::vec(-3..9_i64, 0..8),
    ) {
        let window = replay_window(&events, min, max);
        let rest = idempotent_apply(&events, &applied);
        let (mut in_window, mut in_rest) = (window.iter(), rest.iter());
        for event in &events {
            if min <= event.sequence && event.sequence <= max {
                prop_assert_eq!(in_window.next(), Some(event));
            }
            if !applied.contains(&event.sequence) {
                prop_assert_eq!(in_rest.next(), Some(event));
            }
        }
        prop_assert!(in_window.next().is_none() && in_rest.next().is_none());
        let all: Vec<i64> = rest.iter().map(|event| event.sequence).chain(applied).collect();
        prop_assert_eq!(idempotent_apply(&events, &all), []);
    }

    #[test]
    fn an_ordering_has_all_events_by_sequence_and_id(events in events()) {
        let ordered = event_ordering(&events);
        let key = |event: &Event| (event.sequence, event.id.clone());
        prop_assert!(ordered.is_sorted_by_key(key));
        let mut expected: Vec<_> = events.iter().map(key).collect();
        expected.sort();
        prop_assert_eq!(ordered.iter().map(key).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_delay_doubles_until_it_does_not_fit(
        base in prop_oneof![0..1000_u64, any::<u64>()],
        attempt in prop_oneof![0..80_u32, any::<u32>()],
        ceiling: u64,
    ) {
        let mut expected = base;
        for _ in 0..attempt.min(64) {
            expected = expected.saturating_mul(2);
        }
        prop_assert_eq!(retry_delay(base, attempt), expected);
        prop_assert_eq!(adaptive_backoff(base, attempt, ceiling), expected.min(ceiling));
    }

    #[test]
    fn shares_are_those_of_the_counts(part: usize, other: usize, threshold in number()) {
        for (part, other) in [(part % 20, other % 20), (part, other)] {
            let rate = recovery_rate(part, other);
            prop_assert!((0.0..=1.0).contains(&rate));
            let all = part as f64 + other as f64;
            prop_assert!(all == 0.0 || (rate * all - part as f64).abs() <= all * 1e-15);
            let trips = other > 0 && part as f64 / other as f64 >= threshold;
            prop_assert_eq!(should_trip(part, other, threshold), trips);
            prop_assert_eq!(bulkhead_permits_available(part, other), part < other);
        }
    }

    #[test]
    fn a_quorum_is_a_share_of_the_healthy(
        healthy in prop::collection::vec(any::<bool>(), 0..20),
        quorum in number(),
    ) {
        let count = healthy.iter().filter(|&&one| one).count();
        let share = count as f64 / healthy.len() as f64;
        prop_assert_eq!(health_quorum(&healthy, quorum), !healthy.is_empty() && share >= quorum);
        prop_assert_eq!(cascade_failure_check(&healthy), count < healthy.len());
    }

    #[test]
    fn a_checkpoint_is_due_after_the_interval(current: i64, last: i64, interval: i64) {
        let due = i128::from(current) >= i128::from(last) + i128::from(interval);
        prop_assert_eq!(CheckpointManager::new(interval).should_checkpoint(current, last), due);
    }
}

#[test]
fn the_states_have_their_names() {
    assert_eq!([CB_CLOSED, CB_OPEN, CB_HALF_OPEN], ["closed", "open", "half_open"]);
    let breaker = CircuitBreaker::new(3, 2);
    let state: String = breaker.state();
    assert_eq!(state, "closed");
    assert!(breaker.is_call_permitted());
}

#[test]
fn it_opens_at_the_failure_threshold() {
    let breaker = CircuitBreaker::new(3, 2);
    breaker.record_failure();
    breaker.record_failure();
    assert_eq!((breaker.state().as_str(), breaker.is_call_permitted()), ("closed", true));
    breaker.record_failure();
    assert_eq!((breaker.state().as_str(), breaker.is_call_permitted()), ("open", false));
}

#[test]
fn a_success_clears_the_run_of_failures() {
    let breaker = CircuitBreaker::new(2, 1);
    for _ in 0..5 {
        breaker.record_failure();
        breaker.record_success();
    }
    assert_eq!(breaker.state(), CB_CLOSED);
}

#[test]
fn a_reset_lets_calls_through_and_enough_successes_close() {
    let breaker = CircuitBreaker::new(1, 2);
    breaker.record_failure();
    breaker.record_success();
    assert_eq!(breaker.state(), CB_OPEN, "an open breaker does not count");
    breaker.attempt_reset();
    assert_eq!((breaker.state().as_str(), breaker.is_call_permitted()), ("half_open", true));
    breaker.record_success();
    assert_eq!(breaker.state(), CB_HALF_OPEN);
    breaker.record_success();
    assert_eq!(breaker.state(), CB_CLOSED);
}

#[test]
fn a_failure_in_half_open_opens_again_and_the_next_half_open_counts_from_0() {
    let breaker = CircuitBreaker::new(1, 2);
    breaker.record_failure();
    breaker.attempt_reset();
    breaker.record_success();
    breaker.record_failure();
    assert_eq!(breaker.state(), CB_OPEN);
    breaker.attempt_reset();
    breaker.record_success();
    assert_eq!(breaker.state(), CB_HALF_OPEN);
}

#[test]
fn a_reset_does_nothing_unless_open() {
    let breaker = CircuitBreaker::new(2, 2);
    breaker.record_failure();
    breaker.attempt_reset();
    assert_eq!(breaker.state(), CB_CLOSED);
    breaker.record_failure();
    assert_eq!(breaker.state(), CB_OPEN, "the run went on");
    breaker.attempt_reset();
    breaker.record_success();
    breaker.attempt_reset();
    breaker.record_success();
    assert_eq!(breaker.state(), CB_CLOSED, "so did the successes");
}

#[test]
fn a_threshold_of_0_is_1() {
    let breaker = CircuitBreaker::new(0, 0);
    assert!(breaker.is_call_permitted());
    breaker.record_failure();
    assert_eq!(breaker.state(), CB_OPEN);
    breaker.attempt_reset();
    breaker.record_success();
    assert_eq!(breaker.state(), CB_CLOSED);
}

#[test]
fn failures_of_many_threads_are_all_counted() {
    // One short of the threshold, in 4 threads; the next one opens.
    let breaker = CircuitBreaker::new(4 * 10_000 + 1, 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| breaker.record_failure()));
        }
    });
    assert_eq!(breaker.state(), CB_CLOSED);
    breaker.record_failure();
    assert_eq!(breaker.state(), CB_OPEN);
}

#[test]
fn a_replay_sorts_by_sequence_and_then_by_id() {
    let events = [event("b", 2), event("a", 5), event("c", 2), event("a", 1), event("b", 1)];
    assert_eq!(replay(&events), [event("b", 2), event("c", 2), event("a", 5)]);
    assert_eq!(replay(&[]), []);
    assert!(replay_converges(&[], &[]));
}

#[test]
fn a_window_includes_both_ends() {
    let events = [event("a", 1), event("b", 2), event("c", 3), event("d", 4)];
    assert_eq!(replay_window(&events, 2, 3), [event("b", 2), event("c", 3)]);
    assert_eq!(replay_window(&events, 3, 2), []);
    assert_eq!(replay_window(&events, i64::MIN, i64::MAX), events);
}

#[test]
fn what_was_applied_is_not_applied_again() {
    let events = [event("a", 1), event("b", 2), event("c", 3)];
    assert_eq!(idempotent_apply(&events, &[2]), [event("a", 1), event("c", 3)]);
    assert_eq!(idempotent_apply(&events, &[]), events);
}

#[test]
fn a_delay_starts_at_the_base_and_stops_at_the_ceiling() {
    assert_eq!([0, 1, 5].map(|attempt| retry_delay(100, attempt)), [100, 200, 3200]);
    assert_eq!((retry_delay(0, u32::MAX), retry_delay(1, 63)), (0, 1 << 63));
    assert_eq!((retry_delay(1, 64), retry_delay(3, 63)), (u64::MAX, u64::MAX));
    assert_eq!([0, 3, 4].map(|attempt| adaptive_backoff(100, attempt, 1000)), [100, 800, 1000]);
    assert_eq!(adaptive_backoff(100, u32::MAX, 0), 0);
}

#[test]
fn it_trips_from_the_threshold() {
    assert!(should_trip(5, 10, 0.5) && should_trip(3, 10, 0.3) && should_trip(0, 1, 0.0));
    assert!(!should_trip(4, 10, 0.5) && !should_trip(0, 0, 0.0) && !should_trip(1, 1, f64::NAN));
}

#[test]
fn a_recovery_rate_of_nothing_is_0() {
    assert_eq!((recovery_rate(0, 0), recovery_rate(0, 3), recovery_rate(3, 0)), (0.0, 0.0, 1.0));
    assert_eq!(recovery_rate(usize::MAX, usize::MAX), 0.5);
}

#[test]
fn a_level_begins_above_its_limit() {
    let levels = [0.0, 0.25, 0.5, 0.75, 1.0].map(degradation_level);
    assert_eq!(levels, ["healthy", "minor", "warning", "degraded", "critical"]);
    let above = [5e-324, 0.2500001, 0.5000001, 0.7500001].map(degradation_level);
    assert_eq!(above, ["minor", "warning", "degraded", "critical"]);
    let strange = [-1.0, -0.0, f64::NAN, f64::INFINITY].map(degradation_level);
    assert_eq!(strange, ["healthy", "healthy", "healthy", "critical"]);
}

#[test]
fn a_quorum_is_reached_at_its_share_and_never_by_nobody() {
    assert!(health_quorum(&[true, false], 0.5) && health_quorum(&[true, true], 1.0));
    assert!(!health_quorum(&[true, false], 0.51) && !health_quorum(&[], 0.0));
}

#[test]
fn one_unhealthy_is_a_risk_to_the_others() {
    assert!(cascade_failure_check(&[true, true, false]));
    assert!(!cascade_failure_check(&[true, true]) && !cascade_failure_check(&[]));
}

#[test]
fn a_bulkhead_has_as_many_permits_as_places() {
    assert!(bulkhead_permits_available(0, 1));
    assert!(!bulkhead_permits_available(1, 1) && !bulkhead_permits_available(0, 0));
}

#[test]
fn a_manager_keeps_the_last_checkpoint_of_each_id() {
    let checkpoint =
        |id: &str, sequence, timestamp| Checkpoint { id: id.to_string(), sequence, timestamp };
    let checkpoints = CheckpointManager::new(10);
    assert_eq!((checkpoints.count(), checkpoints.get("a")), (0, None));
    for (id, sequence) in [("a", 1), ("b", 2), ("a", 3)] {
        checkpoints.record(checkpoint(id, sequence, 7));
    }
    assert_eq!(checkpoints.count(), 2);
    assert_eq!(checkpoints.get("a"), Some(checkpoint("a", 3, 7)));
    checkpoints.reset();
    assert_eq!((checkpoints.count(), checkpoints.get("b")), (0, None));
    assert!(checkpoints.should_checkpoint(10, 0), "the interval stays");
    assert!(!checkpoints.should_checkpoint(9, 0));
    assert!(checkpoints.should_checkpoint(i64::MAX, i64::MIN));
    assert!(!checkpoints.should_checkpoint(i64::MIN, i64::MAX));
}

#[test]
fn threads_may_share_what_is_shared() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<CircuitBreaker>();
    is_shared::<CheckpointManager>();
    is_shared::<(Event, Checkpoint)>();
}

#[test]
fn each_version_on_each_device_has_a_breaker_of_its_own() {
    use tensorforge_core::Instant;
    use tensorforge_core::breaker::{BreakerConfig, Outcome, State};

    let config = BreakerConfig { consecutive_failures: Some(1), ..BreakerConfig::DEFAULT };
    let breakers = Breakers::new(config, 1).unwrap();
    let key = BreakerKey { model: "m", version: 1, device: "cpu" };
    let others = [
        BreakerKey { model: "n", ..key },
        BreakerKey { version: 2, ..key },
        BreakerKey { device: "gpu", ..key },
    ];
    let now = Instant::from_nanos(5);
    let breaker = breakers.of(key);
    let permit = breaker.try_call(now).unwrap();
    breaker.report(permit, Outcome::Failure, now);
    assert!(breakers.of(key).try_call(now).is_err(), "it is the same one");
    assert!(others.iter().all(|other| breakers.of(*other).try_call(now).is_ok()));
    let states = breakers.states(now);
    let open = |(model, version, device, state): &(String, u64, String, State)| {
        assert_eq!(
            matches!(state, State::Open { .. }),
            (&**model, *version, &**device) == ("m", 1, "cpu")
        );
    };
    states.iter().for_each(open);
    assert_eq!(states.len(), 4);
    assert!(breakers.remove(key) && !breakers.remove(key));
    assert!(breakers.of(key).try_call(now).is_ok(), "a new one");
    let nonsense = BreakerConfig { consecutive_failures: Some(0), ..config };
    assert!(Breakers::new(nonsense, 1).is_err());
}
