//! Orders of waiting requests.
//!
//! [`PriorityQueue`] is shared by any number of threads without a lock. `heap` is the order inside
//! one batch group, owned by one thread.

mod backoff;
mod drain;
pub(crate) mod heap;
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
