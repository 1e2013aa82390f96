//! The places of waiting requests, and the order of their deadlines.

use super::{BatchKey, Queued, Request, Store, Ticket};
use crate::Instant;
use core::marker::PhantomData;

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Room for one waiting request. Its contents are the planner's own.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    pub(crate) payload: Option<T>,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// When its timer fires: first when it becomes urgent, then at its deadline.
    pub(crate) timer: Instant,
    pub(crate) bytes: u64,
    pub(crate) number: u64,
    pub(crate) items: u32,
    pub(crate) group: u32,
    /// Neighbours in the level's order of arrival, or in a piece that is run again.
    pub(crate) older: u32,
    pub(crate) newer: u32,
    /// For the first of a piece: the next piece. In a level: a [hint](Self::hint).
    pub(crate) next_piece: u32,
    /// For the first of a piece: the split that made it.
    pub(crate) pair: u32,
    /// Its place in the heap of timers.
    position: u32,
    /// The entry whose timer stands at this place of the heap: the heap lies across the entries.
    heap: u32,
    pub(crate) priority: u8,
    /// For the first of a piece: its highest priority.
    pub(crate) piece_priority: u8,
    pub(crate) urgent: bool,
    /// It is in a piece that is run again, not in its level.
    pub(crate) in_piece: bool,
    /// It is on its way into a batch, in no list.
    pub(crate) gathered: bool,
    /// For the first of a piece: the other half of its split failed as well.
    pub(crate) other_half_failed: bool,
}

impl<T> Entry<T> {
    pub(crate) const EMPTY: Self = Self {
        payload: None,
        arrived: Instant::ZERO,
        deadline: Instant::MAX,
        timer: Instant::MAX,
        bytes: 0,
        number: 0,
        items: 0,
        group: NONE,
        older: NONE,
        newer: NONE,
        next_piece: NONE,
        pair: NONE,
        position: NONE,
        heap: NONE,
        priority: 0,
        piece_priority: 0,
        urgent: false,
        in_piece: false,
        gathered: false,
        other_half_failed: false,
    };
}

impl<T> Entry<T> {
    /// For a request in a level: the place of one that came a little later, or had come; whatever is
    /// there by now. Good for nothing but [`Arena::touch`].
    pub(crate) const fn hint(&self) -> u32 {
        self.next_piece
    }

    pub(crate) const fn set_hint(&mut self, index: u32) {
        self.next_piece = index;
    }
}

/// Places for requests: taken and given back in O(1), timers in O(log n).
#[derive(Debug)]
pub(crate) struct Arena<T, E> {
    entries: E,
    /// Returned places, linked through `newer`; those from `fresh` on were never used.
    free: u32,
    fresh: u32,
    used: u32,
    timers: u32,
    requests: PhantomData<T>,
}

/// Children of a node in the heap of timers: a wide heap is a shallow one.
const WIDTH: u32 = 4;

impl<T, E> Arena<T, E> {
    pub(crate) const fn new(entries: E) -> Self {
        Self { entries, free: NONE, fresh: 0, used: 0, timers: 0, requests: PhantomData }
    }

    pub(crate) const fn used(&self) -> u32 {
        self.used
    }
}

