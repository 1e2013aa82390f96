//! Where a queue's slots, nodes and seats lie, and the one place that touches payloads.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;

use super::seat::Seat;
use super::word::{Link, NONE, free_bits, next_free};
use crate::sync::{AtomicU64, Ordering, UnsafeCell, array_of, const_unless_loom};

/// Room for one item. Eight bytes more than the item.
#[derive(Debug)]
pub struct Slot<T> {
    link: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot's item is touched only by the thread that owns the slot (see `Slot::put`), or read
// through `&T` by a peek, which asks for `T: Sync` itself. So an item only ever moves between
// threads.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    const_unless_loom! {
        /// An empty slot.
        pub fn new() -> Self {
            Self { link: AtomicU64::new(0), item: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    #[inline(always)]
    pub(super) fn link(&self) -> Link {
        Link(self.link.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(super) fn set_link(&self, link: Link) {
        self.link.store(link.0, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn replace_link(&self, old: Link, new: Link) -> bool {
        self.link.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Fills the slot.
    ///
    /// # Safety
    /// The caller owns the slot, and it is empty.
    #[inline(always)]
    pub(super) unsafe fn put(&self, item: T) {
        // SAFETY: the owner alone touches the item.
        self.item.with_mut(|cell| unsafe { (*cell).write(item) });
    }

    /// Empties the slot.
    ///
    /// # Safety
    /// The caller owns the slot, it is full, and nobody holds a pin on it.
    #[inline(always)]
    pub(super) unsafe fn take(&self) -> T {
        // SAFETY: the owner alone touches the item, and takes it once.
        self.item.with_mut(|cell| unsafe { (*cell).assume_init_read() })
    }

    /// A copy of the item made by `clone`.
    ///
    /// # Safety
    /// The slot is full, and stays so because the caller owns it or holds a validated pin on it;
    /// `T` is `Sync` and `clone` clones it.
    pub(super) unsafe fn copy(&self, clone: fn(&T) -> T) -> T {
        // SAFETY: full, and everyone else who may touch it now only reads it through `&T` too.
        self.item.with(|cell| clone(unsafe { (*cell).assume_init_ref() }))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for one run of the heap: 24 bytes.
#[derive(Debug)]
pub struct Node([AtomicU64; 3]);

impl Node {
    const_unless_loom! {
        /// A free node.
        pub fn new() -> Self {
            Self(array_of!(AtomicU64::new(0); 3))
        }
    }

    #[inline(always)]
    pub(super) fn load(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    /// Only for the node's owner.
    #[inline(always)]
    pub(super) fn store(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn next_free(&self, of: u32) -> u32 {
        next_free(self.load(0), of)
    }

    #[inline(always)]
    pub(super) fn set_next_free(&self, of: u32, next: u32) {
        self.store(0, free_bits(of, next));
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Where a queue's memory is. Implemented by the storages of this module only.
///
/// There are as many slots as nodes, at least one of each, and at least one seat.
pub trait Storage<T>: sealed::Sealed {
    #[doc(hidden)]
    fn slots(&self) -> &[Slot<T>];
    #[doc(hidden)]
    fn nodes(&self) -> &[Node];
    #[doc(hidden)]
    fn seats(&self) -> &[Seat<T>];
}

/// Storage inside the queue itself, of a size known at compile time.
#[derive(Debug)]
pub struct Inline<T, const CAPACITY: usize, const SEATS: usize> {
    slots: [Slot<T>; CAPACITY],
    nodes: [Node; CAPACITY],
    seats: [Seat<T>; SEATS],
}

impl<T, const CAPACITY: usize, const SEATS: usize> Inline<T, CAPACITY, SEATS> {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            const {
                assert!(
                    fits(CAPACITY, CAPACITY, SEATS).is_ok(),
                    "a priority queue needs a capacity from 1 and seats from 1, and CAPACITY + 42 * SEATS \
                     below 2,097,151",
                );
            }
            Self {
                slots: array_of!(Slot::new(); CAPACITY),
                nodes: array_of!(Node::new(); CAPACITY),
                seats: array_of!(Seat::new(); SEATS),
            }
        }
    }
}

impl<T, const CAPACITY: usize, const SEATS: usize> sealed::Sealed for Inline<T, CAPACITY, SEATS> {}

impl<T, const CAPACITY: usize, const SEATS: usize> Storage<T> for Inline<T, CAPACITY, SEATS> {
    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }
    #[inline(always)]
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    #[inline(always)]
    fn seats(&self) -> &[Seat<T>] {
        &self.seats
    }
}

/// Storage that the caller lends for as long as the queue lives.
#[derive(Debug)]
pub struct Borrowed<'a, T> {
    slots: &'a [Slot<T>],
    nodes: &'a [Node],
    seats: &'a [Seat<T>],
}

impl<'a, T> Borrowed<'a, T> {
    pub(super) fn new(
        slots: &'a mut [Slot<T>],
        nodes: &'a mut [Node],
        seats: &'a mut [Seat<T>],
    ) -> Result<Self, StorageError> {
        fits(slots.len(), nodes.len(), seats.len())?;
        // An earlier queue may have left its marks.
        slots.fill_with(Slot::new);
        nodes.fill_with(Node::new);
        seats.fill_with(Seat::new);
        Ok(Self { slots, nodes, seats })
    }
}

impl<T> sealed::Sealed for Borrowed<'_, T> {}

impl<T> Storage<T> for Borrowed<'_, T> {
    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        self.slots
    }
    #[inline(always)]
    fn nodes(&self) -> &[Node] {
        self.nodes
    }
    #[inline(always)]
    fn seats(&self) -> &[Seat<T>] {
        self.seats
    }
}

/// Storage on the heap, of a size chosen when the queue is built. Nothing is allocated afterwards,
/// and the system is only asked for as much of it as is ever filled.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct Boxed<T> {
    slots: alloc::boxed::Box<[Slot<T>]>,
    nodes: alloc::boxed::Box<[Node]>,
    seats: alloc::boxed::Box<[Seat<T>]>,
}

#[cfg(feature = "alloc")]
impl<T> Boxed<T> {
    pub(super) fn new(capacity: usize, seats: usize) -> Result<Self, StorageError> {
        fits(capacity, capacity, seats)?;
        Ok(Self {
            slots: boxed(capacity, Slot::new)?,
            nodes: boxed(capacity, Node::new)?,
            seats: boxed(seats, Seat::new)?,
        })
    }
}

/// What is all zero when new.
///
/// # Safety
/// Zeroed memory is a valid value, and it takes at least one byte.
#[cfg(feature = "alloc")]
unsafe trait Zeroed {}

// SAFETY: a zero, and room for an item that need not be one yet.
#[cfg(feature = "alloc")]
unsafe impl<T> Zeroed for Slot<T> {}
// SAFETY: three zeroes.
#[cfg(feature = "alloc")]
unsafe impl Zeroed for Node {}
// SAFETY: integers, slots and nodes. What they mean is laid out for it: see `word`.
#[cfg(feature = "alloc")]
unsafe impl<T> Zeroed for Seat<T> {}

/// `count` new elements, at least one.
///
/// Memory that the allocator zeroes is memory that it need not touch: the system gives a large
/// queue only as much as it ever fills.
#[cfg(feature = "alloc")]
fn boxed<E: Zeroed>(
    count: usize,
    new: impl Fn() -> E,
) -> Result<alloc::boxed::Box<[E]>, StorageError> {
    let layout = core::alloc::Layout::array::<E>(count).map_err(|_| StorageError::TooLarge)?;
    if cfg!(loom) {
        return Ok(core::iter::repeat_with(new).take(count).collect()); // loom's are not zero
    }
    // SAFETY: of at least one byte, as `count` and `E` are.
    let memory = unsafe { alloc::alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        alloc::alloc::handle_alloc_error(layout);
    }
    let elements = core::ptr::slice_from_raw_parts_mut(memory.cast::<E>(), count);
    // SAFETY: allocated just now, as a box of this type allocates; `E` may be zeroed.
    Ok(unsafe { alloc::boxed::Box::from_raw(elements) })
}

#[cfg(feature = "alloc")]
impl<T> sealed::Sealed for Boxed<T> {}

#[cfg(feature = "alloc")]
impl<T> Storage<T> for Boxed<T> {
    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }
    #[inline(always)]
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    #[inline(always)]
    fn seats(&self) -> &[Seat<T>] {
        &self.seats
    }
}

/// Why a queue cannot be built on some storage.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// A capacity of zero: such a queue could only ever refuse.
    NoCapacity,
    /// No seat: nobody could ever operate on the queue.
    NoSeats,
    /// Not as many nodes as slots.
    NodesDiffer,
    /// The capacity and 42 times the seats together reach 2,097,151, more than a link can name; or
    /// the items would not fit into the address space.
    TooLarge,
}

impl core::fmt::Display for StorageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoCapacity => "a queue's capacity is at least 1; 0 was asked for",
            Self::NoSeats => "a queue needs at least 1 seat for the threads that use it",
            Self::NodesDiffer => "a queue's storage needs exactly as many nodes as slots",
            Self::TooLarge => "a queue's capacity plus 42 times its seats must be below 2,097,151",
        })
    }
}

impl core::error::Error for StorageError {}

const fn fits(slots: usize, nodes: usize, seats: usize) -> Result<(), StorageError> {
    const LIMIT: usize = NONE as usize;
    if slots == 0 {
        return Err(StorageError::NoCapacity);
    }
    if seats == 0 {
        return Err(StorageError::NoSeats);
    }
    if slots != nodes {
        return Err(StorageError::NodesDiffer);
    }
    if seats >= LIMIT / Seat::<()>::NODES || slots >= LIMIT - seats * Seat::<()>::NODES {
        return Err(StorageError::TooLarge);
    }
    Ok(())
}
