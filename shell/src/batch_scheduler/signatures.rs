//! Small numbers for what requests must agree in, so that core can compare batch keys exactly.

use std::collections::HashMap;
use std::sync::Arc;

/// What requests of one model must agree in to share a batch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Alike {
    /// The shapes of the inputs without the batch dimension.
    pub(super) shapes: Vec<Vec<usize>>,
    /// The parameters that the model's `batch_by` names, as JSON text; empty if there are none.
    pub(super) parameters: String,
}

/// Numbers what waiting requests are alike in; a number no request waits under is used again, so the
/// table never outgrows the queue.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    numbers: HashMap<Arc<Alike>, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    alike: Arc<Alike>,
    waiting: usize,
}

impl Signatures {
    /// The number of `alike`, for one more waiting request.
    pub(super) fn acquire(&mut self, alike: Alike) -> u32 {
        if let Some(&number) = self.numbers.get(&alike) {
            self.slots[number as usize].waiting += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let alike = Arc::new(alike);
        self.slots[number as usize] = Slot { alike: Arc::clone(&alike), waiting: 1 };
        self.numbers.insert(alike, number);
        number
    }

    /// One request fewer waits under `number`.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.waiting -= 1;
        if slot.waiting == 0 {
            self.numbers.remove(&slot.alike);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Six kinds: three shapes, each with one parameter or none.
    fn alike(kind: usize) -> Alike {
        let parameters = if kind.is_multiple_of(2) { String::new() } else { "[1]".into() };
        Alike { shapes: vec![vec![kind / 2]], parameters }
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
                    let number = signatures.acquire(alike(shape));
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
}
