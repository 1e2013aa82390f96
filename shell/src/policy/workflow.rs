//! Every line of the stable interface.

use proptest::prelude::*;

use super::*;

const LEVELS: [&str; 4] = ["normal", "watch", "restricted", "halted"];

#[test]
fn a_burst_of_two_goes_one_level_up_and_never_beyond() {
    for (place, level) in LEVELS.into_iter().enumerate() {
        for burst in [0, 1] {
            assert_eq!(next_policy(level, burst), level);
        }
        for burst in [2, 3, usize::MAX] {
            assert_eq!(next_policy(level, burst), LEVELS[(place + 1).min(3)]);
        }
        assert_eq!(previous_policy(level), LEVELS[place.saturating_sub(1)]);
    }
    assert_eq!((next_policy("lost", 1), next_policy("lost", 2)), ("normal", "watch"));
    assert_eq!(previous_policy("lost"), "normal");
}

#[test]
fn streaks_go_down_from_five_seven_and_ten() {
    for (level, streak) in [("watch", 5), ("restricted", 7), ("halted", 10)] {
        assert!(should_deescalate(streak, level) && !should_deescalate(streak - 1, level));
        assert!(should_deescalate(usize::MAX, level));
    }
    assert!(!should_deescalate(usize::MAX, "normal") && !should_deescalate(usize::MAX, "lost"));
}

#[test]
fn every_level_has_its_figures() {
    assert_eq!(all_policies(), LEVELS);
    for (place, level) in LEVELS.into_iter().enumerate() {
        let metadata = get_metadata(level).unwrap();
        assert_eq!((metadata.name, metadata.max_retries), (level, 3 - place));
        assert!(!metadata.description.is_empty());
        assert_eq!(policy_index(level), Some(place));
        assert_eq!(max_retries_for_policy(level), 3 - place);
        assert_eq!(cooldown_multiplier(level), 1 << place);
    }
    let weights = LEVELS.map(policy_weight);
    assert!(weights.windows(2).all(|two| two[0] < two[1]), "{weights:?}");
    assert_eq!((get_metadata("lost"), policy_index("lost")), (None, None));
    assert_eq!((max_retries_for_policy("lost"), cooldown_multiplier("lost")), (1, 1));
    assert_eq!(policy_weight("lost"), 0.0);
}

proptest! {
    #[test]
    fn cooldowns_hold_until_they_are_over(last: u64, passed: u64, cooldown: u64, back: bool) {
        for (last, passed, cooldown) in [(last, passed, cooldown), (last % 100, passed % 50, cooldown % 50)] {
            let now = if back { last.saturating_sub(passed) } else { last.saturating_add(passed) };
            let gone = now.saturating_sub(last);
            let held = escalation_with_cooldown("watch", 5, last, now, cooldown);
            prop_assert_eq!(held, if gone < cooldown { "watch" } else { "restricted" });
            prop_assert_eq!(cooldown_remaining(last, now, cooldown), cooldown.saturating_sub(gone));
            prop_assert_eq!(escalation_with_cooldown("watch", 1, last, now, cooldown), "watch");
        }
    }

    #[test]
    fn shares_of_promises_kept_are_counted(records in prop::collection::vec((-5..5, -5..5), 0..30)) {
        let kept = records.iter().filter(|(actual, sla)| actual <= sla).count();
        let expected = if records.is_empty() { 100.0 } else { kept as f64 * 100.0 / records.len() as f64 };
        prop_assert_eq!(sla_percentage(&records), expected);
    }

    #[test]
    fn risks_are_numbers(events in prop::collection::vec((any::<f64>(), any::<f64>()), 0..10)) {
        prop_assert!(aggregate_risk(&events).is_finite());
        prop_assert!(events.iter().all(|&(severity, likely)| risk_score(severity, likely).is_finite()));
    }
}

#[test]
fn risks_are_severity_times_probability_and_their_mean() {
    assert_eq!(risk_score(8.0, 0.25), 2.0);
    assert_eq!(risk_score(f64::INFINITY, 0.0), 0.0);
    assert_eq!(aggregate_risk(&[(8.0, 0.25), (4.0, 1.0)]), 3.0);
    assert_eq!(aggregate_risk(&[]), 0.0);
    assert_eq!(aggregate_risk(&[(f64::MAX, 1.0), (f64::MAX, 1.0)]), f64::MAX);
}

#[test]
fn limits_are_strict_or_inclusive_as_they_say() {
    assert!(escalation_needed(0.51, 0.5) && !escalation_needed(0.5, 0.5));
    assert!(!escalation_needed(f64::NAN, 0.5) && !escalation_needed(0.5, f64::NAN));
    assert!(within_grace_period(30, 30) && !within_grace_period(31, 30));
    assert!(check_sla_compliance(5, 5) && !check_sla_compliance(6, 5));
}

#[test]
fn the_engine_keeps_its_level_and_history() {
    let engine = PolicyEngine::new();
    assert_eq!((engine.current().as_str(), engine.history().len()), ("normal", 0));
    let went: Vec<String> = [1, 2, 5, 2, 9].map(|burst| engine.escalate(burst)).into();
    assert_eq!(went, ["normal", "watch", "restricted", "halted", "halted"]);
    assert_eq!(engine.deescalate(), "restricted");
    let change = |from: &str, to: &str, reason: &str| PolicyChange {
        from: from.into(),
        to: to.into(),
        reason: reason.into(),
    };
    let history = [
        change("normal", "watch", "escalation: 2 failures"),
        change("watch", "restricted", "escalation: 5 failures"),
        change("restricted", "halted", "escalation: 2 failures"),
        change("halted", "restricted", "deescalation: conditions improved"),
    ];
    assert_eq!(engine.history(), history);
    engine.reset();
    assert_eq!((engine.current().as_str(), engine.history().len()), ("normal", 0));
    assert_eq!(engine.deescalate(), "normal");
}

#[test]
fn the_history_is_bounded_and_follows_itself_among_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let engine = PolicyEngine::default();
    shared(&engine);
    std::thread::scope(|scope| {
        for up in [true, false, true] {
            let engine = &engine;
            scope.spawn(move || {
                for _ in 0..HISTORY {
                    if up {
                        engine.escalate(2)
                    } else {
                        engine.deescalate()
                    };
                }
            });
        }
    });
    let history = engine.history();
    assert!(history.len() <= HISTORY);
    assert!(history.windows(2).all(|two| two[0].to == two[1].from));
    assert_eq!(history.last().map(|change| change.to.clone()), Some(engine.current()));
}
