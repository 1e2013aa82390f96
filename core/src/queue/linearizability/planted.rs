//! Queues that are wrong on purpose, each in one way that a real one could be, and one that is right.
//!
//! All of them lock; what they do between two locks is an atomic step to the scheduler.

use std::boxed::Box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

use super::{Subject, judge};
use crate::sync::steps::step;

/// Priority, deadline, ticket, item.
type Entry = (i32, u64, u64, u32);

#[derive(Default)]
struct Items {
    entries: Vec<Entry>,
    tickets: u64,
    held: usize,
}

impl Items {
    fn insert(&mut self, priority: i32, deadline: Option<u64>, ticket: u64, item: u32) {
        let key = |entry: &Entry| (core::cmp::Reverse(entry.0), entry.1, entry.2);
        let entry = (priority, deadline.unwrap_or(u64::MAX), ticket, item);
        let place = self.entries.partition_point(|other| key(other) < key(&entry));
        self.entries.insert(place, entry);
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn pop(&mut self) -> Option<u32> {
        (!self.entries.is_empty()).then(|| self.entries.remove(0).3)
    }
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// An item is accepted and forgotten.
    DropsAnItem,
    /// An item comes out twice.
    DoublesAnItem,
    /// The second of two comes out first.
    SwapsAPair,
    /// A drain takes one half, then the other.
    TearsDrains,
    /// The size is counted after the queue has changed.
    CountsLate,
    /// A peek looks at what was first a moment ago.
    PeeksLate,
    /// An item's place among equals is drawn before it is in the queue.
    DrawsTicketsEarly,
    /// Room is taken before it is known to be there, and given back.
    IsFullForAMoment,
    /// Drained items give their room back before they are released.
    ReleasesEarly,
    /// A clear forgets to give the room back.
    KeepsClearedRoom,
    /// Deadlines do not matter.
    IgnoresDeadlines,
}

/// A queue behind one lock.
pub(super) struct Reference {
    capacity: usize,
    fault: Fault,
    items: Mutex<Items>,
    size: AtomicUsize,
    first: Mutex<Option<u32>>,
    reserved: AtomicUsize,
}

impl Reference {
    pub(super) fn new(capacity: usize) -> Self {
        Self::with(Fault::Nothing, capacity)
    }

    fn with(fault: Fault, capacity: usize) -> Self {
        let items = Mutex::new(Items::default());
        let (size, first, reserved) = Default::default();
        Self { capacity, fault, items, size, first, reserved }
    }

    /// Changes the items in one step, and what is kept beside them in another.
    fn change<R>(&self, change: impl FnOnce(&mut Items) -> R) -> R {
        step();
        let mut items = self.items.lock().unwrap();
        let result = change(&mut items);
        let (size, first) = (items.entries.len(), items.entries.first().map(|entry| entry.3));
        drop(items);
        step();
        self.size.store(size, Ordering::SeqCst);
        *self.first.lock().unwrap() = first;
        result
    }
}

impl Subject for Reference {
    fn enqueue(&self, priority: i32, deadline: Option<u64>, item: u32) -> bool {
        let fault = self.fault;
        let deadline = deadline.filter(|_| fault != Fault::IgnoresDeadlines);
        if fault == Fault::DrawsTicketsEarly {
            let ticket = self.items.lock().unwrap().ticket();
            return self.change(|items| {
                let room = items.entries.len() + items.held < self.capacity;
                if room {
                    items.insert(priority, deadline, ticket, item);
                }
                room
            });
        }
        if fault == Fault::IsFullForAMoment {
            let reserved = self.reserved.fetch_add(1, Ordering::SeqCst);
            step();
            if reserved >= self.capacity {
                self.reserved.fetch_sub(1, Ordering::SeqCst);
                return false;
            }
        }
        self.change(|items| {
            if items.entries.len() + items.held >= self.capacity {
                return false;
            }
            let ticket = items.ticket();
            if fault == Fault::DropsAnItem && ticket % 8 == 5 {
                return true;
            }
            items.insert(priority, deadline, ticket, item);
            true
        })
    }

    fn dequeue(&self) -> Option<u32> {
        let item = self.change(|items| match self.fault {
            Fault::SwapsAPair if items.entries.len() == 2 => Some(items.entries.remove(1).3),
            Fault::DoublesAnItem if items.entries.len() == 3 => Some(items.entries[0].3),
            _ => items.pop(),
        });
        if item.is_some() {
            self.reserved.fetch_sub(1, Ordering::SeqCst);
        }
        item
    }

    fn peek(&self) -> Option<u32> {
        step();
        if self.fault == Fault::PeeksLate {
            return *self.first.lock().unwrap();
        }
        self.items.lock().unwrap().entries.first().map(|entry| entry.3)
    }

    fn size(&self) -> usize {
        step();
        if self.fault == Fault::CountsLate {
            return self.size.load(Ordering::SeqCst);
        }
        self.items.lock().unwrap().entries.len()
    }

