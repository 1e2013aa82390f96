//! The batcher that everyone writes first: a window that opens with a request and closes on time.

use super::{Arrival, Batcher, Decisions, Limits, Shed, Started};
use std::collections::VecDeque;
use tensorforge_core::{Duration, Instant};

/// Collects from the first request on, for a fixed time or until the batch is full.
///
/// Whatever comes goes into the one open window, in order of arrival: priorities are not known.
/// When it closes, its requests are divided by shape, each shape a batch; batches run in the order
/// in which they were closed, as executors become idle, and grow no more while they wait.
#[derive(Clone, Debug)]
pub struct FixedWindow {
    max_items: u32,
    window: Duration,
    max_queued: usize,
    open: Vec<Arrival>,
    items: u32,
    closed: VecDeque<Started>,
    queued: usize,
}

impl FixedWindow {
    /// Under the same limits as everyone.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            max_items: limits.max_items,
            window: limits.common_wait(),
            max_queued: limits.max_queued as usize,
            open: Vec::new(),
            items: 0,
            closed: VecDeque::new(),
            queued: 0,
        }
    }

    fn ends(&self) -> Option<Instant> {
        self.open.first().map(|first| first.at + self.window)
    }

    fn close(&mut self, why: &'static str) {
        let mut batches: Vec<Started> = Vec::new();
        for Arrival { index, shape, items, .. } in self.open.drain(..) {
            match batches.iter_mut().find(|batch| batch.shape == shape) {
                Some(batch) => {
                    batch.requests.push(index);
                    batch.items += items;
                    batch.rows += items;
                }
                None => {
                    let requests = vec![index];
                    batches.push(Started { requests, items, rows: items, shape, why });
                }
            }
        }
        self.items = 0;
        self.closed.extend(batches);
    }
}

impl Batcher for FixedWindow {
    fn name(&self) -> &'static str {
        "fixed window"
    }

    fn arrive(&mut self, _now: Instant, request: &Arrival) -> Result<(), Shed> {
        if request.items > self.max_items {
            return Err(Shed::TooLarge);
        }
        if self.queued >= self.max_queued {
            return Err(Shed::QueueFull);
        }
        if self.items.saturating_add(request.items) > self.max_items {
            self.close("full");
        }
        self.queued += 1;
        self.items += request.items;
        self.open.push(*request);
        if self.items == self.max_items {
            self.close("full");
        }
        Ok(())
    }

    fn start(&mut self, now: Instant, idle: usize, decisions: &mut Decisions) {
        if self.ends().is_some_and(|end| now >= end) {
            self.close("max_wait");
        }
        let mut idle = idle;
        while idle > 0
            && let Some(batch) = self.closed.pop_front()
        {
            self.queued -= batch.requests.len();
            idle -= 1;
            decisions.started.push(batch);
        }
    }

    fn finished(&mut self, _now: Instant, _batch: &Started, _took: Duration) {}

    fn next_deadline(&self) -> Option<Instant> {
        self.ends()
    }
}
