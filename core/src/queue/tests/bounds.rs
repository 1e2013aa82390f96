//! Sizes, limits and what is out of them.

use std::vec::Vec;

use crate::Instant;
use crate::queue::{BorrowedPriorityQueue, Node, PriorityQueue, Seat, Slot, StorageError};

#[test]
fn a_place_in_the_queue_takes_the_item_and_32_bytes() {
    const fn place<T>() -> usize {
        size_of::<Slot<T>>() + size_of::<Node>()
    }
    assert_eq!(place::<u64>(), 8 + 32);
    assert_eq!(place::<[u64; 5]>(), 40 + 32);
    assert_eq!(place::<&str>(), size_of::<&str>() + 32);
    assert_eq!(place::<()>(), 32);
    // Of an item that is smaller than its link, alignment makes at most 8 bytes.
    assert_eq!(place::<u8>(), 8 + 32);
    // And all of it is in the queue: there is nothing else that grows with the capacity.
    let of = |capacity: usize| capacity * (size_of::<u64>() + 32);
    let sizes = [
        size_of::<PriorityQueue<u64, 16, 1>>() - of(16),
        size_of::<PriorityQueue<u64, 1024, 1>>() - of(1024),
        size_of::<PriorityQueue<u64, 1_048_576, 1>>() - of(1_048_576),
    ];
    assert!(sizes[0].abs_diff(sizes[1]) < 128 && sizes[0].abs_diff(sizes[2]) < 128);
}

#[test]
#[cfg_attr(miri, ignore = "under Miri seats are smaller")]
fn a_seat_takes_the_bytes_that_its_documentation_says() {
    assert_eq!(size_of::<Seat<()>>(), 1536);
}

#[test]
fn a_queue_can_be_a_static_of_zeroes() {
    const CAPACITY: usize = if cfg!(miri) { 256 } else { 1_048_576 };
    static QUEUE: PriorityQueue<u64, CAPACITY, 2> = PriorityQueue::new();
    let items = 0..CAPACITY as u64;
    for item in items.clone() {
        QUEUE.enqueue(item as i32 % 3, item).unwrap();
    }
    assert_eq!((QUEUE.enqueue(0, 1), QUEUE.size()), (Err(1), CAPACITY));
    assert_eq!(QUEUE.peek_priority(), Some(2));
    let drained: Vec<u64> = QUEUE.drain().collect();
    let expected =
        [2, 1, 0].into_iter().flat_map(|rest| items.clone().filter(move |i| i % 3 == rest));
    assert!(drained.into_iter().eq(expected));
    assert!(QUEUE.is_empty());
}

#[test]
#[cfg(feature = "alloc")]
fn a_queue_can_be_a_box_of_zeroes() {
    use crate::queue::BoxedPriorityQueue;

    const CAPACITY: usize = 64;
    let queue: BoxedPriorityQueue<Vec<usize>> =
        BoxedPriorityQueue::with_capacity(CAPACITY, 3).unwrap();
    for round in 0..3 {
        for item in 0..CAPACITY {
            // Half of them in one line, half in the heap.
            let deadline = Instant::from_nanos(if item % 2 == 0 { u64::MAX } else { item as u64 });
            queue.enqueue_with_deadline(item as i32 % 3, deadline, std::vec![item; round]).unwrap();
        }
        assert_eq!((queue.enqueue(0, Vec::new()), queue.size()), (Err(Vec::new()), CAPACITY));
        assert_eq!(queue.peek(), Some(std::vec![5; round]));
        assert_eq!(queue.drain().count(), CAPACITY);
    }
    queue.enqueue(0, std::vec![1]).unwrap(); // to be dropped with the queue
    let error = |capacity, seats| {
        BoxedPriorityQueue::<[u8; 1 << 20]>::with_capacity(capacity, seats).map(drop)
    };
    assert_eq!(error(0, 1), Err(StorageError::NoCapacity));
    assert_eq!(error(1, 0), Err(StorageError::NoSeats));
    assert_eq!(error(usize::MAX, 1), Err(StorageError::TooLarge));
    assert_eq!(error(1, usize::MAX), Err(StorageError::TooLarge));
}

