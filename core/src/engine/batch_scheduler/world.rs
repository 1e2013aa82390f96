//! A device in virtual time around the engine: runs what it is told, and checks every decision.

use super::super::*;
use crate::batch::{Batch, BatchKey, ClosingReason, CostModel, LevelRule, Queued, Request, Sizes};
use std::collections::HashMap;
use std::vec::Vec;

pub(super) type Small = StaticEngine<u64, 64, 4, 2>;

pub(super) const CAPACITY: u64 = 45;
const FIXED: u64 = 10;
const PER_ITEM: u64 = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Waits,
    Runs,
    Answered,
    Refused(Refused),
    Dropped(Dropped),
}

/// What a request was, and what the bound says of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) request: Request<u64>,
    pub(super) fate: Fate,
    pub(super) ticket: Option<Ticket>,
    /// The latest that it may be dispatched, as long as nothing above it comes.
    pub(super) bound: Option<Instant>,
}

pub(super) struct Running {
    pub(super) ends: Instant,
    pub(super) batch: Batch,
    pub(super) requests: Vec<Queued<u64>>,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) now: Instant,
    pub(super) known: HashMap<u64, Known>,
    pub(super) running: Vec<Running>,
    pub(super) batches: Vec<(BatchKey, ClosingReason, Vec<u64>)>,
    pub(super) notices: Vec<Notice>,
    last: HashMap<(BatchKey, u8), u64>,
    pub(super) service: [u64; 2],
    /// Decisions so far.
    pub(super) acted: usize,
}

