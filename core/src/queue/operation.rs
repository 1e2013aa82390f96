//! The queue's state, and the operations that change it by one compare-and-swap each.
#![allow(unsafe_code)]

use super::backoff::{Backoff, Turn};
use super::drain::Drain;
use super::leftist::{HeapRun, NO_DEADLINE};
use super::order::{self, HeapEdit};
use super::pin::Readers;
use super::seat::{NODES, Seat, Seated};
use super::snapshot::{Draft, Record};
#[cfg(feature = "alloc")]
use super::storage::Boxed;
use super::storage::{Borrowed, Inline, Node, Slot, Storage, StorageError};
use super::word::{Link, NONE};
use crate::Instant;
use crate::sync::{AtomicU64, Ordering, const_unless_loom, fence};

const RECORD_BITS: u32 = 16;

/// A priority queue that any number of threads share without a lock, if its items may be sent
/// between threads:
///
/// ```compile_fail
/// # use tensorforge_core::queue::PriorityQueue;
/// static LOCAL: PriorityQueue<std::rc::Rc<u32>, 4> = PriorityQueue::new();
/// ```
///
/// **Order:** priority descending over the whole of `i32`; among equals the earliest deadline first,
/// those without one last; then first in, first out.
pub struct Queue<T, S: Storage<T>> {
    /// Which record is the state, and how many were before it (modulo 2^48): the one word whose
    /// compare-and-swap makes an operation happen.
    pub(super) root: Root,
    turn: Turn,
    pub(super) readers: Readers,
    /// The first state; later one of the spares.
    record: Record,
    pub(super) capacity: u32,
    pub(super) storage: S,
    /// Not `T` itself: a queue of items that only one thread at a time may use can be shared.
    item: core::marker::PhantomData<fn() -> T>,
}

/// Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Root(AtomicU64);

impl core::ops::Deref for Root {
    type Target = AtomicU64;
    #[inline(always)]
    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

impl<T, const CAPACITY: usize, const SEATS: usize> Queue<T, Inline<T, CAPACITY, SEATS>> {
    const_unless_loom! {
        /// An empty queue. In a `static`, all of it is zero, so it takes no room in flash.
        ///
        /// Fails to compile if `CAPACITY` or `SEATS` is 0, or if `CAPACITY + 42 * SEATS` reaches
        /// 2,097,151:
        ///
        /// ```compile_fail
        /// # use tensorforge_core::queue::PriorityQueue;
        /// static NOTHING: PriorityQueue<u32, 0> = PriorityQueue::new();
        /// ```
        pub fn new() -> Self {
            Self::on(Inline::new(), CAPACITY as u32)
        }
    }
}

impl<T, const CAPACITY: usize, const SEATS: usize> Default
    for Queue<T, Inline<T, CAPACITY, SEATS>>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T> Queue<T, Borrowed<'a, T>> {
    /// An empty queue in the caller's memory: a slot and a node for each item it can hold, and a
    /// seat for each thread that can be inside an operation at the same time.
    ///
    /// ```
    /// use tensorforge_core::queue::{BorrowedPriorityQueue, Node, Seat, Slot};
    ///
    /// let mut slots: [Slot<u8>; 16] = std::array::from_fn(|_| Slot::new());
    /// let mut nodes: [Node; 16] = std::array::from_fn(|_| Node::new());
    /// let mut seats: [Seat<u8>; 2] = std::array::from_fn(|_| Seat::new());
    /// let queue = BorrowedPriorityQueue::borrowing(&mut slots, &mut nodes, &mut seats).unwrap();
    /// queue.enqueue(0, 7).unwrap();
    /// assert_eq!(queue.dequeue(), Some(7));
    /// ```
    pub fn borrowing(
        slots: &'a mut [Slot<T>],
        nodes: &'a mut [Node],
        seats: &'a mut [Seat<T>],
    ) -> Result<Self, StorageError> {
        let storage = Borrowed::new(slots, nodes, seats)?;
        let capacity = storage.slots().len() as u32;
        Ok(Self::on(storage, capacity))
    }
}

