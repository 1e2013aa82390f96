//! The search for an order: Wing and Gong's, with Lowe's memory of states that led nowhere.

use std::collections::HashSet;
use std::vec::Vec;

use super::history::Operation;
use super::specification::{Call, Specification};

/// How far the best order got: the operations in it, by their places in the history.
#[derive(Debug)]
pub(super) struct NotLinearizable(pub(super) Vec<usize>);

/// Whether the operations, at most 128, can be put in one order. Exponential at worst; the memory
/// keeps it near linear where few operations overlap.
pub(super) fn check(capacity: usize, operations: &[Operation]) -> Result<(), NotLinearizable> {
    assert!(operations.len() <= 128);
    let mut search =
        Search { operations, seen: HashSet::new(), order: Vec::new(), best: Vec::new() };
    if search.go(0, &Specification::new(capacity)) {
        Ok(())
    } else {
        Err(NotLinearizable(search.best))
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    /// Sets of operations that were put in order, with the state after them.
    seen: HashSet<(u128, Specification)>,
    order: Vec<usize>,
    best: Vec<usize>,
}

impl Search<'_> {
    fn go(&mut self, done: u128, state: &Specification) -> bool {
        let left = |index: &usize| done >> index & 1 == 0;
        let Some(first_end) =
            (0..self.operations.len()).filter(left).map(|index| self.operations[index].ended).min()
        else {
            return true;
        };
        // Any that began before all others ended may come next; most likely the one that ended first.
        let mut candidates: Vec<usize> = (0..self.operations.len())
            .filter(left)
            .filter(|&index| self.operations[index].began <= first_end)
            .filter(|&index| self.detach_is_done(done, index))
            .collect();
        candidates.sort_by_key(|&index| self.operations[index].ended);
        for index in candidates {
            let mut next = state.clone();
            let operation = &self.operations[index];
            if !next.step(&operation.call, &operation.answer) {
                continue;
            }
            let done = done | 1 << index;
            if !self.seen.insert((done, next.clone())) {
                continue;
            }
            self.order.push(index);
            if self.order.len() > self.best.len() {
                self.best.clone_from(&self.order);
            }
            if self.go(done, &next) {
                return true;
            }
            self.order.pop();
        }
        false
    }

    /// A release comes after its detach, also where one call made both.
    fn detach_is_done(&self, done: u128, index: usize) -> bool {
        let Call::Release { id } = self.operations[index].call else { return true };
        self.operations.iter().enumerate().all(|(other, operation)| {
            operation.call != Call::Detach { id } || done >> other & 1 == 1
        })
    }
}

mod tests {
    use super::super::specification::Answer;
    use super::*;
    use proptest::prelude::*;

    fn operation(call: Call, answer: Answer, began: u64, ended: u64) -> Operation {
        Operation { thread: 0, call, answer, began, ended }
    }

    fn enqueue(item: u32, priority: i32, began: u64, ended: u64) -> Operation {
        let call = Call::Enqueue { priority, deadline: None, item };
        operation(call, Answer::Accepted(true), began, ended)
    }

    fn refused(began: u64, ended: u64) -> Operation {
        let call = Call::Enqueue { priority: 0, deadline: None, item: 99 };
        operation(call, Answer::Accepted(false), began, ended)
    }

    fn dequeue(item: Option<u32>, began: u64, ended: u64) -> Operation {
        operation(Call::Dequeue, Answer::Item(item), began, ended)
    }

    fn detach(items: &[u32], began: u64, ended: u64) -> Operation {
        operation(Call::Detach { id: 1 }, Answer::Items(items.to_vec()), began, ended)
    }

    fn release(began: u64, ended: u64) -> Operation {
        operation(Call::Release { id: 1 }, Answer::Done, began, ended)
    }

    fn is_linearizable(operations: &[Operation]) -> bool {
        check(2, operations).is_ok()
    }

    #[test]
    fn overlapping_operations_may_take_either_order() {
        let one_then_other = |first, second| {
            is_linearizable(&[
                enqueue(1, 0, 0, 3),
                enqueue(2, 0, 1, 2),
                dequeue(Some(first), 4, 5),
                dequeue(Some(second), 6, 7),
            ])
        };
        assert!(one_then_other(1, 2) && one_then_other(2, 1));
        assert!(!one_then_other(1, 1));
    }

