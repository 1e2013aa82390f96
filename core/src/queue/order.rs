//! The strict order, as edits of a private copy of the state: nothing here is seen by others until
//! the copy is published.
//!
//! Every function may meet torn reads when the queue has moved on: it then returns `None`, or an
//! edit whose compare-and-swap fails, in bounded time.

use super::Queue;
use super::leftist::{self, HeapRun, Memory, NO_DEADLINE};
use super::seat::SpareNodes;
use super::snapshot::{PendingLink, Run, State, Words};
use super::storage::{Node, Storage};
use super::word::{Age, NONE};

/// A private copy of the heap's path, written into the seat's spare nodes.
pub(super) struct HeapEdit<'a, T, S: Storage<T>> {
    queue: &'a Queue<T, S>,
    spares: SpareNodes<'a>,
    used: usize,
}

impl<'a, T, S: Storage<T>> HeapEdit<'a, T, S> {
    pub(super) fn new(queue: &'a Queue<T, S>, spares: SpareNodes<'a>) -> Self {
        Self { queue, spares, used: 0 }
    }

    /// The edit was published: what it replaced is spare now. True, to be the end of a condition.
    pub(super) fn keep(&self) -> bool {
        self.spares.exchange(self.used);
        true
    }

    /// Adds `run` to the heap of `next`.
    pub(super) fn insert<W: Words>(&mut self, next: &mut State<W>, run: HeapRun) -> Option<()> {
        let taken = next.free_node(self.queue.capacity);
        let rest = self.node(taken)?.next_free(taken);
        let single = self.renew(taken)?;
        leftist::write_single(self.node(single)?, run);
        let root = leftist::insert(self, next.heap(), single)?;
        next.set_heap(root);
        next.set_free_node(rest, self.queue.capacity);
        next.set_heap_priority(leftist::run_of(self.node(root)?).priority);
        Some(())
    }

    /// Removes the first item from the heap of `next` and returns its slot.
    pub(super) fn remove_first<W: Words>(&mut self, next: &mut State<W>) -> Option<u32> {
        let root = next.heap();
        let run = leftist::run_of(self.node(root)?);
        let following = self.queue.slot(run.head)?.link().next();
        if following != NONE {
            next.set_heap(leftist::advance(self, root, following)?);
            return Some(run.head);
        }
        let rest = leftist::remove_first(self, root)?;
        next.set_heap(rest);
        // One node fewer: a spare one goes to the free list, the old root becomes spare.
        let freed = self.renew(root)?;
        self.node(freed)?.set_next_free(freed, next.free_node(self.queue.capacity));
        next.set_free_node(freed, self.queue.capacity);
        if rest != NONE {
            next.set_heap_priority(leftist::run_of(self.node(rest)?).priority);
        }
        Some(run.head)
    }
}

impl<T, S: Storage<T>> Memory for HeapEdit<'_, T, S> {
    fn node(&self, id: u32) -> Option<&Node> {
        self.queue.node(id)
    }

    fn age(&self, slot: u32) -> Option<Age> {
        Some(self.queue.slot(slot)?.link().age())
    }

    #[inline(always)]
    fn renew(&mut self, old: u32) -> Option<u32> {
        let spare = self.spares.retire(self.used, old)?;
        self.used += 1;
        Some(spare)
    }

    #[inline(always)]
    fn renewed(&self) -> usize {
        self.used
    }

    #[inline(always)]
    fn renewal(&self, place: usize) -> Option<(u32, u32)> {
        Some((self.spares.retired(place)?, self.spares.get(place)?))
    }
}

/// Whether the next item comes from the heap: of equal priorities, the heap's has a deadline or is
/// older.
#[inline(always)]
pub(super) fn heap_is_first<W: Words>(state: &State<W>, level: Option<usize>) -> bool {
    state.heap() != NONE && level.is_none_or(|level| state.heap_priority() >= state.priority(level))
}

/// The priority of the next item, if there is one.
pub(super) fn first_priority<W: Words>(state: &State<W>) -> Option<i32> {
    if state.size() == 0 {
        return None;
    }
    let level = state.highest_level();
    if heap_is_first(state, level) {
        return Some(state.heap_priority());
    }
    level.map(|level| state.priority(level))
}

/// The slot of the next item, if there is one.
pub(super) fn first<T, S: Storage<T>, W: Words>(
    state: &State<W>,
    queue: &Queue<T, S>,
) -> Option<Option<u32>> {
    if state.size() == 0 {
        return Some(None);
    }
    let level = state.highest_level();
    if heap_is_first(state, level) {
        return Some(Some(leftist::run_of(queue.node(state.heap())?).head));
    }
    Some(Some(state.run(level?).head))
}

/// Appends `slot` to its priority's run in the front, or starts one. Returns the run that has no
/// place in the front and goes into the heap: the one pushed out, or `slot` itself.
#[inline(always)]
pub(super) fn enter_front<W: Words>(
    next: &mut State<W>,
    priority: i32,
    slot: u32,
) -> Option<HeapRun> {
    let run = Run { head: slot, tail: slot };
    if let Some(level) = next.level_of(priority) {
        let Run { head, tail } = next.run(level);
        next.set_run(level, Run { head, tail: slot });
        next.set_pending_link(PendingLink { from: tail, to: slot });
        return None;
    }
    if let Some(level) = next.vacant_level() {
        next.occupy(level, priority, run);
        return None;
    }
    if let Some(level) = next.lowest_level() {
        let lowest = next.priority(level);
        if lowest < priority {
            let head = next.run(level).head;
            next.vacate_lowest(level);
            next.occupy(level, priority, run);
            return Some(HeapRun { priority: lowest, deadline: NO_DEADLINE, head });
        }
    }
    Some(HeapRun { priority, deadline: NO_DEADLINE, head: slot })
}

/// Removes the first item of the front, whose run is at `level`, and returns its slot.
#[inline(always)]
pub(super) fn leave_front<T, S: Storage<T>, W: Words>(
    next: &mut State<W>,
    queue: &Queue<T, S>,
    level: usize,
) -> Option<u32> {
    let Run { head, tail } = next.run(level);
    if head == tail {
        next.vacate_highest(level);
        return Some(head);
    }
    let following = queue.slot(head)?.link().next();
    if following == NONE {
        return None; // read torn
    }
    next.set_run(level, Run { head: following, tail });
    Some(head)
}
