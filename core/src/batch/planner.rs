//! The batch planner: groups, closing rules, deadlines.

use super::{BatchKey, ClosingReason, ModelId};
use crate::queue::heap::{self, NONE, Node};
use crate::{Duration, Instant};

/// How large a batch of one model may grow and how long it may wait for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// Most items (rows of the batch dimension, not requests) in one batch. At least 1.
    pub max_items: u32,
    /// Longest wait for company, counted from the arrival of the group's first request.
    /// Zero runs whatever is there as soon as an instance is free.
    pub max_wait: Duration,
}

/// A request as the planner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<T> {
    /// What it may share a batch with.
    pub key: BatchKey,
    /// Rows it brings to the batch dimension. At least 1.
    pub items: u32,
    /// Higher runs first inside its group.
    pub priority: i32,
    /// The caller's own: a handle, an index, a box.
    pub payload: T,
}

impl<T> Request<T> {
    /// A request of `items` rows at priority 0.
    #[must_use]
    pub const fn new(key: BatchKey, items: u32, payload: T) -> Self {
        Self { key, items, priority: 0, payload }
    }
}

/// Names a waiting request, to cancel it. Never valid for a later request in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    index: u32,
    sequence: u64,
}

/// Why the planner takes no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OfferError {
    /// It has no items.
    Empty,
    /// It alone exceeds `max_items`.
    TooLarge {
        /// The most items one batch of this model may hold.
        max_items: u32,
    },
    /// Every place for a request is taken.
    Full,
    /// Every group is in use by another key.
    GroupsFull,
}

/// A request the planner did not take, given back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected<T> {
    /// The request, unchanged.
    pub request: Request<T>,
    /// Why it was not taken.
    pub error: OfferError,
}

#[derive(Debug)]
struct Entry<T> {
    request: Option<Request<T>>,
    arrived: Instant,
    /// Neighbours in the group's order of arrival.
    older: u32,
    newer: u32,
}

impl<T> Entry<T> {
    const EMPTY: Self = Self { request: None, arrived: Instant::ZERO, older: NONE, newer: NONE };
}

#[derive(Clone, Copy, Debug)]
struct Group {
    key: BatchKey,
    limits: BatchLimits,
    /// Root of the heap: the request that runs first.
    first: u32,
    /// Ends of the list in order of arrival.
    oldest: u32,
    newest: u32,
    items: u64,
}

impl Group {
    const fn empty(key: BatchKey, limits: BatchLimits) -> Self {
        Self { key, limits, first: NONE, oldest: NONE, newest: NONE, items: 0 }
    }
    const UNUSED: Self = Self::empty(
        BatchKey { model: ModelId(0), signature: 0 },
        BatchLimits { max_items: 0, max_wait: Duration::ZERO },
    );
}

/// Waiting requests in groups of equal key, closed into batches.
///
/// Holds up to `REQUESTS` requests in up to `GROUPS` groups, all inside the value: it can sit in a
/// `static`. One owner at a time; no method panics, allocates or reads a clock.
///
/// - A group fills on its own: another shape in between never closes it.
/// - The wait is counted from the arrival of the oldest request still in the group.
/// - Inside a group, higher priority goes first, and first-in first-out among equals.
/// - Among groups that may close, the one whose first request has the highest priority goes first,
///   then the one that has waited longest.
///
/// Cost: [`offer`](Self::offer) O(groups in use); [`close`](Self::close) O(groups in use) and
/// O(log n) amortised per request taken; [`cancel`](Self::cancel) the same as one request.
/// Size: 64 bytes a request, 48 a group and at most 32 more, with payloads of up to 4 bytes.
///
/// ```
/// use tensorforge_core::{BatchKey, BatchLimits, ClosingReason, Duration, Instant, ModelId};
/// use tensorforge_core::{Planner, Request};
///
/// let mut planner: Planner<&str, 8, 2> = Planner::new();
/// let limits = BatchLimits { max_items: 2, max_wait: Duration::from_millis(1) };
/// let key = |signature| BatchKey { model: ModelId(0), signature };
///
/// let now = Instant::ZERO;
/// for (signature, name) in [(0, "wide"), (1, "tall"), (0, "wide too")] {
///     planner.offer(Request::new(key(signature), 1, name), limits, now).unwrap();
/// }
/// let batch = planner.close(now, false, |_| true).unwrap();
/// assert_eq!((batch.key(), batch.reason()), (key(0), ClosingReason::Full));
/// assert!(batch.map(|request| request.payload).eq(["wide", "wide too"]));
/// assert!(planner.close(now, false, |_| true).is_none());
/// ```
#[derive(Debug)]
pub struct Planner<T, const REQUESTS: usize, const GROUPS: usize> {
    entries: [Entry<T>; REQUESTS],
    nodes: [Node; REQUESTS],
    groups: [Group; GROUPS],
    groups_used: usize,
    /// Returned places, linked through `Node::sibling`; those from `fresh` on were never used.
    free: u32,
    fresh: u32,
    queued: usize,
    sequence: u64,
}

