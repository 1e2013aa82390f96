//! Models that go, and others that come in their place.

use super::world::{Fate, Known, World, lanes};
use super::*;
use crate::batch::Batch;

const MODEL: ModelId = ModelId(0);

/// Lanes that learn all there is to learn: times, pace, level and circuit.
fn learning() -> [Lane; 2] {
    let failures = FailurePolicy { halt_for: Duration::from_nanos(300), ..FailurePolicy::DEFAULT };
    lanes().map(|lane| Lane { failures, eager: true, padding: Padding::Cheapest, ..lane })
}

/// Whether a request of the model waits or runs, by what the device was told.
fn is_in_hand(world: &World, model: ModelId) -> bool {
    let in_hand = |known: &Known| matches!(known.fate, Fate::Waits | Fate::Runs);
    world.seen.known.values().any(|known| known.request.key.model == model && in_hand(known))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A model is forgotten exactly when nothing of it is in hand, and nobody is lost over it: what is in
    /// hand goes on, what comes afterwards is refused.
    #[test]
    fn a_model_goes_only_when_nothing_of_it_is_in_hand(
        steps in steps(3),
        goes in prop::collection::vec((0..120usize, 0..2u32), 0..20),
    ) {
        let mut world = World::new(learning());
        world.poison = |payload| payload % 3 == 1;
        let mut is_there = [true; 2];
        for (place, step) in steps.into_iter().enumerate() {
            for &(_, model) in goes.iter().filter(|&&(at, _)| at == place) {
                let id = ModelId(model);
                if is_there[model as usize] {
                    let free = !is_in_hand(&world, id);
                    prop_assert_eq!(world.engine.forget(id), free);
                    is_there[model as usize] = !free;
                } else {
                    world.engine.configure(id, learning()[model as usize]).unwrap();
                    is_there[model as usize] = true;
                }
            }
            let before = world.seen.known.len();
            take(&mut world, step);
            for payload in before as u64..world.seen.known.len() as u64 {
                let known = &world.seen.known[&payload];
                let refused = known.fate == Fate::Refused(Refused::UnknownModel);
                prop_assert_eq!(refused, !is_there[known.request.key.model.0 as usize]);
            }
        }
        world.rest();
        for model in [0, 1].map(ModelId) {
            prop_assert!(world.engine.forget(model), "nothing is in hand");
            prop_assert!(world.engine.lane(model).is_none());
        }
    }

    /// Whatever a model lived through, the next of its number is served as in an engine that never knew it.
    #[test]
    fn nothing_that_was_learned_outlives_its_model(before in steps(3), after in steps(3)) {
        let mut used = World::new(learning());
        used.poison = |payload| payload % 2 == 1;
        for step in before {
            take(&mut used, step);
        }
        used.rest();
        for model in [0, 1] {
            prop_assert!(used.engine.forget(ModelId(model)));
            used.engine.configure(ModelId(model), learning()[model as usize]).unwrap();
        }
        let mut new = World::new(learning());
        (new.seen.now, new.next) = (used.seen.now, used.next);
        let (batches, notices) = (used.seen.batches.len(), used.seen.notices.len());
        for step in after {
            // A number may be another request's in the one, and nobody's in the other.
            if let Step::Cancel(_) = step {
                continue;
            }
            for world in [&mut used, &mut new] {
                // Turns are the executors' between models, not what is known of one.
                if let Step::Arrive { model: 1, .. } = step { continue }
                world.poison = |payload| payload % 3 == 1;
                take(world, step.clone());
            }
            prop_assert_eq!(used.wake, new.wake);
        }
        used.rest();
        new.rest();
        prop_assert_eq!(&used.seen.batches[batches..], &new.seen.batches[..]);
        let told = |notice: &Notice| match *notice {
            // Batches are numbered through.
            Notice::Split { requests, .. } => Notice::Split { batch: 0, requests },
            notice => notice,
        };
        let told = |notices: &[Notice]| notices.iter().map(told).collect::<Vec<_>>();
        prop_assert_eq!(told(&used.seen.notices[notices..]), told(&new.seen.notices));
        for (payload, known) in &new.seen.known {
            prop_assert_eq!(used.seen.known[payload].fate, known.fate);
        }
    }
}

#[test]
fn a_model_whose_batch_hangs_stays_until_that_comes_back() {
    let mut engine: StaticEngine<u32, 4, 2, 1> = StaticEngine::new();
    engine.configure(MODEL, Lane::new(1, Duration::ZERO)).unwrap();
    let mut sink = Collect::default();
    let request = Request::new(crate::BatchKey { model: MODEL, signature: 0 }, 1, 7);
    engine.handle(Instant::ZERO, Event::Arrived(request), &mut sink);
    assert!(!engine.forget(MODEL), "its batch runs");
    let (mut batch, _): (Batch, _) = sink.batches.pop().unwrap();
    engine.overdue(Instant::ZERO, &mut batch, &mut sink);
    assert_eq!(engine.running(), 0);
    assert!(!engine.forget(MODEL), "its instance is taken still");
    engine.failed(Instant::ZERO, batch, Duration::ZERO, Failure::Failed, [].into_iter(), &mut sink);
    assert!(engine.forget(MODEL));
    assert!(engine.forget(MODEL), "it is gone already");
    assert!(engine.forget(ModelId(99)), "there never was one");
}
