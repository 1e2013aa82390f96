//! Groups: the waiting requests of one batch key, level by level.

use super::arena::{Arena, Entry, NONE};
use super::{BatchKey, LEVELS, ModelId, Store};
use crate::{Duration, Instant};

/// Room for one group. Its contents are the planner's own.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub(crate) key: BatchKey,
    /// First group of the hash bucket that has this place's number.
    bucket: u32,
    /// Next group in the same bucket as this.
    chain: u32,
    /// Neighbours in the list of groups with requests, or of those without.
    previous: u32,
    next: u32,
    /// Ends of each level's list in order of arrival.
    oldest: [u32; LEVELS],
    newest: [u32; LEVELS],
    /// Levels that have requests, a bit for each.
    levels: u8,
    /// Rows and requests in the levels; pieces that are run again do not count.
    pub(crate) items: u64,
    pub(crate) requests: u32,
    /// First of the pieces that are run again: highest priority first, then the longest waiting.
    pub(crate) pieces: u32,
    pub(crate) urgent: u32,
    /// Batches of it that run: they may come back, and find their place then.
    running: u32,
    gap: Option<Duration>,
    pub(crate) last_arrival: Option<Instant>,
}

impl Group {
    pub(crate) const UNUSED: Self = Self {
        key: BatchKey { model: ModelId(0), signature: 0 },
        bucket: NONE,
        chain: NONE,
        previous: NONE,
        next: NONE,
        oldest: [NONE; LEVELS],
        newest: [NONE; LEVELS],
        levels: 0,
        items: 0,
        requests: 0,
        pieces: NONE,
        urgent: 0,
        running: 0,
        gap: None,
        last_arrival: None,
    };

    const fn is_empty(&self) -> bool {
        self.levels == 0 && self.pieces == NONE && self.running == 0
    }

    /// The highest level that has requests.
    pub(crate) const fn top(&self) -> Option<u8> {
        match self.levels {
            0 => None,
            levels => Some(7 - levels.leading_zeros() as u8),
        }
    }

    /// The lowest level that has requests.
    pub(crate) const fn bottom(&self) -> Option<u8> {
        match self.levels {
            0 => None,
            levels => Some(levels.trailing_zeros() as u8),
        }
    }

    /// The levels that have requests, highest first.
    pub(crate) fn levels(&self) -> impl Iterator<Item = u8> + use<> {
        let mut left = self.levels;
        core::iter::from_fn(move || {
            let top = left.checked_ilog2()?;
            left &= !(1 << top);
            Some(top as u8)
        })
    }

    /// The level's oldest request, or `NONE`.
    pub(crate) const fn oldest(&self, level: u8) -> u32 {
        self.oldest[level as usize]
    }

    /// The level's youngest request, or `NONE`.
    pub(crate) const fn newest(&self, level: u8) -> u32 {
        self.newest[level as usize]
    }

    /// The smoothed time between arrivals, once there were two.
    pub(crate) const fn gap(&self) -> Option<Duration> {
        self.gap
    }

    pub(crate) fn arrived(&mut self, now: Instant) {
        if let Some(last) = self.last_arrival {
            let gap = now.since(last).as_nanos();
            // A quarter of the way to the new gap: three or four arrivals tell a new pace.
            self.gap = Some(Duration::from_nanos(match self.gap.map(Duration::as_nanos) {
                None => gap,
                Some(before) if gap >= before => before + (gap - before) / 4,
                Some(before) => before - (before - gap) / 4,
            }));
        }
        self.last_arrival = Some(now);
    }
}

/// So many requests ahead memory is asked for what a batch takes. Among a million that wait, each costs a
/// miss of all caches, and a list tells of the next only when the last has come. By 2 leaves about half
/// of what that costs, by 3 two fifths, by 4 no less.
const AHEAD: u32 = 3;

