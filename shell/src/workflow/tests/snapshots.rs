//! All entities at one moment, and back.

use tensorforge_core::Duration;
use tensorforge_core::machine::{Deployment, Job, JobState as J};

use super::*;

fn jobs() -> Engine<Job> {
    let engine = Engine::new(Job, (), (), EngineOptions::default());
    for (id, to) in [("a", &[][..]), ("b", &[J::Running]), ("c", &[J::Running, J::Succeeded])] {
        engine.register(id, at(1));
        to.iter().for_each(|&to| {
            engine.transition(id, to, "", &(), at(7)).unwrap();
        });
    }
    engine
}

fn restored(snapshot: &Snapshot) -> Result<Engine<Job>, SnapshotError> {
    Engine::restore(Job, (), (), EngineOptions::default(), snapshot)
}

#[test]
fn what_is_restored_is_what_was() {
    let engine = jobs();
    let snapshot = engine.snapshot();
    let text = serde_json::to_string(&snapshot).unwrap();
    let again = restored(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.snapshot(), snapshot);
    assert_eq!(again.attempts(), engine.attempts(), "numbers go on");
    let step = again.transition("b", J::Paused, "", &(), at(9)).unwrap();
    assert_eq!((step.generation, step.sequence), (2, 3));
}

#[test]
fn a_snapshot_of_another_machine_version_or_table_is_refused() {
    let snapshot = jobs().snapshot();
    let other =
        Engine::<Deployment>::restore(Deployment, (), (), EngineOptions::default(), &snapshot)
            .err();
    let message = "the snapshot is of machine 'job', and this is 'deployment'";
    assert_eq!(other.unwrap().to_string(), message);

    let newer = Snapshot { version: 2, ..snapshot.clone() };
    let error = restored(&newer).err().unwrap();
    assert_eq!(error, SnapshotError::Version { machine: "job", expected: 1, found: 2 });

    let changed = Snapshot { identity: snapshot.identity ^ 1, ..snapshot };
    assert_eq!(restored(&changed).err(), Some(SnapshotError::Identity { machine: "job" }));
}

#[test]
fn a_snapshot_that_is_not_sound_is_refused_whole() {
    let snapshot = jobs().snapshot();
    let mut lost = snapshot.clone();
    lost.entities[1].state = "active".into(); // a group: no entity is ever in it
    let error = restored(&lost).err().unwrap();
    assert_eq!(error.to_string(), "entity 'b' is in state 'active', which the machine has not");
    let mut twice = snapshot.clone();
    twice.entities.push(snapshot.entities[0].clone());
    assert_eq!(restored(&twice).err(), Some(SnapshotError::Duplicate { id: "a".into() }));
}

#[test]
fn deadlines_run_on_after_a_restore() {
    let deadlines = || vec![Deadline::new(J::Running, Duration::from_nanos(50), J::Failed)];
    let options = || EngineOptions { deadlines: deadlines(), ..EngineOptions::default() };
    let engine = Engine::new(Job, (), (), options());
    engine.register("j", at(0));
    engine.transition("j", J::Running, "", &(), at(100)).unwrap();
    let again = Engine::restore(Job, (), (), options(), &engine.snapshot()).unwrap();
    assert_eq!(again.next_deadline(), Some(at(150)));
    assert_eq!((again.poll(&(), at(149)), again.poll(&(), at(150))), (0, 1));
    assert_eq!(again.state("j"), Some(J::Failed));
}
