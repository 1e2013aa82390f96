//! A thread that is stopped at any atomic step of any operation blocks nobody.
//!
//! Each operation runs once to count its steps; then once for each of them, stopped there, while
//! another thread does a fixed amount of every kind of work in a bounded number of its own steps.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use crate::Instant;
use crate::queue::PriorityQueue;
use crate::sync::steps;

type Queue = PriorityQueue<u32, 40, 3>;

/// What the stopped thread was doing. Its result is the items it took out.
#[derive(Clone, Copy, Debug)]
enum Operation {
    EnqueueToFront,
    EnqueueToHeap,
    EnqueueWithDeadline,
    Dequeue,
    Peek,
    PeekPriority,
    Size,
    Drain,
    Clear,
}

const OPERATIONS: [Operation; 9] = [
    Operation::EnqueueToFront,
    Operation::EnqueueToHeap,
    Operation::EnqueueWithDeadline,
    Operation::Dequeue,
    Operation::Peek,
    Operation::PeekPriority,
    Operation::Size,
    Operation::Drain,
    Operation::Clear,
];

/// The item that an enqueue adds.
const OWN: u32 = 1_000;
/// Marks what a clear dropped.
const CLEARED: u32 = u32::MAX;

impl Operation {
    fn run(self, queue: &Queue) -> Vec<u32> {
        match self {
            Self::EnqueueToFront => queue.enqueue(9, OWN).map(|()| Vec::new()).unwrap(),
            Self::EnqueueToHeap => queue.enqueue(-9, OWN).map(|()| Vec::new()).unwrap(),
            Self::EnqueueWithDeadline => {
                let deadline = Instant::from_nanos(5);
                queue.enqueue_with_deadline(9, deadline, OWN).map(|()| Vec::new()).unwrap()
            }
            Self::Dequeue => queue.dequeue().into_iter().collect(),
            Self::Peek => queue.peek().map(|_| Vec::new()).unwrap_or_default(),
            Self::PeekPriority => queue.peek_priority().map(|_| Vec::new()).unwrap_or_default(),
            Self::Size => {
                queue.size();
                Vec::new()
            }
            Self::Drain => queue.drain().collect(),
            Self::Clear => {
                queue.clear();
                std::vec![CLEARED]
            }
        }
    }

    fn adds(self) -> bool {
        matches!(self, Self::EnqueueToFront | Self::EnqueueToHeap | Self::EnqueueWithDeadline)
    }
}

/// Twelve items: in the front, in the heap, and with an owed link.
fn filled() -> Queue {
    let queue = Queue::new();
    for item in 0..10 {
        queue.enqueue(9 - item as i32, item).unwrap();
    }
    queue.enqueue(9, 10).unwrap();
    queue.enqueue(9, 11).unwrap();
    queue
}

/// Every kind of work, some of each. Returns what it took out; what it adds is `first` and up.
fn others_work(queue: &Queue, first: u32) -> Vec<u32> {
    let mut taken = Vec::new();
    for round in 0..3 {
        let item = first + 4 * round;
        queue.enqueue(9, item).unwrap();
        taken.extend(queue.dequeue());
        queue.enqueue(-3, item + 1).unwrap();
        queue.enqueue_with_deadline(4, Instant::from_nanos(7), item + 2).unwrap();
        queue.enqueue(i32::MAX, item + 3).unwrap();
        assert!(queue.peek().is_some() && queue.peek_priority().is_some() && queue.size() > 0);
        taken.extend(queue.dequeue());
        taken.extend(queue.dequeue());
        if round == 1 {
            taken.extend(queue.drain());
        }
    }
    taken
}

/// More steps than `others_work` takes when nobody is in its way, however the queue looks.
const ENOUGH: usize = 100_000;

/// Runs `work`, and fails if it takes more than `ENOUGH` steps: the test of progress.
fn in_bounded_steps<R>(work: impl FnOnce() -> R) -> R {
    let taken = AtomicUsize::new(0);
    steps::with_hook(
        move || {
            let taken = taken.fetch_add(1, Ordering::Relaxed);
            assert!(taken < ENOUGH, "no progress beside a stopped thread");
        },
        work,
    )
}