impl<T, const REQUESTS: usize, const GROUPS: usize> Planner<T, REQUESTS, GROUPS> {
    /// An empty planner.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(REQUESTS < NONE as usize, "a planner holds fewer than 2^32 - 1 requests") }
        Self {
            entries: [const { Entry::EMPTY }; REQUESTS],
            nodes: [const { Node::new(0, 0) }; REQUESTS],
            groups: [const { Group::UNUSED }; GROUPS],
            groups_used: 0,
            free: NONE,
            fresh: 0,
            queued: 0,
            sequence: 0,
        }
    }

    /// Requests waiting.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Takes a request into the group of its key; `limits` become that group's limits.
    ///
    /// # Errors
    /// Gives the request back with an [`OfferError`]; nothing else changes.
    pub fn offer(
        &mut self,
        request: Request<T>,
        limits: BatchLimits,
        now: Instant,
    ) -> Result<Ticket, Rejected<T>> {
        let error = if request.items == 0 {
            OfferError::Empty
        } else if request.items > limits.max_items {
            OfferError::TooLarge { max_items: limits.max_items }
        } else if self.queued == REQUESTS {
            OfferError::Full
        } else if let Some(group) = self.group_for(request.key, limits) {
            return Ok(self.insert(group, request, now));
        } else {
            OfferError::GroupsFull
        };
        Err(Rejected { request, error })
    }

    /// Makes `limits` those of every waiting request of `model`. A request that is larger than
    /// the new `max_items` still runs, alone.
    pub fn set_limits(&mut self, model: ModelId, limits: BatchLimits) {
        for group in &mut self.groups[..self.groups_used] {
            if group.key.model == model {
                group.limits = limits;
            }
        }
    }

    fn group_for(&mut self, key: BatchKey, limits: BatchLimits) -> Option<usize> {
        let used = &mut self.groups[..self.groups_used];
        if let Some(found) = used.iter().position(|group| group.key == key) {
            used[found].limits = limits;
            return Some(found);
        }
        // A group that ran empty gives its place to the new key.
        let place = used.iter().position(|group| group.items == 0).unwrap_or(self.groups_used);
        *self.groups.get_mut(place)? = Group::empty(key, limits);
        self.groups_used = self.groups_used.max(place + 1);
        Some(place)
    }

    fn insert(&mut self, group: usize, request: Request<T>, now: Instant) -> Ticket {
        let index = if self.free == NONE {
            let index = self.fresh;
            self.fresh += 1;
            index
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].sibling;
            index
        };
        let sequence = self.sequence;
        self.sequence += 1;
        self.queued += 1;

        let group = &mut self.groups[group];
        group.items += u64::from(request.items);
        self.nodes[index as usize] = Node::new(request.priority, sequence);
        group.first = heap::push(&mut self.nodes, group.first, index);
        if group.newest == NONE {
            group.oldest = index;
        } else {
            self.entries[group.newest as usize].newer = index;
        }
        self.entries[index as usize] =
            Entry { request: Some(request), arrived: now, older: group.newest, newer: NONE };
        group.newest = index;
        Ticket { index, sequence }
    }

    /// The request that waits under `ticket`, or `None` when it is no longer waiting.
    #[must_use]
    pub fn waiting(&self, ticket: Ticket) -> Option<&Request<T>> {
        let request = self.entries.get(ticket.index as usize)?.request.as_ref()?;
        let same = self.nodes[ticket.index as usize].sequence == ticket.sequence;
        same.then_some(request)
    }

    /// Takes a waiting request out, or gives `None` when it is no longer waiting.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Request<T>> {
        let key = self.waiting(ticket)?.key;
        let index = ticket.index;
        let group = self.groups[..self.groups_used].iter_mut().find(|group| group.key == key)?;
        if !heap::contains(&self.nodes, group.first, index) {
            return None; // it was in a batch that was leaked
        }
        group.first = heap::remove(&mut self.nodes, group.first, index);
        let request = release(&mut self.entries, &mut self.nodes, group, &mut self.free, index);
        self.queued -= 1;
        request
    }

    /// Closes the batch that should run next, if any may: its model `can_run` (has an idle
    /// instance), and it is full, has waited long enough, or `draining` is set.
    pub fn close(
        &mut self,
        now: Instant,
        draining: bool,
        can_run: impl Fn(ModelId) -> bool,
    ) -> Option<Batch<'_, T>> {
        self.forget_empty_groups();
        let (place, reason) = self
            .groups_in_use()
            .filter(|(_, group)| can_run(group.key.model))
            .filter_map(|(place, group)| Some((place, group, self.due(group, now, draining)?)))
            .min_by_key(|(_, group, _)| {
                let first = self.nodes[group.first as usize].priority;
                (core::cmp::Reverse(first), self.nodes[group.oldest as usize].sequence)
            })
            .map(|(place, _, reason)| (place, reason))?;

        let group = &mut self.groups[place];
        let mut batch = Batch {
            key: group.key,
            reason,
            items: 0,
            requests: 0,
            next: NONE,
            entries: &mut self.entries,
            nodes: &mut self.nodes,
            free: &mut self.free,
            queued: &mut self.queued,
            group,
        };
        batch.gather();
        Some(batch)
    }

    /// When [`close`](Self::close) should next be asked if nothing else happens: the end of the
    /// earliest wait among the groups that `can_run`.
    #[must_use]
    pub fn next_deadline(&self, can_run: impl Fn(ModelId) -> bool) -> Option<Instant> {
        self.groups_in_use()
            .filter(|(_, group)| can_run(group.key.model))
            .map(|(_, group)| self.wait_ends(group))
            .min()
    }

    fn groups_in_use(&self) -> impl Iterator<Item = (usize, &Group)> {
        let used = self.groups[..self.groups_used].iter().enumerate();
        // Not `items > 0`: a leaked batch leaves its items behind, and nothing to run.
        used.filter(|(_, group)| group.first != NONE)
    }

    fn wait_ends(&self, group: &Group) -> Instant {
        self.entries[group.oldest as usize].arrived + group.limits.max_wait
    }

    fn due(&self, group: &Group, now: Instant, draining: bool) -> Option<ClosingReason> {
        if group.items >= u64::from(group.limits.max_items) {
            Some(ClosingReason::Full)
        } else if draining {
            Some(ClosingReason::Drain)
        } else if now >= self.wait_ends(group) {
            Some(ClosingReason::MaxWait)
        } else {
            None
        }
    }

    fn forget_empty_groups(&mut self) {
        while self.groups_used > 0 && self.groups[self.groups_used - 1].items == 0 {
            self.groups_used -= 1;
        }
    }
}

