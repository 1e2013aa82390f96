//! The line against a plain list of who waits.

use super::*;
use proptest::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Where requests may go: places as bits.
type Line = Waiting<u8>;

/// What it is told now, if it is.
fn told(waiter: &Waiter<'_, u8>) -> Option<Told> {
    match pin!(waiter.told()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(told) => Some(told),
        Poll::Pending => None,
    }
}

fn room(waiter: &Waiter<'_, u8>) -> Option<Room> {
    told(waiter).map(|told| match told {
        Told::Room(room) => room,
        Told::Displaced => panic!("displaced"),
    })
}

fn at(place: u8) -> impl FnMut(&u8) -> bool {
    move |places| places >> place & 1 == 1
}

#[test]
fn who_waits_goes_by_priority_and_then_by_arrival() {
    let line = Line::new(10);
    let [low, high, second, other] = [(0, 1), (5, 1), (5, 1), (7, 2)]
        .map(|(priority, to)| line.join(priority, u64::from(to), to).unwrap());
    assert_eq!(line.count(), 4);
    line.room(at(0));
    assert!(room(&high).is_some() && room(&second).is_none() && room(&other).is_none());
    drop(high);
    line.room(at(0));
    line.room(at(0));
    assert!(room(&second).is_some() && room(&low).is_some() && room(&other).is_none());
    line.room(at(1));
    assert!(room(&other).is_some());
}

#[test]
fn a_newcomer_goes_behind_those_of_its_class_that_matter_as_much() {
    let line = Line::new(10);
    assert!(!line.is_behind(0, 1), "nobody waits");
    let waiter = line.join(3, 1, 1).unwrap();
    assert!(line.is_behind(3, 1) && line.is_behind(0, 1));
    assert!(!line.is_behind(4, 1), "it matters more");
    assert!(!line.is_behind(0, 2), "it may go elsewhere");
    drop(waiter);
    assert!(!line.is_behind(0, 1));
}

#[test]
fn room_that_one_cannot_take_goes_to_the_next_of_another_class() {
    let line = Line::new(10);
    let [first, same, other] =
        [(2, 1), (2, 1), (1, 2)].map(|(priority, class)| line.join(priority, class, 1).unwrap());
    line.room(at(0));
    let given = room(&first).unwrap();
    first.pass_on(given);
    assert_eq!(room(&same), None, "where the first cannot go, it cannot");
    let given = room(&other).unwrap();
    other.pass_on(given);
    assert!([&first, &same, &other].map(room).iter().all(Option::is_none), "each tries once");
}

#[test]
fn a_newcomer_does_not_take_the_room_that_another_was_told_of() {
    let line = Line::new(10);
    let waiter = line.join(3, 1, 1).unwrap();
    line.room(at(0));
    assert!(line.is_behind(3, 2) && !line.is_behind(4, 2));
    let newcomer = line.join(0, 2, 1).unwrap();
    assert!(!newcomer.is_first());
    assert!(room(&waiter).is_some());
    assert!(newcomer.is_first(), "that one has tried");
}

#[test]
fn whoever_finds_room_tells_the_next_of_its_class_as_there_may_be_more() {
    let line = Line::new(10);
    let [first, other, second, third] = [1, 2, 1, 1].map(|class| line.join(0, class, 1).unwrap());
    first.go();
    assert!(room(&other).is_none() && room(&third).is_none());
    let more = room(&second).unwrap();
    second.pass_on(more);
    assert!(
        room(&other).is_none() && room(&third).is_none(),
        "there was none, and nobody else is asked"
    );
}

#[test]
fn one_room_is_tried_by_so_many_classes_and_no_more() {
    let line = Line::new(usize::MAX);
    let waiters: Vec<_> = (0..1_000).map(|class| line.join(0, class, 1).unwrap()).collect();
    line.room(at(0));
    let mut tries = 0;
    while let Some((waiter, room)) = waiters.iter().find_map(|waiter| Some((waiter, room(waiter)?)))
    {
        tries += 1;
        waiter.pass_on(room);
    }
    assert_eq!(tries, MOST_TRIES);
}

#[test]
fn whoever_may_not_go_there_uses_up_no_try() {
    let line = Line::new(usize::MAX);
    let others: Vec<_> = (0..1_000).map(|class| line.join(7, class, 0b10).unwrap()).collect();
    let waiter = line.join(0, 1_000, 0b01).unwrap();
    line.room(at(0));
    assert!(others.iter().all(|other| room(other).is_none()));
    let given = room(&waiter).unwrap();
    waiter.pass_on(given);
    assert!(others.iter().all(|other| room(other).is_none()), "nor is anybody asked afterwards");
}