    #[test]
    fn operations_after_one_another_keep_their_order() {
        assert!(is_linearizable(&[
            enqueue(1, 0, 0, 1),
            enqueue(2, 0, 2, 3),
            dequeue(Some(1), 4, 5)
        ]));
        assert!(!is_linearizable(&[
            enqueue(1, 0, 0, 1),
            enqueue(2, 0, 2, 3),
            dequeue(Some(2), 4, 5)
        ]));
        assert!(is_linearizable(&[
            enqueue(1, 0, 0, 1),
            enqueue(2, 9, 2, 3),
            dequeue(Some(2), 4, 5)
        ]));
        assert!(!is_linearizable(&[enqueue(1, 0, 0, 1), dequeue(None, 2, 3)]));
        assert!(is_linearizable(&[enqueue(1, 0, 0, 2), dequeue(None, 1, 3)]));
    }

    #[test]
    fn drained_items_take_room_until_they_are_released() {
        let two = [enqueue(1, 0, 0, 1), enqueue(2, 0, 2, 3), detach(&[1, 2], 4, 5)];
        let then = |more: &[Operation]| is_linearizable(&[&two[..], more].concat());
        assert!(then(&[refused(6, 7), release(8, 9), enqueue(3, 0, 10, 11)]));
        assert!(!then(&[enqueue(3, 0, 6, 7), release(8, 9)]));
        assert!(!then(&[release(6, 7), refused(8, 9)]));
        assert!(then(&[release(6, 9), refused(7, 8)]));
        assert!(then(&[release(6, 9), enqueue(3, 0, 7, 8)]));
    }

    #[test]
    fn a_drain_takes_everything_at_one_moment() {
        let torn = [
            enqueue(1, 5, 0, 1),
            detach(&[1, 3], 2, 9),
            enqueue(2, 7, 3, 4),
            enqueue(3, 0, 5, 6),
            dequeue(Some(2), 10, 11),
        ];
        assert!(check(4, &torn).is_err());
    }

    /// Every order of the operations, tried one by one.
    fn brute_force(capacity: usize, operations: &[Operation]) -> bool {
        fn go(state: &Specification, all: &[Operation], left: &[usize]) -> bool {
            left.is_empty()
                || left.iter().any(|&next| {
                    let too_early = left.iter().any(|&other| all[other].ended < all[next].began);
                    let detach =
                        left.iter().any(|&other| match (&all[other].call, &all[next].call) {
                            (Call::Detach { id: a }, Call::Release { id: b }) => a == b,
                            _ => false,
                        });
                    let mut state = state.clone();
                    let rest: Vec<usize> =
                        left.iter().copied().filter(|&other| other != next).collect();
                    !too_early
                        && !detach
                        && state.step(&all[next].call, &all[next].answer)
                        && go(&state, all, &rest)
                })
        }
        let all: Vec<usize> = (0..operations.len()).collect();
        go(&Specification::new(capacity), operations, &all)
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let item = prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
        let step = prop_oneof![
            3 => (0..2_i32, proptest::option::of(0..2_u64), 0..3_u32, any::<bool>()).prop_map(
                |(priority, deadline, item, accepted)| {
                    (Call::Enqueue { priority, deadline, item }, Answer::Accepted(accepted))
                }
            ),
            3 => item.clone().prop_map(|item| (Call::Dequeue, Answer::Item(item))),
            1 => item.prop_map(|item| (Call::Peek, Answer::Item(item))),
            1 => (0..3_usize).prop_map(|size| (Call::Size, Answer::Size(size))),
            1 => proptest::collection::vec(0..3_u32, 0..3)
                .prop_map(|items| (Call::Detach { id: 1 }, Answer::Items(items))),
            1 => Just((Call::Release { id: 1 }, Answer::Done)),
        ];
        proptest::collection::vec((step, 0..12_u64, 1..6_u64), 1..6).prop_map(|steps| {
            let to_operation =
                |((call, answer), began, length)| operation(call, answer, began, began + length);
            steps.into_iter().map(to_operation).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 10 } else { 3_000 }))]

        #[test]
        fn the_search_agrees_with_trying_every_order(operations in operations()) {
            prop_assert_eq!(check(2, &operations).is_ok(), brute_force(2, &operations));
        }
    }
}