impl<T, const REQUESTS: usize, const GROUPS: usize> Default for Planner<T, REQUESTS, GROUPS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes entry `index`, already out of the heap, out of its group and frees its place.
fn release<T>(
    entries: &mut [Entry<T>],
    nodes: &mut [Node],
    group: &mut Group,
    free: &mut u32,
    index: u32,
) -> Option<Request<T>> {
    let Entry { request, older, newer, .. } =
        core::mem::replace(&mut entries[index as usize], Entry::EMPTY);
    match older {
        NONE => group.oldest = newer,
        older => entries[older as usize].newer = newer,
    }
    match newer {
        NONE => group.newest = older,
        newer => entries[newer as usize].older = older,
    }
    group.items -= request.as_ref().map_or(0, |request| u64::from(request.items));
    nodes[index as usize].sibling = *free;
    *free = index;
    request
}

/// A closed batch: an iterator that hands out its requests in order.
///
/// Requests that are not taken before it is dropped go back to their places in the queue. A batch
/// that is leaked ([`core::mem::forget`]) keeps the places of its requests for good.
#[derive(Debug)]
pub struct Batch<'a, T> {
    key: BatchKey,
    reason: ClosingReason,
    items: u32,
    requests: u32,
    /// First of the gathered nodes, linked through `Node::sibling`.
    next: u32,
    entries: &'a mut [Entry<T>],
    nodes: &'a mut [Node],
    group: &'a mut Group,
    free: &'a mut u32,
    queued: &'a mut usize,
}

impl<T> Batch<'_, T> {
    /// What its requests share.
    #[must_use]
    pub const fn key(&self) -> BatchKey {
        self.key
    }

    /// Why it was closed.
    #[must_use]
    pub const fn reason(&self) -> ClosingReason {
        self.reason
    }

    /// Items it held when it was closed, at most `max_items`.
    #[must_use]
    pub const fn items(&self) -> u32 {
        self.items
    }

    /// Moves requests from the heap to the batch, in order, while they fit.
    fn gather(&mut self) {
        let mut last = NONE;
        while self.group.first != NONE {
            let index = self.group.first;
            let items = self.entries[index as usize].request.as_ref().map_or(0, |r| r.items);
            // A lowered limit may be below what already waits: the first request always runs.
            let fits = self
                .items
                .checked_add(items)
                .is_some_and(|sum| sum <= self.group.limits.max_items || self.requests == 0);
            if !fits {
                self.reason = ClosingReason::Full;
                break;
            }
            self.group.first = heap::remove(self.nodes, index, index);
            match last {
                NONE => self.next = index,
                last => self.nodes[last as usize].sibling = index,
            }
            last = index;
            self.items += items;
            self.requests += 1;
        }
    }
}

impl<T> Iterator for Batch<'_, T> {
    type Item = Request<T>;

    fn next(&mut self) -> Option<Request<T>> {
        if self.next == NONE {
            return None;
        }
        let index = self.next;
        self.next = self.nodes[index as usize].sibling;
        self.requests -= 1;
        *self.queued -= 1;
        release(self.entries, self.nodes, self.group, self.free, index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.requests as usize, Some(self.requests as usize))
    }
}

impl<T> ExactSizeIterator for Batch<'_, T> {}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        while self.next != NONE {
            let index = self.next;
            self.next = self.nodes[index as usize].sibling;
            self.group.first = heap::push(self.nodes, self.group.first, index);
        }
    }
}
