//! Waiting requests in groups of equal key, and what a batch takes of them.

use super::arena::{Arena, Entry, NONE};
use super::group::{Group, Groups};
use super::{BatchKey, LEVELS, Queued, Request, Store, Ticket};
use crate::Instant;

/// Waiting requests: by key, inside that by level, inside that in order of arrival. Beside them pieces
/// of batches that failed, which are run again as they are.
///
/// It keeps them and hands them out; when and which is the engine's to say.
#[derive(Debug)]
pub(crate) struct Planner<T, E, G> {
    pub(crate) arena: Arena<T, E>,
    pub(crate) groups: Groups<G>,
    /// Requests waiting at each level.
    waiting: [u32; LEVELS],
    next_number: u64,
}

/// Why the planner takes no request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfferError {
    /// Every place is taken.
    Full,
    /// Every group has requests of another key.
    GroupsFull,
}

/// A piece that is being put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    group: u32,
    head: u32,
    last: u32,
    priority: u8,
}

/// What a batch takes from a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) group: u32,
    /// It is the group's first piece, not its levels.
    pub(crate) piece: bool,
    /// Items to take. One request with more of them goes alone.
    pub(crate) items: u32,
    /// Items of levels below the highest to take first, if they came at `owed_since` or before.
    pub(crate) owed: u32,
    pub(crate) owed_since: Instant,
}

/// What was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathered {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) items: u32,
    pub(crate) requests: u32,
    pub(crate) priority: u8,
    /// Items of each level.
    pub(crate) by_level: [u32; LEVELS],
    /// For a piece: the split that it comes of, and whether the other half of that failed.
    pub(crate) pair: u32,
    pub(crate) other_half_failed: bool,
}

impl<T, E, G> Planner<T, E, G> {
    pub(crate) const fn new(entries: E, groups: G) -> Self {
        Self {
            arena: Arena::new(entries),
            groups: Groups::new(groups),
            waiting: [0; LEVELS],
            next_number: 0,
        }
    }

    /// Requests waiting, pieces included.
    pub(crate) const fn queued(&self) -> u32 {
        self.arena.used()
    }

    /// Whether a request of `priority` or more waits.
    pub(crate) fn has_priority(&self, priority: u8) -> bool {
        self.waiting[usize::from(priority)..].iter().any(|&waiting| waiting > 0)
    }
}

impl<T, E: Store<Entry<T>>, G: Store<Group>> Planner<T, E, G> {
    /// Takes a request in, or gives it back when there is no room or no group for it.
    pub(crate) fn offer(
        &mut self,
        request: Request<T>,
        now: Instant,
    ) -> Result<(u32, Ticket), (Request<T>, OfferError)> {
        let Some(group) = self.groups.find_or_make(request.key) else {
            return Err((request, OfferError::GroupsFull));
        };
        let number = self.next_number;
        let priority = request.priority;
        let queued = Queued { request, arrived: now, number };
        let index = match self.arena.insert(group, queued) {
            Ok(index) => index,
            Err(queued) => return Err((queued.request, OfferError::Full)),
        };
        self.next_number += 1;
        self.waiting[usize::from(priority)] += 1;
        self.groups.add(&mut self.arena, index, false);
        self.groups.get_mut(group).arrived(now);
        Ok((group, Ticket { index, number }))
    }

    /// Places for requests.
    pub(crate) fn capacity(&self) -> u32 {
        self.arena.capacity()
    }

    /// What is waiting under an index that [`Arena::find`] or a timer gave.
    pub(crate) fn key_of(&self, index: u32) -> BatchKey {
        self.groups.get(self.arena.get(index).group).key
    }

    /// Takes a waiting request out, wherever it is.
    pub(crate) fn take(&mut self, index: u32) -> Option<Queued<T>> {
        let key = self.key_of(index);
        if self.arena.get(index).in_piece {
            self.groups.remove_from_piece(&mut self.arena, index);
        } else {
            self.groups.remove(&mut self.arena, index);
        }
        self.free(index, key)
    }

    fn free(&mut self, index: u32, key: BatchKey) -> Option<Queued<T>> {
        let queued = self.arena.remove(index, key)?;
        self.waiting[usize::from(queued.request.priority)] -= 1;
        Some(queued)
    }

