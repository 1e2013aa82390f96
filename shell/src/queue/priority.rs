//! The bounded priority queue, on core's lock-free one.

use std::num::NonZero;
use std::thread::available_parallelism;

use tensorforge_core::Instant;
use tensorforge_core::queue::BoxedPriorityQueue;

/// The most items that a [`PriorityQueue`] holds, whatever it was asked for: 1,048,576.
pub const MAX_HARD_LIMIT: usize = 1 << 20;

/// Seats that any queue has, however few processors there are.
const MIN_SEATS: usize = 64;
/// With this many and [`MAX_HARD_LIMIT`] items, every part of core's queue still has a number.
const MAX_SEATS: usize = 16_384;
const SEATS_PER_PROCESSOR: usize = 4;

/// What waits: a name, and how urgent it is. Higher priorities come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueItem {
    /// The caller's name for it. Two items may have the same.
    pub id: String,
    /// Any value of `i32`; the highest is served first.
    pub priority: i32,
}

/// A priority queue of bounded size that any number of threads share without a lock.
///
/// **Order:** priority descending. Among equals, those with a deadline before those without, the
/// earliest first; then first in, first out. Only [`enqueue_by`](Self::enqueue_by) sets a deadline,
/// so without it equals leave in the order in which they came.
///
/// **Atomicity:** every operation takes effect at one moment between its call and its return.
///
/// **Progress:** lock-free, as long as no more than max(64, 4 × available parallelism) threads are
/// inside an operation at the same time; one more waits for one of them to leave.
///
/// **Memory:** allocated once, by [`new`](Self::new): 64 bytes an item, and about 2 kB for each of
/// those threads. It is zeroed, so most systems hand out only what is ever filled. Besides, only the
/// identifiers' own.
///
/// ```
/// use tensorforge::queue::{PriorityQueue, QueueItem};
///
/// let item = |id: &str, priority| QueueItem { id: id.into(), priority };
/// let queue = PriorityQueue::new(3);
/// assert!(queue.enqueue(item("low", 1)));
/// assert!(queue.enqueue(item("high", 9)));
/// assert!(queue.enqueue(item("high too", 9)));
/// assert!(!queue.enqueue(item("late", 99))); // three are held
///
/// assert_eq!(queue.dequeue(), Some(item("high", 9)));
/// assert_eq!(queue.drain(), [item("high too", 9), item("low", 1)]);
/// assert_eq!(queue.size(), 0);
/// ```
#[derive(Debug)]
pub struct PriorityQueue {
    /// `None` holds nothing: core has no queue of no room.
    items: Option<BoxedPriorityQueue<QueueItem>>,
}

impl PriorityQueue {
    /// An empty queue that holds up to `hard_limit` items, and at most [`MAX_HARD_LIMIT`]: a larger
    /// limit, such as `usize::MAX`, counts as that. With a limit of 0, every
    /// [`enqueue`](Self::enqueue) answers `false`.
    ///
    /// Allocates all the room there will be: O(1) where the system has zeroed memory ready, as for a
    /// large queue most do, else O(`hard_limit`).
    #[must_use]
    pub fn new(hard_limit: usize) -> Self {
        let capacity = hard_limit.min(MAX_HARD_LIMIT);
        let seats = seats(available_parallelism().map_or(1, NonZero::get));
        let items = (capacity > 0).then(|| {
            BoxedPriorityQueue::with_capacity(capacity, seats)
                .expect("the capacity is in 1..=MAX_HARD_LIMIT and the seats below MAX_SEATS")
        });
        Self { items }
    }

    /// The most items that this queue holds.
    #[must_use]
    pub fn hard_limit(&self) -> usize {
        self.items.as_ref().map_or(0, BoxedPriorityQueue::capacity)
    }

    /// Adds an item behind those of its priority. `false`, with nothing stored, when
    /// [`hard_limit`](Self::hard_limit) items are held; those that a [`drain`](Self::drain) or
    /// [`clear`](Self::clear) is just taking away are held until it returns.
    ///
    /// O(1) up to eight priorities at a time, else O(log n).
    pub fn enqueue(&self, item: QueueItem) -> bool {
        self.enqueue_by(item, u64::MAX)
    }

