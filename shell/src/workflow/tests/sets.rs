//! Steps of several entities.

use tensorforge_core::machine::{
    Attempt, Dispatch, DispatchState as S, Reason, Refusal, TransitionValidator,
};

use super::*;

fn want<'a>(entity: &'a str, to: S) -> Wanted<'a, S> {
    Wanted { entity, to, cause: "set", now: at(1) }
}

#[test]
fn nobody_sees_a_set_half_done() {
    let engine = Engine::new(Dispatch, (), (), EngineOptions::default());
    let pairs: Vec<_> = (0..200).map(|i| (format!("left {i}"), format!("right {i}"))).collect();
    for (left, right) in &pairs {
        engine.register(left, at(0));
        engine.register(right, at(0));
    }
    std::thread::scope(|scope| {
        // Both orders of the same two entities: no order of locks may block them.
        for swapped in [false, true] {
            let (engine, pairs) = (&engine, &pairs);
            scope.spawn(move || {
                for (left, right) in pairs {
                    for to in [S::Allocated, S::Departed, S::Arrived] {
                        let mut set = [want(left, to), want(right, to)];
                        if swapped {
                            set.reverse();
                        }
                        let _ = engine.transition_all(&set, &());
                    }
                }
            });
        }
        // One that disturbs: what it cancels, no set may move on alone.
        let (engine, pairs) = (&engine, &pairs);
        scope.spawn(move || {
            for (left, _) in pairs.iter().step_by(3) {
                let _ = engine.transition(left, S::Cancelled, "", &(), at(1));
            }
        });
        scope.spawn(move || {
            for _ in 0..50 {
                let all = engine.snapshot();
                let state = |id: &String| {
                    let at = all.entities.binary_search_by(|entity| entity.id.cmp(id)).unwrap();
                    all.entities[at].state.clone()
                };
                for (left, right) in pairs {
                    let (left, right) = (state(left), state(right));
                    assert!(left == right || left == "cancelled", "{left} beside {right}");
                }
            }
        });
    });
    for (left, right) in &pairs {
        let (left, right) = (engine.state(left).unwrap(), engine.state(right).unwrap());
        assert!(left == right && left == S::Arrived || left == S::Cancelled && right != S::Arrived);
    }
}

#[test]
fn an_entity_may_make_several_steps_in_a_set() {
    let engine = Engine::new(Dispatch, (), Book::default(), EngineOptions::default());
    engine.register("a", at(0));
    let set = [want("a", S::Allocated), want("a", S::Departed), want("a", S::Arrived)];
    let applied = engine.transition_all(&set, &()).unwrap();
    assert_eq!(applied.iter().map(|step| step.generation).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((engine.state("a"), engine.generation("a")), (Some(S::Arrived), Some(3)));
    assert!(engine.transition_all(&[], &()).unwrap().is_empty());
}

#[test]
fn the_refused_one_is_named_and_the_others_are_on_record_with_it() {
    let engine = Engine::new(Dispatch, (), Book::default(), EngineOptions::default());
    engine.register("a", at(0));
    engine.register("b", at(0));
    let set = [want("a", S::Allocated), want("b", S::Arrived), want("a", S::Departed)];
    let refused = engine.transition_all(&set, &()).unwrap_err();
    let message = "step 1 of the set: cannot transition from queued to arrived";
    assert_eq!((refused.index, refused.to_string().as_str()), (1, message));
    let outcomes: Vec<_> = engine.sink().records().iter().map(|record| record.outcome).collect();
    let reason = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.reason,
        Outcome::Applied => panic!("nothing was made"),
    };
    let reasons: Vec<_> = outcomes.iter().map(reason).collect();
    assert_eq!(reasons, [Reason::Together, Reason::NoEdge, Reason::Together]);
    assert_eq!((engine.generation("a"), engine.generation("b")), (Some(0), Some(0)));

    let unknown = engine.transition_all(&[want("c", S::Allocated)], &()).unwrap_err();
    assert_eq!(unknown, SetError { index: 0, error: TransitionError::Unknown });
}

/// Refuses one entity.
struct NotB;
impl TransitionValidator<S> for NotB {
    fn validate(&self, attempt: &Attempt<'_, S>, (): &()) -> Result<(), Refusal> {
        if attempt.entity == "b" {
            return Err(Refusal { by: "not b", reason: Reason::Other("never") });
        }
        Ok(())
    }
}

#[test]
fn a_veto_stops_the_whole_set() {
    let engine = Engine::new(Dispatch, NotB, (), EngineOptions::default());
    for id in ["a", "b", "c"] {
        engine.register(id, at(0));
    }
    let set = [want("a", S::Allocated), want("b", S::Allocated), want("c", S::Allocated)];
    let refused = engine.transition_all(&set, &()).unwrap_err();
    assert_eq!(refused.to_string(), "step 1 of the set: refused by not b: never");
    assert!(engine.history().is_empty());
    assert!(engine.transition_all(&[set[0], set[2]], &()).is_ok());
}

#[test]
fn a_set_that_the_audit_does_not_keep_is_not_made() {
    let options = EngineOptions { audit: AuditPolicy::Refuse, ..EngineOptions::default() };
    let engine = Engine::new(Dispatch, (), Book::default(), options);
    engine.register("a", at(0));
    engine.register("b", at(0));
    engine.sink().breaks(true);
    let refused = engine.transition_all(&[want("a", S::Allocated), want("b", S::Allocated)], &());
    assert_eq!(refused.unwrap_err().index, 0);
    assert_eq!((engine.generation("a"), engine.generation("b")), (Some(0), Some(0)));
}