    fn drain(&self, detached: &mut dyn FnMut()) -> Vec<u32> {
        let held = usize::from(self.fault != Fault::ReleasesEarly);
        let mut taken = Vec::new();
        let mut halves = if self.fault == Fault::TearsDrains { 2 } else { 1 };
        while halves > 0 {
            taken.extend(self.change(|items| {
                let part = items.entries.len().div_ceil(halves);
                items.held += part * held;
                items.entries.drain(..part).map(|entry| entry.3).collect::<Vec<_>>()
            }));
            halves -= 1;
        }
        detached();
        self.change(|items| items.held -= taken.len() * held);
        self.reserved.fetch_sub(taken.len(), Ordering::SeqCst);
        taken
    }

    fn clear(&self) {
        let cleared = self.change(|items| {
            let cleared = items.entries.len();
            items.held += cleared;
            items.entries.clear();
            cleared
        });
        if self.fault != Fault::KeepsClearedRoom {
            self.change(|items| items.held -= cleared);
        }
        self.reserved.fetch_sub(cleared, Ordering::SeqCst);
    }
}

/// One list for each priority; right in everything but that a dequeue looks at one after the other.
struct Levels {
    capacity: usize,
    held: AtomicUsize,
    levels: [Mutex<Vec<(u64, u32)>>; 31],
}

impl Levels {
    fn new(capacity: usize) -> Self {
        Self { capacity, held: AtomicUsize::new(0), levels: Default::default() }
    }

    /// The histories' priorities, from the highest.
    fn level(priority: i32) -> usize {
        (15 - priority.clamp(-15, 15)) as usize
    }

    fn all(&self) -> Vec<std::sync::MutexGuard<'_, Vec<(u64, u32)>>> {
        step();
        self.levels.iter().map(|level| level.lock().unwrap()).collect()
    }
}

impl Subject for Levels {
    fn enqueue(&self, priority: i32, deadline: Option<u64>, item: u32) -> bool {
        let mut all = self.all();
        let size: usize = all.iter().map(|level| level.len()).sum();
        if size + self.held.load(Ordering::SeqCst) >= self.capacity {
            return false;
        }
        let (level, deadline) = (&mut all[Self::level(priority)], deadline.unwrap_or(u64::MAX));
        let place = level.partition_point(|other| other.0 <= deadline);
        level.insert(place, (deadline, item));
        true
    }

    fn dequeue(&self) -> Option<u32> {
        self.levels.iter().find_map(|level| {
            step();
            let mut level = level.lock().unwrap();
            (!level.is_empty()).then(|| level.remove(0).1)
        })
    }

    fn peek(&self) -> Option<u32> {
        self.all().iter().find_map(|level| level.first().map(|first| first.1))
    }

    fn size(&self) -> usize {
        self.all().iter().map(|level| level.len()).sum()
    }

    fn drain(&self, detached: &mut dyn FnMut()) -> Vec<u32> {
        let mut all = self.all();
        let taken: Vec<u32> =
            all.iter_mut().flat_map(|level| level.drain(..)).map(|(_, item)| item).collect();
        self.held.fetch_add(taken.len(), Ordering::SeqCst);
        drop(all);
        detached();
        step();
        self.held.fetch_sub(taken.len(), Ordering::SeqCst);
        taken
    }

    fn clear(&self) {
        self.drain(&mut || {});
    }
}

/// Enough for each fault to show.
const HISTORIES: usize = 3_000;

fn is_refused(what: &str, make: impl Fn(usize) -> Box<dyn Subject>) {
    match judge(make, HISTORIES, 1) {
        Ok(verdict) => panic!("{what} was not found in {} histories", verdict.histories),
        Err(failure) => std::println!("{what}: refused at history {}", failure.history),
    }
}

#[test]
fn a_right_queue_passes() {
    let verdict = judge(|capacity| Box::new(Reference::new(capacity)), HISTORIES, 1).unwrap();
    assert_eq!(verdict.histories, HISTORIES);
}

#[test]
fn every_planted_fault_is_refused() {
    let faults = [
        Fault::DropsAnItem,
        Fault::DoublesAnItem,
        Fault::SwapsAPair,
        Fault::TearsDrains,
        Fault::CountsLate,
        Fault::PeeksLate,
        Fault::DrawsTicketsEarly,
        Fault::IsFullForAMoment,
        Fault::ReleasesEarly,
        Fault::KeepsClearedRoom,
        Fault::IgnoresDeadlines,
    ];
    for fault in faults {
        is_refused(&std::format!("{fault:?}"), |capacity| {
            Box::new(Reference::with(fault, capacity))
        });
    }
}

#[test]
fn one_queue_for_each_level_is_refused() {
    is_refused("a scan of levels", |capacity| Box::new(Levels::new(capacity)));
}
