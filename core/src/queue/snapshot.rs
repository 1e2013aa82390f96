//! The whole state of a queue as one immutable record, and a private copy of it to edit.
//!
//! A record holds, besides counts and free lists, the queue's *front*: up to [`LEVELS`] runs, each
//! the items of one priority in order of arrival, linked from slot to slot. What does not fit in
//! the front is in the heap.

use super::word::{ID_BITS, NONE, id, id_bits, number, number_bits};
use crate::sync::{AtomicU64, Ordering, array_of, const_unless_loom};

/// Priorities that the front holds at a time.
pub(super) const LEVELS: usize = if cfg!(loom) { 1 } else { 8 };

const PRIORITY_WORDS: usize = LEVELS.div_ceil(2);
const PRIORITIES: usize = 4;
const RUNS: usize = PRIORITIES + PRIORITY_WORDS;
const WORDS: usize = RUNS + LEVELS;

const SEQUENCE: usize = 0;
const COUNTS: usize = 1; // size, first free slot, first free node
const FREE_SLOT: u32 = ID_BITS;
const FREE_NODE: u32 = 2 * ID_BITS;
const HEAP: usize = 2; // heap's root, pending link from, pending link to
const FRONT: usize = 3; // the heap's highest priority, which runs are there

/// A record in shared memory. Immutable from the compare-and-swap that publishes it to the one that
/// replaces it; then its new owner rewrites it, which is why even stale reads must be atomic.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Record([AtomicU64; WORDS]);

impl Record {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self(array_of!(AtomicU64::new(0); WORDS))
        }
    }

    /// May be torn if the record is being rewritten: then a compare-and-swap on the root it was
    /// read under fails.
    #[inline(always)]
    pub(super) fn read(&self) -> Snapshot {
        Snapshot(core::array::from_fn(|word| self.0[word].load(Ordering::Relaxed)))
    }

    #[inline(always)]
    pub(super) fn read_size(&self) -> u32 {
        number(self.0[COUNTS].load(Ordering::Relaxed), 0)
    }

    /// Only for the record's owner.
    #[inline(always)]
    pub(super) fn write(&self, snapshot: &Snapshot) {
        for (word, value) in self.0.iter().zip(snapshot.0) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// A private copy of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot([u64; WORDS]);

/// The items of one priority, linked in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) head: u32,
    pub(super) tail: u32,
}

