//! A leftist heap of runs whose nodes are never changed while others can read them: an insertion or
//! a removal copies the nodes on its path, at most the two right spines, each at most log2(runs + 1)
//! long.
//!
//! Order: priority descending, deadline ascending, age.
//!
//! Source: C. A. Crane, "Linear lists and priority queues as balanced binary trees" (Stanford
//! CS-72-259, 1972); path copying: Driscoll, Sarnak, Sleator, Tarjan, "Making data structures
//! persistent" (JCSS 38, 1989).

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

/// What the heap needs from the queue it is in.
pub(super) trait Memory {
    /// `None` for an identifier that was read torn.
    fn node(&self, id: u32) -> Option<&Node>;
    /// The age of the item in a slot.
    fn age(&self, slot: u32) -> Option<Age>;
    /// Notes that `old` gets a new version, in the node returned: a spare one, or `old` itself if
    /// nobody else can see it. `None` when there is no room for more.
    fn renew(&mut self, old: u32) -> Option<u32>;
    /// How many were noted so far.
    fn renewed(&self) -> usize;
    /// The noted node and that of its new version.
    fn renewal(&self, place: usize) -> Option<(u32, u32)>;
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
    let fresh = memory.renew(root)?;
    let old = memory.node(root)?;
    let run = HeapRun { head, ..run_of(old) };
    write(memory.node(fresh)?, run, old.load(LINKS));
    Some(fresh)
}

/// Adds the heap of one run at `single`, which the caller wrote and owns. Returns the root.
pub(super) fn insert<M: Memory>(memory: &mut M, root: u32, single: u32) -> Option<u32> {
    let Some(mut at) = Cursor::new(memory, root)? else { return Some(single) };
    // Down the right spine, past what comes before.
    let start = memory.renewed();
    let run = memory.node(single)?;
    let key = run.load(KEY);
    let below = loop {
        if comes_before(memory, (single, key), (at.root, at.key))? {
            break Heap { root: at.root, rank: rank(at.links, RIGHT_RANK) + 1 };
        }
        memory.renew(at.root)?;
        match Cursor::new(memory, id(at.links, ID_BITS))? {
            Some(right) => at = right,
            None => break EMPTY,
        }
    };
    memory.node(single)?.store(LINKS, links(below, EMPTY));
    rise(memory, start, Heap { root: single, rank: 1 })
}

/// The heap `root` without its first run. Returns the root, or `NONE`.
pub(super) fn remove_first<M: Memory>(memory: &mut M, root: u32) -> Option<u32> {
    let of_root = memory.node(root)?.load(LINKS);
    let (left, right) = (left(of_root), right(of_root));
    let Some(mut a) = Cursor::new(memory, left.root)? else { return Some(right.root) };
    let Some(mut b) = Cursor::new(memory, right.root)? else { return Some(left.root) };
    // Down both right spines, in order.
    let start = memory.renewed();
    let below = loop {
        if comes_before(memory, (b.root, b.key), (a.root, a.key))? {
            core::mem::swap(&mut a, &mut b);
        }
        memory.renew(a.root)?;
        match Cursor::new(memory, id(a.links, ID_BITS))? {
            Some(right) => a = right,
            None => break Heap { root: b.root, rank: rank(b.links, RIGHT_RANK) + 1 },
        }
    };
    rise(memory, start, below)
}

/// Up from `below`: each node that was noted since `start` gets a new right child, and the child of
/// higher rank on the left. Returns the root.
///
/// Reads may be torn when the queue has moved on: then the answer is nonsense or `None`, in bounded
/// time, and the caller's compare-and-swap fails.
fn rise<M: Memory>(memory: &M, start: usize, mut below: Heap) -> Option<u32> {
    for place in (start..memory.renewed()).rev() {
        let (old_id, fresh_id) = memory.renewal(place)?;
        let (old, fresh) = (memory.node(old_id)?, memory.node(fresh_id)?);
        let other = left(old.load(LINKS));
        let (left, right) = if other.rank < below.rank { (below, other) } else { (other, below) };
        fresh.store(KEY, old.load(KEY));
        fresh.store(DEADLINE, old.load(DEADLINE));
        fresh.store(LINKS, links(left, right));
        below = Heap { root: fresh_id, rank: right.rank + 1 };
    }
    Some(below.root)
}

/// A heap and its rank: the length of its right spine.
#[derive(Clone, Copy, Debug)]
struct Heap {
    root: u32,
    rank: u64,
}

const EMPTY: Heap = Heap { root: NONE, rank: 0 };

fn left(links: u64) -> Heap {
    Heap { root: id(links, 0), rank: rank(links, LEFT_RANK) }
}

fn right(links: u64) -> Heap {
    Heap { root: id(links, ID_BITS), rank: rank(links, RIGHT_RANK) }
}

fn rank(links: u64, shift: u32) -> u64 {
    links >> shift & ((1 << RANK_BITS) - 1)
}

fn links(left: Heap, right: Heap) -> u64 {
    id_bits(left.root, 0)
        | id_bits(right.root, ID_BITS)
        | left.rank << LEFT_RANK
        | right.rank << RIGHT_RANK
}

/// A node on the way down.
#[derive(Clone, Copy)]
struct Cursor {
    root: u32,
    links: u64,
    key: u64,
}

impl Cursor {
    /// `None` inside for an empty heap.
    #[inline(always)]
    fn new<M: Memory>(memory: &M, root: u32) -> Option<Option<Self>> {
        if root == NONE {
            return Some(None);
        }
        let node = memory.node(root)?;
        Some(Some(Self { root, links: node.load(LINKS), key: node.load(KEY) }))
    }
}

/// Whether the first of two nodes, each with its key, comes before the other.
#[inline(always)]
fn comes_before<M: Memory>(memory: &M, a: (u32, u64), b: (u32, u64)) -> Option<bool> {
    let (priority_a, priority_b) = (a.1 as u32 as i32, b.1 as u32 as i32);
    if priority_a != priority_b {
        return Some(priority_a > priority_b);
    }
    among_equals(memory, a, b)
}

#[cold]
fn among_equals<M: Memory>(memory: &M, a: (u32, u64), b: (u32, u64)) -> Option<bool> {
    let deadline_a = memory.node(a.0)?.load(DEADLINE);
    let deadline_b = memory.node(b.0)?.load(DEADLINE);
    if deadline_a != deadline_b {
        return Some(deadline_a < deadline_b);
    }
    Some(memory.age(id(a.1, 32))?.is_before(memory.age(id(b.1, 32))?))
}