impl ActionSink<u64> for Seen {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u64>>) {
        self.acted += 1;
        let requests: Vec<Queued<u64>> = requests.collect();
        let key = batch.key();
        let items: u32 = requests.iter().map(|queued| queued.request.items).sum();
        assert_eq!((items, requests.len() as u32), (batch.items(), batch.requests()));
        assert!(items <= max_items(key.model), "{items} items of {key:?}");
        assert!(batch.padded() >= items && batch.padded() <= max_items(key.model));
        if key.model.0 == 1 && batch.priority() == SMALL_LEVEL && !batch.is_rerun() {
            assert!(items <= SMALL_ITEMS || requests.len() == 1, "{items} items of its level");
        }
        for queued in &requests {
            let request = &queued.request;
            assert_eq!(request.key, key);
            assert!(request.deadline > self.now, "{} ran too late", request.payload);
            let known = self.known.get_mut(&request.payload).unwrap();
            assert_eq!(known.fate, Fate::Waits, "{} ran twice", request.payload);
            known.fate = Fate::Runs;
            if let Some(bound) = known.bound {
                assert!(
                    self.now <= bound,
                    "{} waited until {:?} > {bound:?}",
                    request.payload,
                    self.now
                );
            }
            if !batch.is_rerun() {
                let last = self.last.insert((key, request.priority), queued.number());
                assert!(
                    last < Some(queued.number()),
                    "reordered inside priority {}",
                    request.priority
                );
            }
        }
        let payloads = requests.iter().map(|queued| queued.request.payload).collect();
        self.batches.push((key, batch.reason(), payloads));
        let took = self.service[0] + self.service[1] * u64::from(batch.padded());
        let ends = self.now + Duration::from_nanos(took);
        self.running.push(Running { ends, batch, requests });
        for (model, instances) in [(0, 1), (1, 2)] {
            let busy = self.running.iter().filter(|run| run.batch.key().model.0 == model).count();
            assert!(busy <= instances);
        }
        assert!(self.running.len() <= 2);
        let memory = |run: &Running| match run.batch.key().model.0 {
            0 => FIXED + PER_ITEM * u64::from(run.batch.padded()),
            _ => 0,
        };
        assert!(self.running.iter().map(memory).sum::<u64>() <= CAPACITY);
    }

    fn refuse(&mut self, request: Request<u64>, why: Refused) {
        self.acted += 1;
        let known = self.known.get_mut(&request.payload).unwrap();
        assert_eq!(known.fate, Fate::Waits);
        known.fate = Fate::Refused(why);
    }

    fn queued(&mut self, ticket: Ticket, payload: &u64) {
        let known = self.known.get_mut(payload).unwrap();
        known.ticket = Some(ticket);
        known.fate = Fate::Waits;
    }

    fn release(&mut self, queued: Queued<u64>, why: Dropped) {
        self.acted += 1;
        let known = self.known.get_mut(&queued.request.payload).unwrap();
        let before = if matches!(why, Dropped::Failed(_)) { Fate::Runs } else { Fate::Waits };
        assert_eq!(known.fate, before);
        known.fate = Fate::Dropped(why);
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// The second model's batches of this level are smaller.
const SMALL_LEVEL: u8 = 2;
const SMALL_ITEMS: u32 = 2;

fn max_items(model: ModelId) -> u32 {
    [4, 3][model.0 as usize]
}

pub(super) fn max_wait(priority: u8) -> Duration {
    Duration::from_nanos([100, 60, 30, 0, 0, 0, 0, 0][usize::from(priority)])
}

/// Two models: one with sizes and memory on one instance, one plain on two.
pub(super) fn lanes() -> [Lane; 2] {
    let mut first = Lane::new(4, Duration::ZERO);
    first.sizes = Sizes::new(&[1, 2, 4]).unwrap();
    first.memory = CostModel::new(FIXED as f64, PER_ITEM as f64).unwrap();
    first.max_queued = 20;
    first.displace = true;
    let mut second = Lane::new(3, Duration::ZERO);
    second.instances = 2;
    for lane in [&mut first, &mut second] {
        for (level, rule) in (0..).zip(&mut lane.levels) {
            *rule = LevelRule::new(max_wait(level));
        }
    }
    second.levels[usize::from(SMALL_LEVEL)].max_items = SMALL_ITEMS;
    [first, second]
}

pub(super) struct World {
    pub(super) engine: Small,
    pub(super) seen: Seen,
    pub(super) wake: Option<Instant>,
    pub(super) poison: fn(u64) -> bool,
    /// The payload of the next request.
    pub(super) next: u64,
    /// Whether bounds are worked out: with one worker and strict priorities.
    pub(super) bounded: bool,
}

impl World {
    pub(super) fn new(lanes: [Lane; 2]) -> Self {
        let mut engine = Small::new();
        engine.set_max_running(2);
        engine.set_memory(PoolId(0), CAPACITY);
        for (model, lane) in (0..).zip(lanes) {
            engine.configure(ModelId(model), lane).unwrap();
        }
        let seen = Seen { service: [50, 10], ..Seen::default() };
        Self { engine, seen, wake: None, poison: |_| false, next: 0, bounded: false }
    }

    pub(super) fn now(&self) -> Instant {
        self.seen.now
    }

    pub(super) fn arrive(&mut self, model: u32, signature: u32, priority: u8, items: u32) -> u64 {
        self.arrive_until(model, signature, priority, items, Instant::MAX)
    }

    pub(super) fn arrive_until(
        &mut self,
        model: u32,
        signature: u32,
        priority: u8,
        items: u32,
        deadline: Instant,
    ) -> u64 {
        let payload = self.next;
        self.next += 1;
        let key = BatchKey { model: ModelId(model), signature };
        let request = Request { priority, deadline, ..Request::new(key, items, payload) };
        // One above that comes later goes first: the bound holds no longer for those below.
        let at_least = |known: &Known| known.request.priority >= priority;
        let mut ahead = self.seen.running.iter().any(|run| run.batch.priority() >= priority);
        for known in self.seen.known.values_mut().filter(|known| known.fate == Fate::Waits) {
            ahead |= at_least(known);
            if !at_least(known) {
                known.bound = None;
            }
        }
        let idle = self.seen.running.iter().map(|run| run.ends).max().unwrap_or(self.now());
        let bound = idle.max(self.now() + max_wait(priority));
        let bound = Some(bound).filter(|_| self.bounded && !ahead);
        let known = Known { request: request.clone(), fate: Fate::Waits, ticket: None, bound };
        self.seen.known.insert(payload, known);
        self.wake = self.engine.handle(self.now(), Event::Arrived(request), &mut self.seen);
        payload
    }

    pub(super) fn cancel(&mut self, payload: u64) {
        if let Some(ticket) = self.seen.known[&payload].ticket {
            self.wake = self.engine.handle(self.now(), Event::Cancelled(ticket), &mut self.seen);
        }
    }

    pub(super) fn drain(&mut self) {
        self.wake = self.engine.handle(self.now(), Event::Drain, &mut self.seen);
        while !self.seen.running.is_empty() || self.wake.is_some() {
            self.pass(1_000);
        }
    }

    /// Lets time pass, with all that happens meanwhile.
    pub(super) fn pass(&mut self, nanos: u64) {
        let until = self.now() + Duration::from_nanos(nanos);
        loop {
            let ends = self.seen.running.iter().map(|run| run.ends).min();
            let Some(next) = ends.into_iter().chain(self.wake).min().filter(|&at| at <= until)
            else {
                self.seen.now = until;
                return;
            };
            let early = Instant::from_nanos(next.as_nanos().saturating_sub(1));
            if early > self.now() {
                self.seen.now = early;
                let acted = self.seen.acted;
                self.wake = self.engine.handle(early, Event::Tick, &mut self.seen);
                assert_eq!(self.seen.acted, acted, "something was due before the deadline");
            }
            self.seen.now = next.max(self.now());
            match self.seen.running.iter().position(|run| run.ends <= next) {
                Some(place) => self.end(place),
                None => {
                    self.wake = self.engine.handle(self.now(), Event::Tick, &mut self.seen);
                    assert!(self.wake.is_none_or(|wake| wake > self.now()), "woken in vain");
                }
            }
        }
    }

    /// Lets time pass until nothing waits or runs.
    pub(super) fn rest(&mut self) {
        while !self.seen.running.is_empty() || self.engine.queued() > 0 {
            self.pass(1_000);
        }
    }

    fn end(&mut self, place: usize) {
        let Running { batch, requests, .. } = self.seen.running.swap_remove(place);
        let now = self.now();
        let took = now.since(batch.started());
        if requests.iter().any(|queued| (self.poison)(queued.request.payload)) {
            let (failure, requests) = (Failure::Failed, requests.into_iter());
            self.wake = self.engine.failed(now, batch, took, failure, requests, &mut self.seen);
        } else {
            for queued in requests {
                let known = self.seen.known.get_mut(&queued.request.payload).unwrap();
                known.fate = Fate::Answered;
            }
            let event = Event::Finished { batch, took, memory: None };
            self.wake = self.engine.handle(now, event, &mut self.seen);
        }
    }

    /// Everything has exactly one outcome, and every counter is at zero.
    pub(super) fn check_empty(&self) {
        for (payload, known) in &self.seen.known {
            assert!(!matches!(known.fate, Fate::Waits | Fate::Runs), "{payload} was lost");
        }
        assert!(self.engine.is_drained());
        assert_eq!((self.engine.queued(), self.engine.queued_bytes()), (0, 0));
        assert_eq!((self.engine.running(), self.engine.in_flight), (0, 0));
        assert_eq!(self.engine.memory_taken(PoolId(0)), 0);
        assert_eq!(self.engine.running_by_level, [0; LEVELS]);
        for model in [0, 1].map(ModelId) {
            assert_eq!(self.engine.queued_of(model), 0);
            assert_eq!(self.engine.lane(model).unwrap().busy, 0);
            assert_eq!(self.engine.lane(model).unwrap().items, 0);
        }
    }
}
