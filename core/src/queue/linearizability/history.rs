//! Histories: recording one, and what it looks like on paper.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use super::Subject;
use super::random::Random;
use super::specification::{Answer, Call};

/// A call that ended.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) thread: usize,
    pub(super) call: Call,
    pub(super) answer: Answer,
    /// When it began and ended, on a clock that all threads share.
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// What `Recorder::run` does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Enqueue { priority: i32, deadline: Option<u64>, item: u32 },
    Dequeue,
    Peek,
    Size,
    Drain,
    Clear,
}

/// One thread's part of a history.
pub(super) struct Recorder<'a> {
    thread: usize,
    clock: &'a AtomicU64,
    drains: u32,
    pub(super) operations: Vec<Operation>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(thread: usize, clock: &'a AtomicU64) -> Self {
        Self { thread, clock, drains: 0, operations: Vec::new() }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn record(&mut self, call: Call, answer: Answer, began: u64, ended: u64) {
        let thread = self.thread;
        self.operations.push(Operation { thread, call, answer, began, ended });
    }

    pub(super) fn run(&mut self, subject: &dyn Subject, task: Task) {
        let began = self.now();
        let (call, answer) = match task {
            Task::Enqueue { priority, deadline, item } => {
                let accepted = subject.enqueue(priority, deadline, item);
                (Call::Enqueue { priority, deadline, item }, Answer::Accepted(accepted))
            }
            Task::Dequeue => (Call::Dequeue, Answer::Item(subject.dequeue())),
            Task::Peek => (Call::Peek, Answer::Item(subject.peek())),
            Task::Size => (Call::Size, Answer::Size(subject.size())),
            Task::Drain | Task::Clear => return self.run_in_two_steps(subject, task, began),
        };
        let ended = self.now();
        self.record(call, answer, began, ended);
    }

    fn run_in_two_steps(&mut self, subject: &dyn Subject, task: Task, began: u64) {
        let id = self.thread as u32 * 1_000 + self.drains;
        self.drains += 1;
        if let Task::Clear = task {
            // Both steps are somewhere in it; the checker keeps their order.
            subject.clear();
            let ended = self.now();
            self.record(Call::Detach { id }, Answer::Unseen, began, ended);
            self.record(Call::Release { id }, Answer::Done, began, ended);
            return;
        }
        let mut detached = None;
        let items = subject.drain(&mut || detached = Some(self.now()));
        let detached = detached.expect("a drain says when it has detached the items");
        let ended = self.now();
        self.record(Call::Detach { id }, Answer::Items(items), began, detached);
        self.record(Call::Release { id }, Answer::Done, detached, ended);
    }
}

/// How likely each kind of task is, in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) enqueue: usize,
    pub(super) dequeue: usize,
    pub(super) peek: usize,
    pub(super) size: usize,
    pub(super) drain: usize,
    pub(super) clear: usize,
    pub(super) priorities: &'static [i32],
    pub(super) deadlines: bool,
}

impl Mix {
    pub(super) fn draw(&self, random: &mut Random, item: u32) -> Task {
        let Self { enqueue, dequeue, peek, size, drain, clear, .. } = *self;
        let mut drawn = random.below(enqueue + dequeue + peek + size + drain + clear);
        let mut falls_in = |parts: usize| {
            let falls = drawn < parts;
            drawn = drawn.wrapping_sub(parts);
            falls
        };
        if falls_in(enqueue) {
            let deadline = (self.deadlines && random.one_in(2)).then(|| random.below(3) as u64);
            Task::Enqueue { priority: random.pick(self.priorities), deadline, item }
        } else if falls_in(dequeue) {
            Task::Dequeue
        } else if falls_in(peek) {
            Task::Peek
        } else if falls_in(size) {
            Task::Size
        } else if falls_in(drain) {
            Task::Drain
        } else {
            Task::Clear
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, call, answer, began, ended } = self;
        write!(f, "[{began:>4} {ended:>4}] {:indent$}{thread}: ", "", indent = thread * 4)?;
        match call {
            Call::Enqueue { priority, deadline: None, item } => {
                write!(f, "enqueue {item} at {priority}")?;
            }
            Call::Enqueue { priority, deadline: Some(deadline), item } => {
                write!(f, "enqueue {item} at {priority} by {deadline}")?;
            }
            Call::Dequeue => write!(f, "dequeue")?,
            Call::Peek => write!(f, "peek")?,
            Call::Size => write!(f, "size")?,
            Call::Detach { id } => write!(f, "detach #{id}")?,
            Call::Release { id } => write!(f, "release #{id}")?,
        }
        match answer {
            Answer::Accepted(true) => write!(f, " -> accepted"),
            Answer::Accepted(false) => write!(f, " -> full"),
            Answer::Item(Some(item)) => write!(f, " -> {item}"),
            Answer::Item(None) => write!(f, " -> empty"),
            Answer::Size(size) => write!(f, " -> {size}"),
            Answer::Items(items) => write!(f, " -> {items:?}"),
            Answer::Unseen | Answer::Done => Ok(()),
        }
    }
}