fn steps_of(operation: Operation) -> usize {
    let (queue, count) = (filled(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    steps::with_hook(
        move || {
            counter.fetch_add(1, Ordering::Relaxed);
        },
        || operation.run(&queue),
    );
    count.load(Ordering::Relaxed)
}

/// A thread that runs `operation` and stops before step `at`.
struct Stopped<'scope> {
    resume: mpsc::Sender<()>,
    thread: thread::ScopedJoinHandle<'scope, Vec<u32>>,
}

impl<'scope> Stopped<'scope> {
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        queue: &'scope Queue,
        operation: Operation,
        at: usize,
    ) -> Self {
        let (stopped, has_stopped) = mpsc::channel();
        let (resume, resumed) = mpsc::channel();
        let thread = scope.spawn(move || {
            let mut step = 0;
            steps::with_hook(
                move || {
                    if step == at {
                        stopped.send(()).unwrap();
                        resumed.recv().ok();
                    }
                    step += 1;
                },
                || operation.run(queue),
            )
        });
        // An operation that met another one's effects may have ended before that step.
        has_stopped.recv().ok();
        Self { resume, thread }
    }

    fn finish(self) -> Vec<u32> {
        self.resume.send(()).ok();
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// What was put in came out once, or was in the queue when it was cleared.
fn assert_all_accounted_for(expected: impl Iterator<Item = u32>, mut found: Vec<u32>) {
    let cleared = found.contains(&CLEARED);
    found.retain(|&item| item != CLEARED);
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "an item came out twice");
    let mut expected: Vec<u32> = expected.collect();
    if cleared {
        expected.retain(|item| found.contains(item));
    }
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_thread_stopped_at_any_step_blocks_nobody() {
    for operation in OPERATIONS {
        let steps = steps_of(operation);
        assert!(steps >= 2, "{operation:?} has steps to stop at");
        for at in (0..steps).step_by(if cfg!(miri) { 20 } else { 1 }) {
            let queue = filled();
            let mut found = thread::scope(|scope| {
                let stopped = Stopped::start(scope, &queue, operation, at);
                let mut found = in_bounded_steps(|| others_work(&queue, 100));
                found.extend(stopped.finish());
                found
            });
            found.extend(queue.drain());
            let own = operation.adds().then_some(OWN);
            assert_all_accounted_for((0..12).chain(100..112).chain(own), found);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of pairs take Miri too long")]
fn two_threads_stopped_at_any_two_steps_block_nobody() {
    // Every pair of operations; of the steps, as many as take a few seconds.
    for (index, first) in OPERATIONS.into_iter().enumerate() {
        for second in OPERATIONS.into_iter().skip(index) {
            let (first_steps, second_steps) = (steps_of(first), steps_of(second));
            for at_first in (0..first_steps).step_by(1 + first_steps / 7) {
                for at_second in (0..second_steps).step_by(1 + second_steps / 7) {
                    let queue = filled();
                    let mut found = thread::scope(|scope| {
                        let one = Stopped::start(scope, &queue, first, at_first);
                        let two = Stopped::start(scope, &queue, second, at_second);
                        let mut found = in_bounded_steps(|| others_work(&queue, 100));
                        found.extend(one.finish());
                        found.extend(two.finish());
                        found
                    });
                    found.extend(queue.drain());
                    // Both enqueue the same number.
                    let own = u32::from(first.adds()) + u32::from(second.adds());
                    let mut found_own = 0;
                    found.retain(|&item| {
                        found_own += u32::from(item == OWN);
                        item != OWN
                    });
                    if !found.contains(&CLEARED) {
                        assert_eq!(found_own, own);
                    }
                    assert!(found_own <= own);
                    assert_all_accounted_for((0..12).chain(100..112), found);
                }
            }
        }
    }
}
