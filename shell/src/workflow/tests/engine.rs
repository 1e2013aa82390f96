//! The engine for any machine, with threads.

use std::collections::{BTreeMap, HashMap};

use tensorforge_core::machine::{
    Attempt, Deployment, DeploymentState as D, Dispatch, DispatchState as S, Job, JobState, Reason,
    Refusal, State, StateMachine, TransitionValidator,
};

use super::*;

#[test]
fn compare_and_set_moves_once() {
    let engine = Engine::new(Deployment, (), Book::default(), EngineOptions::default());
    engine.register("m", at(0));
    let winners: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let step = engine.transition_if("m", 0, D::Validating, "race", &(), at(1));
                    usize::from(step.is_ok())
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!((winners, engine.generation("m")), (1, Some(1)));
    assert_eq!(engine.sink().records().len(), 8, "every attempt is on record");
}

#[test]
fn every_attempt_is_on_record_once_and_in_order() {
    let engine = Engine::new(Dispatch, (), Book::default(), EngineOptions::default());
    let ids: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    ids.iter().for_each(|id| assert!(engine.register(id, at(0))));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (engine, ids) = (&engine, &ids);
            scope.spawn(move || {
                for round in 0..5 {
                    for id in ids {
                        let to = [S::Allocated, S::Departed, S::Arrived, S::Cancelled]
                            [(thread + round) % 4];
                        let _ = engine.transition(id, to, "", &(), at(1));
                    }
                }
            });
        }
    });
    let mut records = engine.sink().records();
    assert_eq!(records.len() as u64, engine.attempts());
    // Of one entity they came in order, and each follows the one before.
    let mut states: HashMap<String, (String, u64, u64)> = HashMap::new();
    for record in &records {
        let (state, generation, sequence) = states
            .entry(record.entity.clone())
            .or_insert_with(|| ("queued".into(), 0, record.sequence));
        assert_eq!((&record.from, record.generation), (&*state, *generation));
        assert!(record.sequence >= *sequence);
        *sequence = record.sequence;
        if record.outcome == Outcome::Applied {
            (*state, *generation) = (record.to.clone(), *generation + 1);
        }
    }
    records.sort_by_key(|record| record.sequence);
    assert!(records.iter().enumerate().all(|(i, record)| record.sequence == i as u64));
    // The history is what was applied, and leads to where everything is.
    let history = engine.history();
    let applied = records.iter().filter(|record| record.outcome == Outcome::Applied);
    assert!(history.iter().map(|step| step.sequence).eq(applied.map(|record| record.sequence)));
    let replayed: BTreeMap<_, _> =
        history.iter().map(|step| ((*step.entity).to_owned(), step.to)).collect();
    for (id, (state, generation, _)) in &states {
        assert_eq!(engine.state(id).unwrap().name(), state);
        assert_eq!(engine.generation(id), Some(*generation));
        assert_eq!(replayed.get(id).map_or("queued", |state| state.name()), state);
    }
}

#[test]
fn a_bounded_history_keeps_the_latest() {
    let options = EngineOptions { shards: 1, history: Some(3), ..EngineOptions::default() };
    let engine = Engine::new(Job, (), (), options);
    engine.register("j", at(0));
    for round in 0..10 {
        let to = if round % 2 == 0 { JobState::Running } else { JobState::Paused };
        engine.transition("j", to, "", &(), at(round)).unwrap();
    }
    let kept: Vec<_> = engine.history().iter().map(|step| step.at).collect();
    assert_eq!(kept, [at(7), at(8), at(9)]);
}

#[test]
fn an_entity_that_moved_while_it_was_validated_is_validated_again() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::sync::{Arc, OnceLock, Weak};

    type Jobs = Engine<Job, Meddler>;
    /// Asked about running, it pauses and resumes the job behind the engine's back, once.
    #[derive(Default)]
    struct Meddler {
        engine: OnceLock<Weak<Jobs>>,
        asked: AtomicU32,
    }
    impl TransitionValidator<JobState> for Meddler {
        fn validate(&self, attempt: &Attempt<'_, JobState>, (): &()) -> Result<(), Refusal> {
            if attempt.cause == "meddle" {
                return Ok(());
            }
            if self.asked.fetch_add(1, Relaxed) == 0 {
                let engine = self.engine.get().and_then(Weak::upgrade).unwrap();
                engine.transition("j", JobState::Paused, "meddle", &(), at(1)).unwrap();
                engine.transition("j", JobState::Running, "meddle", &(), at(1)).unwrap();
            }
            Ok(())
        }
    }

    let engine = Arc::new(Jobs::new(Job, Meddler::default(), (), EngineOptions::default()));
    engine.validator().engine.set(Arc::downgrade(&engine)).unwrap();
    engine.register("j", at(0));
    engine.transition("j", JobState::Running, "meddle", &(), at(1)).unwrap();
    let step = engine.transition("j", JobState::Succeeded, "done", &(), at(2)).unwrap();
    assert_eq!((step.from, step.generation), (JobState::Running, 4));
    assert_eq!(engine.validator().asked.load(Relaxed), 2);
}

