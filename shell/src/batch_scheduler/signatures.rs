//! Small numbers for input shapes, so that core can compare batch keys exactly.

use std::collections::HashMap;
use std::sync::Arc;

/// The shapes of a request's inputs without the batch dimension.
pub(super) type Shapes = Vec<Vec<usize>>;

/// Numbers the shapes that waiting requests have; a number no request waits under is used again,
/// so the table never outgrows the queue.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    numbers: HashMap<Arc<Shapes>, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    shapes: Arc<Shapes>,
    waiting: usize,
}

impl Signatures {
    /// The number of `shapes`, for one more waiting request.
    pub(super) fn acquire(&mut self, shapes: Shapes) -> u32 {
        if let Some(&number) = self.numbers.get(&shapes) {
            self.slots[number as usize].waiting += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let shapes = Arc::new(shapes);
        self.slots[number as usize] = Slot { shapes: Arc::clone(&shapes), waiting: 1 };
        self.numbers.insert(shapes, number);
        number
    }

    /// One request fewer waits under `number`.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.waiting -= 1;
        if slot.waiting == 0 {
            self.numbers.remove(&slot.shapes);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_shapes_share_a_number_and_different_shapes_never_do(
            steps in prop::collection::vec((0..5usize, any::<bool>()), 0..100),
        ) {
            let mut signatures = Signatures::default();
            let mut waiting: Vec<(usize, u32)> = Vec::new();
            for (shape, arrives) in steps {
                if arrives || waiting.is_empty() {
                    let number = signatures.acquire(vec![vec![shape]]);
                    for &(other_shape, other) in &waiting {
                        prop_assert_eq!(other_shape == shape, other == number);
                    }
                    waiting.push((shape, number));
                } else {
                    let (_, number) = waiting.swap_remove(shape % waiting.len());
                    signatures.release(number);
                }
            }
            prop_assert!(signatures.slots.len() <= 5, "numbers are used again");
        }
    }
}