#[test]
fn room_of_one_that_gives_up_is_not_lost() {
    let line = Line::new(10);
    let [first, second] = [0, 0].map(|priority| line.join(priority, 1, 1).unwrap());
    line.room(at(0));
    drop(first);
    assert!(room(&second).is_some());
}

#[test]
fn a_full_line_displaces_the_last_of_a_lower_priority_and_nobody_else() {
    let line = Line::new(3);
    let [low, later, high] = [1, 1, 4].map(|priority| line.join(priority, 1, 1).unwrap());
    assert_eq!(line.join(1, 1, 1).err(), Some(LineFull), "the last one of its priority stays out");
    line.room(|_| true);
    let more = line.join(2, 1, 1).unwrap();
    assert_eq!(told(&later), Some(Told::Displaced));
    assert_eq!(told(&later), Some(Told::Displaced), "for ever");
    let most = line.join(4, 1, 1).unwrap();
    assert_eq!(told(&low), Some(Told::Displaced));
    assert!(room(&high).is_some() && told(&more).is_none() && told(&most).is_none());
    let third = line.join(3, 1, 1).unwrap();
    assert_eq!(told(&more), Some(Told::Displaced));
    assert_eq!(line.join(3, 1, 1).err(), Some(LineFull), "nobody else matters less");
    drop((low, later, more, third));
    assert_eq!(line.count(), 2);
}

#[test]
fn after_a_great_change_everyone_may_try() {
    let line = Line::new(10);
    let waiters = [0, 3, 7].map(|priority| line.join(priority, 1, 1).unwrap());
    line.tell_all();
    assert!(waiters.iter().all(|waiter| room(waiter).is_some()));
}

/// One step of many.
#[derive(Clone, Debug)]
enum Step {
    Joins { priority: u8, to: u8 },
    Leaves(usize),
    Room(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 1..8_u8).prop_map(|(priority, to)| Step::Joins { priority, to }),
        any::<usize>().prop_map(Step::Leaves),
        (0..3_u8).prop_map(Step::Room),
    ]
}

proptest! {
    /// The model: a list in order. Room at a place goes to the first that may go there; who is told takes
    /// it and leaves.
    #[test]
    fn room_goes_to_the_first_that_may_go_there(steps in proptest::collection::vec(step(), 1..100)) {
        let line = Line::new(usize::MAX);
        let mut model: Vec<(u8, u64, u8, Waiter<'_, u8>)> = Vec::new();
        for (number, step) in (0_u64..).zip(steps) {
            match step {
                Step::Joins { priority, to } => {
                    let behind = model.iter().any(|one| one.0 >= priority && one.2 == to);
                    prop_assert_eq!(line.is_behind(priority, to.into()), behind);
                    let waiter = line.join(priority, to.into(), to).unwrap();
                    model.push((priority, number, to, waiter));
                    model.sort_by_key(|one| (Reverse(one.0), one.1));
                }
                Step::Leaves(which) if !model.is_empty() => {
                    let which = which % model.len();
                    model.remove(which);
                }
                Step::Leaves(_) => {}
                Step::Room(place) => {
                    line.room(at(place));
                    let first = model.iter().position(|one| one.2 >> place & 1 == 1);
                    for (index, one) in model.iter().enumerate() {
                        prop_assert_eq!(room(&one.3).is_some(), Some(index) == first);
                    }
                    if let Some(first) = first {
                        model.remove(first);
                    }
                }
            }
            prop_assert_eq!(line.count(), model.len());
        }
    }
}

#[test]
fn many_threads_at_few_places_all_get_their_turn() {
    // Two places for requests of eight threads: whoever finds none free waits, whoever leaves tells.
    let (line, free) = (Waiting::new(usize::MAX), AtomicUsize::new(2));
    let try_take = || {
        free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1)).is_ok()
    };
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let (line, free, served) = (&line, &free, &served);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for _ in 0..2_000 {
                    runtime.block_on(async {
                        let waiter = line.join(thread % 3, 0, ()).unwrap();
                        // Whoever left before the line was joined told nobody here.
                        while !try_take() {
                            match waiter.told().await {
                                Told::Room(_) => {}
                                Told::Displaced => panic!("the line has no end"),
                            }
                        }
                    });
                    served.fetch_add(1, Ordering::Relaxed);
                    free.fetch_add(1, Ordering::AcqRel);
                    line.room(|()| true);
                }
            });
        }
    });
    assert_eq!((served.into_inner(), line.count()), (16_000, 0));
}
