//! Many threads at once, as fast as they go: nothing is lost, doubled or reordered, and items are
//! read in place while others take them.

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::vec::Vec;

use crate::queue::PriorityQueue;

const THREADS: u64 = 4;
const EACH: u64 = match () {
    () if cfg!(miri) => 16,
    () if cfg!(debug_assertions) => 5_000,
    () => 200_000,
};

const CAPACITY: usize = if cfg!(miri) { 16 } else { 64 };

/// How many of these are alive.
struct Alive<'a> {
    count: &'a AtomicUsize,
    content: Box<(u64, u64)>,
}

impl<'a> Alive<'a> {
    fn new(count: &'a AtomicUsize, value: u64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, content: Box::new((value, !value)) }
    }

    /// The value, if nobody scribbled over it.
    fn value(&self) -> u64 {
        assert_eq!(self.content.0, !self.content.1);
        self.content.0
    }
}

impl Clone for Alive<'_> {
    fn clone(&self) -> Self {
        Self::new(self.count, self.value())
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.value();
        self.content.1 = self.content.0; // a second drop would notice
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Producers, consumers that dequeue, one that drains, readers: every value arrives once.
fn everything_arrives_once(priorities: u64, readers: usize) {
    let alive = AtomicUsize::new(0);
    let queue: PriorityQueue<Alive<'_>, CAPACITY, 8> = PriorityQueue::new();
    let (taken, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut received: Vec<u64> = thread::scope(|scope| {
        for producer in 0..THREADS {
            let (queue, alive) = (&queue, &alive);
            scope.spawn(move || {
                for number in 0..EACH {
                    let value = number * THREADS + producer;
                    let mut item = Alive::new(alive, value);
                    while let Err(refused) = queue.enqueue((value % priorities) as i32, item) {
                        item = refused;
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..readers {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Some(item) = queue.peek() {
                        assert!(item.value() < EACH * THREADS);
                    }
                    assert!(queue.size() <= CAPACITY);
                }
            });
        }
        let consumers: Vec<_> = (0..3)
            .map(|consumer| {
                let (queue, taken, over) = (&queue, &taken, &over);
                scope.spawn(move || {
                    let mut received = Vec::new();
                    while taken.load(Ordering::Relaxed) < EACH * THREADS {
                        let before = received.len();
                        if consumer == 0 {
                            received.extend(queue.drain().map(|item| item.value()));
                        } else {
                            received.extend(queue.dequeue().map(|item| item.value()));
                        }
                        taken.fetch_add((received.len() - before) as u64, Ordering::Relaxed);
                        if before == received.len() {
                            thread::yield_now();
                        }
                    }
                    over.store(true, Ordering::Relaxed);
                    received
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
    });
    assert_eq!(queue.size(), 0);
    drop(queue);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "items that are still alive");
    received.sort_unstable();
    assert!(received.into_iter().eq(0..EACH * THREADS));
}

#[test]
fn every_item_arrives_once_with_one_priority() {
    everything_arrives_once(1, 0);
}

#[test]
fn every_item_arrives_once_with_five_priorities_beside_readers() {
    everything_arrives_once(5, 2);
}

#[test]
fn every_item_arrives_once_with_more_priorities_than_levels() {
    everything_arrives_once(1_000, 0);
}

#[test]
fn every_item_arrives_once_with_more_priorities_than_levels_beside_readers() {
    everything_arrives_once(1_000, 2);
}

#[test]
fn one_producer_and_one_consumer_see_equals_in_order() {
    let queue: PriorityQueue<u64, 16, 2> = PriorityQueue::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..EACH * 4 {
                while queue.enqueue(7, value).is_err() {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < EACH * 4 {
            match queue.dequeue() {
                Some(value) => {
                    assert_eq!(value, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
    });
}
