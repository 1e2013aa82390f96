//! Every item is dropped exactly once, whatever happens to it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::vec::Vec;

use proptest::prelude::*;

use crate::queue::PriorityQueue;

/// Counts the drops of each item by its number; some items panic when dropped.
#[derive(Clone, Default)]
struct Drops(Rc<[Cell<u32>; 8]>);

struct Item {
    number: usize,
    drops: Drops,
    panics: bool,
}

impl Drops {
    fn item(&self, number: usize) -> Item {
        Item { number, drops: self.clone(), panics: false }
    }

    fn counts(&self) -> [u32; 8] {
        std::array::from_fn(|number| self.0[number].get())
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        let count = &self.drops.0[self.number];
        count.set(count.get() + 1);
        if self.panics && !std::thread::panicking() {
            panic!("this item panics when it is dropped");
        }
    }
}

fn fill<const N: usize>(queue: &PriorityQueue<Item, N, 1>, drops: &Drops, panicking: usize) {
    for number in 0..8 {
        let panics = number == panicking;
        let item = Item { number, drops: drops.clone(), panics };
        assert!(queue.enqueue(number as i32 / 3, item).is_ok());
    }
}

#[test]
fn a_queue_dropped_while_full_drops_each_item_once() {
    let drops = Drops::default();
    let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
    fill(&queue, &drops, usize::MAX);
    drop(queue);
    assert_eq!(drops.counts(), [1; 8]);
}

#[test]
fn a_refused_item_comes_back_and_is_dropped_once() {
    let drops = Drops::default();
    let queue: PriorityQueue<Item, 1, 1> = PriorityQueue::new();
    assert!(queue.enqueue(0, drops.item(0)).is_ok());
    let refused = queue.enqueue(0, drops.item(1)).unwrap_err();
    assert_eq!((refused.number, drops.counts()[1]), (1, 0));
    drop(refused);
    drop(queue);
    assert_eq!(drops.counts()[..2], [1, 1]);
}

#[test]
fn an_item_that_panics_on_clear_takes_no_other_with_it() {
    for panicking in 0..8 {
        let drops = Drops::default();
        let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
        fill(&queue, &drops, panicking);
        catch_unwind(AssertUnwindSafe(|| queue.clear())).unwrap_err();
        assert_eq!(drops.counts(), [1; 8]);
        assert!(queue.is_empty());
        fill(&queue, &drops, usize::MAX); // all the room is back
        drop(queue);
        assert_eq!(drops.counts(), [2; 8]);
    }
}

#[test]
fn an_item_that_panics_when_the_queue_is_dropped_takes_no_other_with_it() {
    let drops = Drops::default();
    let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
    fill(&queue, &drops, 4);
    catch_unwind(AssertUnwindSafe(|| drop(queue))).unwrap_err();
    assert_eq!(drops.counts(), [1; 8]);
}

#[test]
fn a_queue_dropped_in_a_panics_unwinding_drops_each_item_once() {
    let drops = Drops::default();
    let held = drops.clone();
    catch_unwind(AssertUnwindSafe(move || {
        let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
        fill(&queue, &held, 3);
        panic!("with the queue on the stack");
    }))
    .unwrap_err();
    assert_eq!(drops.counts(), [1; 8]);
}

#[test]
fn a_leaked_drain_leaks_its_items_and_nothing_else() {
    let drops = Drops::default();
    let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
    fill(&queue, &drops, usize::MAX);
    core::mem::forget(queue.drain());
    assert!(queue.enqueue(0, drops.item(0)).is_err(), "its room is lost");
    drop(queue);
    assert_eq!(drops.counts(), [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_panic_in_clone_leaves_the_queue_as_it_was() {
    #[derive(Debug)]
    struct Stubborn;
    impl Clone for Stubborn {
        fn clone(&self) -> Self {
            panic!("not to be cloned");
        }
    }
    let queue: PriorityQueue<Stubborn, 2, 1> = PriorityQueue::new();
    queue.enqueue(0, Stubborn).unwrap();
    catch_unwind(AssertUnwindSafe(|| queue.peek())).unwrap_err();
    assert_eq!(queue.size(), 1);
    assert!(queue.dequeue().is_some(), "nobody reads it any more, so it is moved, not cloned");
    queue.enqueue(0, Stubborn).unwrap();
    queue.enqueue(0, Stubborn).unwrap();
    assert_eq!(queue.drain().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 9 } else { 256 }))]

    #[test]
    fn a_drain_dropped_half_way_drops_the_rest(taken in 0..=8_usize) {
        let drops = Drops::default();
        let queue: PriorityQueue<Item, 8, 1> = PriorityQueue::new();
        fill(&queue, &drops, usize::MAX);
        let first: Vec<Item> = queue.drain().take(taken).collect();
        let counts = drops.counts();
        for item in &first {
            prop_assert_eq!(counts[item.number], 0);
        }
        prop_assert_eq!(counts.iter().sum::<u32>(), 8 - taken as u32);
        fill(&queue, &Drops::default(), usize::MAX);
        drop(first);
        prop_assert_eq!(drops.counts(), [1; 8]);
    }
}
