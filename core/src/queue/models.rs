//! loom models: every order in which two operations can meet, and what the memory model allows
//! each to see, up to a bound on preemptions.
//!
//! `./ci.sh loom` runs them. A pair's answers, and what is left in the queue, must be those of one
//! of its two orders in the sequential model.

use std::sync::Arc;
use std::vec::Vec;

use loom::thread;

use super::PriorityQueue;
use super::model::Model;
use crate::Instant;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Enqueue(i32, u32),
    EnqueueBy(i32, u64, u32),
    Dequeue,
    Peek,
    PeekPriority,
    Size,
    Drain,
    Clear,
}

use Operation::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Accepted(bool),
    Item(Option<u32>),
    Priority(Option<i32>),
    Size(usize),
    Items(Vec<u32>),
    Nothing,
}

impl Operation {
    fn on<const N: usize>(self, queue: &PriorityQueue<u32, N, 3>) -> Answer {
        match self {
            Enqueue(priority, item) => Answer::Accepted(queue.enqueue(priority, item).is_ok()),
            EnqueueBy(priority, deadline, item) => {
                let deadline = Instant::from_nanos(deadline);
                Answer::Accepted(queue.enqueue_with_deadline(priority, deadline, item).is_ok())
            }
            Dequeue => Answer::Item(queue.dequeue()),
            Peek => Answer::Item(queue.peek()),
            PeekPriority => Answer::Priority(queue.peek_priority()),
            Size => Answer::Size(queue.size()),
            Drain => Answer::Items(queue.drain().collect()),
            Clear => {
                queue.clear();
                Answer::Nothing
            }
        }
    }

    fn on_model(self, model: &mut Model) -> Answer {
        match self {
            Enqueue(priority, item) => Answer::Accepted(model.enqueue(priority, None, item)),
            EnqueueBy(priority, deadline, item) => {
                Answer::Accepted(model.enqueue(priority, Some(deadline), item))
            }
            Dequeue => Answer::Item(model.dequeue()),
            Peek => Answer::Item(model.peek().map(|(_, item)| item)),
            PeekPriority => Answer::Priority(model.peek().map(|(priority, _)| priority)),
            Size => Answer::Size(model.size()),
            Drain => Answer::Items(model.drain()),
            Clear => {
                model.drain();
                Answer::Nothing
            }
        }
    }
}

/// Every interleaving of two sequences, as answers in the order of the operations, and what is left.
fn serial_outcomes(model: &Model, a: &[Operation], b: &[Operation]) -> Vec<Outcome> {
    fn go(
        model: &Model,
        (a, b): (&[Operation], &[Operation]),
        (of_a, of_b): (&[Answer], &[Answer]),
        outcomes: &mut Vec<Outcome>,
    ) {
        if let ([], []) = (a, b) {
            let left = model.clone().drain();
            outcomes.push((of_a.to_vec(), of_b.to_vec(), left));
        }
        if let [operation, rest @ ..] = a {
            let mut model = model.clone();
            let answers = [of_a, &[operation.on_model(&mut model)]].concat();
            go(&model, (rest, b), (&answers, of_b), outcomes);
        }
        if let [operation, rest @ ..] = b {
            let mut model = model.clone();
            let answers = [of_b, &[operation.on_model(&mut model)]].concat();
            go(&model, (a, rest), (of_a, &answers), outcomes);
        }
    }
    let mut outcomes = Vec::new();
    go(model, (a, b), (&[], &[]), &mut outcomes);
    outcomes
}

type Outcome = (Vec<Answer>, Vec<Answer>, Vec<u32>);

/// Runs `model` in every order. `LOOM_MAX_PREEMPTIONS` bounds how often a thread may be interrupted.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000; // a safety net against spinning; these models only are long
    builder.check(model);
}

/// Two threads, each with its operations, on a queue of `N` on which `before` was done.
fn meet<const N: usize>(before: &[Operation], a: &[Operation], b: &[Operation]) {
    let mut model = Model::new(N);
    for operation in before {
        operation.on_model(&mut model);
    }
    let allowed = serial_outcomes(&model, a, b);
    let (before, a, b) = (before.to_vec(), a.to_vec(), b.to_vec());
    explore(move || {
        let queue: Arc<PriorityQueue<u32, N, 3>> = Arc::new(PriorityQueue::new());
        for operation in &before {
            operation.on(&queue);
        }
        let (other, its) = (Arc::clone(&queue), b.clone());
        let thread = thread::spawn(move || its.iter().map(|step| step.on(&other)).collect());
        let of_a: Vec<Answer> = a.iter().map(|step| step.on(&queue)).collect();
        let of_b: Vec<Answer> = thread.join().unwrap();
        let outcome = (of_a, of_b, queue.drain().collect());
        assert!(
            allowed.contains(&outcome),
            "before {before:?}, {a:?} met {b:?}: {outcome:?} is none of {allowed:#?}"
        );
    });
}

/// Empty; one item; a run with an owed link and a run in the heap.
const STATES: [&[Operation]; 3] =
    [&[], &[Enqueue(0, 1)], &[Enqueue(-1, 1), Enqueue(0, 2), Enqueue(0, 3)]];

