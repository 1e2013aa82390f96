//! Every line of the stable interface.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

const STATES: [&str; 5] = ["queued", "allocated", "departed", "arrived", "cancelled"];
/// As the contract draws them.
const EDGES: [(&str, &str); 5] = [
    ("queued", "allocated"),
    ("allocated", "departed"),
    ("departed", "arrived"),
    ("queued", "cancelled"),
    ("allocated", "cancelled"),
];
const NO_STATES: [&str; 4] = ["", "Queued", "lost", "queued "];

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select([&STATES[..], &NO_STATES].concat())
}

fn record(entity: &str, from: &str, to: &str, timestamp: u64) -> TransitionRecord {
    TransitionRecord { entity_id: entity.into(), from: from.into(), to: to.into(), timestamp }
}

fn entities(states: &[&str]) -> HashMap<String, String> {
    states.iter().enumerate().map(|(i, state)| (i.to_string(), (*state).to_string())).collect()
}

#[test]
fn the_machine_is_the_one_of_the_contract() {
    for from in [&STATES[..], &NO_STATES].concat() {
        for to in [&STATES[..], &NO_STATES].concat() {
            assert_eq!(can_transition(from, to), EDGES.contains(&(from, to)), "{from} -> {to}");
        }
        let mut allowed = allowed_transitions(from);
        allowed.sort_unstable();
        let mut expected: Vec<_> =
            EDGES.iter().filter(|edge| edge.0 == from).map(|edge| edge.1).collect();
        expected.sort_unstable();
        assert_eq!(allowed, expected);
        let valid = STATES.contains(&from);
        let terminal = ["arrived", "cancelled"].contains(&from);
        assert_eq!((is_valid_state(from), is_terminal_state(from)), (valid, terminal));
        assert_eq!((can_cancel(from), can_resume(from)), (valid && !terminal, valid && !terminal));
    }
}

/// Every way of at most five states.
fn ways() -> Vec<Vec<&'static str>> {
    let mut ways: Vec<Vec<_>> = STATES.iter().map(|&state| vec![state]).collect();
    for i in 0.. {
        let Some(way) = ways.get(i).cloned() else { return ways };
        for (_, to) in EDGES.iter().filter(|edge| Some(&edge.0) == way.last()) {
            ways.push([&way[..], &[to]].concat());
        }
    }
    unreachable!()
}

#[test]
fn ways_are_the_shortest_and_reach_what_can_be_reached() {
    for from in STATES {
        let mut reached = BTreeSet::new();
        for to in STATES {
            let shortest = ways()
                .into_iter()
                .filter(|way| way[0] == from && way[way.len() - 1] == to)
                .min_by_key(Vec::len);
            assert_eq!(
                shortest_path(from, to),
                shortest.map(|way| way.iter().map(ToString::to_string).collect())
            );
            if from != to && shortest_path(from, to).is_some() {
                reached.insert(to.to_string());
            }
        }
        assert_eq!(reachable_from(from), Vec::from_iter(reached));
    }
    assert_eq!(shortest_path("lost", "lost"), None);
    assert!(reachable_from("lost").is_empty());
    assert!(ways().iter().all(|way| valid_path(way)));
    assert!(valid_path(&[]) && valid_path(&["departed"]));
    assert!(!valid_path(&["lost"]) && !valid_path(&["queued", "departed"]));
    assert!(!valid_path(&["queued", "allocated", "arrived"]));
}