    /// Adds an item that goes before those of its priority with a later deadline or none.
    /// `u64::MAX` is no deadline. Otherwise as [`enqueue`](Self::enqueue), in O(log n).
    ///
    /// The deadline is a time in the caller's unit. It only orders: nothing happens when it passes.
    ///
    /// ```
    /// use tensorforge::queue::{PriorityQueue, QueueItem};
    ///
    /// let item = |id: &str| QueueItem { id: id.into(), priority: 1 };
    /// let queue = PriorityQueue::new(8);
    /// queue.enqueue(item("whenever"));
    /// queue.enqueue_by(item("soon"), 900);
    /// queue.enqueue_by(item("sooner"), 500);
    /// assert_eq!(queue.drain(), [item("sooner"), item("soon"), item("whenever")]);
    /// ```
    pub fn enqueue_by(&self, item: QueueItem, deadline: u64) -> bool {
        let Some(items) = &self.items else { return false };
        let deadline = Instant::from_nanos(deadline); // core compares them, and never asks the unit
        items.enqueue_with_deadline(item.priority, deadline, item).is_ok()
    }

    /// Removes and returns the first item, or `None` when there is none.
    ///
    /// O(1) up to eight priorities at a time and without deadlines, else O(log n).
    pub fn dequeue(&self) -> Option<QueueItem> {
        self.items.as_ref()?.dequeue()
    }

    /// A copy of the item that [`dequeue`](Self::dequeue) would return. O(1).
    #[must_use]
    pub fn peek(&self) -> Option<QueueItem> {
        self.items.as_ref()?.peek()
    }

    /// How many items are held. O(1).
    #[must_use]
    pub fn size(&self) -> usize {
        self.items.as_ref().map_or(0, BoxedPriorityQueue::size)
    }

    /// Removes everything in one atomic step, and returns it in the order in which
    /// [`dequeue`](Self::dequeue) would have.
    ///
    /// The step is O(1); copying n items out of the queue's memory is O(n), or O(n log n) with many
    /// priorities or deadlines, and keeps nobody from the queue but those who need that memory.
    pub fn drain(&self) -> Vec<QueueItem> {
        self.items.as_ref().map_or_else(Vec::new, |items| items.drain().collect())
    }

    /// Drops everything that is held at one moment. Costs as much as [`drain`](Self::drain).
    pub fn clear(&self) {
        if let Some(items) = &self.items {
            items.clear();
        }
    }
}

/// Enqueues every item in turn and returns how many the queue accepted; drops the others.
///
/// Other threads may come between: this is as many steps as there are items.
///
/// ```
/// use tensorforge::queue::{PriorityQueue, QueueItem, batch_enqueue};
///
/// let items = |n| (0..n).map(|i| QueueItem { id: i.to_string(), priority: 0 }).collect();
/// assert_eq!(batch_enqueue(&PriorityQueue::new(3), items(5)), 3);
/// ```
pub fn batch_enqueue(queue: &PriorityQueue, items: Vec<QueueItem>) -> usize {
    items.into_iter().map(|item| usize::from(queue.enqueue(item))).sum()
}

/// A copy of `item` whose priority is higher by `boost`, or lower by a negative one. Saturates at
/// the ends of `i32`.
///
/// ```
/// use tensorforge::queue::{QueueItem, priority_boost};
///
/// let item = QueueItem { id: "a".into(), priority: 5 };
/// assert_eq!(priority_boost(&item, 3).priority, 8);
/// assert_eq!(priority_boost(&item, i32::MAX).priority, i32::MAX);
/// ```
#[must_use]
pub fn priority_boost(item: &QueueItem, boost: i32) -> QueueItem {
    QueueItem { id: item.id.clone(), priority: item.priority.saturating_add(boost) }
}

/// How many threads at a time a queue has room for, on a machine of so many processors.
fn seats(processors: usize) -> usize {
    processors.saturating_mul(SEATS_PER_PROCESSOR).clamp(MIN_SEATS, MAX_SEATS)
}

#[cfg(test)]
mod tests;
