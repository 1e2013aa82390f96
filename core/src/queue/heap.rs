//! A pairing heap over caller-owned nodes: priority descending, first-in first-out among equals.
//!
//! Nodes are named by index, so the heap needs no allocation and any node can leave from the
//! middle, which is what a cancelled request does. Push and peek are O(1); pop and remove are
//! O(log n) amortised, O(n) at worst. One owner at a time.
//!
//! Source: Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap" (Algorithmica 1, 1986).

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// One node: its place in the order and its links. `sibling` is free for the owner's use while the
/// node is in no heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) priority: i32,
    /// Arrival order; smaller came first. Unique among the nodes of a heap.
    pub(crate) sequence: u64,
    pub(crate) sibling: u32,
    child: u32,
    /// The parent for a first child, the left sibling for any other, `NONE` for a root.
    previous: u32,
}

impl Node {
    pub(crate) const fn new(priority: i32, sequence: u64) -> Self {
        Self { priority, sequence, sibling: NONE, child: NONE, previous: NONE }
    }

    fn comes_before(&self, other: &Self) -> bool {
        (other.priority, self.sequence) < (self.priority, other.sequence)
    }
}

fn at(nodes: &mut [Node], index: u32) -> &mut Node {
    &mut nodes[index as usize]
}

/// Joins two heaps and returns the new root.
fn meld(nodes: &mut [Node], a: u32, b: u32) -> u32 {
    if a == NONE {
        return b;
    }
    if b == NONE {
        return a;
    }
    let (root, under) =
        if nodes[a as usize].comes_before(&nodes[b as usize]) { (a, b) } else { (b, a) };
    let first = nodes[root as usize].child;
    if first != NONE {
        at(nodes, first).previous = under;
    }
    let node = at(nodes, under);
    node.sibling = first;
    node.previous = root;
    let node = at(nodes, root);
    node.child = under;
    node.sibling = NONE;
    node.previous = NONE;
    root
}

/// Joins a list of siblings into one heap: in pairs from the left, then from the right.
fn merge_siblings(nodes: &mut [Node], mut first: u32) -> u32 {
    let mut pairs = NONE;
    while first != NONE {
        let second = nodes[first as usize].sibling;
        let rest = if second == NONE { NONE } else { nodes[second as usize].sibling };
        at(nodes, first).sibling = NONE;
        if second != NONE {
            at(nodes, second).sibling = NONE;
        }
        let pair = meld(nodes, first, second);
        at(nodes, pair).sibling = pairs;
        pairs = pair;
        first = rest;
    }
    let mut root = NONE;
    while pairs != NONE {
        let next = nodes[pairs as usize].sibling;
        at(nodes, pairs).sibling = NONE;
        root = meld(nodes, root, pairs);
        pairs = next;
    }
    if root != NONE {
        at(nodes, root).previous = NONE;
    }
    root
}

/// Whether node `index`, once pushed, is still in the heap under `root`.
pub(crate) fn contains(nodes: &[Node], root: u32, index: u32) -> bool {
    index == root || nodes[index as usize].previous != NONE
}

/// Adds node `index`, whose links are overwritten, and returns the new root.
pub(crate) fn push(nodes: &mut [Node], root: u32, index: u32) -> u32 {
    let Node { priority, sequence, .. } = nodes[index as usize];
    *at(nodes, index) = Node::new(priority, sequence);
    meld(nodes, root, index)
}

/// Takes out any node of the heap under `root` and returns the new root.
pub(crate) fn remove(nodes: &mut [Node], root: u32, index: u32) -> u32 {
    let Node { child, sibling, previous, .. } = nodes[index as usize];
    let under = merge_siblings(nodes, child);
    let root = if index == root {
        under
    } else {
        let left = at(nodes, previous);
        if left.child == index {
            left.child = sibling;
        } else {
            left.sibling = sibling;
        }
        if sibling != NONE {
            at(nodes, sibling).previous = previous;
        }
        meld(nodes, root, under)
    };
    let node = at(nodes, index);
    node.child = NONE;
    node.sibling = NONE;
    node.previous = NONE;
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[derive(Clone, Debug)]
    enum Step {
        Push(i32),
        Pop,
        RemoveNth(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let priority = prop_oneof![-2..3i32, Just(i32::MIN), Just(i32::MAX)];
        let step = prop_oneof![
            3 => priority.prop_map(Step::Push),
            2 => Just(Step::Pop),
            1 => (0..64usize).prop_map(Step::RemoveNth),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_root_is_always_the_first_of_a_sorted_list(steps in steps()) {
            let mut nodes = Vec::new();
            let mut root = NONE;
            let mut model: Vec<(i32, u64)> = Vec::new(); // sorted by priority descending, then age
            for step in steps {
                match step {
                    Step::Push(priority) => {
                        let index = nodes.len() as u32;
                        nodes.push(Node::new(priority, u64::from(index)));
                        root = push(&mut nodes, root, index);
                        model.push((priority, u64::from(index)));
                        model.sort_by_key(|&(priority, age)| (std::cmp::Reverse(priority), age));
                    }
                    Step::Pop if root != NONE => {
                        root = remove(&mut nodes, root, root);
                        model.remove(0);
                    }
                    Step::RemoveNth(nth) if !model.is_empty() => {
                        let (_, index) = model.remove(nth % model.len());
                        root = remove(&mut nodes, root, index as u32);
                    }
                    _ => {}
                }
                for index in 0..nodes.len() as u32 {
                    let held = model.iter().any(|&(_, held)| held == u64::from(index));
                    prop_assert_eq!(contains(&nodes, root, index), held);
                }
                let first = (root != NONE).then(|| u64::from(root));
                prop_assert_eq!(first, model.first().map(|&(_, index)| index));
            }
        }
    }
}
