//! One thread: the queue does what the model does.

use std::vec::Vec;

use proptest::prelude::*;

use crate::Instant;
use crate::queue::model::Model;
use crate::queue::{BorrowedPriorityQueue, Drain, Node, PriorityQueue, Queue, Seat, Slot, Storage};

#[derive(Clone, Debug)]
enum Step {
    Enqueue(i32),
    EnqueueBy(i32, u64),
    Dequeue,
    Peek,
    Drain,
    /// A drain that gives its room back after that many more steps, of which it takes some items.
    SlowDrain(usize),
    Clear,
}

/// Few priorities, many priorities, and the ends.
fn priorities() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => -3..3_i32,
        4 => any::<i32>(),
        1 => prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(i32::MIN + 1), Just(i32::MAX - 1)],
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => priorities().prop_map(Step::Enqueue),
        6 => (priorities(), prop_oneof![0..4_u64, Just(u64::MAX)])
            .prop_map(|(priority, deadline)| Step::EnqueueBy(priority, deadline)),
        18 => Just(Step::Dequeue),
        4 => Just(Step::Peek),
        1 => Just(Step::Drain),
        1 => (0..12_usize).prop_map(Step::SlowDrain),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..400)
}

fn follows_the_model<S: Storage<u32>>(queue: &Queue<u32, S>, steps: Vec<Step>) {
    let mut model = Model::new(queue.capacity());
    let mut slow: Option<(Drain<'_, u32, S>, Vec<u32>, usize)> = None;
    for (item, step) in (0..).zip(steps) {
        match step {
            Step::Enqueue(priority) => {
                let accepted = model.enqueue(priority, None, item);
                assert_eq!(queue.enqueue(priority, item).is_ok(), accepted);
            }
            Step::EnqueueBy(priority, deadline) => {
                let accepted = model.enqueue(priority, Some(deadline), item);
                let deadline = Instant::from_nanos(deadline);
                let answer = queue.enqueue_with_deadline(priority, deadline, item);
                assert_eq!(answer, if accepted { Ok(()) } else { Err(item) });
            }
            Step::Dequeue => assert_eq!(queue.dequeue(), model.dequeue()),
            Step::Peek => {
                assert_eq!(queue.peek(), model.peek().map(|(_, item)| item));
                assert_eq!(queue.peek_priority(), model.peek().map(|(priority, _)| priority));
            }
            Step::Drain => assert_eq!(queue.drain().collect::<Vec<_>>(), model.drain()),
            Step::SlowDrain(wait) => {
                if slow.is_none() {
                    let expected = model.drain();
                    model.held = expected.len();
                    slow = Some((queue.drain(), expected, wait));
                }
            }
            Step::Clear => {
                queue.clear();
                model.drain();
            }
        }
        assert_eq!(queue.size(), model.size());
        if let Some((mut drain, mut expected, wait)) = slow.take() {
            assert_eq!(drain.len(), expected.len());
            if wait == 0 {
                assert_eq!(drain.collect::<Vec<_>>(), expected);
                model.held = 0;
            } else {
                let first = (!expected.is_empty()).then(|| expected.remove(0));
                assert_eq!(drain.next(), first);
                slow = Some((drain, expected, wait - 1));
            }
        }
    }
    drop(slow);
    assert_eq!(queue.drain().collect::<Vec<_>>(), model.drain());
    assert_everything_is_free(queue);
}

/// No slot and no node got lost on the way.
fn assert_everything_is_free<S: Storage<u32>>(queue: &Queue<u32, S>) {
    for descending in [false, true] {
        for place in 0..queue.capacity() as i32 {
            queue.enqueue(if descending { -place } else { place }, 0).unwrap();
        }
        assert_eq!(queue.enqueue(i32::MAX, 7), Err(7));
        queue.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 400 }))]

    #[test]
    fn a_queue_of_one_follows_the_model(steps in steps()) {
        follows_the_model(&PriorityQueue::<u32, 1, 1>::new(), steps);
    }

    #[test]
    fn a_small_queue_follows_the_model(steps in steps()) {
        follows_the_model(&PriorityQueue::<u32, 7, 3>::new(), steps);
    }

    #[test]
    fn a_queue_in_borrowed_memory_follows_the_model(steps in steps()) {
        let mut slots: Vec<Slot<u32>> = (0..100).map(|_| Slot::new()).collect();
        let mut nodes: Vec<Node> = (0..100).map(|_| Node::new()).collect();
        let mut seats: Vec<Seat<u32>> = (0..2).map(|_| Seat::new()).collect();
        for _ in 0..2 { // the second time in memory that was used before
            let queue = BorrowedPriorityQueue::borrowing(&mut slots, &mut nodes, &mut seats).unwrap();
            follows_the_model(&queue, steps.clone());
        }
    }
}
