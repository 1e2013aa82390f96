//! Which batch runs next.

use super::lanes::{LaneState, Room, Status};
use super::{ActionSink, Dropped, Engine};
use crate::Instant;
use crate::batch::{
    Batch, ClosingReason, Entry, Gathered, Group, LEVELS, ModelId, NONE, POOLS, Plan, Planner,
    Queued, Store, Verdict, Waiting,
};
use core::cmp::Reverse;

/// A batch that could run.
#[derive(Clone, Copy)]
struct Candidate {
    plan: Plan,
    reason: ClosingReason,
    level: u8,
    /// Nothing was ahead of its first request when that came.
    unobstructed: bool,
    /// The turn of its model.
    turn: u64,
    /// The number of its first request.
    number: u64,
}

impl Candidate {
    /// The higher goes first: by priority, then by the models' turns, then by arrival.
    const fn rank(&self) -> (u8, bool, Reverse<u64>, Reverse<u64>) {
        (self.level, self.unobstructed, Reverse(self.turn), Reverse(self.number))
    }
}

fn better(best: &mut Option<Candidate>, candidate: Candidate) {
    if best.as_ref().is_none_or(|best| candidate.rank() > best.rank()) {
        *best = Some(candidate);
    }
}

/// What a look at all groups found.
struct Scan {
    /// The best that may run now.
    due: Option<Candidate>,
    /// The best of those that wait, due or not.
    waiting: Option<Candidate>,
    /// When the next one may.
    wake: Option<Instant>,
    /// A request for which its device's memory is too small.
    hopeless: Option<u32>,
    /// For each level, the longest waiting request that could run, and its group.
    oldest: [Option<(u64, u32)>; LEVELS],
}

impl Scan {
    const EMPTY: Self =
        Self { due: None, waiting: None, wake: None, hopeless: None, oldest: [None; LEVELS] };

    fn wake_at(&mut self, until: Instant) {
        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
    }
}

