//! The loop: events in order of time, and what must hold at each.

use super::{Arrival, Batcher, Decisions, Limits, Random, Report, Service, Started};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tensorforge_core::batch::LEVELS;
use tensorforge_core::{Duration, Instant};

/// Arrivals between two reports of progress.
const PROGRESS_EVERY: usize = 1 << 12;

/// Times that a batcher may ask to be woken at one instant and then do nothing.
const IDLE_WAKES: u32 = 2;

/// A batcher, or the arrivals, broke a rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Arrivals are not in order of time, not numbered in order, or of no known priority.
    #[error("arrival {0} is out of order, or its priority is not below {LEVELS}")]
    BadArrival(usize),
    /// A request was started, dropped or answered that was not waiting: twice, or never there.
    #[error("request {0} left the queue, but it was not in it")]
    NotWaiting(u32),
    /// Requests were neither answered nor turned away.
    #[error("{0} requests were forgotten, the first of them {1}")]
    Forgotten(usize, u32),
    /// A batch says that it has other items than its requests do, or fewer rows than items.
    #[error("a batch of {items} items and {rows} rows has requests of {truly} items")]
    Miscounted {
        /// What it says.
        items: u32,
        /// What it says it runs.
        rows: u32,
        /// What its requests have.
        truly: u32,
    },
    /// A batch is larger than allowed.
    #[error("a batch of {items} items, and {max_items} are allowed")]
    TooLarge {
        /// Its items.
        items: u32,
        /// The limit.
        max_items: u32,
    },
    /// A batch started without an executor to run it.
    #[error("a batch started while every executor was busy")]
    NoExecutor,
    /// The batcher asks to be woken at once, again and again, and does nothing.
    #[error("the batcher wants to be woken at {0:?} and does nothing then")]
    Stuck(Instant),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Unborn,
    Waiting,
    Running,
    Gone,
}

/// Plays `arrivals` to the end: until each is answered or turned away.
///
/// # Errors
/// A [`Violation`] of what is promised to every request; the report would be worth nothing.
pub fn run(
    arrivals: &[Arrival],
    batcher: &mut dyn Batcher,
    service: &Service,
    limits: &Limits,
) -> Result<Report, Violation> {
    run_with(arrivals, batcher, service, limits, &mut |_| {})
}

/// The same, and tells now and then how many have arrived.
///
/// # Errors
/// As [`run()`].
pub fn run_with(
    arrivals: &[Arrival],
    batcher: &mut dyn Batcher,
    service: &Service,
    limits: &Limits,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, Violation> {
    let mut run = Run {
        arrivals,
        service,
        limits,
        lives: vec![Life::Unborn; arrivals.len()],
        running: BinaryHeap::new(),
        places: Vec::new(),
        free: Vec::new(),
        random: Random::stream(service.seed, 4),
        report: Report::new(batcher.name(), limits),
    };
    let mut decisions = Decisions::default();
    let mut now = Instant::ZERO;
    let mut next = 0;
    let mut idle_wakes = 0;
    loop {
        let arrival = arrivals.get(next);
        let arrives = arrival.map(|arrival| arrival.at);
        let finishes = run.running.peek().map(|Reverse((at, ..))| *at);
        let wakes = batcher.next_deadline();
        let Some(at) = [arrives, finishes, wakes].into_iter().flatten().min() else { break };
        idle_wakes = if at > now { 0 } else { idle_wakes };
        now = now.max(at);
        let mut woken = false;
        if finishes.is_some_and(|at| at <= now) {
            run.finish(now, batcher)?;
        } else if let Some(arrival) = arrival.filter(|arrival| arrival.at <= now) {
            run.arrive(next, now, arrival, batcher)?;
            next += 1;
            if next.is_multiple_of(PROGRESS_EVERY) {
                progress(next);
            }
        } else {
            woken = true;
        }
        batcher.start(now, run.idle(), &mut decisions);
        if woken && decisions.started.is_empty() && decisions.shed.is_empty() {
            idle_wakes += 1;
            if idle_wakes > IDLE_WAKES {
                return Err(Violation::Stuck(now));
            }
        }
        for (request, why) in decisions.shed.drain(..) {
            run.leave(request, Life::Waiting, Life::Gone)?;
            run.report.turned_away(arrivals[request as usize].priority, why);
        }
        for batch in decisions.started.drain(..) {
            run.begin(now, batch)?;
        }
    }
    run.report.end(now);
    let mut left = (0..).zip(&run.lives).filter(|(_, life)| **life != Life::Gone);
    match left.next() {
        None => Ok(run.report),
        Some((first, _)) => Err(Violation::Forgotten(1 + left.count(), first)),
    }
}

struct Run<'a> {
    arrivals: &'a [Arrival],
    service: &'a Service,
    limits: &'a Limits,
    lives: Vec<Life>,
    /// When a batch is done, in order of start among those done at once; its place.
    running: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    places: Vec<(Instant, Started)>,
    free: Vec<usize>,
    random: Random,
    report: Report,
}

