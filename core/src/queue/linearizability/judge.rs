//! Histories by the thousand, of every shape, from one seed.

use std::boxed::Box;
use std::fmt;
use std::string::String;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

use super::Subject;
use super::checker;
use super::history::{Mix, Operation, Recorder, Task};
use super::random::Random;
use super::schedule::{self, Schedule};
use super::specification::{Answer, Call};

/// What was seen in the histories of a queue that passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) histories: usize,
    pub(crate) operations: usize,
    /// Histories in which operations of different threads overlapped.
    pub(crate) overlapping: usize,
    pub(crate) refused: usize,
    pub(crate) found_empty: usize,
    pub(crate) peeked: usize,
    pub(crate) sized: usize,
    pub(crate) drained_items: usize,
    pub(crate) cleared: usize,
}

/// A history that no order explains.
pub(crate) struct Failure {
    pub(crate) history: usize,
    seed: u64,
    shape: Shape,
    operations: Vec<Operation>,
    best: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    threads: usize,
    capacity: usize,
    each: usize,
    schedule: Schedule,
    mix: Mix,
}

/// The capacities that histories are made with.
pub(crate) const CAPACITIES: [usize; 6] = [1, 2, 3, 4, 8, 24];

const FEW: &[i32] = &[0, 1];
const ENDS: &[i32] = &[i32::MIN, -1, 0, 1, i32::MAX];
/// More than a queue's front has room for.
const MANY: &[i32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// From `TENSORFORGE_HISTORIES`, else `usual`.
pub(crate) fn histories_wanted(usual: usize) -> usize {
    from_environment("TENSORFORGE_HISTORIES").map_or(usual, |wanted| wanted as usize)
}

/// From `TENSORFORGE_SEED`, else `usual`.
pub(crate) fn seed_wanted(usual: u64) -> u64 {
    from_environment("TENSORFORGE_SEED").unwrap_or(usual)
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Records histories of queues that `make` builds for a capacity, and checks each.
pub(crate) fn judge(
    make: impl Fn(usize) -> Box<dyn Subject>,
    histories: usize,
    seed: u64,
) -> Result<Verdict, Box<Failure>> {
    let mut verdict = Verdict::default();
    for history in 0..histories {
        let seed = seed.wrapping_add(history as u64);
        let shape = Shape::draw(seed);
        let operations = record(&*make(shape.capacity), shape, seed);
        verdict.count(&operations);
        if let Err(checker::NotLinearizable(best)) = checker::check(shape.capacity, &operations) {
            return Err(Box::new(Failure { history, seed, shape, operations, best }));
        }
    }
    Ok(verdict)
}

impl Shape {
    fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x5eed);
        let threads = 2 + random.below(7);
        let schedule = match random.below(8) {
            0..=3 => Schedule::Free,
            4 => Schedule::Random(3),
            5 => Schedule::Random(20),
            6 => Schedule::Priorities(3),
            _ => Schedule::Priorities(12),
        };
        let longest = if schedule == Schedule::Free { 48 } else { 20 };
        let (peek, size) = (random.below(4), random.below(4));
        let mix = Mix {
            enqueue: 6 + random.below(6),
            dequeue: 2 + random.below(8),
            peek,
            size,
            drain: random.below(3),
            clear: random.below(2),
            priorities: random.pick(&[FEW, FEW, ENDS, MANY]),
            deadlines: random.one_in(3),
        };
        let each = (longest / threads).clamp(2, 12);
        Self { threads, capacity: random.pick(&CAPACITIES), each, schedule, mix }
    }
}

/// One history, in order of its beginnings.
fn record(subject: &dyn Subject, shape: Shape, seed: u64) -> Vec<Operation> {
    let clock = AtomicU64::new(0);
    let work = |thread: usize| {
        let mut recorder = Recorder::new(thread, &clock);
        let mut random = Random::new(seed.wrapping_mul(31) + thread as u64);
        for number in 0..shape.each {
            let item = (thread * 100 + number) as u32;
            recorder.run(subject, shape.mix.draw(&mut random, item));
        }
        recorder.operations
    };
    let mut operations = schedule::run(shape.schedule, shape.threads, seed, work).concat();
    // What is left at the end must be right too.
    let mut last = Recorder::new(shape.threads, &clock);
    last.run(subject, Task::Size);
    last.run(subject, Task::Drain);
    operations.extend(last.operations);
    operations.sort_by_key(|operation| operation.began);
    operations
}

impl Verdict {
    fn count(&mut self, operations: &[Operation]) {
        self.histories += 1;
        self.operations += operations.len();
        let overlap = |a: &Operation, b: &Operation| {
            a.thread != b.thread && a.began < b.ended && b.began < a.ended
        };
        let overlapping = operations.iter().any(|a| operations.iter().any(|b| overlap(a, b)));
        self.overlapping += usize::from(overlapping);
        for operation in operations {
            match (&operation.call, &operation.answer) {
                (_, Answer::Accepted(false)) => self.refused += 1,
                (Call::Dequeue, Answer::Item(None)) => self.found_empty += 1,
                (Call::Peek, Answer::Item(Some(_))) => self.peeked += 1,
                (_, Answer::Size(_)) => self.sized += 1,
                (_, Answer::Items(items)) => self.drained_items += items.len(),
                (_, Answer::Unseen) => self.cleared += 1,
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { history, seed, shape, operations, best } = self;
        let Shape { threads, capacity, schedule, .. } = shape;
        writeln!(
            f,
            "history {history} is not linearizable: {threads} threads, capacity {capacity}, \
             {schedule:?}\nagain{}: TENSORFORGE_HISTORIES=1 TENSORFORGE_SEED={seed}",
            if *schedule == Schedule::Free { " (if chance will have it)" } else { "" }
        )?;
        let order = |index: usize| match best.iter().position(|&done| done == index) {
            Some(place) => std::format!("{:>3}. ", place + 1),
            None => String::from("   ? "),
        };
        writeln!(f, "the longest right order, and [begin end] of each operation:")?;
        for (index, operation) in operations.iter().enumerate() {
            writeln!(f, "{}{operation}", order(index))?;
        }
        Ok(())
    }
}

mod tests {
    use super::super::planted::Reference;
    use super::*;

    #[test]
    fn a_seed_gives_the_same_history_again() {
        let scheduled = (0..300).map(|seed| (seed, Shape::draw(seed)));
        let mut compared = 0;
        for (seed, shape) in scheduled.filter(|(_, shape)| shape.schedule != Schedule::Free) {
            let histories = [(); 2].map(|()| {
                let operations = record(&Reference::new(shape.capacity), shape, seed);
                operations.iter().map(|operation| std::format!("{operation}")).collect::<Vec<_>>()
            });
            assert_eq!(histories[0], histories[1]);
            compared += 1;
        }
        assert!(compared > 50);
    }
}
