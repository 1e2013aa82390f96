//! The whole state of a queue as one immutable record, and drafts of the next one.
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

const SEQUENCE: usize = 0; // items enqueued so far, modulo 2^56; which levels have a run
const COUNTS: usize = 1; // size, first free slot, first free node
const HEAP: usize = 2; // heap's root, pending link from, pending link to
const FRONT: usize = 3; // the heap's highest priority; the levels, highest priority first

const SEQUENCE_BITS: u32 = 56;
const FREE_SLOT: u32 = ID_BITS;
const FREE_NODE: u32 = 2 * ID_BITS;
/// The order of the levels: each a nibble, its number plus one; zero after the last.
const NIBBLE: u32 = 4;

/// Where a state's words are.
pub(super) trait Words {
    fn get(&self, word: usize) -> u64;
    fn set(&mut self, word: usize, value: u64);
}

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

    /// What others see; torn if the record is being rewritten meanwhile: then a compare-and-swap on
    /// the root it was read under fails.
    #[inline(always)]
    pub(super) fn view(&self) -> State<&Self> {
        State(self)
    }

    /// Rewrites this record, which the caller owns, to be the same as `other`.
    #[inline(always)]
    pub(super) fn draft_from(&self, other: &Self) -> Draft<'_> {
        for (to, from) in self.0.iter().zip(&other.0) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        State(self)
    }
}

impl Words for &Record {
    #[inline(always)]
    fn get(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&mut self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }
}

impl Words for [u64; WORDS] {
    #[inline(always)]
    fn get(&self, word: usize) -> u64 {
        self[word]
    }

    #[inline(always)]
    fn set(&mut self, word: usize, value: u64) {
        self[word] = value;
    }
}

/// A state.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<W>(W);

/// A private copy of a state.
pub(super) type Snapshot = State<[u64; WORDS]>;

/// The next state, in a record that its author still owns.
pub(super) type Draft<'q> = State<&'q Record>;

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

impl<W: Words> State<W> {
    /// Changes the bits of `mask` in a word.
    #[inline(always)]
    fn set_bits(&mut self, word: usize, mask: u64, bits: u64) {
        self.0.set(word, self.0.get(word) & !mask | bits);
    }

    /// Items enqueued so far, modulo 2^56.
    #[inline(always)]
    pub(super) fn sequence(&self) -> u64 {
        self.0.get(SEQUENCE) & ((1 << SEQUENCE_BITS) - 1)
    }

    #[inline(always)]
    pub(super) fn set_sequence(&mut self, sequence: u64) {
        let mask = (1 << SEQUENCE_BITS) - 1;
        self.set_bits(SEQUENCE, mask, sequence & mask);
    }

    #[inline(always)]
    pub(super) fn size(&self) -> u32 {
        number(self.0.get(COUNTS), 0)
    }

    #[inline(always)]
    pub(super) fn set_size(&mut self, size: u32) {
        self.set_bits(COUNTS, NONE.into(), number_bits(size & NONE, 0));
    }

    // A zeroed queue of `capacity` has everything in its free lists, from the last on.

    #[inline(always)]
    pub(super) fn free_slot(&self, capacity: u32) -> u32 {
        from_last(number(self.0.get(COUNTS), FREE_SLOT), capacity)
    }

    #[inline(always)]
    pub(super) fn set_size_and_free_slot(&mut self, size: u32, slot: u32, capacity: u32) {
        let bits = number_bits(size & NONE, 0) | number_bits(from_last(slot, capacity), FREE_SLOT);
        self.set_bits(COUNTS, (1 << FREE_NODE) - 1, bits);
    }

    #[inline(always)]
    pub(super) fn free_node(&self, capacity: u32) -> u32 {
        from_last(number(self.0.get(COUNTS), FREE_NODE), capacity)
    }

    #[inline(always)]
    pub(super) fn set_free_node(&mut self, node: u32, capacity: u32) {
        let bits = number_bits(from_last(node, capacity), FREE_NODE);
        self.set_bits(COUNTS, u64::from(NONE) << FREE_NODE, bits);
    }

    /// The heap's root.
    #[inline(always)]
    pub(super) fn heap(&self) -> u32 {
        id(self.0.get(HEAP), 0)
    }

    #[inline(always)]
    pub(super) fn set_heap(&mut self, root: u32) {
        self.set_bits(HEAP, NONE.into(), id_bits(root, 0));
    }

    #[inline(always)]
    pub(super) fn pending_link(&self) -> PendingLink {
        let word = self.0.get(HEAP);
        PendingLink { from: id(word, ID_BITS), to: id(word, 2 * ID_BITS) }
    }

    #[inline(always)]
    pub(super) fn clear_pending_link(&mut self) {
        self.set_bits(HEAP, !u64::from(NONE), 0);
    }

    #[inline(always)]
    pub(super) fn set_pending_link(&mut self, link: PendingLink) {
        let bits = id_bits(link.from, ID_BITS) | id_bits(link.to, 2 * ID_BITS);
        self.set_bits(HEAP, !u64::from(NONE), bits);
    }

