//! Items in the order of their priority.
//!
//! [`PriorityQueue`] is shared by any number of threads without a lock.
//!
//! # How the shared queue works
//! All of its state is one immutable *record* of 128 bytes: the size, the free lists, the *front*
//! (up to eight priorities, each a run of slots linked in order of arrival) and the root of the
//! *heap* (a leftist heap of runs, for priorities that have no place in the front and for deadlines).
//! One 64-bit *root* names the current record, with a tag that counts the changes. An operation
//! copies the record into a spare one, edits the copy, and publishes it with one compare-and-swap of
//! the root. Where the heap changes, its path is copied too. That compare-and-swap is where the
//! operation takes effect, whatever it does: there is no second word that could disagree, so `size`,
//! `peek` and `drain` are exact beside everything else.
//!
//! Spares belong to *seats*. A thread holds a seat while it is inside an operation; what its
//! compare-and-swap replaces becomes the seat's next spare. Nothing is allocated, and nothing is
//! reclaimed later. A reader that is overtaken may read words that are being rewritten: they are
//! atomic, loops over them are bounded, and what it concludes is dropped when the root has moved.
//!
//! - **An append** names the run's last slot as owing a link to the new one, in the record. Whoever
//!   comes next makes that link first, by a compare-and-swap on the slot's word, whose tag no two uses
//!   of the slot share.
//! - **A drain** publishes an empty record, which detaches everything in one step; then its owner
//!   takes the items out, and gives their room back in one more. Others find the queue empty, and go
//!   round what is detached because nothing leads there any more.
//! - **A peek** reads in place, behind a pin in its seat. Who takes a pinned item clones it and
//!   leaves the original to the reader, so neither waits for the other.
//!
//! # Progress
//! All operations are lock-free: one is tried again only if another took effect meanwhile. (A loser
//! also stays away for a bounded time, up to about 0.3 ms while the others keep winning: that is what
//! keeps the state in one processor's cache.) None is wait-free. A thread that is stopped anywhere
//! delays nobody, provided fewer threads are stopped than there are seats: one that finds every seat
//! held waits for any of them to be left. With as many seats as threads that never happens.
//!
//! Where the processor has no 64-bit compare-and-swap (Cortex-M, RISC-V without `A`), portable-atomic
//! makes each one a critical section (feature `critical-section`: interrupts are off for some
//! instructions) or takes a global lock. The queue stays correct in interrupt handlers with the former;
//! lock-free it is only where the atomics are.
//!
//! # Limits
//! Tags wrap after 2^48 changes of the root and 2^43 uses of a slot: a thread would have to sleep in
//! the middle of one operation while exactly that many, or a multiple, pass. Equals keep their order
//! as long as no item waits while 2^42 younger ones pass.
//!
//! # Why not
//! - *A skip list, or one lock-free list for each level*: an item of a higher level can come behind a
//!   scan that has passed, so the highest is not what leaves; and a size, a drain or a full answer
//!   would need a second word. A design of that kind also slows without bound while a thread is
//!   stopped, because marked nodes pile up behind it.
//! - *Two designs for small and large capacity*: the front serves few priorities at any capacity, and
//!   a queue of many falls through to the heap by itself.
//! - *Retrying at once* after a loss: 11 million operations a second with two threads, where staying
//!   away makes 40 (1,000 items, eight levels, two processors). *A fixed turn of 2 µs* for each thread
//!   instead of a growing one: fairer, but a sixth less throughput and a p99.9 of 2.2 µs, where now
//!   so few operations meet another that it is 0.2 µs.
//! - *A copy of the record on the stack*, written out at the end, with the levels in no order: 28
//!   million operations a second where editing the spare in place, levels in order, makes 39.

mod backoff;
mod drain;
mod leftist;
mod operation;
mod order;
mod pin;
mod seat;
mod snapshot;
mod storage;
mod word;

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod linearizability;
#[cfg(test)]
mod model;
#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;

pub use drain::Drain;
pub use operation::Queue;
pub use seat::Seat;
#[cfg(feature = "alloc")]
pub use storage::Boxed;
pub use storage::{Borrowed, Inline, Node, Slot, Storage, StorageError};

/// A priority queue of fixed capacity that holds its own storage, so that it can be a `static`.
///
/// `SEATS` threads or interrupt handlers can be inside an operation at the same time; see
/// [`Queue`].
///
/// ```
/// use tensorforge_core::queue::PriorityQueue;
///
/// static WAITING: PriorityQueue<u32, 64, 4> = PriorityQueue::new();
///
/// WAITING.enqueue(1, 10).unwrap();
/// WAITING.enqueue(5, 20).unwrap();
/// WAITING.enqueue(5, 30).unwrap();
/// assert_eq!(WAITING.dequeue(), Some(20)); // highest first, then in order of arrival
/// assert_eq!(WAITING.size(), 2);
/// assert_eq!(WAITING.drain().collect::<Vec<_>>(), [30, 10]);
/// ```
pub type PriorityQueue<T, const CAPACITY: usize, const SEATS: usize = 8> =
    Queue<T, Inline<T, CAPACITY, SEATS>>;

/// A priority queue in memory that the caller lends.
pub type BorrowedPriorityQueue<'a, T> = Queue<T, Borrowed<'a, T>>;

/// A priority queue of a capacity chosen at run time, allocated once.
#[cfg(feature = "alloc")]
pub type BoxedPriorityQueue<T> = Queue<T, Boxed<T>>;
