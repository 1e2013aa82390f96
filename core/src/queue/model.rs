//! The sequential model: a sorted list.

use std::vec::Vec;

/// What a queue of `capacity` holds, in order; `held` more take room though they left.
#[derive(Clone, Debug, Default)]
pub(in crate::queue) struct Model {
    capacity: usize,
    items: Vec<Entry>,
    arrivals: u64,
    pub(in crate::queue) held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    priority: i32,
    deadline: u64,
    arrival: u64,
    item: u32,
}

impl Model {
    pub(in crate::queue) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    pub(in crate::queue) fn enqueue(
        &mut self,
        priority: i32,
        deadline: Option<u64>,
        item: u32,
    ) -> bool {
        if self.items.len() + self.held == self.capacity {
            return false;
        }
        let deadline = deadline.unwrap_or(u64::MAX);
        let entry = Entry { priority, deadline, arrival: self.arrivals, item };
        self.arrivals += 1;
        let key = |e: &Entry| (core::cmp::Reverse(e.priority), e.deadline, e.arrival);
        let place = self.items.partition_point(|other| key(other) < key(&entry));
        self.items.insert(place, entry);
        true
    }

    pub(in crate::queue) fn dequeue(&mut self) -> Option<u32> {
        (!self.items.is_empty()).then(|| self.items.remove(0).item)
    }

    pub(in crate::queue) fn peek(&self) -> Option<(i32, u32)> {
        self.items.first().map(|entry| (entry.priority, entry.item))
    }

    pub(in crate::queue) fn size(&self) -> usize {
        self.items.len()
    }

    pub(in crate::queue) fn drain(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.items).into_iter().map(|entry| entry.item).collect()
    }
}