    /// A waiting request would miss its deadline if it waited any longer.
    pub(crate) fn mark_urgent(&mut self, index: u32) {
        let entry = self.arena.get_mut(index);
        if !entry.urgent {
            entry.urgent = true;
            if !entry.in_piece {
                let group = entry.group;
                self.groups.get_mut(group).urgent += 1;
            }
        }
    }

    /// Takes what `plan` says out of the group, as a chain of entries through `newer`, in the order in
    /// which they run.
    pub(crate) fn gather(&mut self, plan: Plan) -> Option<Gathered> {
        let mut taken = Gathered {
            first: NONE,
            last: NONE,
            items: 0,
            requests: 0,
            priority: 0,
            by_level: [0; LEVELS],
            pair: NONE,
            other_half_failed: false,
        };
        if plan.piece {
            self.gather_piece(plan, &mut taken);
        } else {
            let top = self.groups.get(plan.group).top()?;
            // The first one in order always runs, whatever is owed.
            let first = self.groups.get(plan.group).oldest(top);
            self.gather_one(first, &mut taken);
            self.gather_owed(plan, top, &mut taken);
            for level in self.groups.get(plan.group).levels() {
                let mut next = self.groups.get(plan.group).oldest(level);
                while next != NONE && self.fits(next, &taken, plan.items) {
                    let index = next;
                    let entry = self.arena.get(index);
                    next = entry.newer;
                    self.arena.touch(entry.hint());
                    self.gather_one(index, &mut taken);
                }
            }
        }
        (taken.requests > 0).then_some(taken)
    }

    fn gather_owed(&mut self, plan: Plan, top: u8, taken: &mut Gathered) {
        let mut owed = plan.owed;
        while owed > 0 {
            let group = self.groups.get(plan.group);
            let longest = group
                .levels()
                .filter(|&level| level < top)
                .map(|level| group.oldest(level))
                .min_by_key(|&index| self.arena.get(index).number);
            let Some(index) = longest else { return };
            let entry = self.arena.get(index);
            if entry.arrived > plan.owed_since || !self.fits(index, taken, plan.items) {
                return;
            }
            owed = owed.saturating_sub(entry.items);
            self.gather_one(index, taken);
        }
    }

    fn gather_piece(&mut self, plan: Plan, taken: &mut Gathered) {
        let head = self.groups.take_piece(&mut self.arena, plan.group);
        if head == NONE {
            return;
        }
        let Entry { piece_priority, pair, other_half_failed, .. } = *self.arena.get(head);
        (taken.pair, taken.other_half_failed) = (pair, other_half_failed);
        let mut next = head;
        while next != NONE && (taken.requests == 0 || self.fits(next, taken, plan.items)) {
            let index = next;
            next = self.arena.get(index).newer;
            self.chain(index, taken);
        }
        if next != NONE {
            let rest = self.arena.get_mut(next);
            rest.older = NONE;
            rest.piece_priority = piece_priority;
            rest.pair = pair;
            rest.other_half_failed = other_half_failed;
            self.groups.add_piece(&mut self.arena, plan.group, next);
        }
    }

    fn fits(&self, index: u32, taken: &Gathered, items: u32) -> bool {
        let sum = taken.items.checked_add(self.arena.get(index).items);
        sum.is_some_and(|sum| sum <= items)
    }

    fn gather_one(&mut self, index: u32, taken: &mut Gathered) {
        self.groups.remove(&mut self.arena, index);
        self.chain(index, taken);
    }

    fn chain(&mut self, index: u32, taken: &mut Gathered) {
        // Its timer must not fire for what is in no list.
        self.arena.clear_timer(index);
        let entry = self.arena.get_mut(index);
        entry.older = taken.last;
        entry.newer = NONE;
        entry.in_piece = false;
        entry.gathered = true;
        taken.items = taken.items.saturating_add(entry.items);
        let of_level = &mut taken.by_level[usize::from(entry.priority)];
        *of_level = of_level.saturating_add(entry.items);
        taken.requests += 1;
        taken.priority = taken.priority.max(entry.priority);
        match taken.last {
            NONE => taken.first = index,
            last => self.arena.get_mut(last).newer = index,
        }
        taken.last = index;
    }