impl<T, E, G, M> Engine<T, E, G, M>
where
    E: Store<Entry<T>>,
    G: Store<Group>,
    M: Store<Option<LaneState>>,
{
    /// Dispatches while something may run.
    pub(super) fn dispatch_due(&mut self, now: Instant, sink: &mut impl ActionSink<T>) {
        self.scan_needed = true;
        while self.running < self.max_running {
            let scan = self.scan(now, sink);
            self.wake = scan.wake;
            if let Some(index) = scan.hopeless {
                self.drop_waiting(index, Dropped::NoMemory, sink);
                continue;
            }
            let Some((candidate, owed)) = self.choose(&scan, now, sink) else {
                self.scan_needed = false;
                return;
            };
            let model = self.planner.groups.get(candidate.plan.group).key.model;
            let permit = self.lane_mut(model).map_or(Ok(None), |state| state.permit(now));
            let Ok(permit) = permit else { continue };
            let Some(taken) = self.start(candidate, owed, permit, now, sink) else { return };
            if taken == 0 {
                return; // asked again at the next event: a sink that takes nothing is no loop
            }
        }
    }

    /// Whether the arrival of a request in `group` changes nothing yet.
    pub(super) fn is_quiet(
        &mut self,
        group: u32,
        now: Instant,
        sink: &mut impl ActionSink<T>,
    ) -> bool {
        if self.running >= self.max_running {
            return true;
        }
        if self.scan_needed || self.wake.is_some_and(|wake| now >= wake) {
            return false;
        }
        let Some(state) = self.lane(self.planner.groups.get(group).key.model) else { return true };
        let room = match state.status(now, &self.pools) {
            Status::Busy => return true,
            Status::RefusedUntil(_) => return false,
            Status::Ready(room) if room.most == 0 => return false,
            Status::Ready(room) => room.of_level(&state.lane, self.planner.groups.get(group).top()),
        };
        let waiting = view(&self.planner, state, group, room, now, self.draining);
        match sink.judge(&waiting) {
            Verdict::Close { .. } => false,
            Verdict::Wait { until } => {
                self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
                true
            }
        }
    }

    fn scan(&self, now: Instant, sink: &mut impl ActionSink<T>) -> Scan {
        let mut scan = Scan::EMPTY;
        let blocked = self.blocked_pools(now);
        let mut at = self.planner.groups.first_active();
        while at != NONE {
            self.look_at(at, now, &blocked, &mut scan, sink);
            at = self.planner.groups.next_active(at);
        }
        scan
    }

    /// For each pool, one more than the highest priority that waits for memory there: what is lower must
    /// not take that.
    fn blocked_pools(&self, now: Instant) -> [u8; POOLS] {
        let mut blocked = [0; POOLS];
        if self.pools.iter().all(|pool| pool.capacity == u64::MAX) {
            return blocked;
        }
        let mut at = self.planner.groups.first_active();
        while at != NONE {
            let group = self.planner.groups.get(at);
            if let Some(state) = self.lane(group.key.model)
                && let Status::Ready(room) = state.status(now, &self.pools)
            {
                for (_, head, level) in self.heads(at) {
                    if self.planner.arena.get(head).items > room.by_memory {
                        let highest = &mut blocked[usize::from(state.lane.pool.0)];
                        *highest = (*highest).max(level + 1);
                    }
                }
            }
            at = self.planner.groups.next_active(at);
        }
        blocked
    }

    /// What a group could begin with: its first piece, and the first request of its highest level.
    fn heads(&self, at: u32) -> impl Iterator<Item = (bool, u32, u8)> + use<T, E, G, M> {
        let group = self.planner.groups.get(at);
        let piece = (group.pieces != NONE)
            .then(|| (true, group.pieces, self.planner.arena.get(group.pieces).piece_priority));
        let level = group.top().map(|top| (false, group.oldest(top), top));
        piece.into_iter().chain(level)
    }

    fn look_at(
        &self,
        at: u32,
        now: Instant,
        blocked: &[u8; POOLS],
        scan: &mut Scan,
        sink: &mut impl ActionSink<T>,
    ) {
        let group = self.planner.groups.get(at);
        let Some(state) = self.lane(group.key.model) else { return };
        let room = match state.status(now, &self.pools) {
            Status::Busy => return,
            Status::RefusedUntil(until) => return scan.wake_at(until),
            Status::Ready(room) => room,
        };
        let pool = usize::from(state.lane.pool.0);
        for (piece, head, level) in self.heads(at) {
            let entry = self.planner.arena.get(head);
            if entry.items > room.by_memory {
                // With all of the memory free, there is nothing to wait for.
                if self.pools[pool].taken == 0 {
                    scan.hopeless = Some(head);
                }
                continue;
            }
            if state.memory.is_known() && blocked[pool] > level + 1 {
                continue;
            }
            let plan =
                Plan { group: at, piece, items: room.most, owed: 0, owed_since: Instant::ZERO };
            let candidate = Candidate {
                plan,
                reason: ClosingReason::Retry,
                level,
                unobstructed: self.is_unobstructed(level, head),
                turn: state.turn,
                number: entry.number,
            };
            if piece {
                better(&mut scan.due, candidate);
                continue;
            }
            self.note_oldest(at, scan);
            let room = room.of_level(&state.lane, Some(level));
            let waiting = view(&self.planner, state, at, room, now, self.draining);
            match sink.judge(&waiting) {
                Verdict::Close { reason, items } => {
                    let plan = Plan { items: items.min(room.most).max(1), ..plan };
                    better(&mut scan.due, Candidate { plan, reason, ..candidate });
                }
                Verdict::Wait { until } => scan.wake_at(until),
            }
            let items = waiting.sized(waiting.available());
            let plan = Plan { items, ..plan };
            let reason = ClosingReason::Priority;
            better(&mut scan.waiting, Candidate { plan, reason, ..candidate });
        }
    }

    fn note_oldest(&self, at: u32, scan: &mut Scan) {
        if self.min_share == 0 {
            return;
        }
        let group = self.planner.groups.get(at);
        for level in group.levels() {
            let number = self.planner.arena.get(group.oldest(level)).number;
            let oldest = &mut scan.oldest[usize::from(level)];
            if oldest.is_none_or(|(before, _)| number < before) {
                *oldest = Some((number, at));
            }
        }
    }

    fn is_unobstructed(&self, level: u8, head: u32) -> bool {
        let ticket = self.unobstructed[usize::from(level)];
        ticket.is_some_and(|ticket| self.planner.arena.find(ticket) == Some(head))
    }

    /// Whether a request above `level` waits that had nothing ahead of it when it came.
    fn unobstructed_above(&self, level: u8) -> bool {
        let above = self.unobstructed[usize::from(level) + 1..].iter().flatten();
        above.into_iter().any(|&ticket| self.planner.arena.find(ticket).is_some())
    }

    /// The batch to run, and what it owes to lower levels: `None` if it owes nothing because none of
    /// them has waited for long.
    fn choose(
        &self,
        scan: &Scan,
        now: Instant,
        sink: &mut impl ActionSink<T>,
    ) -> Option<(Candidate, Option<u8>)> {
        let mut best = scan.due?;
        // What is lower must not go before what is higher, though that could wait for company; nor what is
        // equal before one that had nothing ahead of it.
        let standing = |candidate: &Candidate| (candidate.level, candidate.unobstructed);
        let goes_before = |waiting: &Candidate| {
            standing(waiting) > standing(&best) && self.takes_from(&best, waiting)
        };
        if let Some(waiting) = scan.waiting.filter(goes_before) {
            best = waiting;
        }
        let level = best.level;
        let Some((starving, of_level)) = self.starving(scan, level, now) else {
            return Some((best, None));
        };
        if self.owed < ITEM {
            return Some((best, Some(level)));
        }
        let since =
            Instant::from_nanos(now.as_nanos().saturating_sub(self.starve_after.as_nanos()));
        let owed = u32::try_from(self.owed / ITEM).unwrap_or(u32::MAX);
        if starving == best.plan.group {
            if !best.plan.piece {
                best.plan = Plan { owed, owed_since: since, ..best.plan };
            }
        } else if !self.unobstructed_above(of_level)
            && let Some(turn) = self.turn_of(starving, now, sink)
        {
            best = turn;
        }
        Some((best, Some(level)))
    }

    /// Whether `first`, once it runs, leaves no worker, instance or memory that `other` could run with.
    fn takes_from(&self, first: &Candidate, other: &Candidate) -> bool {
        let model = |candidate: &Candidate| self.planner.groups.get(candidate.plan.group).key.model;
        let (Some(a), Some(b)) = (self.lane(model(first)), self.lane(model(other))) else {
            return false;
        };
        let last_worker = self.running + 1 >= self.max_running;
        let last_instance = model(first) == model(other) && a.busy + 1 >= a.lane.instances;
        let same_memory = a.memory.is_known() && b.memory.is_known() && a.lane.pool == b.lane.pool;
        last_worker || last_instance || same_memory
    }

    /// The longest waiting request below `level`, if it has waited for long: its group and level.
    fn starving(&self, scan: &Scan, level: u8, now: Instant) -> Option<(u32, u8)> {
        (0..level)
            .filter_map(|level| scan.oldest[usize::from(level)].map(|oldest| (oldest, level)))
            .filter(|&((_, group), level)| {
                let index = self.planner.groups.get(group).oldest(level);
                now.since(self.planner.arena.get(index).arrived) >= self.starve_after
            })
            .min()
            .map(|((_, group), level)| (group, level))
    }

    /// The batch of a group whose turn it is, if it may close.
    fn turn_of(&self, at: u32, now: Instant, sink: &mut impl ActionSink<T>) -> Option<Candidate> {
        let mut scan = Scan::EMPTY;
        self.look_at(at, now, &[0; POOLS], &mut scan, sink);
        scan.due
    }

    /// Begins a batch. How many requests were taken; `None` if it turned out empty.
    fn start(
        &mut self,
        candidate: Candidate,
        owed: Option<u8>,
        permit: Option<crate::breaker::Permit>,
        now: Instant,
        sink: &mut impl ActionSink<T>,
    ) -> Option<u32> {
        let key = self.planner.groups.get(candidate.plan.group).key;
        let gathered = self.planner.gather(candidate.plan)?;
        self.planner.groups.begins(candidate.plan.group);
        self.account_shares(&gathered, owed);
        let level = usize::from(gathered.priority);
        let number = self.next_batch;
        let state = self.lanes.as_mut().get_mut(key.model.0 as usize)?.as_mut()?;
        let padded = state.padded(gathered.items);
        let memory = state.memory.estimate(padded).unwrap_or(0);
        let pool = &mut self.pools[usize::from(state.lane.pool.0)];
        self.virtual_now[level] = self.virtual_now[level].max(state.turn);
        let batch = Batch {
            key,
            reason: candidate.reason,
            number,
            items: gathered.items,
            padded,
            requests: gathered.requests,
            priority: gathered.priority,
            started: now,
            rerun: candidate.plan.piece,
            memory,
            pool: state.lane.pool,
            charged: state.charge(padded),
            permit,
            pair: gathered.pair,
            other_half_failed: gathered.other_half_failed,
            overdue: false,
        };
        pool.taken = pool.taken.saturating_add(memory);
        state.busy += 1;
        self.next_batch += 1;
        self.running += 1;
        self.running_by_level[level] += 1;
        self.in_flight = self.in_flight.saturating_add(gathered.requests);
        let mut requests = Handout {
            planner: &mut self.planner,
            lane: state,
            bytes: &mut self.bytes,
            next: gathered.first,
            last: gathered.last,
            left: gathered.requests,
        };
        sink.dispatch(batch, &mut requests);
        Some(gathered.requests - requests.left)
    }

    /// Keeps the account of what lower levels are owed: a share of all items while they wait for long.
    fn account_shares(&mut self, gathered: &Gathered, owed_below: Option<u8>) {
        let Some(level) = owed_below else {
            self.owed = 0;
            return;
        };
        let lower: i64 =
            gathered.by_level[..usize::from(level)].iter().map(|&n| i64::from(n)).sum();
        let all = i64::from(gathered.items);
        let change = all * i64::from(self.min_share) - lower * ITEM;
        self.owed = self.owed.saturating_add(change).clamp(-MOST_OWED, MOST_OWED);
    }

    /// When to ask again, if nothing else happens.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let timer = self.planner.arena.first_timer().map(|(_, at)| at);
        let group = self.wake.filter(|_| self.running < self.max_running);
        timer.into_iter().chain(group).min()
    }

    pub(super) fn lane(&self, model: ModelId) -> Option<&LaneState> {
        self.lanes.as_ref().get(model.0 as usize)?.as_ref()
    }

    pub(super) fn lane_mut(&mut self, model: ModelId) -> Option<&mut LaneState> {
        self.lanes.as_mut().get_mut(model.0 as usize)?.as_mut()
    }
}

