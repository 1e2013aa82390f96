//! The sequential queue: what each call may answer, one after the other.

use std::vec::Vec;

/// One step of a queue. A drain and a clear are two each: the items leave, and later, in one step,
/// stop taking room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Enqueue {
        priority: i32,
        deadline: Option<u64>,
        item: u32,
    },
    Dequeue,
    Peek,
    Size,
    /// `id` names the drain or clear.
    Detach {
        id: u32,
    },
    Release {
        id: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(bool),
    Item(Option<u32>),
    Size(usize),
    Items(Vec<u32>),
    /// Of a clear: nobody saw the items.
    Unseen,
    Done,
}

/// The state between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Specification {
    capacity: usize,
    /// In order; equals by arrival.
    items: Vec<(core::cmp::Reverse<i32>, u64, u32)>,
    /// Of each drain in progress: how much room it still takes.
    held: Vec<(u32, usize)>,
}

impl Specification {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, items: Vec::new(), held: Vec::new() }
    }

    /// Does `call`, and says whether `answer` is right for it.
    pub(super) fn step(&mut self, call: &Call, answer: &Answer) -> bool {
        match (call, answer) {
            (Call::Enqueue { priority, deadline, item }, Answer::Accepted(accepted)) => {
                let room = self.capacity - self.held.iter().map(|(_, count)| count).sum::<usize>();
                if self.items.len() < room {
                    let key = (core::cmp::Reverse(*priority), deadline.unwrap_or(u64::MAX));
                    let place = self.items.partition_point(|other| (other.0, other.1) <= key);
                    self.items.insert(place, (key.0, key.1, *item));
                    *accepted
                } else {
                    !accepted
                }
            }
            (Call::Dequeue, Answer::Item(item)) => {
                let first = (!self.items.is_empty()).then(|| self.items.remove(0).2);
                first == *item
            }
            (Call::Peek, Answer::Item(item)) => self.items.first().map(|first| first.2) == *item,
            (Call::Size, Answer::Size(size)) => self.items.len() == *size,
            (Call::Detach { id }, answer) => {
                let detached = core::mem::take(&mut self.items);
                if !detached.is_empty() {
                    self.held.push((*id, detached.len()));
                }
                match answer {
                    Answer::Items(items) => {
                        detached.iter().map(|first| first.2).eq(items.iter().copied())
                    }
                    Answer::Unseen => true,
                    _ => false,
                }
            }
            (Call::Release { id }, Answer::Done) => {
                self.held.retain(|(other, _)| other != id);
                true
            }
            _ => false,
        }
    }
}