/// Tells the request that came [`AHEAD`] before the youngest of its level where that is.
fn leave_hint<T, E: Store<Entry<T>>>(arena: &mut Arena<T, E>, youngest: u32) {
    let mut at = youngest;
    for _ in 0..AHEAD {
        at = arena.get(at).older;
        if at == NONE {
            return;
        }
    }
    arena.get_mut(at).set_hint(youngest);
}

/// Two lists that a group can be in.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// All groups: found by key in O(1), those with requests in a list.
#[derive(Debug)]
pub(crate) struct Groups<G> {
    groups: G,
    fresh: u32,
    /// Those that have requests.
    active: List,
    /// Those that ran empty; the first one has been empty for longest.
    idle: List,
}

impl<G> Groups<G> {
    pub(crate) const fn new(groups: G) -> Self {
        Self { groups, fresh: 0, active: List::EMPTY, idle: List::EMPTY }
    }
}

impl<G: Store<Group>> Groups<G> {
    pub(crate) fn get(&self, index: u32) -> &Group {
        &self.groups.as_ref()[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Group {
        &mut self.groups.as_mut()[index as usize]
    }

    fn len(&self) -> u32 {
        u32::try_from(self.groups.as_ref().len()).map_or(NONE - 1, |len| len.min(NONE - 1))
    }

    /// The groups that have requests.
    pub(crate) fn first_active(&self) -> u32 {
        self.active.first
    }

    pub(crate) fn next_active(&self, index: u32) -> u32 {
        self.get(index).next
    }

    fn bucket_of(&self, key: BatchKey) -> u32 {
        let word = u64::from(key.model.0) << 32 | u64::from(key.signature);
        // Fibonacci hashing; the high half is the best mixed.
        let mixed = (word ^ word >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // Scaled to the number of places without a division.
        (((mixed >> 32) * u64::from(self.len())) >> 32) as u32
    }

    /// The group of `key`, if it has one.
    pub(crate) fn find(&self, key: BatchKey) -> Option<u32> {
        if self.len() == 0 {
            return None;
        }
        let mut index = self.get(self.bucket_of(key)).bucket;
        while index != NONE && self.get(index).key != key {
            index = self.get(index).chain;
        }
        (index != NONE).then_some(index)
    }

    /// The group of `key`, made if need be; `None` when every place has requests of another key.
    pub(crate) fn find_or_make(&mut self, key: BatchKey) -> Option<u32> {
        if let Some(found) = self.find(key) {
            return Some(found);
        }
        let index = if self.fresh < self.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            let longest_empty = self.idle.first;
            if longest_empty == NONE {
                return None;
            }
            self.unlink(longest_empty, false);
            self.forget(longest_empty);
            longest_empty
        };
        let bucket = self.get(index).bucket;
        *self.get_mut(index) = Group { key, bucket, ..Group::UNUSED };
        let home = self.bucket_of(key);
        self.get_mut(index).chain = self.get(home).bucket;
        self.get_mut(home).bucket = index;
        self.link(index, false);
        Some(index)
    }

    /// Takes a group out of its bucket.
    fn forget(&mut self, index: u32) {
        let home = self.bucket_of(self.get(index).key);
        let chain = self.get(index).chain;
        let mut at = self.get(home).bucket;
        if at == index {
            self.get_mut(home).bucket = chain;
            return;
        }
        while at != NONE {
            let next = self.get(at).chain;
            if next == index {
                self.get_mut(at).chain = chain;
                return;
            }
            at = next;
        }
    }

    fn link(&mut self, index: u32, active: bool) {
        let list = if active { self.active } else { self.idle };
        let group = self.get_mut(index);
        group.previous = list.last;
        group.next = NONE;
        let first = if list.last == NONE {
            index
        } else {
            self.get_mut(list.last).next = index;
            list.first
        };
        *self.list(active) = List { first, last: index };
    }

    fn unlink(&mut self, index: u32, active: bool) {
        let Group { previous, next, .. } = *self.get(index);
        match previous {
            NONE => self.list(active).first = next,
            previous => self.get_mut(previous).next = next,
        }
        match next {
            NONE => self.list(active).last = previous,
            next => self.get_mut(next).previous = previous,
        }
    }

    const fn list(&mut self, active: bool) -> &mut List {
        if active { &mut self.active } else { &mut self.idle }
    }

    /// Makes a change to a group that may give it its first request or take its last.
    fn change<R>(&mut self, index: u32, change: impl FnOnce(&mut Group) -> R) -> R {
        let before = self.get(index).is_empty();
        let result = change(self.get_mut(index));
        let after = self.get(index).is_empty();
        if before != after {
            self.unlink(index, !before);
            self.link(index, !after);
        }
        result
    }

    /// Adds an entry at the young end of its level, or puts one back at the old end.
    pub(crate) fn add<T, E: Store<Entry<T>>>(
        &mut self,
        arena: &mut Arena<T, E>,
        index: u32,
        at_front: bool,
    ) {
        let entry = arena.get(index);
        let (group, level) = (entry.group, usize::from(entry.priority));
        let (items, urgent) = (entry.items, entry.urgent);
        let (oldest, newest) = self.change(group, |group| {
            let ends = (group.oldest[level], group.newest[level]);
            group.levels |= 1 << level;
            group.items += u64::from(items);
            group.requests += 1;
            group.urgent += u32::from(urgent);
            if at_front || ends.0 == NONE {
                group.oldest[level] = index;
            }
            if !at_front || ends.1 == NONE {
                group.newest[level] = index;
            }
            ends
        });
        let (older, newer) = if at_front { (NONE, oldest) } else { (newest, NONE) };
        let entry = arena.get_mut(index);
        (entry.older, entry.newer) = (older, newer);
        if older != NONE {
            arena.get_mut(older).newer = index;
            leave_hint(arena, index);
        }
        if newer != NONE {
            arena.get_mut(newer).older = index;
        }
    }

    /// Takes an entry out of its level.
    pub(crate) fn remove<T, E: Store<Entry<T>>>(&mut self, arena: &mut Arena<T, E>, index: u32) {
        let entry = arena.get(index);
        let (group, level) = (entry.group, usize::from(entry.priority));
        let (items, urgent) = (entry.items, entry.urgent);
        let (older, newer) = (entry.older, entry.newer);
        if older != NONE {
            arena.get_mut(older).newer = newer;
        }
        if newer != NONE {
            arena.get_mut(newer).older = older;
        }
        self.change(group, |group| {
            if older == NONE {
                group.oldest[level] = newer;
            }
            if newer == NONE {
                group.newest[level] = older;
            }
            if older == NONE && newer == NONE {
                group.levels &= !(1 << level);
            }
            group.items -= u64::from(items);
            group.requests -= 1;
            group.urgent -= u32::from(urgent);
        });
    }

    /// Adds a piece, a chain of entries that runs again, behind those of higher priority and those that
    /// came before.
    pub(crate) fn add_piece<T, E: Store<Entry<T>>>(
        &mut self,
        arena: &mut Arena<T, E>,
        group: u32,
        head: u32,
    ) {
        let rank = |arena: &Arena<T, E>, piece: u32| {
            let entry = arena.get(piece);
            (core::cmp::Reverse(entry.piece_priority), entry.number)
        };
        let new = rank(arena, head);
        let mut before = NONE;
        let mut after = self.get(group).pieces;
        while after != NONE && rank(arena, after) < new {
            (before, after) = (after, arena.get(after).next_piece);
        }
        arena.get_mut(head).next_piece = after;
        if before == NONE {
            self.change(group, |group| group.pieces = head);
        } else {
            arena.get_mut(before).next_piece = head;
        }
    }

    /// A batch of the group begins.
    pub(crate) fn begins(&mut self, group: u32) {
        self.change(group, |group| group.running = group.running.saturating_add(1));
    }

    /// A batch of the key has ended.
    pub(crate) fn ended(&mut self, key: BatchKey) {
        if let Some(group) = self.find(key) {
            self.change(group, |group| group.running = group.running.saturating_sub(1));
        }
    }

    /// Forgets at what pace requests of a model came, where none of them waits or runs.
    pub(crate) fn forget_pace(&mut self, model: ModelId) {
        let mut at = self.idle.first;
        while at != NONE {
            let group = self.get_mut(at);
            if group.key.model == model {
                (group.gap, group.last_arrival) = (None, None);
            }
            at = group.next;
        }
    }

    /// Takes the first piece out of its group.
    pub(crate) fn take_piece<T, E: Store<Entry<T>>>(
        &mut self,
        arena: &mut Arena<T, E>,
        group: u32,
    ) -> u32 {
        let head = self.get(group).pieces;
        if head != NONE {
            let next = arena.get(head).next_piece;
            self.change(group, |group| group.pieces = next);
        }
        head
    }

    /// Takes one entry out of the piece it is in.
    pub(crate) fn remove_from_piece<T, E: Store<Entry<T>>>(
        &mut self,
        arena: &mut Arena<T, E>,
        index: u32,
    ) {
        let group = arena.get(index).group;
        let (older, newer) = (arena.get(index).older, arena.get(index).newer);
        if newer != NONE {
            arena.get_mut(newer).older = older;
        }
        if older != NONE {
            arena.get_mut(older).newer = newer;
            return;
        }
        // It heads its piece: the next entry does so now, or the piece is gone.
        let first = arena.get(index);
        let (next, priority) = (first.next_piece, first.piece_priority);
        let (pair, other) = (first.pair, first.other_half_failed);
        let heir = if newer == NONE {
            next
        } else {
            let head = arena.get_mut(newer);
            head.next_piece = next;
            head.piece_priority = priority;
            head.pair = pair;
            head.other_half_failed = other;
            newer
        };
        let mut before = self.get(group).pieces;
        if before == index {
            self.change(group, |group| group.pieces = heir);
            return;
        }
        while before != NONE {
            if arena.get(before).next_piece == index {
                arena.get_mut(before).next_piece = heir;
                return;
            }
            before = arena.get(before).next_piece;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;
    use crate::batch::{Queued, Request};
    use std::vec::Vec;

    #[test]
    fn a_request_hints_at_the_one_some_places_behind_it() {
        let key = BatchKey { model: ModelId(0), signature: 0 };
        let mut groups = Groups::new([Group::UNUSED]);
        let mut arena = Arena::new([const { Entry::EMPTY }; 8]);
        let group = groups.find_or_make(key).unwrap();
        let add = |arena: &mut Arena<u64, _>, groups: &mut Groups<_>, number| {
            let request = Request::new(key, 1, number);
            let queued = Queued { request, arrived: Instant::ZERO, number };
            let index = arena.insert(group, queued).unwrap();
            groups.add(arena, index, false);
            index
        };
        let places: Vec<u32> = (0..8).map(|number| add(&mut arena, &mut groups, number)).collect();
        for (place, &index) in places.iter().enumerate() {
            let behind = places.get(place + AHEAD as usize);
            assert_eq!(arena.get(index).hint(), behind.copied().unwrap_or(NONE));
        }
        // The one it hints at leaves, and its place is used again: nothing but a look at it depends on it.
        groups.remove(&mut arena, places[3]);
        arena.remove(places[3], key);
        arena.touch(arena.get(places[0]).hint());
        arena.touch(NONE);
        assert_eq!(add(&mut arena, &mut groups, 8), places[3]);
        assert_eq!(arena.get(places[4]).hint(), places[7], "as it was");
        assert_eq!(arena.get(places[5]).hint(), places[3], "the youngest is three behind it");
    }
}
