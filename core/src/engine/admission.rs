//! Who is let in, and who has to make way.

use super::lanes::LaneState;
use super::{ActionSink, Dropped, Engine, Refused};
use crate::batch::{Entry, Group, OfferError, Request, Store};
use crate::policy::Level;
use crate::{Duration, Instant};

/// Room that an arriving request needs and there is not.
enum Lack {
    Lane(Refused),
    Engine(Refused),
}

impl<T, E, G, M> Engine<T, E, G, M>
where
    E: Store<Entry<T>>,
    G: Store<Group>,
    M: Store<Option<LaneState>>,
{
    /// Lets a request in, or refuses it. The group it waits in, if it does.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        mut request: Request<T>,
        sink: &mut impl ActionSink<T>,
    ) -> Option<u32> {
        if let Err(why) = self.check(now, &mut request) {
            sink.refuse(request, why);
            return None;
        }
        while let Some(lack) = self.lack(&request) {
            let (refused, victim) = match lack {
                Lack::Lane(why) => (why, self.victim(&request, false)),
                Lack::Engine(why) => (why, self.victim(&request, true)),
            };
            let Some(victim) = victim else {
                sink.refuse(request, refused);
                return None;
            };
            let retry_after = refused.retry_after().unwrap_or(Duration::ZERO);
            self.drop_waiting(
                victim,
                Dropped::Displaced { by: request.priority, retry_after },
                sink,
            );
        }
        self.enter(now, request, sink)
    }

    /// What is wrong with the request or its model, whatever room there is.
    fn check(&self, now: Instant, request: &mut Request<T>) -> Result<(), Refused> {
        let Some(state) = self.lane(request.key.model) else { return Err(Refused::UnknownModel) };
        let lane = &state.lane;
        if self.draining {
            return Err(Refused::Draining);
        }
        if request.items == 0 {
            return Err(Refused::Empty);
        }
        let max_items = state.largest_request(&self.pools);
        if request.items > max_items {
            return Err(Refused::TooLarge { max_items });
        }
        if request.priority >= lane.priorities {
            return Err(Refused::Priority { priorities: lane.priorities });
        }
        if request.deadline == Instant::MAX {
            request.deadline = now + lane.levels[usize::from(request.priority)].timeout;
        }
        if request.deadline <= now {
            return Err(Refused::Late);
        }
        if let Some(until) = state.open_until(now) {
            return Err(Refused::CircuitOpen { retry_after: until.since(now) });
        }
        match state.level(now) {
            Level::Halted => Err(Refused::Halted { retry_after: state.halted_until.since(now) }),
            Level::Restricted if request.priority < lane.failures.restricted_priority => {
                Err(Refused::Restricted { priority: lane.failures.restricted_priority })
            }
            _ => Ok(()),
        }
    }

    /// The room that is missing.
    fn lack(&self, request: &Request<T>) -> Option<Lack> {
        let state = self.lane(request.key.model)?;
        let (lane, waiting) = (&state.lane, state.waiting);
        let level = usize::from(request.priority);
        // Worked out only where there is no room: most requests find some.
        let retry_after = || state.backlog();
        let max_queued = lane.levels[level].max_queued;
        if state.by_level[level].requests >= max_queued {
            let priority = request.priority;
            return Some(Lack::Lane(Refused::LevelQueueFull {
                priority,
                max_queued,
                retry_after: retry_after(),
            }));
        }
        if waiting.requests >= lane.max_queued {
            let max_queued = lane.max_queued;
            return Some(Lack::Lane(Refused::ModelQueueFull {
                max_queued,
                retry_after: retry_after(),
            }));
        }
        let max_bytes = lane.max_queued_bytes;
        if waiting.bytes.saturating_add(request.bytes) > max_bytes {
            return Some(Lack::Lane(Refused::ModelBytesFull {
                max_bytes,
                retry_after: retry_after(),
            }));
        }
        let places = self.planner.queued().saturating_add(self.in_flight);
        let bytes = self.bytes.saturating_add(request.bytes);
        let full = places >= self.planner.capacity() || bytes > self.max_bytes;
        full.then(|| Lack::Engine(Refused::QueueFull { retry_after: retry_after() }))
    }

    /// Who makes way for the request: the youngest of the lowest priority below its own, if that helps.
    fn victim(&self, request: &Request<T>, of_any_model: bool) -> Option<u32> {
        let own = request.key.model;
        let state = self.lane(own)?;
        let level = usize::from(request.priority);
        let lane = &state.lane;
        // Its own level's limit is not met by those below, and what is larger than all room never fits.
        if !lane.displace
            || state.by_level[level].requests >= lane.levels[level].max_queued
            || request.bytes > lane.max_queued_bytes.min(self.max_bytes)
        {
            return None;
        }
        if !of_any_model {
            // Nobody is displaced in vain.
            let below = &state.by_level[..level];
            let bytes: u64 = below.iter().fold(0, |sum, load| sum.saturating_add(load.bytes));
            let left = state.waiting.bytes.saturating_sub(bytes);
            if left.saturating_add(request.bytes) > lane.max_queued_bytes {
                return None;
            }
        }
        self.planner.youngest_below(request.priority, |key| {
            let displaced = |state: &LaneState| state.lane.displace;
            key.model == own || (of_any_model && self.lane(key.model).is_some_and(displaced))
        })
    }

    fn enter(
        &mut self,
        now: Instant,
        request: Request<T>,
        sink: &mut impl ActionSink<T>,
    ) -> Option<u32> {
        let (model, priority) = (request.key.model, request.priority);
        let (items, bytes, deadline) = (request.items, request.bytes, request.deadline);
        // Whether nothing that goes before it waits or runs: then its wait is bounded.
        let level = usize::from(priority);
        let nothing_ahead = !self.planner.has_priority(priority)
            && self.running_by_level[level..].iter().all(|&running| running == 0);
        let (group, ticket) = match self.planner.offer(request, now) {
            Ok(entered) => entered,
            Err((request, OfferError::Full | OfferError::GroupsFull)) => {
                let retry_after = self.lane(model).map_or(Duration::ZERO, LaneState::backlog);
                sink.refuse(request, Refused::QueueFull { retry_after });
                return None;
            }
        };
        if nothing_ahead {
            self.unobstructed[level] = Some(ticket);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let resumes = self.virtual_now[level];
        if let Some(state) = self.lane_mut(model) {
            if state.waiting.requests == 0 && state.busy == 0 {
                // Time in which it had nothing to do is no credit.
                state.turn = state.turn.max(resumes);
            }
            state.entered(priority, items, bytes);
        }
        if deadline < Instant::MAX {
            self.set_deadline(ticket.index, now);
        }
        if let Some(payload) = self.planner.arena.get(ticket.index).payload.as_ref() {
            sink.queued(ticket, payload);
        }
        Some(group)
    }

    /// Sets the timer of a request: first for when it becomes urgent, as its batch takes its time.
    fn set_deadline(&mut self, index: u32, now: Instant) {
        let entry = self.planner.arena.get(index);
        let (deadline, group) = (entry.deadline, self.planner.groups.get(entry.group));
        let items = u32::try_from(group.items).unwrap_or(u32::MAX);
        let estimate = self
            .lane(group.key.model)
            .and_then(|state| state.time.estimate(state.padded(items.min(state.lane.max_items))));
        let at = match estimate {
            // Once more the time, so that a batch that is a little slow is not too late.
            Some(time) => {
                let urgent = deadline.as_nanos().saturating_sub(time.saturating_mul(2));
                Instant::from_nanos(urgent).max(now)
            }
            None => deadline,
        };
        self.planner.arena.set_timer(index, at);
    }

    /// Gives up a request that waits.
    pub(super) fn drop_waiting(&mut self, index: u32, why: Dropped, sink: &mut impl ActionSink<T>) {
        self.scan_needed = true;
        if let Some(queued) = self.planner.take(index) {
            let request = &queued.request;
            let (priority, items, bytes) = (request.priority, request.items, request.bytes);
            if let Some(state) = self.lane_mut(request.key.model) {
                state.left(priority, items, bytes);
            }
            self.bytes = self.bytes.saturating_sub(bytes);
            sink.release(queued, why);
        }
    }

    /// Gives up what is too late, and hurries what would be.
    pub(super) fn expire(&mut self, now: Instant, sink: &mut impl ActionSink<T>) {
        while let Some((index, at)) = self.planner.arena.first_timer() {
            if at > now {
                return;
            }
            let deadline = self.planner.arena.get(index).deadline;
            if deadline <= now {
                self.drop_waiting(index, Dropped::Expired, sink);
            } else {
                self.scan_needed = true;
                self.planner.mark_urgent(index);
                self.planner.arena.set_timer(index, deadline);
            }
        }
    }
}