#[cfg(feature = "alloc")]
impl<T> Queue<T, Boxed<T>> {
    /// An empty queue of `capacity`, for as many as `seats` threads inside an operation at the same
    /// time. Allocates here and never again.
    pub fn with_capacity(capacity: usize, seats: usize) -> Result<Self, StorageError> {
        Ok(Self::on(Boxed::new(capacity, seats)?, capacity as u32))
    }
}

impl<T, S: Storage<T>> Queue<T, S> {
    const_unless_loom! {
        fn on(storage: S, capacity: u32) -> Self {
            Self {
                root: Root(AtomicU64::new(0)),
                turn: Turn::new(),
                readers: Readers::new(),
                record: Record::new(),
                capacity,
                storage,
                item: core::marker::PhantomData,
            }
        }
    }
}

impl<T, S: Storage<T>> Queue<T, S> {
    /// Adds an item. Gives it back when the queue holds as many as it can.
    ///
    /// **Progress:** lock-free, given a seat.
    ///
    /// ```
    /// # use tensorforge_core::queue::PriorityQueue;
    /// let queue: PriorityQueue<&str, 1> = PriorityQueue::new();
    /// assert_eq!(queue.enqueue(0, "first"), Ok(()));
    /// assert_eq!(queue.enqueue(9, "second"), Err("second"));
    /// ```
    #[inline]
    pub fn enqueue(&self, priority: i32, item: T) -> Result<(), T> {
        self.add(priority, NO_DEADLINE, item)
    }

    /// Adds an item that goes before those of equal priority with a later deadline or none.
    /// [`Instant::MAX`] is no deadline.
    ///
    /// **Progress:** lock-free, given a seat.
    ///
    /// ```
    /// use tensorforge_core::{Instant, queue::PriorityQueue};
    ///
    /// let queue: PriorityQueue<&str, 8> = PriorityQueue::new();
    /// queue.enqueue(1, "whenever").unwrap();
    /// queue.enqueue_with_deadline(1, Instant::from_nanos(900), "soon").unwrap();
    /// queue.enqueue_with_deadline(1, Instant::from_nanos(500), "sooner").unwrap();
    /// assert_eq!(queue.drain().collect::<Vec<_>>(), ["sooner", "soon", "whenever"]);
    /// ```
    #[inline]
    pub fn enqueue_with_deadline(
        &self,
        priority: i32,
        deadline: Instant,
        item: T,
    ) -> Result<(), T> {
        self.add(priority, deadline.as_nanos(), item)
    }

    #[inline(always)]
    fn add(&self, priority: i32, deadline: u64, item: T) -> Result<(), T> {
        let mut backoff = self.backoff();
        let mut seated = Seated::claim(&self.storage);
        let slot = seated.spare_slot;
        let Some(cell) = self.slot(slot) else { return Err(item) };
        // SAFETY: the seat owns its spare slot, and spare slots are empty.
        unsafe { cell.put(item) };
        loop {
            match self.try_add(priority, deadline, slot, cell, &mut seated) {
                Attempt::Done(()) => return Ok(()),
                // SAFETY: nothing was published, so the slot is still the seat's, and full.
                Attempt::Refused => return Err(unsafe { cell.take() }),
                Attempt::Lost => backoff.lost(),
            }
        }
    }

    #[inline(always)]
    fn try_add(
        &self,
        priority: i32,
        deadline: u64,
        slot: u32,
        cell: &Slot<T>,
        seated: &mut Seated<'_, T>,
    ) -> Attempt<()> {
        let Some((root, mut next)) = self.settled_draft(seated) else { return Attempt::Lost };
        let free = next.free_slot(self.capacity);
        if free == NONE {
            return if self.is_current(root) { Attempt::Refused } else { Attempt::Lost };
        }
        let Some(free_cell) = self.slot(free) else { return Attempt::Lost };
        let rest = free_cell.link().next_free(free);
        next.set_size_and_free_slot(next.size().wrapping_add(1), rest, self.capacity);
        let sequence = next.sequence();
        next.set_sequence(sequence.wrapping_add(1));
        cell.set_link(Link::last(sequence));
        let for_heap = if deadline == NO_DEADLINE {
            order::enter_front(&mut next, priority, slot)
        } else {
            Some(HeapRun { priority, deadline, head: slot })
        };
        let published = match for_heap {
            None => self.publish(root, seated),
            Some(run) => {
                let mut edit = HeapEdit::new(self, seated.spare_nodes());
                edit.insert(&mut next, run).is_some() && self.publish(root, seated) && edit.keep()
            }
        };
        if !published {
            return Attempt::Lost;
        }
        seated.spare_slot = free;
        Attempt::Done(())
    }

