use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

fn item(id: impl ToString, priority: i32) -> QueueItem {
    QueueItem { id: id.to_string(), priority }
}

/// The sequential model: a list that is sorted whenever something is added.
#[derive(Default)]
struct Model {
    limit: usize,
    items: Vec<(QueueItem, u64)>,
}

impl Model {
    fn enqueue(&mut self, item: QueueItem, deadline: u64) -> bool {
        let room = self.items.len() < self.limit;
        if room {
            self.items.push((item, deadline));
            self.items.sort_by_key(|(item, deadline)| (Reverse(item.priority), *deadline));
        }
        room
    }

    fn dequeue(&mut self) -> Option<QueueItem> {
        (!self.items.is_empty()).then(|| self.items.remove(0).0)
    }

    fn drain(&mut self) -> Vec<QueueItem> {
        std::mem::take(&mut self.items).into_iter().map(|(item, _)| item).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(i32),
    EnqueueBy(i32, u64),
    BatchEnqueue(Vec<i32>),
    Dequeue,
    Peek,
    Size,
    Drain,
    Clear,
}

fn priority() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -2..3, 2 => -20..20, 1 => any::<i32>(), 1 => Just(i32::MIN), 1 => Just(i32::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let deadline = prop_oneof![4 => 0..5_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    prop_oneof![
        8 => priority().prop_map(Step::Enqueue),
        4 => (priority(), deadline).prop_map(|(priority, by)| Step::EnqueueBy(priority, by)),
        1 => prop::collection::vec(priority(), 0..6).prop_map(Step::BatchEnqueue),
        8 => Just(Step::Dequeue),
        2 => Just(Step::Peek),
        2 => Just(Step::Size),
        1 => Just(Step::Drain),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn every_answer_is_that_of_a_sorted_list(
        limit in 0..24_usize,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let queue = PriorityQueue::new(limit);
        let mut model = Model { limit, ..Model::default() };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Enqueue(priority) => {
                    let item = item(number, priority);
                    prop_assert_eq!(queue.enqueue(item.clone()), model.enqueue(item, u64::MAX));
                }
                Step::EnqueueBy(priority, by) => {
                    let item = item(number, priority);
                    prop_assert_eq!(queue.enqueue_by(item.clone(), by), model.enqueue(item, by));
                }
                Step::BatchEnqueue(priorities) => {
                    let items: Vec<_> = priorities.into_iter().map(|p| item(number, p)).collect();
                    let accepted = items.iter().filter(|&item| model.enqueue(item.clone(), u64::MAX));
                    let accepted = accepted.count();
                    prop_assert_eq!(batch_enqueue(&queue, items), accepted);
                }
                Step::Dequeue => prop_assert_eq!(queue.dequeue(), model.dequeue()),
                Step::Peek => {
                    let first = model.items.first().map(|(item, _)| item.clone());
                    prop_assert_eq!(queue.peek(), first);
                }
                Step::Size => prop_assert_eq!(queue.size(), model.items.len()),
                Step::Drain => prop_assert_eq!(queue.drain(), model.drain()),
                Step::Clear => {
                    queue.clear();
                    model.items.clear();
                }
            }
        }
        prop_assert_eq!(queue.drain(), model.drain());
    }

    #[test]
    fn a_boost_adds_to_the_priority_and_never_wraps(priority: i32, boost: i32) {
        let sum = i64::from(priority) + i64::from(boost);
        let expected = sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        prop_assert_eq!(priority_boost(&item("a", priority), boost), item("a", expected));
    }
}

#[test]
fn an_item_is_an_id_and_a_priority_that_can_be_cloned_compared_and_printed() {
    let item = QueueItem { id: "a".to_string(), priority: 5 };
    assert_eq!(item.clone(), item);
    assert_ne!(QueueItem { priority: 6, ..item.clone() }, item);
    assert_eq!(format!("{item:?}"), r#"QueueItem { id: "a", priority: 5 }"#);
    fn is_eq<T: Eq>(_: &T) {}
    is_eq(&item);
}

#[test]
fn the_queue_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<PriorityQueue>();
    is_shared::<QueueItem>();
}

#[test]
fn at_the_hard_limit_enqueue_answers_false_and_stores_nothing() {
    let queue = PriorityQueue::new(2);
    assert!(queue.enqueue(item("a", 1)));
    assert!(queue.enqueue(item("b", 2)));
    assert!(!queue.enqueue(item("c", 3)));
    assert_eq!(queue.size(), 2);
    assert_eq!(queue.drain(), [item("b", 2), item("a", 1)]);
    assert!(queue.enqueue(item("d", 0)));
}

#[test]
fn dequeue_takes_the_highest_priority_first() {
    let queue = PriorityQueue::new(8);
    for priority in [3, i32::MIN, 9, 0, i32::MAX, -4] {
        assert!(queue.enqueue(item("x", priority)));
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.dequeue()).map(|item| item.priority).collect();
    assert_eq!(order, [i32::MAX, 9, 3, 0, -4, i32::MIN]);
    assert_eq!(queue.dequeue(), None);
}

#[test]
fn equals_leave_in_the_order_in_which_they_came() {
    let queue = PriorityQueue::new(8);
    for id in ["first", "second", "third"] {
        queue.enqueue(item(id, 7));
        queue.enqueue(item(id, 1));
    }
    let order: Vec<_> = queue.drain().into_iter().map(|item| item.id).collect();
    assert_eq!(order, ["first", "second", "third", "first", "second", "third"]);
}

#[test]
fn peek_shows_what_dequeue_returns_and_takes_nothing() {
    let queue = PriorityQueue::new(4);
    assert_eq!(queue.peek(), None);
    queue.enqueue(item("low", 1));
    queue.enqueue(item("high", 2));
    assert_eq!(queue.peek(), Some(item("high", 2)));
    assert_eq!(queue.size(), 2);
    assert_eq!(queue.dequeue(), Some(item("high", 2)));
}

#[test]
fn size_counts_what_is_held() {
    let queue = PriorityQueue::new(4);
    assert_eq!(queue.size(), 0);
    queue.enqueue(item("a", 1));
    queue.enqueue(item("b", 1));
    assert_eq!(queue.size(), 2);
    queue.dequeue();
    assert_eq!(queue.size(), 1);
}

#[test]
fn drain_returns_everything_in_dequeue_order_and_leaves_the_queue_empty() {
    let queue = PriorityQueue::new(4);
    assert_eq!(queue.drain(), []);
    for (id, priority) in [("a", 1), ("b", 3), ("c", 3), ("d", 2)] {
        queue.enqueue(item(id, priority));
    }
    assert_eq!(queue.drain(), [item("b", 3), item("c", 3), item("d", 2), item("a", 1)]);
    assert_eq!((queue.size(), queue.peek()), (0, None));
    assert!((0..4).all(|id| queue.enqueue(item(id, 0))), "all the room is back");
}

#[test]
fn clear_drops_everything_and_gives_the_room_back() {
    let queue = PriorityQueue::new(2);
    for round in 0..3 {
        assert!(queue.enqueue(item("a", round)));
        assert!(queue.enqueue(item("b", round)));
        queue.clear();
        assert_eq!((queue.size(), queue.dequeue()), (0, None));
    }
}

#[test]
fn batch_enqueue_counts_what_was_accepted() {
    let queue = PriorityQueue::new(3);
    assert_eq!(batch_enqueue(&queue, Vec::new()), 0);
    assert_eq!(batch_enqueue(&queue, vec![item("a", 1), item("b", 2)]), 2);
    assert_eq!(batch_enqueue(&queue, vec![item("c", 9), item("d", 9)]), 1);
    assert_eq!(queue.drain(), [item("c", 9), item("b", 2), item("a", 1)]);
}

#[test]
fn a_boost_may_be_negative_and_leaves_the_original_alone() {
    let original = item("a", 5);
    assert_eq!(priority_boost(&original, 3), item("a", 8));
    assert_eq!(priority_boost(&original, -8), item("a", -3));
    assert_eq!(original, item("a", 5));
}

#[test]
fn a_limit_of_0_holds_nothing() {
    let queue = PriorityQueue::new(0);
    assert!(!queue.enqueue(item("a", 1)));
    assert!(!queue.enqueue_by(item("a", 1), 0));
    assert_eq!((queue.hard_limit(), queue.size(), queue.peek()), (0, 0, None));
    assert_eq!((queue.dequeue(), queue.drain()), (None, vec![]));
    queue.clear();
}

#[test]
fn any_limit_above_the_largest_counts_as_the_largest() {
    assert_eq!(PriorityQueue::new(MAX_HARD_LIMIT - 1).hard_limit(), 1_048_575);
    assert_eq!(PriorityQueue::new(MAX_HARD_LIMIT + 1).hard_limit(), 1_048_576);
    let queue = PriorityQueue::new(usize::MAX);
    assert_eq!(queue.hard_limit(), 1_048_576);
    assert!(queue.enqueue(item("a", 1)));
    assert_eq!(queue.drain(), [item("a", 1)]);
}

#[test]
fn the_largest_queue_can_be_built_for_any_number_of_processors() {
    assert_eq!((seats(0), seats(1), seats(16)), (64, 64, 64));
    assert_eq!((seats(17), seats(128)), (68, 512));
    for processors in [4_096, usize::MAX] {
        assert_eq!(seats(processors), 16_384);
    }
    assert!(BoxedPriorityQueue::<()>::with_capacity(MAX_HARD_LIMIT, MAX_SEATS).is_ok());
}

#[test]
fn memory_is_what_the_documentation_says() {
    use tensorforge_core::queue::{Node, Seat, Slot};
    assert_eq!(size_of::<Slot<QueueItem>>() + size_of::<Node>(), 64);
    assert!((1_500..2_500).contains(&size_of::<Seat<QueueItem>>()));
}

#[test]
fn among_equals_the_earliest_deadline_goes_first_and_none_last() {
    let queue = PriorityQueue::new(8);
    queue.enqueue(item("none", 1));
    queue.enqueue_by(item("never", 1), u64::MAX);
    queue.enqueue_by(item("late", 1), u64::MAX - 1);
    queue.enqueue_by(item("early", 1), 0);
    queue.enqueue_by(item("early too", 1), 0);
    queue.enqueue_by(item("urgent", 2), 500);
    let order: Vec<_> = queue.drain().into_iter().map(|item| item.id).collect();
    assert_eq!(order, ["urgent", "early", "early too", "late", "none", "never"]);
}

const THREADS: usize = 4;
const EACH: usize = if cfg!(miri) { 20 } else { 2_000 };

/// Runs `work` on several threads that start together, each with its number.
fn together<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    // Awake when the last one comes: a barrier of the system would wake them one after the other.
    let ready = AtomicUsize::new(0);
    let run = |number| {
        ready.fetch_add(1, Ordering::Relaxed);
        while ready.load(Ordering::Relaxed) < threads {
            std::thread::yield_now();
        }
        work(number)
    };
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn each_item_leaves_exactly_once_by_whatever_way() {
    let queue = PriorityQueue::new(THREADS * EACH);
    let producing = AtomicUsize::new(THREADS);
    let left = together(2 * THREADS, |number| {
        let mut taken = Vec::new();
        if number < THREADS {
            for n in 0..EACH {
                let enqueued = item(format!("{number}/{n}"), (n % 11) as i32);
                let deadline = if n % 3 == 0 { (n % 7) as u64 } else { u64::MAX };
                queue.enqueue_by(enqueued, deadline); // one refused would be missed below
            }
            producing.fetch_sub(1, Ordering::Release);
            return taken;
        }
        loop {
            let finished = producing.load(Ordering::Acquire) == 0;
            match number % 3 {
                0 => taken.extend(queue.drain()),
                1 => taken.extend(queue.peek().and_then(|_| queue.dequeue())),
                _ => taken.extend(queue.dequeue()),
            }
            if finished && queue.size() == 0 {
                return taken;
            }
        }
    });
    let left: Vec<_> = left.into_iter().flatten().map(|item| item.id).collect();
    assert_eq!(left.len(), THREADS * EACH);
    assert_eq!(left.into_iter().collect::<HashSet<_>>().len(), THREADS * EACH);
}

#[test]
fn one_thread_s_equals_stay_in_order_beside_other_threads() {
    let queue = PriorityQueue::new(THREADS * EACH);
    together(THREADS, |number| {
        (0..EACH).for_each(|n| assert!(queue.enqueue(item(format!("{number}/{n}"), 0))));
    });
    let mut next = [0; THREADS];
    for QueueItem { id, .. } in queue.drain() {
        let (thread, n) = id.split_once('/').unwrap();
        let expected = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(n.parse(), Ok(*expected));
        *expected += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
}

#[test]
fn threads_together_are_held_to_the_limit() {
    let limit = THREADS * EACH / 2;
    let queue = PriorityQueue::new(limit);
    let accepted = together(THREADS, |n| (0..EACH).filter(|_| queue.enqueue(item(n, 0))).count());
    assert_eq!(accepted.into_iter().sum::<usize>(), limit);
    assert_eq!(queue.drain().len(), limit);
}

#[test]
fn more_threads_than_seats_get_through() {
    let queue = PriorityQueue::new(8);
    let threads = if cfg!(miri) { 8 } else { 2 * MIN_SEATS };
    together(threads, |n| {
        for _ in 0..EACH / 100 {
            queue.enqueue(item(n, n as i32));
            let _ = queue.peek();
            queue.dequeue();
        }
    });
    queue.clear();
    assert!((0..8).all(|n| queue.enqueue(item(n, 0))), "no room was lost");
}

#[test]
fn a_drain_is_one_moment() {
    const WAITING: i32 = if cfg!(miri) { 50 } else { 1_000 };
    const COMING: i32 = WAITING / 5;
    for round in 0..if cfg!(miri) { 2 } else { 50 } {
        let queue = PriorityQueue::new((WAITING + COMING) as usize);
        assert!((-WAITING..0).all(|priority| queue.enqueue(item("", priority))));
        // Each item that comes goes before all that are there. Were they taken one by one, it would
        // turn up behind some that it should precede.
        let taken = together(2, |number| match number {
            0 => queue.drain(),
            _ => {
                // Half of the times as soon as the drain is seen to have begun.
                while round % 2 == 0 && queue.size() == WAITING as usize {
                    std::thread::yield_now();
                }
                assert!((0..COMING).all(|priority| queue.enqueue(item("", priority))));
                Vec::new()
            }
        });
        let (first, rest) = (&taken[0], queue.drain());
        let came = first.len() as i32 - WAITING;
        assert!(first.iter().map(|item| item.priority).eq((-WAITING..came).rev()));
        assert!(rest.iter().map(|item| item.priority).eq((came..COMING).rev()));
    }
}