proptest! {
    /// The engine against a map, and its history against itself.
    #[test]
    fn the_engine_does_what_a_map_does(
        steps in prop::collection::vec((0_usize..4, names(), any::<u64>()), 0..100),
    ) {
        let engine = WorkflowEngine::new();
        let mut model: HashMap<String, String> = HashMap::new();
        let mut made = Vec::new();
        for id in ["a", "b", "c"] {
            engine.register(id);
            model.insert(id.into(), "queued".into());
        }
        for (entity, to, timestamp) in steps {
            let id = ["a", "b", "c", "unknown"][entity];
            let result = engine.transition(id, to, timestamp);
            prop_assert_eq!(&result.to, to);
            match model.get_mut(id) {
                None => {
                    prop_assert!(!result.success);
                    prop_assert_eq!(result.from, "");
                    prop_assert_eq!(result.error.as_deref(), Some("entity not registered"));
                }
                Some(state) if EDGES.contains(&(state, to)) => {
                    let expected = TransitionResult {
                        success: true, from: state.clone(), to: to.into(), error: None,
                    };
                    prop_assert_eq!(result, expected);
                    made.push(record(id, state, to, timestamp));
                    *state = to.into();
                }
                Some(state) => {
                    prop_assert!(!result.success);
                    prop_assert_eq!(&result.from, &*state);
                    let error = format!("cannot transition from {state} to {to}");
                    prop_assert_eq!(result.error, Some(error));
                }
            }
            for (id, state) in &model {
                let found = engine.get_state(id);
                prop_assert_eq!(found.as_ref(), Some(state));
                prop_assert_eq!(engine.is_terminal(id), is_terminal_state(state));
            }
            prop_assert_eq!(engine.active_count(), parallel_workflows(&model));
        }
        prop_assert_eq!(&engine.history(), &made);
        let lines: Vec<_> = made
            .iter()
            .map(|r| format!("[{}] {} -> {} (entity: {})", r.timestamp, r.from, r.to, r.entity_id))
            .collect();
        prop_assert_eq!(engine.audit_log(), lines);
        // The history leads to where everything is.
        for (id, state) in &model {
            let replayed = made.iter().rfind(|record| record.entity_id == *id);
            prop_assert_eq!(replayed.map_or("queued", |record| &record.to), state);
            prop_assert_eq!(chain_length(&made, id), transition_count(&made, id));
        }
    }

    #[test]
    fn a_batch_is_made_whole_or_not_at_all(
        before in prop::collection::vec((0_usize..3, names()), 0..8),
        batch in prop::collection::vec((0_usize..4, names(), any::<u64>()), 0..6),
    ) {
        let engine = WorkflowEngine::new();
        let ids = ["a", "b", "c", "unknown"];
        prop_assert_eq!(batch_register(&engine, &ids[..3]), 3);
        for (entity, to) in before {
            engine.transition(ids[entity], to, 1);
        }
        let state = || ids.map(|id| engine.get_state(id));
        let (states, history) = (state(), engine.history());
        let batch: Vec<_> = batch.into_iter().map(|(i, to, at)| (ids[i], to, at)).collect();
        // By the definition: one after the other, on a copy.
        let mut copy: HashMap<&str, String> =
            ids.into_iter().filter_map(|id| Some((id, engine.get_state(id)?))).collect();
        let possible = batch.iter().all(|&(id, to, _)| {
            let Some(state) = copy.get_mut(id) else { return false };
            let allowed = EDGES.contains(&(state, to));
            *state = to.into();
            allowed
        });
        let (made, results) = batch_transition_atomic(&engine, &batch);
        prop_assert_eq!(made, possible);
        prop_assert_eq!(results.len(), batch.len());
        prop_assert!(results.iter().all(|result| result.success == made));
        prop_assert!(results.iter().all(|result| result.error.is_none() == made));
        if made {
            prop_assert_eq!(engine.history().len(), history.len() + batch.len());
            for (id, state) in copy {
                prop_assert_eq!(engine.get_state(id), Some(state));
            }
        } else {
            prop_assert_eq!((state(), engine.history()), (states, history));
        }
    }
}

#[test]
fn registering_again_changes_nothing() {
    let engine = WorkflowEngine::new();
    engine.register("a");
    engine.transition("a", "allocated", 5);
    engine.register("a");
    assert_eq!(engine.get_state("a").as_deref(), Some("allocated"));
    assert_eq!(batch_register(&engine, &["a", "b", "b"]), 1);
    assert_eq!((engine.get_state("c"), engine.is_terminal("c")), (None, false));
}

