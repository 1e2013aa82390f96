//! How batches end, and what follows from failures.

use super::lanes::LaneState;
use super::{ActionSink, Dropped, Engine, Failure, Notice};
use crate::batch::{Batch, BatchKey, Entry, Group, LEVELS, ModelId, NONE, Queued, Store, Ticket};
use crate::breaker::{Effect, Outcome};
use crate::policy::Level;
use crate::{Duration, Instant};

impl<T, E, G, M> Engine<T, E, G, M>
where
    E: Store<Entry<T>>,
    G: Store<Group>,
    M: Store<Option<LaneState>>,
{
    /// A batch was run: frees what it held, and learns from it.
    pub(super) fn succeeded(
        &mut self,
        now: Instant,
        batch: Batch,
        took: Duration,
        memory: Option<u64>,
        sink: &mut impl ActionSink<T>,
    ) {
        self.release_resources(&batch, took);
        let model = batch.key.model;
        let padded = batch.padded;
        let Some(state) = self.lane_mut(model) else { return };
        state.time.observe(padded, took.as_nanos());
        state.governor.succeeded(padded);
        if let Some(bytes) = memory {
            state.memory.observe(padded, bytes);
        }
        let change = state.ladder.as_ref().and_then(|ladder| ladder.record_success(now));
        if let Some(change) = change {
            sink.notice(Notice::Level { model, change });
        }
        let key = batch.key;
        self.report(now, model, batch.permit, Outcome::Success, sink);
        self.planner.groups.ended(key);
    }

    /// A batch failed, and these are its requests, in their order. They are run again in two halves, so
    /// that the one at fault stands alone in the end; a request that stands alone is given up.
    ///
    /// The model's level and circuit take note of the failure, unless it says nothing new: one half of a
    /// split has to fail where a request is at fault, so only when both do it counts again. Running out
    /// of memory makes smaller batches instead.
    ///
    /// Returns when to send [`Event::Tick`](super::Event::Tick) if nothing else happens before.
    pub fn failed(
        &mut self,
        now: Instant,
        batch: Batch,
        took: Duration,
        failure: Failure,
        requests: impl ExactSizeIterator<Item = Queued<T>>,
        sink: &mut impl ActionSink<T>,
    ) -> Option<Instant> {
        self.release_resources(&batch, took);
        let (key, model) = (batch.key, batch.key.model);
        let (number, items, overdue) = (batch.number, batch.padded, batch.overdue);
        let mut counts = false;
        match failure {
            Failure::OutOfMemory => {
                if let Some(state) = self.lane_mut(model) {
                    state.governor.out_of_memory(items);
                    let limit = state.governor.limit(state.lane.max_items);
                    sink.notice(Notice::OutOfMemory { model, items, limit });
                }
            }
            Failure::Failed => {
                let other_waits =
                    batch.pair != NONE && self.planner.note_other_half(key, batch.pair);
                // The first half of a split may be the one at fault: the second will tell.
                let first_half = batch.rerun && (other_waits || !batch.other_half_failed);
                counts = !first_half && !overdue;
            }
        }
        if counts {
            self.count_failure(now, model, sink);
        }
        let outcome = if counts { Outcome::Failure } else { Outcome::Ignored };
        self.report(now, model, batch.permit, outcome, sink);
        self.run_again(now, key, number, failure, requests, sink);
        self.planner.groups.ended(key);
        self.after(now, sink)
    }

    /// A batch takes too long. It no longer counts among the batches that run, as its executor's thread is
    /// replaced; but its instance and its memory are only free when it is given back. Its failure counts.
    /// What it holds of requests is the caller's to answer.
    ///
    /// Returns when to send [`Event::Tick`](super::Event::Tick) if nothing else happens before.
    pub fn overdue(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        sink: &mut impl ActionSink<T>,
    ) -> Option<Instant> {
        if !batch.overdue {
            batch.overdue = true;
            self.stops_running(batch);
            let model = batch.key.model;
            self.count_failure(now, model, sink);
            let permit = batch.permit.take();
            self.report(now, model, permit, Outcome::Failure, sink);
        }
        self.after(now, sink)
    }

    /// A batch was not run, as nobody waits for its answers any more.
    ///
    /// Returns when to send [`Event::Tick`](super::Event::Tick) if nothing else happens before.
    pub fn withdrawn(
        &mut self,
        now: Instant,
        batch: Batch,
        sink: &mut impl ActionSink<T>,
    ) -> Option<Instant> {
        self.release_resources(&batch, Duration::ZERO);
        let key = batch.key;
        self.report(now, key.model, batch.permit, Outcome::Ignored, sink);
        self.planner.groups.ended(key);
        self.after(now, sink)
    }

    fn stops_running(&mut self, batch: &Batch) {
        self.running = self.running.saturating_sub(1);
        let level = &mut self.running_by_level[usize::from(batch.priority)];
        *level = level.saturating_sub(1);
    }

    fn release_resources(&mut self, batch: &Batch, took: Duration) {
        if !batch.overdue {
            self.stops_running(batch);
        }
        self.in_flight = self.in_flight.saturating_sub(batch.requests);
        let pool = &mut self.pools[usize::from(batch.pool.0)];
        pool.taken = pool.taken.saturating_sub(batch.memory);
        if let Some(state) = self.lane_mut(batch.key.model) {
            state.ended(batch, took);
        }
    }

    fn count_failure(&mut self, now: Instant, model: ModelId, sink: &mut impl ActionSink<T>) {
        let Some(state) = self.lane_mut(model) else { return };
        let Some(ladder) = &state.ladder else { return };
        let change = ladder.record_failure(now);
        if ladder.level() == Level::Halted {
            state.halted_until = now + state.lane.failures.halt_for;
        }
        if let Some(change) = change {
            sink.notice(Notice::Level { model, change });
        }
    }

    fn report(
        &mut self,
        now: Instant,
        model: ModelId,
        permit: Option<crate::breaker::Permit>,
        outcome: Outcome,
        sink: &mut impl ActionSink<T>,
    ) {
        let Some(permit) = permit else { return };
        let Some(breaker) = self.lane(model).and_then(|state| state.breaker.as_ref()) else {
            return;
        };
        match breaker.report(permit, outcome, now) {
            Effect::Opened => {
                let until = self.lane(model).and_then(|state| state.open_until(now));
                let until = until.unwrap_or(now);
                sink.notice(Notice::CircuitOpened { model, until });
                let retry_after = until.since(now);
                self.give_up_model(model, Dropped::CircuitOpen { retry_after }, sink);
            }
            Effect::Closed => sink.notice(Notice::CircuitClosed { model }),
            _ => {}
        }
    }

    /// Gives up all that waits for a model.
    fn give_up_model(&mut self, model: ModelId, why: Dropped, sink: &mut impl ActionSink<T>) {
        let mut at = self.planner.groups.first_active();
        while at != NONE {
            let next = self.planner.groups.next_active(at);
            if self.planner.groups.get(at).key.model == model {
                while let Some(index) = self.planner.any_of(at) {
                    self.drop_waiting(index, why, sink);
                }
            }
            at = next;
        }
    }

    fn run_again(
        &mut self,
        now: Instant,
        key: BatchKey,
        batch: u64,
        failure: Failure,
        mut requests: impl ExactSizeIterator<Item = Queued<T>>,
        sink: &mut impl ActionSink<T>,
    ) {
        let count = requests.len();
        let hopeless = self.lane(key.model).is_none_or(|state| {
            state.level(now) == Level::Halted || state.open_until(now).is_some()
        });
        if count <= 1 || hopeless {
            for queued in requests {
                sink.release(queued, Dropped::Failed(failure));
            }
            return;
        }
        let first = count.div_ceil(2);
        let halves = [first as u32, (count - first) as u32];
        sink.notice(Notice::Split { batch, requests: halves });
        self.next_pair = self.next_pair.wrapping_add(1);
        if self.next_pair == NONE {
            self.next_pair = 0;
        }
        let pair = self.next_pair;
        for half in halves {
            let mut piece = self.planner.begin_piece(key);
            for mut queued in requests.by_ref().take(half as usize) {
                // It was in the caller's hands: what he wrote there must not lead out of the levels.
                let priority = &mut queued.request.priority;
                *priority = (*priority).min(LEVELS as u8 - 1);
                queued.request.key = key;
                let Some(piece) = &mut piece else {
                    sink.release(queued, Dropped::Failed(failure));
                    continue;
                };
                let request = &queued.request;
                let (priority, items, bytes) = (request.priority, request.items, request.bytes);
                let deadline = request.deadline;
                match self.planner.add_to_piece(piece, queued) {
                    Ok(ticket) => self.waits_again(ticket, priority, items, bytes, deadline, sink),
                    Err(queued) => sink.release(queued, Dropped::Failed(failure)),
                }
            }
            if let Some(piece) = piece {
                self.planner.end_piece(piece, pair);
            }
        }
    }

    fn waits_again(
        &mut self,
        ticket: Ticket,
        priority: u8,
        items: u32,
        bytes: u64,
        deadline: Instant,
        sink: &mut impl ActionSink<T>,
    ) {
        let entry = self.planner.arena.get(ticket.index);
        let model = self.planner.groups.get(entry.group).key.model;
        if let Some(state) = self.lane_mut(model) {
            state.entered(priority, items, bytes);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if deadline < Instant::MAX {
            self.planner.arena.set_timer(ticket.index, deadline);
        }
        if let Some(payload) = self.planner.arena.get(ticket.index).payload.as_ref() {
            sink.queued(ticket, payload);
        }
    }
}
