//! A leftist heap of runs whose nodes are never changed while others can read them: an insertion or
//! a removal copies the nodes on its path, at most the two right spines, each at most log2(runs + 1)
//! long.
//!
//! Order: priority descending, deadline ascending, age.
//!
//! Source: C. A. Crane, "Linear lists and priority queues as balanced binary trees" (Stanford
//! CS-72-259, 1972); path copying: Driscoll, Sarnak, Sleator, Tarjan, "Making data structures
//! persistent" (JCSS 38, 1989).

use super::seat::NODES;
use super::storage::Node;
use super::word::{Age, ID_BITS, NONE, id, id_bits};

const LINKS: usize = 0; // left, right, and the ranks of both
const KEY: usize = 1; // priority, first slot
const DEADLINE: usize = 2;

const LEFT_RANK: u32 = 2 * ID_BITS;
const RIGHT_RANK: u32 = LEFT_RANK + RANK_BITS;
const RANK_BITS: u32 = 5;

/// No deadline: after every other.
pub(super) const NO_DEADLINE: u64 = u64::MAX;

/// A run in the heap: items of one priority and deadline, from `head` on, linked by their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeapRun {
    pub(super) priority: i32,
    pub(super) deadline: u64,
    pub(super) head: u32,
}

/// A heap and its rank: the length of its right spine.
#[derive(Clone, Copy, Debug)]
struct Heap {
    root: u32,
    rank: u64,
}

const EMPTY: Heap = Heap { root: NONE, rank: 0 };

/// What the heap needs from the queue it is in.
pub(super) trait Memory {
    /// `None` for an identifier that was read torn.
    fn node(&self, id: u32) -> Option<&Node>;
    /// The age of the item in a slot.
    fn age(&self, slot: u32) -> Option<Age>;
    /// The node to write the new version of `old` into: a spare one, or `old` itself if nobody else
    /// can see it. `None` when there are no more.
    fn fresh(&mut self, old: u32) -> Option<u32>;
}

/// The run at the root.
#[inline(always)]
pub(super) fn run_of(node: &Node) -> HeapRun {
    let key = node.load(KEY);
    HeapRun { priority: key as u32 as i32, deadline: node.load(DEADLINE), head: id(key, 32) }
}

/// Writes a heap of one run.
pub(super) fn write_single(node: &Node, run: HeapRun) {
    write(node, run, 0);
}

fn write(node: &Node, run: HeapRun, links: u64) {
    node.store(LINKS, links);
    node.store(KEY, u64::from(run.priority as u32) | id_bits(run.head, 32));
    node.store(DEADLINE, run.deadline);
}

/// The heap `root` with its first run starting at `head`: that run's first item left.
pub(super) fn advance<M: Memory>(memory: &mut M, root: u32, head: u32) -> Option<u32> {
    let fresh = memory.fresh(root)?;
    let old = memory.node(root)?;
    let run = HeapRun { head, ..run_of(old) };
    write(memory.node(fresh)?, run, old.load(LINKS));
    Some(fresh)
}

/// Adds the heap of one run at `single`, which the caller wrote. Returns the root.
pub(super) fn insert<M: Memory>(memory: &mut M, root: u32, single: u32) -> Option<u32> {
    let heap = match root {
        NONE => EMPTY,
        root => whole(memory.node(root)?, root),
    };
    merge(memory, heap, Heap { root: single, rank: 1 }, single)
}

/// The heap `root` without its first run. Returns the root, or `NONE`.
pub(super) fn remove_first<M: Memory>(memory: &mut M, root: u32) -> Option<u32> {
    let links = memory.node(root)?.load(LINKS);
    merge(memory, left(links), right(links), NONE)
}

fn whole(node: &Node, root: u32) -> Heap {
    Heap { root, rank: right(node.load(LINKS)).rank + 1 }
}

fn left(links: u64) -> Heap {
    Heap { root: id(links, 0), rank: rank(links, LEFT_RANK) }
}

fn right(links: u64) -> Heap {
    Heap { root: id(links, ID_BITS), rank: rank(links, RIGHT_RANK) }
}

fn rank(links: u64, shift: u32) -> u64 {
    links >> shift & ((1 << RANK_BITS) - 1)
}

/// Joins two heaps. `owned` is a node that may be written in place.
///
/// Reads may be torn when the queue has moved on: then the answer is nonsense or `None`, in bounded
/// time, and the caller's compare-and-swap fails.
fn merge<M: Memory>(memory: &mut M, mut a: Heap, mut b: Heap, owned: u32) -> Option<u32> {
    // Down both right spines: the nodes that change, from the top.
    let mut path = [0; NODES];
    let mut length = 0;
    while a.root != NONE && b.root != NONE {
        if comes_before(memory, b.root, a.root)? {
            core::mem::swap(&mut a, &mut b);
        }
        *path.get_mut(length)? = a.root;
        length += 1;
        a = right(memory.node(a.root)?.load(LINKS));
    }
    // And up: each with its new right child, the child of higher rank on the left.
    let mut below = if a.root == NONE { b } else { a };
    while length > 0 {
        length -= 1;
        let old_id = *path.get(length)?;
        let fresh_id = if old_id == owned { owned } else { memory.fresh(old_id)? };
        let old = memory.node(old_id)?;
        let other = left(old.load(LINKS));
        let (left, right) = if other.rank < below.rank { (below, other) } else { (other, below) };
        let links = id_bits(left.root, 0)
            | id_bits(right.root, ID_BITS)
            | left.rank << LEFT_RANK
            | right.rank << RIGHT_RANK;
        let fresh = memory.node(fresh_id)?;
        if fresh_id != old_id {
            fresh.store(KEY, old.load(KEY));
            fresh.store(DEADLINE, old.load(DEADLINE));
        }
        fresh.store(LINKS, links);
        below = Heap { root: fresh_id, rank: right.rank + 1 };
    }
    Some(below.root)
}

#[inline(always)]
fn comes_before<M: Memory>(memory: &M, a: u32, b: u32) -> Option<bool> {
    let (node_a, node_b) = (memory.node(a)?, memory.node(b)?);
    let (key_a, key_b) = (node_a.load(KEY), node_b.load(KEY));
    let (priority_a, priority_b) = (key_a as u32 as i32, key_b as u32 as i32);
    if priority_a != priority_b {
        return Some(priority_a > priority_b);
    }
    let (deadline_a, deadline_b) = (node_a.load(DEADLINE), node_b.load(DEADLINE));
    if deadline_a != deadline_b {
        return Some(deadline_a < deadline_b);
    }
    Some(memory.age(id(key_a, 32))?.is_before(memory.age(id(key_b, 32))?))
}