#[test]
fn times_in_states_are_exits_less_entries() {
    let history = [
        record("a", "queued", "allocated", 10),
        record("b", "queued", "allocated", 12),
        record("b", "allocated", "departed", 15),
        record("a", "allocated", "departed", 30),
    ];
    assert_eq!(time_in_state(&history, "allocated"), Some(20), "of the first that entered");
    assert_eq!(time_in_state(&history, "departed"), None, "nobody has left");
    assert_eq!(time_in_state(&history, "queued"), None, "nobody entered");
    let back = [record("a", "x", "y", 10), record("a", "y", "z", 4)];
    assert_eq!(time_in_state(&back, "y"), Some(0));
}

#[test]
fn distributions_count_what_is_there() {
    let some =
        entities(&["queued", "queued", "departed", "departed", "arrived", "arrived", "arrived"]);
    let counted: HashMap<_, _> =
        [("queued", 2), ("departed", 2), ("arrived", 3)].map(|(s, n)| (s.to_string(), n)).into();
    assert_eq!(state_distribution(&some), counted);
    assert_eq!(parallel_workflows(&some), 4);
    assert_eq!(bottleneck_state(&some).as_deref(), Some("departed"), "the first by name");
    assert!((workflow_complete_percentage(&some) - 300.0 / 7.0).abs() < 1e-12);
    assert_eq!(bottleneck_state(&entities(&["arrived"])), None);
    assert_eq!(workflow_complete_percentage(&entities(&[])), 0.0);
}

#[test]
fn estimates_are_the_transitions_left() {
    let estimates = STATES.map(|state| estimated_completion(state, 2.0));
    assert_eq!(estimates, [6.0, 4.0, 2.0, 0.0, 0.0]);
    assert_eq!(estimated_completion("lost", 2.0), 0.0);
    assert_eq!((entity_throughput(10, 1800), entity_throughput(10, 0)), (20.0, 0.0));
}

#[test]
fn ages_do_not_overflow() {
    assert_eq!((state_age_seconds(10, 25), state_age_seconds(25, 10)), (15, -15));
    assert_eq!(state_age_seconds(0, u64::MAX), i64::MAX);
    assert_eq!(state_age_seconds(u64::MAX, 0), i64::MIN);
    assert!(is_stale(10, 21, 10) && !is_stale(10, 20, 10) && !is_stale(20, 10, 0));
}

#[test]
fn histories_are_merged_by_time_and_compacted_to_the_latest() {
    let a = [record("a", "queued", "allocated", 1), record("a", "allocated", "departed", 5)];
    let b = [record("b", "queued", "cancelled", 3), record("c", "queued", "allocated", 5)];
    let merged = merge_histories(&a, &b);
    assert_eq!(merged, [a[0].clone(), b[0].clone(), a[1].clone(), b[1].clone()]);
    assert_eq!(compact_history(&merged), [b[0].clone(), a[1].clone(), b[1].clone()]);
    assert_eq!(chain_length(&merged, "a"), 2);
    let gap = [a[0].clone(), record("a", "departed", "arrived", 9)];
    assert_eq!((chain_length(&gap, "a"), transition_count(&gap, "a")), (1, 2));
    assert_eq!(chain_length(&gap, "b"), 0);
}

#[test]
fn a_target_that_is_not_listed_is_refused_before_anything_moves() {
    let engine = WorkflowEngine::new();
    engine.register("a");
    let refused = validate_and_transition(&engine, "a", "allocated", 1, &["cancelled"]);
    assert_eq!(refused.error.as_deref(), Some("target not in valid list"));
    assert_eq!((refused.success, refused.from.as_str()), (false, "queued"));
    assert_eq!(engine.get_state("a").as_deref(), Some("queued"));
    assert!(engine.history().is_empty());
    assert!(validate_and_transition(&engine, "a", "allocated", 1, &["allocated"]).success);
    let unknown = validate_and_transition(&engine, "b", "allocated", 1, &[]);
    assert_eq!(unknown.error.as_deref(), Some("entity not registered"));
}