impl Run<'_> {
    fn idle(&self) -> usize {
        (self.limits.executors as usize).saturating_sub(self.running.len())
    }

    fn arrive(
        &mut self,
        next: usize,
        now: Instant,
        arrival: &Arrival,
        batcher: &mut dyn Batcher,
    ) -> Result<(), Violation> {
        let in_order = arrival.at == now && arrival.index as usize == next;
        if !in_order || usize::from(arrival.priority) >= LEVELS {
            return Err(Violation::BadArrival(next));
        }
        self.report.arrived(arrival);
        self.lives[next] = Life::Waiting;
        if let Err(why) = batcher.arrive(now, arrival) {
            self.lives[next] = Life::Gone;
            self.report.turned_away(arrival.priority, why);
        }
        Ok(())
    }

    fn finish(&mut self, now: Instant, batcher: &mut dyn Batcher) -> Result<(), Violation> {
        let Some(Reverse((_, _, place))) = self.running.pop() else { return Ok(()) };
        let nothing = Started { requests: vec![], items: 0, rows: 0, shape: 0, why: "" };
        let (began, batch) = std::mem::replace(&mut self.places[place], (now, nothing));
        self.free.push(place);
        for &request in &batch.requests {
            self.leave(request, Life::Running, Life::Gone)?;
            self.report.answered(&self.arrivals[request as usize], began, now);
        }
        batcher.finished(now, &batch, now.since(began));
        Ok(())
    }

    fn begin(&mut self, now: Instant, batch: Started) -> Result<(), Violation> {
        if self.idle() == 0 {
            return Err(Violation::NoExecutor);
        }
        let mut truly = 0u32;
        let mut useful = 0.0;
        for &request in &batch.requests {
            self.leave(request, Life::Waiting, Life::Running)?;
            let arrival = &self.arrivals[request as usize];
            truly = arrival.items.saturating_add(truly);
            useful += f64::from(arrival.items) * self.service.cost(arrival.shape);
        }
        let Started { items, rows, .. } = batch;
        if truly != items || rows < items || batch.requests.is_empty() {
            return Err(Violation::Miscounted { items, rows, truly });
        }
        if items > self.limits.max_items {
            return Err(Violation::TooLarge { items, max_items: self.limits.max_items });
        }
        let took: Duration = self.service.time(rows, batch.shape, now, &mut self.random);
        let cost = f64::from(rows) * self.service.cost(batch.shape);
        self.report.started(&batch, useful, cost, took);
        let place = self.free.pop().unwrap_or(self.places.len());
        let order = self.report.batches;
        self.running.push(Reverse((now + took, order, place)));
        match self.places.get_mut(place) {
            Some(free) => *free = (now, batch),
            None => self.places.push((now, batch)),
        }
        Ok(())
    }

    fn leave(&mut self, request: u32, from: Life, to: Life) -> Result<(), Violation> {
        match self.lives.get_mut(request as usize) {
            Some(life) if *life == from => {
                *life = to;
                Ok(())
            }
            _ => Err(Violation::NotWaiting(request)),
        }
    }
}