/// A link that the last commit owes: `from` must point to `to` before anything else is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PendingLink {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Snapshot {
    /// Items enqueued so far.
    #[inline(always)]
    pub(super) fn sequence(&self) -> u64 {
        self.0[SEQUENCE]
    }

    #[inline(always)]
    pub(super) fn set_sequence(&mut self, sequence: u64) {
        self.0[SEQUENCE] = sequence;
    }

    #[inline(always)]
    pub(super) fn size(&self) -> u32 {
        number(self.0[COUNTS], 0)
    }

    #[inline(always)]
    pub(super) fn set_size(&mut self, size: u32) {
        self.0[COUNTS] = self.0[COUNTS] & !u64::from(NONE) | number_bits(size, 0);
    }

    // A zeroed queue of `capacity` has everything in its free lists, from the last on.

    #[inline(always)]
    pub(super) fn free_slot(&self, capacity: u32) -> u32 {
        from_last(number(self.0[COUNTS], FREE_SLOT), capacity)
    }

    #[inline(always)]
    pub(super) fn set_free_slot(&mut self, slot: u32, capacity: u32) {
        self.0[COUNTS] = self.0[COUNTS] & !(u64::from(NONE) << FREE_SLOT)
            | number_bits(from_last(slot, capacity), FREE_SLOT);
    }

    #[inline(always)]
    pub(super) fn free_node(&self, capacity: u32) -> u32 {
        from_last(number(self.0[COUNTS], FREE_NODE), capacity)
    }

    #[inline(always)]
    pub(super) fn set_free_node(&mut self, node: u32, capacity: u32) {
        self.0[COUNTS] = self.0[COUNTS] & !(u64::from(NONE) << FREE_NODE)
            | number_bits(from_last(node, capacity), FREE_NODE);
    }

    /// The heap's root.
    #[inline(always)]
    pub(super) fn heap(&self) -> u32 {
        id(self.0[HEAP], 0)
    }

    #[inline(always)]
    pub(super) fn set_heap(&mut self, root: u32) {
        self.0[HEAP] = self.0[HEAP] & !u64::from(NONE) | id_bits(root, 0);
    }

    #[inline(always)]
    pub(super) fn pending_link(&self) -> PendingLink {
        PendingLink { from: id(self.0[HEAP], ID_BITS), to: id(self.0[HEAP], 2 * ID_BITS) }
    }

    #[inline(always)]
    pub(super) fn clear_pending_link(&mut self) {
        self.0[HEAP] &= u64::from(NONE);
    }

    #[inline(always)]
    pub(super) fn set_pending_link(&mut self, link: PendingLink) {
        self.clear_pending_link();
        self.0[HEAP] |= id_bits(link.from, ID_BITS) | id_bits(link.to, 2 * ID_BITS);
    }

    /// The priority at the heap's root, if there is one.
    #[inline(always)]
    pub(super) fn heap_priority(&self) -> i32 {
        self.0[FRONT] as u32 as i32
    }

    #[inline(always)]
    pub(super) fn set_heap_priority(&mut self, priority: i32) {
        self.0[FRONT] = self.0[FRONT] & !u64::from(u32::MAX) | u64::from(priority as u32);
    }

    /// One bit for each level that has a run.
    #[inline(always)]
    fn occupied(&self) -> u32 {
        (self.0[FRONT] >> 32) as u32
    }

    #[inline(always)]
    fn set_occupied(&mut self, occupied: u32) {
        self.0[FRONT] = self.0[FRONT] & u64::from(u32::MAX) | u64::from(occupied) << 32;
    }

    #[inline(always)]
    pub(super) fn priority(&self, level: usize) -> i32 {
        (self.0[PRIORITIES + level / 2] >> (32 * (level % 2))) as u32 as i32
    }

    #[inline(always)]
    pub(super) fn run(&self, level: usize) -> Run {
        let word = self.0[RUNS + level];
        Run { head: number(word, 0), tail: number(word, ID_BITS) }
    }

    #[inline(always)]
    pub(super) fn set_run(&mut self, level: usize, run: Run) {
        self.0[RUNS + level] = number_bits(run.head, 0) | number_bits(run.tail, ID_BITS);
    }

    /// Puts a run of `priority` at `level`.
    #[inline(always)]
    pub(super) fn occupy(&mut self, level: usize, priority: i32, run: Run) {
        self.set_occupied(self.occupied() | 1 << level);
        let shift = 32 * (level % 2);
        let word = &mut self.0[PRIORITIES + level / 2];
        *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(priority as u32) << shift;
        self.set_run(level, run);
    }

    #[inline(always)]
    pub(super) fn vacate(&mut self, level: usize) {
        self.set_occupied(self.occupied() & !(1 << level));
    }

    /// The same without any item.
    pub(super) fn emptied(&self) -> Self {
        let mut words = [0; WORDS];
        words[SEQUENCE] = self.0[SEQUENCE];
        words[COUNTS] = self.0[COUNTS];
        let mut emptied = Self(words);
        emptied.set_size(0);
        emptied
    }

    /// The level of `priority`, if it has a run in the front.
    #[inline(always)]
    pub(super) fn level_of(&self, priority: i32) -> Option<usize> {
        let mut found = 0;
        for level in 0..LEVELS {
            found |= u32::from(self.priority(level) == priority) << level;
        }
        first_bit(found & self.occupied())
    }

    #[inline(always)]
    pub(super) fn vacant_level(&self) -> Option<usize> {
        first_bit(!self.occupied() & ((1 << LEVELS) - 1))
    }

    /// The level with the highest priority, if the front holds anything.
    #[inline(always)]
    pub(super) fn highest_level(&self) -> Option<usize> {
        let occupied = self.occupied();
        if occupied == 0 {
            return None;
        }
        // Priority and level in one number: no branch that could be predicted wrongly.
        let mut best = i64::MIN;
        for level in 0..LEVELS {
            let key = i64::from(self.priority(level)) << 8 | level as i64;
            best = best.max(if occupied >> level & 1 == 1 { key } else { i64::MIN });
        }
        Some((best & 0xff) as usize)
    }

    /// The level with the lowest priority. Meaningful when every level is occupied.
    #[inline(always)]
    pub(super) fn lowest_level(&self) -> usize {
        let mut best = i64::MAX;
        for level in 0..LEVELS {
            best = best.min(i64::from(self.priority(level)) << 8 | level as i64);
        }
        (best & 0xff) as usize
    }
}

/// An identifier counted from the last of `capacity` down, and back.
#[inline(always)]
fn from_last(id: u32, capacity: u32) -> u32 {
    capacity.wrapping_sub(1).wrapping_sub(id) & NONE
}

#[inline(always)]
fn first_bit(bits: u32) -> Option<usize> {
    if bits == 0 { None } else { Some(bits.trailing_zeros() as usize) }
}