    /// Removes and returns the first item, or `None` if there was none.
    ///
    /// If the item is being read by [`peek`](Self::peek), this clones it.
    ///
    /// **Progress:** lock-free, given a seat.
    #[inline]
    pub fn dequeue(&self) -> Option<T> {
        let mut seated = Seated::claim(&self.storage);
        let mut backoff = self.backoff();
        loop {
            match self.try_remove_first(&mut seated) {
                Attempt::Done(slot) => return self.take(slot, &mut seated.spare_slot),
                Attempt::Refused => return None,
                Attempt::Lost => backoff.lost(),
            }
        }
    }

    #[inline(always)]
    fn try_remove_first(&self, seated: &mut Seated<'_, T>) -> Attempt<u32> {
        let freed = seated.spare_slot;
        let Some(freed_cell) = self.slot(freed) else { return Attempt::Lost };
        let Some((root, mut next)) = self.settled_draft(seated) else { return Attempt::Lost };
        let size = next.size();
        if size == 0 {
            return if self.is_current(root) { Attempt::Refused } else { Attempt::Lost };
        }
        let free = next.free_slot(self.capacity);
        freed_cell.set_link(Link::free(next.sequence(), freed, free));
        next.set_size_and_free_slot(size - 1, freed, self.capacity);
        let level = next.highest_level();
        let taken = if order::heap_is_first(&next, level) {
            let mut edit = HeapEdit::new(self, seated.spare_nodes());
            let taken = edit.remove_first(&mut next);
            taken.filter(|_| self.publish(root, seated) && edit.keep())
        } else {
            let taken = level.and_then(|level| order::leave_front(&mut next, self, level));
            taken.filter(|_| self.publish(root, seated))
        };
        match taken {
            None => Attempt::Lost,
            Some(slot) => Attempt::Done(slot),
        }
    }