/// What one item counts in the account of shares.
const ITEM: i64 = 1000;
/// The most that is owed either way: a million items.
const MOST_OWED: i64 = 1_000_000 * ITEM;

fn view<'a, T, E: Store<Entry<T>>, G: Store<Group>>(
    planner: &Planner<T, E, G>,
    state: &'a LaneState,
    at: u32,
    room: Room,
    now: Instant,
    draining: bool,
) -> Waiting<'a> {
    let group = planner.groups.get(at);
    let mut oldest = [None; LEVELS];
    for level in group.levels() {
        oldest[usize::from(level)] = Some(planner.arena.get(group.oldest(level)).arrived);
    }
    Waiting {
        now,
        key: group.key,
        lane: &state.lane,
        time: &state.time,
        items: group.items,
        requests: group.requests,
        oldest,
        most_items: room.most,
        short_of_memory: room.short_of_memory,
        urgent: group.urgent > 0,
        draining,
        gap: group.gap(),
        last_arrival: group.last_arrival.unwrap_or(now),
        wait_shift: room.wait_shift,
    }
}

/// Hands out the requests of a batch; those not taken go back to their places.
struct Handout<'a, T, E: Store<Entry<T>>, G: Store<Group>> {
    planner: &'a mut Planner<T, E, G>,
    lane: &'a mut LaneState,
    bytes: &'a mut u64,
    next: u32,
    last: u32,
    left: u32,
}

impl<T, E: Store<Entry<T>>, G: Store<Group>> Iterator for Handout<'_, T, E, G> {
    type Item = Queued<T>;

    fn next(&mut self) -> Option<Queued<T>> {
        if self.left == 0 {
            return None;
        }
        let (queued, next) = self.planner.hand_out(self.next);
        self.next = next;
        self.left -= 1;
        let queued = queued?;
        let request = &queued.request;
        self.lane.left(request.priority, request.items, request.bytes);
        *self.bytes = self.bytes.saturating_sub(request.bytes);
        Some(queued)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl<T, E: Store<Entry<T>>, G: Store<Group>> ExactSizeIterator for Handout<'_, T, E, G> {}

impl<T, E: Store<Entry<T>>, G: Store<Group>> Drop for Handout<'_, T, E, G> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.planner.put_back(self.last);
        }
    }
}