#[test]
#[cfg_attr(miri, ignore = "two million slots take Miri too long")]
fn storage_that_cannot_be_is_refused_by_name() {
    let try_with = |slots: usize, nodes: usize, seats: usize| {
        let mut slots: Vec<Slot<u8>> = (0..slots).map(|_| Slot::new()).collect();
        let mut nodes: Vec<Node> = (0..nodes).map(|_| Node::new()).collect();
        let mut seats: Vec<Seat<u8>> = (0..seats).map(|_| Seat::new()).collect();
        BorrowedPriorityQueue::borrowing(&mut slots, &mut nodes, &mut seats).map(drop)
    };
    assert_eq!(try_with(0, 0, 1), Err(StorageError::NoCapacity));
    assert_eq!(try_with(1, 1, 0), Err(StorageError::NoSeats));
    assert_eq!(try_with(2, 1, 1), Err(StorageError::NodesDiffer));
    assert_eq!(try_with(2_097_151 - 42, 2_097_151 - 42, 1), Err(StorageError::TooLarge));
    assert_eq!(try_with(2_097_150 - 42, 2_097_150 - 42, 1), Ok(()));
    assert_eq!(try_with(1, 1, 49_932), Err(StorageError::TooLarge));
    assert_eq!(try_with(1, 1, 1), Ok(()));
}

#[test]
fn a_queue_of_what_can_be_sent_can_be_shared() {
    fn can_be_shared<T: Send + Sync>(_: &T) {}
    let queue: PriorityQueue<std::cell::Cell<u32>, 2, 2> = PriorityQueue::new();
    can_be_shared(&queue);
    can_be_shared(&queue.drain());
}

#[test]
fn both_ends_of_the_priorities_are_priorities() {
    let queue: PriorityQueue<i32, 16, 1> = PriorityQueue::new();
    let ends = [i32::MAX, i32::MAX - 1, 1, 0, -1, i32::MIN + 1, i32::MIN];
    for priority in ends.into_iter().rev().chain([i32::MIN, i32::MAX]) {
        queue.enqueue(priority, priority).unwrap();
    }
    let drained: Vec<i32> = queue.drain().collect();
    assert_eq!(drained[..2], [i32::MAX; 2]);
    assert_eq!(drained[2..7], ends[1..6]);
    assert_eq!(drained[7..], [i32::MIN; 2]);
}

#[test]
fn the_latest_deadline_is_none() {
    let queue: PriorityQueue<u8, 8, 1> = PriorityQueue::new();
    queue.enqueue(0, 1).unwrap();
    queue.enqueue_with_deadline(0, Instant::MAX, 2).unwrap();
    queue.enqueue(0, 3).unwrap();
    queue.enqueue_with_deadline(0, Instant::from_nanos(u64::MAX - 1), 4).unwrap();
    queue.enqueue_with_deadline(0, Instant::ZERO, 5).unwrap();
    assert_eq!(queue.drain().collect::<Vec<_>>(), [5, 4, 1, 2, 3]);
}

#[test]
fn drained_items_take_room_until_the_drain_is_dropped() {
    let queue: PriorityQueue<u8, 2, 1> = PriorityQueue::new();
    queue.enqueue(0, 1).unwrap();
    queue.enqueue(0, 2).unwrap();
    let mut drain = queue.drain();
    assert_eq!((queue.size(), queue.dequeue(), queue.enqueue(0, 3)), (0, None, Err(3)));
    assert_eq!((drain.next(), drain.len()), (Some(1), 1));
    assert_eq!(queue.enqueue(0, 3), Err(3), "one step gives all the room back, not each item");
    drop(drain);
    assert_eq!((queue.enqueue(0, 3), queue.enqueue(0, 4)), (Ok(()), Ok(())));
    assert_eq!(queue.drain().collect::<Vec<_>>(), [3, 4]);
}