    /// Removes everything in one atomic step, and returns it in the order in which
    /// [`dequeue`](Self::dequeue) would have.
    ///
    /// The items leave the queue here; the room they take comes back when the [`Drain`] is dropped,
    /// which drops what is left of them.
    ///
    /// **Progress:** lock-free, given a seat, and O(1): how many items there are makes no
    /// difference.
    pub fn drain(&self) -> Drain<'_, T, S> {
        let mut seated = Seated::claim(&self.storage);
        let mut backoff = self.backoff();
        loop {
            if let Some((root, mut next)) = self.settled_draft(&seated) {
                let detached = next.snapshot();
                next.empty();
                let emptied = match detached.size() {
                    0 => self.is_current(root),
                    _ => self.publish(root, &mut seated),
                };
                if emptied {
                    return Drain::new(self, detached);
                }
            }
            backoff.lost();
        }
    }

    /// Drops everything that is in the queue at one moment.
    ///
    /// **Progress:** as [`drain`](Self::drain), and then one item after the other.
    pub fn clear(&self) {
        drop(self.drain());
    }

    /// How many items are queued.
    ///
    /// **Progress:** lock-free; needs no seat.
    pub fn size(&self) -> usize {
        loop {
            let root = self.root.load(Ordering::Acquire);
            if let Some(record) = self.record(root) {
                let size = record.view().size();
                if self.is_current(root) {
                    return size as usize;
                }
            }
            crate::sync::spin_loop();
        }
    }

    /// Whether nothing is queued.
    ///
    /// **Progress:** lock-free; needs no seat.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// The priority of the item that [`dequeue`](Self::dequeue) would return.
    ///
    /// **Progress:** lock-free; needs no seat.
    pub fn peek_priority(&self) -> Option<i32> {
        loop {
            let root = self.root.load(Ordering::Acquire);
            if let Some(record) = self.record(root) {
                let priority = order::first_priority(&record.view());
                if self.is_current(root) {
                    return priority;
                }
            }
            crate::sync::spin_loop();
        }
    }

    /// How many items the queue can hold.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    #[inline(always)]
    pub(super) fn backoff(&self) -> Backoff<'_> {
        self.turn.give_way()
    }

    /// A copy of the current state to be edited, after making the link that the last commit owes.
    #[inline(always)]
    pub(super) fn settled_draft<'q>(&'q self, seated: &Seated<'q, T>) -> Option<(u64, Draft<'q>)> {
        let spare = self.record(seated.spare_record.into())?;
        let root = self.root.load(Ordering::Acquire);
        let mut draft = spare.draft_from(self.record(root)?);
        let owed = draft.pending_link();
        if owed.from != NONE {
            let cell = self.slot(owed.from)?;
            let link = cell.link();
            if link.next() != owed.to {
                // Only now is it known that what was read belongs together. The tag in the link
                // takes care of what happens from here on.
                if link.next() != NONE || !self.is_current(root) {
                    return None;
                }
                cell.replace_link(link, link.followed_by(owed.to));
            }
            draft.clear_pending_link();
        }
        Some((root, draft))
    }

    /// Whether the state read under `root` was the queue's at this moment, and all of it.
    #[inline(always)]
    pub(super) fn is_current(&self, root: u64) -> bool {
        // Pairs with the fence in `Seated::claim`.
        fence(Ordering::Acquire);
        self.root.load(Ordering::Relaxed) == root
    }

    /// Makes the seat's draft the state if the state still is the one of `root`.
    #[inline(always)]
    pub(super) fn publish(&self, root: u64, seated: &mut Seated<'_, T>) -> bool {
        let tag = (root >> RECORD_BITS).wrapping_add(1) << RECORD_BITS;
        let published = self.replace_root(root, tag | u64::from(seated.spare_record));
        if published {
            seated.spare_record = record_of(root);
        }
        published
    }

    #[inline(always)]
    pub(super) fn replace_root(&self, root: u64, with: u64) -> bool {
        self.root.compare_exchange(root, with, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(super) fn record(&self, root: u64) -> Option<&Record> {
        match record_of(root) {
            0 => Some(&self.record),
            index => Some(&self.storage.seats().get(index as usize - 1)?.record),
        }
    }

    #[inline(always)]
    pub(super) fn slot(&self, id: u32) -> Option<&Slot<T>> {
        match self.storage.slots().get(id as usize) {
            Some(slot) => Some(slot),
            None => Some(&self.storage.seats().get((id - self.capacity) as usize)?.slot),
        }
    }

    #[inline(always)]
    pub(super) fn node(&self, id: u32) -> Option<&Node> {
        match self.storage.nodes().get(id as usize) {
            Some(node) => Some(node),
            None => {
                let place = (id - self.capacity) as usize;
                self.storage.seats().get(place / NODES)?.nodes.get(place % NODES)
            }
        }
    }
}

impl<T, S: Storage<T>> Drop for Queue<T, S> {
    /// Drops what is still queued, each item once.
    fn drop(&mut self) {
        if core::mem::needs_drop::<T>() {
            self.clear();
        }
    }
}

impl<T, S: Storage<T>> core::fmt::Debug for Queue<T, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Queue")
            .field("size", &self.size())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[inline(always)]
fn record_of(root: u64) -> u32 {
    root as u32 & ((1 << RECORD_BITS) - 1)
}

/// What came of one try.
enum Attempt<R> {
    Done(R),
    /// The queue was full, or empty.
    Refused,
    /// Another operation came first.
    Lost,
}