/// In a queue that holds priority 0 in its front: the same, a higher one, a lower one, a deadline.
const ENQUEUES: [Operation; 4] =
    [Enqueue(0, 10), Enqueue(5, 10), Enqueue(-5, 10), EnqueueBy(0, 3, 10)];

fn pair(a: Operation, b: Operation) {
    for before in STATES {
        meet::<6>(before, &[a], &[b]);
    }
}

/// `a` with each enqueue, one that may differ in item.
fn with_enqueues(b: Operation) {
    for a in ENQUEUES {
        pair(a, b);
    }
}

#[test]
fn enqueue_meets_enqueue() {
    for b in [Enqueue(0, 20), Enqueue(5, 20), Enqueue(-5, 20), EnqueueBy(0, 4, 20)] {
        with_enqueues(b);
    }
}

#[test]
fn enqueue_meets_dequeue() {
    with_enqueues(Dequeue);
}

#[test]
fn enqueue_meets_peek() {
    with_enqueues(Peek);
    with_enqueues(PeekPriority);
}

#[test]
fn enqueue_meets_size() {
    with_enqueues(Size);
}

#[test]
fn enqueue_meets_drain() {
    with_enqueues(Drain);
}

#[test]
fn enqueue_meets_clear() {
    with_enqueues(Clear);
}

#[test]
fn dequeue_meets_dequeue() {
    pair(Dequeue, Dequeue);
}

#[test]
fn dequeue_meets_peek() {
    pair(Dequeue, Peek);
    pair(Dequeue, PeekPriority);
}

#[test]
fn dequeue_meets_size() {
    pair(Dequeue, Size);
}

#[test]
fn dequeue_meets_drain() {
    pair(Dequeue, Drain);
}

#[test]
fn dequeue_meets_clear() {
    pair(Dequeue, Clear);
}

#[test]
fn peek_meets_peek() {
    pair(Peek, Peek);
    pair(Peek, PeekPriority);
}

#[test]
fn peek_meets_size() {
    pair(Peek, Size);
}

#[test]
fn peek_meets_drain() {
    pair(Peek, Drain);
}

#[test]
fn peek_meets_clear() {
    pair(Peek, Clear);
}

#[test]
fn drain_meets_drain() {
    pair(Drain, Drain);
}

#[test]
fn drain_meets_clear_and_size() {
    pair(Drain, Clear);
    pair(Drain, Size);
}

#[test]
fn clear_meets_clear_and_size() {
    pair(Clear, Clear);
    pair(Clear, Size);
}

#[test]
fn size_meets_size() {
    pair(Size, Size);
    pair(Size, PeekPriority);
}

#[test]
fn a_full_queue_refuses_or_has_room_again() {
    let full = [Enqueue(0, 1), Enqueue(1, 2)];
    meet::<2>(&full, &[Enqueue(2, 3)], &[Dequeue]);
    meet::<1>(&full[..1], &[Enqueue(2, 3)], &[Dequeue]);
    meet::<1>(&[], &[Enqueue(2, 3)], &[Enqueue(3, 4)]);
}

#[test]
fn slots_and_records_are_reused_under_a_reader() {
    let before = [Enqueue(0, 1), Enqueue(0, 2)];
    meet::<2>(&before, &[Peek], &[Dequeue, Enqueue(0, 3)]);
    meet::<2>(&before, &[Size], &[Dequeue, Enqueue(0, 3)]);
    meet::<1>(&before[..1], &[Peek], &[Dequeue, Enqueue(0, 3), Dequeue]);
}

#[test]
fn slots_and_nodes_are_reused_under_a_writer() {
    let before = [Enqueue(0, 1), Enqueue(0, 2)];
    meet::<2>(&before, &[Dequeue], &[Dequeue, Enqueue(0, 3)]);
    meet::<3>(&before, &[Enqueue(0, 4)], &[Dequeue, Enqueue(0, 3)]);
    let heaped = [Enqueue(-1, 1), Enqueue(0, 2)];
    meet::<3>(&heaped, &[Dequeue], &[Dequeue, Enqueue(-2, 3)]);
}

#[test]
fn what_was_drained_is_reused_under_an_enqueue() {
    let before = [Enqueue(0, 1)];
    meet::<3>(&before, &[Enqueue(0, 2)], &[Drain, Enqueue(0, 3)]);
    meet::<3>(&before, &[Peek], &[Drain, Enqueue(0, 3)]);
}

#[test]
fn an_item_is_read_by_two_while_a_third_takes_it() {
    explore(|| {
        let queue: Arc<PriorityQueue<Arc<u32>, 1, 3>> = Arc::new(PriorityQueue::new());
        let item = Arc::new(7);
        queue.enqueue(0, Arc::clone(&item)).unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.peek().is_none_or(|item| *item == 7))
            })
            .collect();
        assert_eq!(queue.dequeue().as_deref(), Some(&7));
        for reader in readers {
            assert!(reader.join().unwrap());
        }
        assert!(queue.peek().is_none());
        assert_eq!(Arc::strong_count(&item), 1, "nothing was lost, nothing doubled");
    });
}
