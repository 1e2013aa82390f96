//! The queues people build today. Each keeps the strict order (priority descending, first-in
//! first-out among equals) and a bound, and has its memory before the clock starts where it can.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_skiplist::SkipMap;

use crate::subject::Subject;

/// A heap and the number of the next item; the lock around it makes the numbers first-in
/// first-out.
struct Heap {
    items: BinaryHeap<(i32, Reverse<u64>, u64)>,
    sequence: u64,
    capacity: usize,
}

impl Heap {
    fn new(capacity: usize) -> Self {
        Self { items: BinaryHeap::with_capacity(capacity), sequence: 0, capacity }
    }

    fn enqueue(&mut self, priority: i32, item: u64) -> bool {
        let room = self.items.len() < self.capacity;
        if room {
            self.items.push((priority, Reverse(self.sequence), item));
            self.sequence += 1;
        }
        room
    }

    fn dequeue(&mut self) -> Option<u64> {
        self.items.pop().map(|(_, _, item)| item)
    }
}

const UNPOISONED: &str = "nothing panics under the lock";

pub(crate) struct StdHeap(Mutex<Heap>);

impl StdHeap {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(Heap::new(capacity)))
    }
}

impl Subject for StdHeap {
    fn enqueue(&self, priority: i32, item: u64) -> bool {
        self.0.lock().expect(UNPOISONED).enqueue(priority, item)
    }

    fn dequeue(&self) -> Option<u64> {
        self.0.lock().expect(UNPOISONED).dequeue()
    }
}

pub(crate) struct ParkingLotHeap(parking_lot::Mutex<Heap>);

impl ParkingLotHeap {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(parking_lot::Mutex::new(Heap::new(capacity)))
    }
}

impl Subject for ParkingLotHeap {
    fn enqueue(&self, priority: i32, item: u64) -> bool {
        self.0.lock().enqueue(priority, item)
    }

    fn dequeue(&self) -> Option<u64> {
        self.0.lock().dequeue()
    }
}

/// The lock-free map with a ticket in the key. It gives less than the others: the ticket is drawn
/// before the insertion, so equals may leave out of order, and the bound is approximate.
pub(crate) struct SkipMapQueue {
    items: SkipMap<(Reverse<i32>, u64), u64>,
    ticket: AtomicU64,
    capacity: usize,
}

impl SkipMapQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { items: SkipMap::new(), ticket: AtomicU64::new(0), capacity }
    }
}

impl Subject for SkipMapQueue {
    fn enqueue(&self, priority: i32, item: u64) -> bool {
        let room = self.items.len() < self.capacity;
        if room {
            let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
            self.items.insert((Reverse(priority), ticket), item);
        }
        room
    }

    fn dequeue(&self) -> Option<u64> {
        self.items.pop_front().map(|entry| *entry.value())
    }
}

/// The bar for few levels: one queue per level and a bit for each that holds something.
pub(crate) struct LevelDeques(Mutex<Levels>);

struct Levels {
    queues: [VecDeque<u64>; 8],
    occupied: u8,
    room: usize,
}

impl LevelDeques {
    pub(crate) fn new(capacity: usize) -> Self {
        let queues = std::array::from_fn(|_| VecDeque::with_capacity(capacity));
        Self(Mutex::new(Levels { queues, occupied: 0, room: capacity }))
    }
}

impl Subject for LevelDeques {
    fn enqueue(&self, priority: i32, item: u64) -> bool {
        let mut levels = self.0.lock().expect(UNPOISONED);
        let room = levels.room > 0;
        if room {
            let level = (priority & 7) as usize;
            levels.queues[level].push_back(item);
            levels.occupied |= 1 << level;
            levels.room -= 1;
        }
        room
    }

    fn dequeue(&self) -> Option<u64> {
        let mut levels = self.0.lock().expect(UNPOISONED);
        let level = levels.occupied.checked_ilog2()?;
        let queue = &mut levels.queues[level as usize];
        let item = queue.pop_front();
        if queue.is_empty() {
            levels.occupied &= !(1 << level);
        }
        levels.room += 1;
        item
    }
}
