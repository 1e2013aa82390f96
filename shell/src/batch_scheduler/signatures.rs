//! Small numbers for what requests must agree in, so that core can compare batch keys exactly.

use std::collections::HashMap;
use std::sync::Arc;

/// What requests of one model must agree in to share a batch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Alike {
    /// The model's number.
    pub(super) model: u32,
    /// The shapes of the inputs without the batch dimension.
    pub(super) shapes: Vec<Vec<usize>>,
    /// The parameters that the model's `batch_by` names, as JSON text; empty if there are none.
    pub(super) parameters: String,
}

/// Different kinds of requests of one model that may wait at once: a quarter of the places there are, so
/// that one model's clients do not take those of all.
pub(super) const MOST_KINDS: usize = super::MAX_KEYS / 4;

/// Numbers what waiting requests are alike in; a number no request waits under is used again, so the
/// table never outgrows the queue.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    numbers: HashMap<Arc<Alike>, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many kinds of each model wait.
    kinds: HashMap<u32, usize>,
}

#[derive(Debug, Default)]
struct Slot {
    alike: Arc<Alike>,
    waiting: usize,
}

impl Signatures {
    /// The number of `alike`, for one more waiting request; `None` if it were one kind more than may be.
    pub(super) fn acquire(&mut self, alike: Alike) -> Option<u32> {
        if let Some(&number) = self.numbers.get(&alike) {
            self.slots[number as usize].waiting += 1;
            return Some(number);
        }
        let kinds = self.kinds.entry(alike.model).or_default();
        if *kinds >= MOST_KINDS {
            return None;
        }
        *kinds += 1;
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let alike = Arc::new(alike);
        self.slots[number as usize] = Slot { alike: Arc::clone(&alike), waiting: 1 };
        self.numbers.insert(alike, number);
        Some(number)
    }

    /// One request fewer waits under `number`.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.waiting -= 1;
        if slot.waiting == 0 {
            self.numbers.remove(&slot.alike);
            if let Some(kinds) = self.kinds.get_mut(&slot.alike.model) {
                *kinds -= 1;
            }
            self.free.push(number);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;
    use proptest::prelude::*;

    /// Six kinds: three shapes, each with one parameter or none.
    fn alike(kind: usize) -> Alike {
        let parameters = if kind.is_multiple_of(2) { String::new() } else { "[1]".into() };
        Alike { model: 0, shapes: vec![vec![kind / 2]], parameters }
    }

    proptest! {
        #[test]
        fn requests_that_are_alike_share_a_number_and_others_never_do(
            steps in prop::collection::vec((0..6usize, any::<bool>()), 0..100),
        ) {
            let mut signatures = Signatures::default();
            let mut waiting: Vec<(usize, u32)> = Vec::new();
            for (shape, arrives) in steps {
                if arrives || waiting.is_empty() {
                    let number = signatures.acquire(alike(shape)).unwrap();
                    for &(other_shape, other) in &waiting {
                        prop_assert_eq!(other_shape == shape, other == number);
                    }
                    waiting.push((shape, number));
                } else {
                    let (_, number) = waiting.swap_remove(shape % waiting.len());
                    signatures.release(number);
                }
            }
            prop_assert!(signatures.slots.len() <= 6, "numbers are used again");
        }
    }

    #[test]
    fn one_model_does_not_take_the_places_of_all() {
        let mut signatures = Signatures::default();
        let kind = |model, size| Alike { model, shapes: vec![vec![size]], ..Alike::default() };
        let numbers: Vec<_> =
            (0..MOST_KINDS).map(|size| signatures.acquire(kind(0, size))).collect();
        assert!(numbers.iter().all(Option::is_some));
        assert_eq!(signatures.acquire(kind(0, MOST_KINDS)), None);
        assert_eq!(signatures.acquire(kind(0, 0)), numbers[0], "no new kind");
        assert!(signatures.acquire(kind(1, 0)).is_some(), "another model has its own");
        signatures.release(numbers[1].unwrap());
        assert!(signatures.acquire(kind(0, MOST_KINDS)).is_some(), "one has gone");
    }
}