    /// The priority at the heap's root, if there is one.
    #[inline(always)]
    pub(super) fn heap_priority(&self) -> i32 {
        self.0.get(FRONT) as u32 as i32
    }

    #[inline(always)]
    pub(super) fn set_heap_priority(&mut self, priority: i32) {
        self.set_bits(FRONT, u32::MAX.into(), u64::from(priority as u32));
    }

    /// One bit for each level that has a run.
    #[inline(always)]
    fn occupied(&self) -> u32 {
        (self.0.get(SEQUENCE) >> SEQUENCE_BITS) as u32
    }

    #[inline(always)]
    fn set_occupied(&mut self, occupied: u32) {
        let mask = (1 << SEQUENCE_BITS) - 1;
        self.set_bits(SEQUENCE, !mask, u64::from(occupied) << SEQUENCE_BITS);
    }

    /// The levels from the highest priority to the lowest, as nibbles.
    #[inline(always)]
    fn order(&self) -> u32 {
        (self.0.get(FRONT) >> 32) as u32
    }

    #[inline(always)]
    fn set_order(&mut self, order: u32) {
        self.set_bits(FRONT, !u64::from(u32::MAX), u64::from(order) << 32);
    }

    #[inline(always)]
    pub(super) fn priority(&self, level: usize) -> i32 {
        (self.0.get(PRIORITIES + level / 2) >> (32 * (level % 2))) as u32 as i32
    }

    #[inline(always)]
    pub(super) fn run(&self, level: usize) -> Run {
        let word = self.0.get(RUNS + level);
        Run { head: number(word, 0), tail: number(word, ID_BITS) }
    }

    #[inline(always)]
    pub(super) fn set_run(&mut self, level: usize, run: Run) {
        let word = number_bits(run.head, 0) | number_bits(run.tail, ID_BITS);
        self.0.set(RUNS + level, word);
    }

    /// Puts a run of `priority`, which has none yet, at `level`, which is vacant.
    #[inline(always)]
    pub(super) fn occupy(&mut self, level: usize, priority: i32, run: Run) {
        let occupied = self.occupied();
        let higher = (self.levels_where(|other| other > priority) & occupied).count_ones();
        let order = u64::from(self.order());
        let before = (1_u64 << (NIBBLE * higher)) - 1;
        let nibble = (level as u64 + 1) << (NIBBLE * higher);
        self.set_order((order & before | nibble | (order & !before) << NIBBLE) as u32);
        self.set_occupied(occupied | 1 << level);
        let shift = 32 * (level % 2);
        let word = PRIORITIES + level / 2;
        self.set_bits(word, u64::from(u32::MAX) << shift, u64::from(priority as u32) << shift);
        self.set_run(level, run);
    }

    /// Removes the run of the highest priority, which is at `level`.
    #[inline(always)]
    pub(super) fn vacate_highest(&mut self, level: usize) {
        self.set_order(self.order() >> NIBBLE);
        self.set_occupied(self.occupied() & !(1 << level));
    }

    /// Removes the run of the lowest priority, which is at `level`, when every level has one.
    #[inline(always)]
    pub(super) fn vacate_lowest(&mut self, level: usize) {
        self.set_order(self.order() & ((1 << (NIBBLE * (LEVELS as u32 - 1))) - 1));
        self.set_occupied(self.occupied() & !(1 << level));
    }

    /// One bit for each level whose priority, current or past, is such.
    #[inline(always)]
    fn levels_where(&self, is_such: impl Fn(i32) -> bool) -> u32 {
        let mut found = 0;
        for level in 0..LEVELS {
            found |= u32::from(is_such(self.priority(level))) << level;
        }
        found
    }

    /// The level of `priority`, if it has a run in the front.
    #[inline(always)]
    pub(super) fn level_of(&self, priority: i32) -> Option<usize> {
        first_bit(self.levels_where(|other| other == priority) & self.occupied())
    }

    #[inline(always)]
    pub(super) fn vacant_level(&self) -> Option<usize> {
        first_bit(!self.occupied() & ((1 << LEVELS) - 1))
    }

    /// The level with the highest priority, if the front holds anything.
    #[inline(always)]
    pub(super) fn highest_level(&self) -> Option<usize> {
        nibble_level(self.order())
    }

    /// The level with the lowest priority, if every level has a run.
    #[inline(always)]
    pub(super) fn lowest_level(&self) -> Option<usize> {
        nibble_level(self.order() >> (NIBBLE * (LEVELS as u32 - 1)))
    }

    /// The state in private memory.
    pub(super) fn snapshot(&self) -> Snapshot {
        State(core::array::from_fn(|word| self.0.get(word)))
    }

    /// Removes every item.
    pub(super) fn empty(&mut self) {
        self.set_size(0);
        self.0.set(HEAP, 0);
        self.0.set(FRONT, 0);
        self.set_occupied(0);
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

/// The level that the lowest nibble names.
#[inline(always)]
fn nibble_level(order: u32) -> Option<usize> {
    // A torn read may name a level that does not exist.
    let level = (order & 0xf).wrapping_sub(1) as usize;
    (level < LEVELS).then_some(level)
}
