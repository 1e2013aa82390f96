//! The queue's own histories are linearizable.

use std::boxed::Box;
use std::vec::Vec;

use crate::Instant;
use crate::queue::linearizability::{Subject, histories_wanted, judge, seed_wanted};
use crate::queue::{PriorityQueue, Queue, Storage};

impl<S: Storage<u32> + Send + Sync> Subject for Queue<u32, S> {
    fn enqueue(&self, priority: i32, deadline: Option<u64>, item: u32) -> bool {
        match deadline {
            None => Queue::enqueue(self, priority, item).is_ok(),
            Some(deadline) => {
                let deadline = Instant::from_nanos(deadline);
                Queue::enqueue_with_deadline(self, priority, deadline, item).is_ok()
            }
        }
    }

    fn dequeue(&self) -> Option<u32> {
        Queue::dequeue(self)
    }

    fn peek(&self) -> Option<u32> {
        Queue::peek(self)
    }

    fn size(&self) -> usize {
        Queue::size(self)
    }

    fn drain(&self, detached: &mut dyn FnMut()) -> Vec<u32> {
        let mut drain = Queue::drain(self);
        detached();
        drain.by_ref().collect()
    }

    fn clear(&self) {
        Queue::clear(self);
    }
}

fn queue(capacity: usize) -> Box<dyn Subject> {
    match capacity {
        1 => Box::new(PriorityQueue::<u32, 1, 9>::new()),
        2 => Box::new(PriorityQueue::<u32, 2, 9>::new()),
        3 => Box::new(PriorityQueue::<u32, 3, 9>::new()),
        4 => Box::new(PriorityQueue::<u32, 4, 9>::new()),
        8 => Box::new(PriorityQueue::<u32, 8, 9>::new()),
        24 => Box::new(PriorityQueue::<u32, 24, 9>::new()),
        other => panic!("no history asks for a capacity of {other}"),
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of histories take Miri too long")]
fn every_recorded_history_is_linearizable() {
    let (histories, seed) = (histories_wanted(10_000), seed_wanted(1));
    let verdict = judge(queue, histories, seed).unwrap_or_else(|failure| panic!("{failure:?}"));
    std::println!("{verdict:?}");
    assert_eq!(verdict.histories, histories);
    if histories >= 1_000 {
        // The histories were worth checking.
        assert!(verdict.overlapping * 10 > histories * 9, "{verdict:?}");
        let rare = [
            verdict.refused,
            verdict.found_empty,
            verdict.peeked,
            verdict.sized,
            verdict.drained_items,
            verdict.cleared,
        ];
        assert!(rare.iter().all(|&seen| seen * 2 > histories), "{verdict:?}");
    }
}
