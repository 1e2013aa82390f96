//! What is measured: a bounded queue of `u64`s behind two calls, and the list of those compared.
//!
//! Every measurement is compiled once per subject ([`Visit`]), so none pays for a virtual call.

use crate::{ours, rivals};

pub(crate) trait Subject: Sync {
    /// Whether there was room.
    fn enqueue(&self, priority: i32, item: u64) -> bool;
    fn dequeue(&self) -> Option<u64>;
}

/// A measurement, told its subject's type by [`Kind::build`].
pub(crate) trait Visit {
    type Output;
    fn visit<S: Subject>(self, subject: &S) -> Self::Output;
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Ours,
    StdHeap,
    ParkingLotHeap,
    SkipMap,
    LevelDeques,
}

impl Kind {
    /// Those for any priority.
    pub(crate) const GENERAL: [Self; 4] =
        [Self::Ours, Self::StdHeap, Self::ParkingLotHeap, Self::SkipMap];
    /// Those for eight levels.
    pub(crate) const FEW_LEVELS: [Self; 5] =
        [Self::Ours, Self::StdHeap, Self::ParkingLotHeap, Self::SkipMap, Self::LevelDeques];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => ours::NAME,
            Self::StdHeap => "std Mutex<BinaryHeap>",
            Self::ParkingLotHeap => "parking_lot Mutex<BinaryHeap>",
            Self::SkipMap => "crossbeam SkipMap",
            Self::LevelDeques => "std Mutex<[VecDeque; 8]>",
        }
    }

    /// Makes an empty one for `capacity` items and hands it to `visit`.
    pub(crate) fn build<V: Visit>(self, capacity: usize, visit: V) -> V::Output {
        match self {
            Self::Ours => visit.visit(&ours::new(capacity)),
            Self::StdHeap => visit.visit(&rivals::StdHeap::new(capacity)),
            Self::ParkingLotHeap => visit.visit(&rivals::ParkingLotHeap::new(capacity)),
            Self::SkipMap => visit.visit(&rivals::SkipMapQueue::new(capacity)),
            Self::LevelDeques => visit.visit(&rivals::LevelDeques::new(capacity)),
        }
    }
}

/// A subject that keeps no order or bound would win unfairly: seven items by hand, then over full.
pub(crate) struct KeepsOrder;

impl KeepsOrder {
    pub(crate) const CAPACITY: usize = 8;
}

impl Visit for KeepsOrder {
    type Output = bool;

    fn visit<S: Subject>(self, subject: &S) -> bool {
        for (item, priority) in [1, 7, 1, 0, 7, 3, 1].into_iter().enumerate() {
            if !subject.enqueue(priority, item as u64) {
                return false;
            }
        }
        let ordered = [1, 4, 5, 0, 2, 6, 3].into_iter().all(|item| subject.dequeue() == Some(item));
        let emptied = subject.dequeue().is_none();
        let filled = (0..Self::CAPACITY as u64).all(|item| subject.enqueue(0, item));
        ordered && emptied && filled && !subject.enqueue(7, 99)
    }
}