impl<T, E: Store<Entry<T>>> Arena<T, E> {
    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.entries.as_ref().len()).map_or(NONE - 1, |len| len.min(NONE - 1))
    }

    pub(crate) fn get(&self, index: u32) -> &Entry<T> {
        &self.entries.as_ref()[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.entries.as_mut()[index as usize]
    }

    /// Lets memory bring a place near while other work is done: a prefetch without `unsafe`. Any index
    /// will do.
    #[inline]
    pub(crate) fn touch(&self, index: u32) {
        if let Some(entry) = self.entries.as_ref().get(index as usize) {
            // Both ends of a place, which lies across two cache lines.
            core::hint::black_box(entry.newer);
            core::hint::black_box(entry.payload.is_some());
        }
    }

    /// A place for a request, in no list yet; gives it back when there is none left.
    pub(crate) fn insert(&mut self, group: u32, queued: Queued<T>) -> Result<u32, Queued<T>> {
        let index = if self.free != NONE {
            let index = self.free;
            self.free = self.get(index).newer;
            index
        } else if self.fresh < self.capacity() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return Err(queued);
        };
        self.used += 1;
        let Queued { request, arrived, number } = queued;
        // The heap lies across the entries: its part of the place stays.
        let heap = self.get(index).heap;
        *self.get_mut(index) = Entry {
            payload: Some(request.payload),
            arrived,
            deadline: request.deadline,
            bytes: request.bytes,
            number,
            items: request.items,
            group,
            priority: request.priority,
            heap,
            ..Entry::EMPTY
        };
        Ok(index)
    }

    /// Gives a place back, which must be in no list any more. `None` if it was empty.
    pub(crate) fn remove(&mut self, index: u32, key: BatchKey) -> Option<Queued<T>> {
        self.clear_timer(index);
        let free = self.free;
        let entry = self.get_mut(index);
        let payload = entry.payload.take()?;
        entry.newer = free;
        let queued = Queued {
            request: Request {
                key,
                items: entry.items,
                priority: entry.priority,
                bytes: entry.bytes,
                deadline: entry.deadline,
                payload,
            },
            arrived: entry.arrived,
            number: entry.number,
        };
        self.free = index;
        self.used -= 1;
        Some(queued)
    }

    /// The place of the request under `ticket`, if it still waits there.
    pub(crate) fn find(&self, ticket: Ticket) -> Option<u32> {
        let entry = self.entries.as_ref().get(ticket.index as usize)?;
        let waits = entry.payload.is_some() && !entry.gathered;
        (waits && entry.number == ticket.number).then_some(ticket.index)
    }

    /// The entry whose timer fires first, and when.
    pub(crate) fn first_timer(&self) -> Option<(u32, Instant)> {
        (self.timers > 0).then(|| {
            let index = self.get(0).heap;
            (index, self.get(index).timer)
        })
    }

    /// Sets or moves the timer of an entry.
    pub(crate) fn set_timer(&mut self, index: u32, at: Instant) {
        self.get_mut(index).timer = at;
        if self.get(index).position == NONE {
            let last = self.timers;
            self.timers += 1;
            self.place(last, index);
        }
        let position = self.get(index).position;
        let position = self.sift_up(position);
        self.sift_down(position);
    }

    pub(crate) fn clear_timer(&mut self, index: u32) {
        let position = self.get(index).position;
        if position == NONE {
            return;
        }
        self.get_mut(index).position = NONE;
        self.timers -= 1;
        if position < self.timers {
            let moved = self.get(self.timers).heap;
            self.place(position, moved);
            let position = self.sift_up(position);
            self.sift_down(position);
        }
    }

    fn place(&mut self, position: u32, index: u32) {
        self.get_mut(position).heap = index;
        self.get_mut(index).position = position;
    }

    /// Ties are broken by number, so that the order depends on nothing else.
    fn key(&self, index: u32) -> (Instant, u64) {
        let entry = self.get(index);
        (entry.timer, entry.number)
    }

    fn sift_up(&mut self, mut position: u32) -> u32 {
        let index = self.get(position).heap;
        let key = self.key(index);
        while position > 0 {
            let parent = (position - 1) / WIDTH;
            let above = self.get(parent).heap;
            if self.key(above) <= key {
                break;
            }
            self.place(position, above);
            position = parent;
        }
        self.place(position, index);
        position
    }

    fn sift_down(&mut self, mut position: u32) {
        let index = self.get(position).heap;
        let key = self.key(index);
        loop {
            let first = u64::from(position) * u64::from(WIDTH) + 1;
            let last = (first + u64::from(WIDTH)).min(u64::from(self.timers));
            let children = first..last;
            let smallest =
                children.map(|child| (self.key(self.get(child as u32).heap), child as u32)).min();
            match smallest {
                Some((below, child)) if below < key => {
                    let moved = self.get(child).heap;
                    self.place(position, moved);
                    position = child;
                }
                _ => break,
            }
        }
        self.place(position, index);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;
    use crate::ModelId;
    use proptest::prelude::*;
    use std::vec::Vec;

    const KEY: BatchKey = BatchKey { model: ModelId(0), signature: 0 };

    proptest! {
        #[test]
        fn the_first_timer_is_the_smallest_whatever_comes_goes_and_moves(
            steps in prop::collection::vec((0..4u8, 0..8usize, 0..20u64), 0..200),
        ) {
            let entries: Vec<Entry<u64>> = std::vec![Entry::EMPTY; 8];
            let mut arena = Arena::new(entries);
            let mut model: Vec<(u32, Instant, u64)> = Vec::new();
            let mut number = 0;
            for (what, which, at) in steps {
                let at = Instant::from_nanos(at);
                match what {
                    0 | 1 => {
                        let request = Request::new(KEY, 1, number);
                        let queued = Queued { request, arrived: Instant::ZERO, number };
                        match arena.insert(0, queued) {
                            Ok(index) => {
                                arena.set_timer(index, at);
                                model.push((index, at, number));
                            }
                            Err(_) => prop_assert_eq!(model.len(), 8),
                        }
                        number += 1;
                    }
                    2 if !model.is_empty() => {
                        let (index, _, number) = model.swap_remove(which % model.len());
                        prop_assert_eq!(arena.remove(index, KEY).unwrap().number, number);
                    }
                    3 if !model.is_empty() => {
                        let place = which % model.len();
                        model[place].1 = at;
                        arena.set_timer(model[place].0, at);
                    }
                    _ => {}
                }
                let first = model.iter().min_by_key(|&&(_, at, number)| (at, number));
                prop_assert_eq!(arena.first_timer(), first.map(|&(index, at, _)| (index, at)));
                prop_assert_eq!(arena.used() as usize, model.len());
            }
        }
    }
}
