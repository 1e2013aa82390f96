//! What was taken out of a queue in one step, until its room is given back.

use super::Queue;
use super::leftist::{self, Memory};
use super::order;
use super::seat::{NODES, Seated};
use super::snapshot::Snapshot;
use super::storage::{Node, Storage};
use super::word::{Age, Link, NONE};
use crate::sync::{Ordering, fence};

/// The items that [`Queue::drain`] took out, in the order of the queue.
///
/// They have left the queue, all at one moment; nobody else can reach them. But they still lie in
/// its slots: until this is dropped, the queue has that much less room. Dropping it drops the items
/// that were not taken, each exactly once even if one of them panics, and gives all the room back in
/// one step. If it is leaked, so are the items and their room.
pub struct Drain<'q, T, S: Storage<T>> {
    queue: &'q Queue<T, S>,
    /// The detached state, which only this changes.
    state: Snapshot,
    slots: Chain,
    nodes: Chain,
}

/// A piece of a free list.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

const NOTHING: Chain = Chain { first: NONE, last: NONE };

impl<'q, T, S: Storage<T>> Drain<'q, T, S> {
    /// `state` was just replaced by an empty one.
    pub(super) fn new(queue: &'q Queue<T, S>, state: Snapshot) -> Self {
        // Who sees what is written into nodes and links from here on, also sees that the root has
        // moved on. Pairs with the fence in `Queue::is_current`.
        fence(Ordering::Release);
        Self { queue, state, slots: NOTHING, nodes: NOTHING }
    }

    /// Removes the first item from the detached state and returns its slot.
    fn unlink_first(&mut self) -> Option<u32> {
        let level = self.state.highest_level();
        if !order::heap_is_first(&self.state, level) {
            return order::leave_front(&mut self.state, self.queue, level?);
        }
        let root = self.state.heap();
        let run = leftist::run_of(self.queue.node(root)?);
        let following = self.queue.slot(run.head)?.link().next();
        if following != NONE {
            leftist::advance(&mut InPlace::new(self.queue), root, following)?;
            return Some(run.head);
        }
        let rest = leftist::remove_first(&mut InPlace::new(self.queue), root)?;
        self.state.set_heap(rest);
        if rest != NONE {
            let priority = leftist::run_of(self.queue.node(rest)?).priority;
            self.state.set_heap_priority(priority);
        }
        self.queue.node(root)?.set_next_free(root, self.nodes.first);
        self.nodes.push(root);
        Some(run.head)
    }

    fn push_slot(&mut self, slot: u32) {
        if let Some(cell) = self.queue.slot(slot) {
            // The tag of an item that was not enqueued yet: of no use of this slot so far.
            cell.set_link(Link::free(self.state.sequence(), slot, self.slots.first));
            self.slots.push(slot);
        }
    }

    /// Gives the room back, in one step.
    fn release(&mut self) {
        if self.slots.first == NONE {
            return;
        }
        let mut seated = Seated::claim(&self.queue.storage);
        let mut backoff = self.queue.backoff();
        while self.try_release(&mut seated).is_none() {
            backoff.lost();
        }
        (self.slots, self.nodes) = (NOTHING, NOTHING);
    }

    fn try_release(&self, seated: &mut Seated<'q, T>) -> Option<()> {
        let queue = self.queue;
        let (root, mut next) = queue.settled_draft(seated)?;
        let free = next.free_slot(queue.capacity);
        let last = self.slots.last;
        queue.slot(last)?.set_link(Link::free(self.state.sequence(), last, free));
        next.set_size_and_free_slot(next.size(), self.slots.first, queue.capacity);
        if self.nodes.first != NONE {
            let free = next.free_node(queue.capacity);
            queue.node(self.nodes.last)?.set_next_free(self.nodes.last, free);
            next.set_free_node(self.nodes.first, queue.capacity);
        }
        queue.publish(root, seated).then_some(())
    }
}

impl Chain {
    fn push(&mut self, id: u32) {
        if self.first == NONE {
            self.last = id;
        }
        self.first = id;
    }
}

impl<T, S: Storage<T>> Iterator for Drain<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        /// Keeps the slot, also when cloning the item for a reader panics.
        struct Kept<'d, 'q, T, S: Storage<T>> {
            drain: &'d mut Drain<'q, T, S>,
            owned: u32,
        }
        impl<T, S: Storage<T>> Drop for Kept<'_, '_, T, S> {
            fn drop(&mut self) {
                self.drain.push_slot(self.owned);
            }
        }

        if self.state.size() == 0 {
            return None;
        }
        self.state.set_size(self.state.size() - 1);
        let slot = self.unlink_first()?;
        let queue = self.queue;
        let mut kept = Kept { drain: self, owned: slot };
        queue.take(slot, &mut kept.owned)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let size = self.state.size() as usize;
        (size, Some(size))
    }
}

impl<T, S: Storage<T>> ExactSizeIterator for Drain<'_, T, S> {}

impl<T, S: Storage<T>> core::iter::FusedIterator for Drain<'_, T, S> {}

impl<T, S: Storage<T>> Drop for Drain<'_, T, S> {
    fn drop(&mut self) {
        /// Goes on where a panicking item stopped.
        struct Rest<'d, 'q, T, S: Storage<T>>(&'d mut Drain<'q, T, S>);
        impl<T, S: Storage<T>> Drop for Rest<'_, '_, T, S> {
            fn drop(&mut self) {
                self.0.by_ref().for_each(drop);
                self.0.release();
            }
        }

        let rest = Rest(self);
        rest.0.by_ref().for_each(drop);
    }
}

impl<T, S: Storage<T>> core::fmt::Debug for Drain<'_, T, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Drain").field("left", &self.len()).finish_non_exhaustive()
    }
}

/// The heap of a detached state: nobody else can see it, so its nodes change in place.
struct InPlace<'q, T, S: Storage<T>> {
    queue: &'q Queue<T, S>,
    path: [u32; NODES],
    length: usize,
}

impl<'q, T, S: Storage<T>> InPlace<'q, T, S> {
    fn new(queue: &'q Queue<T, S>) -> Self {
        Self { queue, path: [NONE; NODES], length: 0 }
    }
}

impl<T, S: Storage<T>> Memory for InPlace<'_, T, S> {
    fn node(&self, id: u32) -> Option<&Node> {
        self.queue.node(id)
    }

    fn age(&self, slot: u32) -> Option<Age> {
        Some(self.queue.slot(slot)?.link().age())
    }

    fn renew(&mut self, old: u32) -> Option<u32> {
        *self.path.get_mut(self.length)? = old;
        self.length += 1;
        Some(old)
    }

    fn renewed(&self) -> usize {
        self.length
    }

    fn renewal(&self, place: usize) -> Option<(u32, u32)> {
        let node = *self.path.get(place)?;
        Some((node, node))
    }
}
