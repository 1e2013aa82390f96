//! Seats: what a thread holds while it operates on a queue.
//!
//! A seat is one spare slot, one spare record and spare nodes. An operation prepares the queue's
//! next state in its seat's spares, publishes it with one compare-and-swap, and takes what that
//! state replaced as its new spares. So nothing is ever allocated, freed, or reclaimed later.

use super::pin::PinWord;
use super::snapshot::Record;
use super::storage::{Node, Slot, Storage};
use crate::sync::{AtomicU32, Ordering, array_of, const_unless_loom, fence, spin_loop};

/// Spare nodes of a seat: no operation changes more. Two right spines of a leftist heap of 2^21
/// runs are at most 40 nodes together, and an operation adds at most 2.
pub(super) const NODES: usize = match () {
    () if cfg!(loom) => 6, // where every atomic costs, and heaps are small
    () if cfg!(miri) => 12,
    () => 42,
};

/// Room for one thread's operation: about 1.5 kB and one slot.
///
/// A queue has as many seats as threads (or interrupt handlers) may be inside one of its operations
/// at the same time.
#[derive(Debug)]
#[repr(align(128))]
pub struct Seat<T> {
    busy: AtomicU32,
    // The spares are named by their distance from what the seat was built with, so that a zeroed
    // seat owns its own.
    spare_slot: AtomicU32,
    spare_record: AtomicU32,
    pub(super) pin: PinWord,
    spare_nodes: [AtomicU32; NODES],
    /// Of the operation in progress: the nodes that will be spare once it is published.
    retired: [AtomicU32; NODES],
    pub(super) record: Record,
    pub(super) slot: Slot<T>,
    pub(super) nodes: [Node; NODES],
}

impl<T> Seat<T> {
    pub(super) const NODES: usize = NODES;

    const_unless_loom! {
        /// A seat that nobody holds.
        pub fn new() -> Self {
            Self {
                busy: AtomicU32::new(0),
                spare_slot: AtomicU32::new(0),
                spare_record: AtomicU32::new(0),
                pin: PinWord::new(),
                spare_nodes: array_of!(AtomicU32::new(0); NODES),
                retired: array_of!(AtomicU32::new(0); NODES),
                record: Record::new(),
                slot: Slot::new(),
                nodes: array_of!(Node::new(); NODES),
            }
        }
    }
}

impl<T> Default for Seat<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A seat held by this thread until dropped.
pub(super) struct Seated<'q, T> {
    pub(super) seat: &'q Seat<T>,
    index: u32,
    capacity: u32,
    pub(super) spare_slot: u32,
    pub(super) spare_record: u32,
}

impl<'q, T> Seated<'q, T> {
    /// Takes a seat. Waits only while every seat is held.
    #[inline(always)]
    pub(super) fn claim<S: Storage<T>>(storage: &'q S) -> Self {
        let seats = storage.seats();
        let mut index = first_choice(seats.len());
        let seat = loop {
            let seat = &seats[index];
            if seat.busy.swap(1, Ordering::Acquire) == 0 {
                break seat;
            }
            spin_loop();
            index = if index + 1 == seats.len() { 0 } else { index + 1 };
        };
        // A thread that reads what this one writes into its spares from here on, also sees that
        // they are spares: the root has moved on. Pairs with the fence in `Queue::is_current`.
        fence(Ordering::Release);
        let (index, capacity) = (index as u32, storage.slots().len() as u32);
        Self {
            seat,
            index,
            capacity,
            spare_slot: seat.spare_slot.load(Ordering::Relaxed).wrapping_add(capacity + index),
            spare_record: seat.spare_record.load(Ordering::Relaxed).wrapping_add(1 + index),
        }
    }

    #[inline(always)]
    pub(super) fn spare_nodes(&self) -> SpareNodes<'q> {
        let first_own = self.capacity + self.index * NODES as u32;
        SpareNodes { spare: &self.seat.spare_nodes, retired: &self.seat.retired, first_own }
    }
}

/// A seat's spare nodes by identifier, and what they are to be exchanged for.
#[derive(Clone, Copy)]
pub(super) struct SpareNodes<'q> {
    spare: &'q [AtomicU32; NODES],
    retired: &'q [AtomicU32; NODES],
    first_own: u32,
}

impl SpareNodes<'_> {
    /// The spare node at `place`.
    #[inline(always)]
    pub(super) fn get(&self, place: usize) -> Option<u32> {
        let own = self.first_own + place as u32;
        Some(self.spare.get(place)?.load(Ordering::Relaxed).wrapping_add(own))
    }

    /// Notes that `node` will take the place of the spare node returned.
    #[inline(always)]
    pub(super) fn retire(&self, place: usize, node: u32) -> Option<u32> {
        self.retired.get(place)?.store(node, Ordering::Relaxed);
        self.get(place)
    }

    #[inline(always)]
    pub(super) fn retired(&self, place: usize) -> Option<u32> {
        Some(self.retired.get(place)?.load(Ordering::Relaxed))
    }

    /// Makes the first `count` retired nodes the spare ones.
    #[inline(always)]
    pub(super) fn exchange(&self, count: usize) {
        for (own, (spare, retired)) in
            (self.first_own..).zip(self.spare.iter().zip(self.retired).take(count))
        {
            spare.store(retired.load(Ordering::Relaxed).wrapping_sub(own), Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Seated<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let seat = self.seat;
        seat.spare_slot
            .store(self.spare_slot.wrapping_sub(self.capacity + self.index), Ordering::Relaxed);
        seat.spare_record.store(self.spare_record.wrapping_sub(1 + self.index), Ordering::Relaxed);
        seat.busy.store(0, Ordering::Release);
    }
}

/// Where to look for a free seat first: threads have different stacks, so that each mostly finds
/// the seat free that it used before and has in its cache.
#[inline(always)]
fn first_choice(seats: usize) -> usize {
    if cfg!(any(test, loom)) {
        return 0; // so that a run can be repeated
    }
    let here = 0_u8;
    let stack = (core::ptr::from_ref(&here).addr() >> 16) as u32;
    let scattered = u64::from(stack.wrapping_mul(0x9E37_79B9)); // 2^32 / golden ratio
    ((scattered * seats as u64) >> 32) as usize
}