    /// Puts what was gathered, and not taken by the one who runs it, back where it was: `index` is the
    /// last of the chain.
    pub(crate) fn put_back(&mut self, mut index: u32) {
        while index != NONE {
            let before = self.arena.get(index).older;
            self.arena.get_mut(index).gathered = false;
            self.groups.add(&mut self.arena, index, true);
            let timer = self.arena.get(index).timer;
            if timer < Instant::MAX {
                self.arena.set_timer(index, timer);
            }
            index = before;
        }
    }

    /// Hands out the first of a gathered chain, and which is the next.
    pub(crate) fn hand_out(&mut self, index: u32) -> (Option<Queued<T>>, u32) {
        let next = self.arena.get(index).newer;
        if next != NONE {
            self.arena.get_mut(next).older = NONE;
        }
        let key = self.key_of(index);
        (self.free(index, key), next)
    }

    /// Begins a piece; `None` when every group has requests of another key.
    pub(crate) fn begin_piece(&mut self, key: BatchKey) -> Option<Piece> {
        let group = self.groups.find_or_make(key)?;
        Some(Piece { group, head: NONE, last: NONE, priority: 0 })
    }

    /// Adds a request to a piece; gives it back when there is no place for it.
    pub(crate) fn add_to_piece(
        &mut self,
        piece: &mut Piece,
        queued: Queued<T>,
    ) -> Result<Ticket, Queued<T>> {
        let (priority, number) = (queued.request.priority, queued.number);
        let index = self.arena.insert(piece.group, queued)?;
        self.waiting[usize::from(priority)] += 1;
        piece.priority = piece.priority.max(priority);
        let entry = self.arena.get_mut(index);
        entry.in_piece = true;
        entry.older = piece.last;
        match piece.last {
            NONE => piece.head = index,
            last => self.arena.get_mut(last).newer = index,
        }
        piece.last = index;
        Ok(Ticket { index, number })
    }

    /// Lets a piece wait for its run. `pair` names the split that it comes of.
    pub(crate) fn end_piece(&mut self, piece: Piece, pair: u32) {
        if piece.head != NONE {
            let head = self.arena.get_mut(piece.head);
            head.piece_priority = piece.priority;
            head.pair = pair;
            self.groups.add_piece(&mut self.arena, piece.group, piece.head);
        }
    }

    /// The other half of a split failed: notes that with the half that still waits. Whether it does.
    pub(crate) fn note_other_half(&mut self, key: BatchKey, pair: u32) -> bool {
        let Some(group) = self.groups.find(key) else { return false };
        let mut piece = self.groups.get(group).pieces;
        while piece != NONE {
            let entry = self.arena.get_mut(piece);
            if entry.pair == pair {
                entry.other_half_failed = true;
                return true;
            }
            piece = entry.next_piece;
        }
        false
    }

    /// Any request that waits in a group, a piece's included.
    pub(crate) fn any_of(&self, group: u32) -> Option<u32> {
        let group = self.groups.get(group);
        let level = group.top().map(|top| group.oldest(top));
        level.or((group.pieces != NONE).then_some(group.pieces))
    }

    /// The youngest request of the lowest level below `priority` that waits in a group `of` says yes to.
    pub(crate) fn youngest_below(
        &self,
        priority: u8,
        of: impl Fn(BatchKey) -> bool,
    ) -> Option<u32> {
        let mut found: Option<(u8, u64, u32)> = None;
        let mut at = self.groups.first_active();
        while at != NONE {
            let group = self.groups.get(at);
            if let Some(level) = group.bottom().filter(|&level| level < priority)
                && of(group.key)
            {
                let index = group.newest(level);
                let number = self.arena.get(index).number;
                let better = |&(lowest, youngest, _): &(u8, u64, u32)| {
                    level < lowest || (level == lowest && number > youngest)
                };
                if found.as_ref().is_none_or(better) {
                    found = Some((level, number, index));
                }
            }
            at = self.groups.next_active(at);
        }
        found.map(|(_, _, index)| index)
    }
}
