//! Deadlines and retries, in virtual time.

use tensorforge_core::machine::{
    Attempt, Job, JobState as J, Reason, Refusal, TransitionValidator,
};
use tensorforge_core::{Duration, Instant};

use super::*;

const fn seconds(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn rules() -> Vec<Deadline<J>> {
    vec![
        Deadline::new(J::Running, Duration::from_secs(60), J::Retrying),
        Deadline::new(J::Retrying, Duration::from_secs(1), J::Running)
            .growing(2, Duration::from_secs(5))
            .at_most(4, J::Failed),
    ]
}

fn jobs() -> Engine<Job, (), Book> {
    let options = EngineOptions { deadlines: rules(), ..EngineOptions::default() };
    Engine::new(Job, (), Book::default(), options)
}

/// Polls at each deadline, and a moment before, until there is none.
fn run(engine: &Engine<Job, (), Book>) {
    while let Some(at) = engine.next_deadline() {
        let before = Instant::from_nanos(at.as_nanos() - 1);
        assert_eq!(engine.poll(&(), before), 0, "nothing is due before");
        assert!(engine.poll(&(), at) > 0, "something is due at the deadline");
    }
}

#[test]
fn a_job_is_tried_again_with_growing_waits_and_given_up() {
    let engine = jobs();
    engine.register("j", seconds(0));
    assert_eq!(engine.next_deadline(), None);
    engine.transition("j", J::Running, "start", &(), seconds(10)).unwrap();
    run(&engine);
    assert_eq!(engine.state("j"), Some(J::Failed));
    let steps: Vec<_> =
        engine.history().iter().map(|step| (step.to, step.at.as_nanos() / 1_000_000_000)).collect();
    let expected = [
        (J::Running, 10),
        (J::Retrying, 70),
        (J::Running, 71),
        (J::Retrying, 131),
        (J::Running, 133),
        (J::Retrying, 193),
        (J::Running, 197),
        (J::Retrying, 257),
        (J::Running, 262),
        (J::Retrying, 322),
        (J::Failed, 322),
    ];
    assert_eq!(steps, expected);
    let causes = engine.sink().records();
    assert!(causes[1..].iter().all(|record| record.cause == "deadline"));
}

#[test]
fn who_moves_on_in_time_is_left_alone() {
    let engine = jobs();
    engine.register("j", seconds(0));
    engine.transition("j", J::Running, "", &(), seconds(0)).unwrap();
    engine.transition("j", J::Succeeded, "", &(), seconds(59)).unwrap();
    assert_eq!(engine.next_deadline(), None);
    assert_eq!(engine.poll(&(), seconds(1000)), 0);

    engine.register("gone", seconds(0));
    engine.transition("gone", J::Running, "", &(), seconds(0)).unwrap();
    engine.forget("gone");
    assert_eq!((engine.next_deadline(), engine.poll(&(), seconds(1000))), (None, 0));
}

#[test]
fn a_late_poll_catches_up_and_a_clock_that_steps_back_does_no_harm() {
    let engine = jobs();
    for id in ["a", "b"] {
        engine.register(id, seconds(0));
        engine.transition(id, J::Running, "", &(), seconds(100)).unwrap();
    }
    assert_eq!(engine.poll(&(), seconds(0)), 0);
    assert_eq!(engine.poll(&(), seconds(10_000)), 2);
    assert_eq!(engine.count(|state| state == J::Retrying), 2);
    engine.poll(&(), seconds(1));
    assert_eq!(engine.count(|state| state == J::Retrying), 2);
}

/// Refuses to let anything run again before a time.
struct NotBefore(Instant);
impl TransitionValidator<J> for NotBefore {
    fn validate(&self, attempt: &Attempt<'_, J>, (): &()) -> Result<(), Refusal> {
        if attempt.from == J::Retrying && attempt.now < self.0 {
            return Err(Refusal { by: "not before", reason: Reason::Window { opens_at: self.0 } });
        }
        Ok(())
    }
}

#[test]
fn a_deadline_that_is_refused_comes_again() {
    let options = EngineOptions { deadlines: rules(), ..EngineOptions::default() };
    let engine = Engine::new(Job, NotBefore(seconds(65)), (), options);
    engine.register("j", seconds(0));
    engine.transition("j", J::Running, "", &(), seconds(0)).unwrap();
    engine.transition("j", J::Retrying, "", &(), seconds(62)).unwrap();
    assert_eq!(engine.next_deadline(), Some(seconds(63)));
    assert_eq!(engine.poll(&(), seconds(63)), 0);
    assert_eq!(engine.next_deadline(), Some(seconds(64)));
    assert_eq!(engine.poll(&(), seconds(64)), 0);
    assert_eq!(engine.poll(&(), seconds(65)), 1);
    assert_eq!(engine.state("j"), Some(J::Running));
}

#[test]
fn waits_grow_up_to_their_cap_and_never_overflow() {
    let [limit, backoff] = rules().try_into().unwrap();
    let waits = [1, 2, 3, 4, 5].map(|visit| backoff.wait(visit));
    let expected = [1, 2, 4, 5, 0].map(Duration::from_secs);
    assert_eq!(waits, expected);
    assert_eq!(limit.wait(u32::MAX), Duration::from_secs(60));
    let steep =
        Deadline::new(J::Running, Duration::MAX, J::Failed).growing(u32::MAX, Duration::MAX);
    assert_eq!(steep.wait(u32::MAX - 1), Duration::MAX);
}
