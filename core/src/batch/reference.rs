//! The planner's rules over one plain `Vec`, as slow and obvious as can be: what the tests compare
//! with.

use super::{BatchKey, BatchLimits, ClosingReason, ModelId, OfferError, Request};
use crate::Instant;
use std::cmp::Reverse;
use std::vec::Vec;

#[derive(Clone, Debug)]
struct Waiting {
    request: Request<u32>,
    arrived: Instant,
    limits: BatchLimits,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Closed {
    pub(crate) key: BatchKey,
    pub(crate) reason: ClosingReason,
    pub(crate) requests: Vec<Request<u32>>,
}

/// Everything that waits, in order of arrival. Payloads are unique and name the requests.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    waiting: Vec<Waiting>,
    max_requests: usize,
    max_keys: usize,
}

impl Reference {
    pub(crate) fn new(max_requests: usize, max_keys: usize) -> Self {
        Self { waiting: Vec::new(), max_requests, max_keys }
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn queued_of(&self, model: ModelId) -> usize {
        self.waiting.iter().filter(|waiting| waiting.request.key.model == model).count()
    }

    pub(crate) fn offer(
        &mut self,
        request: Request<u32>,
        limits: BatchLimits,
        now: Instant,
    ) -> Result<(), OfferError> {
        let keys = self.keys();
        if request.items == 0 {
            return Err(OfferError::Empty);
        }
        if request.items > limits.max_items {
            return Err(OfferError::TooLarge { max_items: limits.max_items });
        }
        if self.waiting.len() == self.max_requests {
            return Err(OfferError::Full);
        }
        if !keys.contains(&request.key) && keys.len() == self.max_keys {
            return Err(OfferError::GroupsFull);
        }
        for waiting in self.waiting.iter_mut().filter(|w| w.request.key == request.key) {
            waiting.limits = limits;
        }
        self.waiting.push(Waiting { request, arrived: now, limits });
        Ok(())
    }

    pub(crate) fn set_limits(&mut self, model: ModelId, limits: BatchLimits) {
        for waiting in self.waiting.iter_mut().filter(|w| w.request.key.model == model) {
            waiting.limits = limits;
        }
    }

    pub(crate) fn cancel(&mut self, payload: u32) -> Option<Request<u32>> {
        let place = self.waiting.iter().position(|w| w.request.payload == payload)?;
        Some(self.waiting.remove(place).request)
    }

    /// The batch that should run next. It goes on waiting until [`take`](Self::take).
    pub(crate) fn close(
        &self,
        now: Instant,
        draining: bool,
        can_run: impl Fn(ModelId) -> bool,
    ) -> Option<Closed> {
        let due = self.keys().into_iter().filter(|key| can_run(key.model)).filter_map(|key| {
            let group = self.group(key);
            let (oldest, limits) = (&group[0], group[0].limits);
            let items: u64 = group.iter().map(|w| u64::from(w.request.items)).sum();
            let mut reason = if items >= u64::from(limits.max_items) {
                ClosingReason::Full
            } else if draining {
                ClosingReason::Drain
            } else if now >= oldest.arrived + limits.max_wait {
                ClosingReason::MaxWait
            } else {
                return None;
            };
            let mut in_order = group.clone();
            in_order.sort_by_key(|w| Reverse(w.request.priority)); // stable: keeps arrival order
            let rank = (Reverse(in_order[0].request.priority), self.place(oldest));
            let mut requests: Vec<Request<u32>> = Vec::new();
            let mut room = u64::from(limits.max_items);
            for waiting in in_order {
                let items = u64::from(waiting.request.items);
                if items > room && !requests.is_empty() {
                    reason = ClosingReason::Full;
                    break;
                }
                room = room.saturating_sub(items);
                requests.push(waiting.request.clone());
            }
            Some((rank, Closed { key, reason, requests }))
        });
        due.min_by_key(|(rank, _)| *rank).map(|(_, closed)| closed)
    }

    pub(crate) fn take(&mut self, requests: &[Request<u32>]) {
        self.waiting.retain(|waiting| !requests.contains(&waiting.request));
    }

    pub(crate) fn next_deadline(&self, can_run: impl Fn(ModelId) -> bool) -> Option<Instant> {
        let keys = self.keys().into_iter().filter(|key| can_run(key.model));
        keys.map(|key| self.group(key)[0]).map(|w| w.arrived + w.limits.max_wait).min()
    }

    fn keys(&self) -> Vec<BatchKey> {
        let mut keys: Vec<BatchKey> = self.waiting.iter().map(|w| w.request.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn group(&self, key: BatchKey) -> Vec<&Waiting> {
        self.waiting.iter().filter(|waiting| waiting.request.key == key).collect()
    }

    fn place(&self, of: &Waiting) -> usize {
        let payload = of.request.payload;
        self.waiting.iter().position(|w| w.request.payload == payload).unwrap_or(usize::MAX)
    }
}