#[test]
fn what_is_left_and_entered_is_told_to_the_machine() {
    use std::sync::Mutex;

    #[derive(Default)]
    struct Telling(Mutex<Vec<String>>);
    impl StateMachine for Telling {
        type State = JobState;
        const TABLE: tensorforge_core::machine::Table = Job::TABLE;
        fn left(&self, attempt: &Attempt<'_, JobState>) {
            self.0.lock().unwrap().push(format!("-{}", attempt.from.name()));
        }
        fn entered(&self, attempt: &Attempt<'_, JobState>) {
            self.0.lock().unwrap().push(format!("+{}", attempt.to.name()));
        }
    }

    let engine: Engine<Telling> = Engine::new(Telling::default(), (), (), EngineOptions::default());
    engine.register("j", at(0));
    engine.transition("j", JobState::Running, "", &(), at(1)).unwrap();
    assert!(engine.transition("j", JobState::Pending, "", &(), at(1)).is_err());
    engine.transition("j", JobState::Failed, "", &(), at(1)).unwrap();
    let told = engine.machine().0.lock().unwrap().clone();
    assert_eq!(told, ["-pending", "+running", "-running", "+failed"]);
}

#[test]
fn an_entity_can_be_forgotten() {
    let engine = Engine::new(Job, (), (), EngineOptions::default());
    assert!(engine.register("j", at(0)) && !engine.register("j", at(0)));
    engine.transition("j", JobState::Running, "", &(), at(1)).unwrap();
    assert!(engine.forget("j") && !engine.forget("j"));
    assert_eq!((engine.state("j"), engine.history().len()), (None, 1));
    assert_eq!(engine.count(|_| true), 0);
}

#[test]
fn a_step_that_the_audit_does_not_keep_is_refused_if_so_asked() {
    let options = EngineOptions { audit: AuditPolicy::Refuse, ..EngineOptions::default() };
    let engine = Engine::new(Job, (), Book::default(), options);
    engine.register("j", at(0));
    engine.sink().breaks(true);
    let refused = engine.transition("j", JobState::Running, "", &(), at(1)).unwrap_err();
    assert!(matches!(refused, TransitionError::Refused(Refusal { reason: Reason::Audit, .. })));
    assert_eq!((engine.state("j"), engine.audit_failures()), (Some(JobState::Pending), 1));
    engine.sink().breaks(false);
    assert!(engine.transition("j", JobState::Running, "", &(), at(1)).is_ok());

    let counting = Engine::new(Job, (), Book::default(), EngineOptions::default());
    counting.register("j", at(0));
    counting.sink().breaks(true);
    assert!(counting.transition("j", JobState::Running, "", &(), at(1)).is_ok());
    assert_eq!(counting.audit_failures(), 1);
}

#[test]
fn a_request_goes_its_way_whatever_it_is_told_and_when() {
    use crate::clock::Clock;
    use std::sync::Arc;
    use tensorforge_core::machine::RequestState as R;

    struct Shared(Arc<Book>);
    impl AuditSink for Shared {
        fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
            self.0.record(record)
        }
    }
    let book = Arc::new(Book::default());
    let sink: SharedSink = Arc::new(Shared(book.clone()));
    let log = Arc::new(RequestLog::new(Clock::start(), Some(sink)));
    let way = |tell: &dyn Fn(&LiveRequest)| {
        let request = log.receive("m", "id");
        tell(&request);
        let state = request.state();
        drop(request);
        let told = std::mem::take(&mut *book.kept.lock().unwrap());
        assert!(told.iter().all(|kept| kept.outcome == Outcome::Applied), "{told:?}");
        let last = told.last().map(|kept| kept.to.clone()).unwrap_or_default();
        (state, last)
    };
    let copy = log.receive_copy("m", "id");
    copy.admitted();
    drop(copy);
    let names = book.kept.lock().unwrap().drain(..).map(|kept| kept.entity).collect::<Vec<_>>();
    assert!(names.iter().all(|name| name == "m#0~shadow:id") && !names.is_empty(), "{names:?}");
    let running = |request: &LiveRequest| {
        request.admitted();
        request.batched("full"); // before anyone said that it is queued
        request.queued();
        request.running();
    };
    let ended = |state: R| (state, state.name().to_owned());
    assert_eq!(
        way(&|request| {
            running(request);
            request.succeeded()
        }),
        ended(R::Succeeded)
    );
    assert_eq!(
        way(&|request| {
            running(request);
            request.waits_again("poison");
            request.batched("alone");
            request.running();
            request.failed("poison")
        }),
        ended(R::Failed)
    );
    assert_eq!(
        way(&|request| {
            request.admitted();
            request.shed("full")
        }),
        ended(R::Shed)
    );
    assert_eq!(
        way(&|request| {
            request.admitted();
            request.expired("late")
        }),
        ended(R::Expired)
    );
    assert_eq!(
        way(&|request| {
            running(request);
            request.expired("late")
        }),
        ended(R::Failed)
    );
    assert_eq!(
        way(&|request| {
            running(request);
            request.shed("stopped")
        }),
        ended(R::Failed)
    );
    // What comes after the outcome is left out; what is dropped without one was given up.
    assert_eq!(
        way(&|request| {
            request.failed("x");
            request.succeeded()
        }),
        ended(R::Failed)
    );
    assert_eq!(way(&running), (R::Running, "cancelled".to_owned()));
}
